/* Decoding an array that has a bound: the residuals of the steps around a time, interpolated, on
 * top of what the networks answer. Before: residual.c unpacks a step, field.c asks the networks.
 * After: decode.c lays the missing-value map over it. */
#ifndef KD_BOUNDED_H
#define KD_BOUNDED_H

#include "residual.h"

typedef struct kd_bounded kd_bounded;

/** Prepare to read array `a` of a loaded model, which must have a bound. The model must outlive it
 *  and not change.
 *  limit   bytes that may be asked for
 *  errors  MEMORY (also: two steps' residuals take more than `limit`) */
kdinr_status kd_bounded_create(const kd_model *model, int a, uint64_t limit, kd_bounded **bounded,
                               kdinr_error *error);

/** NULL is fine. */
void kd_bounded_free(kd_bounded *bounded);

/** What a part of a reading is. */
typedef struct kd_bounded_part {
    int samples[3]; /* per axis: spans the array's bounds */
    int extent[6];  /* inclusive, in those samples */
    double s;       /* time in step units */
    kdinr_type type;
} kd_bounded_part;

/** Answers of the networks to values.
 *  answers  [nz][ny][nx][n_components] at the part's samples; not looked at (may be NULL) if the
 *           bound is `alone`
 *  values   out, likewise, of part->type
 *  errors   FORMAT, MEMORY */
kdinr_status kd_bounded_read(kd_bounded *bounded, const kd_bounded_part *part, const float *answers,
                             void *values, kdinr_error *error);

#endif
