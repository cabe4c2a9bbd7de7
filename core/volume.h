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

/** A declared fill as samples of `type` have it: no float32 is the double nearest to 1e20. */
double kd_volume_fill(kdinr_type type, double fill);

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

/** What an encoder has of one step of an array: the values of a box of samples. */
typedef struct kd_view {
    const kdinr_array *array; /* its values are those of `box`, x fastest */
    kd_box box;
} kd_view;

/** Array `a` of a step that passed kd_volume_check. */
kd_view kd_volume_view(const kdinr_volume *volume, int a);

/** Has the view all samples of a box that process `rank` needs?
 *  errors  ARGUMENT */
kdinr_status kd_volume_check_box(const kd_view *view, const kd_box *box, int rank,
                                 kdinr_error *error);

/** XXH64 of the grid and the descriptions of the arrays. */
uint64_t kd_volume_hash(const kdinr_volume *volume);

/** XXH64 of the values of a box, which the view must have. */
uint64_t kd_volume_hash_values(const kd_view *view, const kd_box *box);

/** Samples of an array on the volume's grid. */
size_t kd_volume_n_samples(const kdinr_volume *volume, const kdinr_array *array);

/** Bytes of an array's values. */
size_t kd_volume_bytes(const kdinr_volume *volume, const kdinr_array *array);

/** Which samples of a box, which the view must have, are missing (any component is).
 *  classes  out [count] kd_missing values
 *  returns the number of samples that are not missing */
size_t kd_volume_classify(const kd_view *view, const kd_box *box, uint8_t *classes);

/** Which samples of a box are missing; shared by the steps where they are the same. */
typedef struct kd_map {
    int n_users;
    kd_box box;
    uint8_t classes[]; /* [count of the box] kd_missing */
} kd_map;

/** One user less. NULL is fine. */
void kd_map_release(kd_map *map);

/** Copy the classes of a box, which the map must have.
 *  map  NULL: nothing is missing
 *  dst  out [count of `box`]
 *  returns the number of samples that are not missing */
size_t kd_volume_cut_classes(const kd_map *map, const kd_box *box, uint8_t *dst);

/** Range of the box's samples that are not missing.
 *  classes  [count] of the box
 *  range    out [n_components][2]; untouched if all are missing */
void kd_volume_range(const kd_view *view, const kd_box *box, const uint8_t *classes,
                     double range[][2]);

/** Copy the box's values, mapped so that range[c] becomes [-1,1] (0 where the range is empty).
 *  Missing samples become 0.
 *  dst  out [count][n_components] */
void kd_volume_normalise(const kd_view *view, const kd_box *box, const uint8_t *classes,
                         const double range[][2], float *dst);

/** The value that a network output stands for, range being {low, high}. Outputs beyond [-1,1] are
 *  clamped: the data never was there. */
static inline float kd_volume_denormalise(float output, const float range[2])
{
    const double low = range[0], high = range[1];
    const double clamped = output < -1.0f ? -1.0 : output > 1.0f ? 1.0 : (double)output;

    return (float)(low + (clamped + 1.0) * 0.5 * (high - low));
}

#endif
