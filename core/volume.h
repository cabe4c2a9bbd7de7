/* View of one time step: checks, value ranges, missing samples, and the mapping of values to
 * [-1,1]. Before: the caller's arrays. After: bricks.c cuts, sampler.c draws. Sec. IV: "coordinates
 * and values are scaled to the range of [-1, 1]". */
#ifndef KD_VOLUME_H
#define KD_VOLUME_H

#include "bricks.h"
#include "kdm.h"
#include "kdinr.h"

/** Value `i` of an array of `type`, as double. */
double kd_volume_value(const void *values, kdinr_type type, size_t i);

/** Store `value` as value `i`, rounded to nearest and clamped if the type is an integer; NaN
 * becomes 0 in an integer. */
void kd_volume_store(void *values, kdinr_type type, size_t i, double value);

/** Are grid and arrays within the ranges of kdinr.h?
 *  errors  ARGUMENT */
kdinr_status kd_volume_check(const kdinr_volume *volume, kdinr_error *error);

/** Has a later step, at `time`, the first one's grid and arrays, in the same order?
 *  errors  ARGUMENT */
kdinr_status kd_volume_check_same(const kdinr_volume *volume, const kd_model *model, double time,
                                  kdinr_error *error);

/** XXH64 of the grid, the descriptions of the arrays and their values. */
uint64_t kd_volume_hash(const kdinr_volume *volume);

/** Samples of an array on the volume's grid. */
size_t kd_volume_n_samples(const kdinr_volume *volume, const kdinr_array *array);

/** Bytes of an array's values. */
size_t kd_volume_bytes(const kdinr_volume *volume, const kdinr_array *array);

/** Which samples are missing (any component is), and the range of the others.
 *  classes  out [n_samples] kd_missing values
 *  range    out [n_components][2]; untouched if all are missing
 *  returns the number of samples that are not missing */
size_t kd_volume_classify(const kdinr_array *array, size_t n_samples, uint8_t *classes,
                          double range[][2]);

/** Copy the box's classes.
 *  classes  in [nz][ny][nx] of the whole array with `samples` per axis; NULL: nothing is missing
 *  dst      out [count]
 *  returns the number of samples that are not missing */
size_t kd_volume_cut_classes(const uint8_t *classes, const int samples[3], const kd_box *box,
                             uint8_t *dst);

/** Range of the box's samples that are not missing.
 *  classes  [count] of the box, from kd_volume_cut_classes */
void kd_volume_cut_range(const kdinr_array *array, const int samples[3], const kd_box *box,
                         const uint8_t *classes, double range[][2]);

/** Copy the box's values, mapped so that range[c] becomes [-1,1] (0 where the range is empty).
 *  Missing samples become 0.
 *  dst  out [count][n_components] */
void kd_volume_normalise(const kdinr_array *array, const int samples[3], const kd_box *box,
                         const uint8_t *classes, const double range[][2], float *dst);

/** The value that a network output stands for, range being {low, high}. Outputs beyond [-1,1] are
 *  clamped: the data never was there. */
static inline float kd_volume_denormalise(float output, const float range[2])
{
    const double low = range[0], high = range[1];
    const double clamped = output < -1.0f ? -1.0 : output > 1.0f ? 1.0 : (double)output;

    return (float)(low + (clamped + 1.0) * 0.5 * (high - low));
}

#endif
