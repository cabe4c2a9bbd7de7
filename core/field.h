/* One array of a model as a continuous field: asks the networks of the bricks and windows that
 * answer, and blends them. Before: bricks.c says who answers. After: decode.c (files) and measure.c
 * (the encoder's own check), which so use the same arithmetic. */
#ifndef KD_FIELD_H
#define KD_FIELD_H

#include "kdm.h"
#include "train.h"

typedef struct kd_field kd_field;

/** Prepare to read array `a` of a model whose networks are loaded, though their codes may be
 * missing if the file has packs. Model and path must outlive the field, and the model not change.
 *  options  where and by how many threads; not kept
 *  path    of the file that the model was read from; NULL: all codes are there
 *  errors  MEMORY */
kdinr_status kd_field_create(const kd_model *model, const char *path, int a,
                             const kd_backend *backend, const kdinr_options *options,
                             kd_field **field, kdinr_error *error);

/** Evaluate at a regular grid. Missing samples are not looked at here.
 *  samples  per axis: spans the array's bounds, any resolution
 *  extent   inclusive, in those samples
 *  s        time in step units, 0..n_steps-1
 *  values   out [nz][ny][nx][n_components]
 *  run      progress: advances by one per sample and window asked; may be NULL
 *  errors   MEMORY, BACKEND, CANCELLED; IO, FORMAT (codes that were missing) */
kdinr_status kd_field_read(kd_field *field, const int samples[3], const int extent[6], double s,
                           float *values, kd_run *run, kdinr_error *error);

/** Samples of the array per axis at the stored resolution: [3]. */
const int *kd_field_stored(const kd_field *field);

/** NULL is fine. */
void kd_field_free(kd_field *field);

#endif
