/* Which sample of a box a random number stands for: one arithmetic for the host and for devices, so
 * that every backend trains on the same samples. Before: core/sampler.c makes the tables. After:
 * core/sampler.c (host) or cuda/supply.cu (device) looks the sample up. */
#ifndef KD_DRAW_H
#define KD_DRAW_H

#include "backend.h"
#include "rng.h"

/** First sample and number of samples of a block along each axis; see kd_chooser. */
static KD_DEVICE_TOO inline void kd_draw_bounds(const int dims[3], const int counts[3], int edge,
                                                size_t block, int first[3], int size[3])
{
    for (int axis = 0; axis < 3; axis++) {
        const size_t count = (size_t)counts[axis];
        const int left = dims[axis] - (int)(block % count) * edge;

        first[axis] = dims[axis] - left;
        size[axis] = left < edge ? left : edge;
        block /= count;
    }
}

/** Position of a sample of the box, x fastest. */
static KD_DEVICE_TOO inline size_t kd_draw_at(const kd_chooser *chooser, const int index[3])
{
    return ((size_t)index[2] * (size_t)chooser->dims[1] + (size_t)index[1]) *
               (size_t)chooser->dims[0] +
           (size_t)index[0];
}

/** Random number `counter` of the stream with `key` as a sample.
 *  classes  [samples] only those with 0 are drawn, in up to 64 tries; NULL: all are
 *  index    out
 *  returns  false if all tries hit others */
static KD_DEVICE_TOO inline bool kd_draw_try(const kd_chooser *chooser, uint64_t key,
                                             uint64_t counter, const uint8_t *classes, int index[3])
{
    const uint64_t bits = kd_rng_at(key, counter);
    uint32_t block = kd_rng_below(bits, (uint32_t)chooser->n_blocks);
    uint64_t inner = kd_rng_mix(bits);
    int first[3], size[3];

    if (kd_rng_unit(inner) >= chooser->keep[block]) block = chooser->alias[block];
    kd_draw_bounds(chooser->dims, chooser->counts, chooser->edge, block, first, size);
    for (int attempt = 0; attempt < 64; attempt++) {
        inner = kd_rng_mix(inner);
        for (int axis = 0; axis < 3; axis++) {
            const uint64_t part = inner << (21 * axis);

            index[axis] = first[axis] + (int)kd_rng_below(part, (uint32_t)size[axis]);
        }
        if (classes == NULL || classes[kd_draw_at(chooser, index)] == 0) return true;
    }
    return false;
}

/** The same until a sample is found: a block that is nearly all missing can refuse; its place goes
 *  to another draw. */
static KD_DEVICE_TOO inline void kd_draw_sample(const kd_chooser *chooser, uint64_t key,
                                                uint64_t counter, const uint8_t *classes,
                                                int index[3])
{
    while (!kd_draw_try(chooser, key, counter, classes, index)) {
        counter = kd_rng_mix(counter) | ((uint64_t)1 << 63);
    }
}

#endif
