/* A small analytic series for tests: a blob that moves and turns over a gradient. */
#ifndef SERIES_H
#define SERIES_H

#include <math.h>
#include <stdlib.h>

#include "kdinr.h"

/** Value at a point of the unit cube and a time. */
static inline double series_value(double x, double y, double z, double t)
{
    const double dx = x - 0.3 - 0.3 * t, dy = y - 0.5, dz = z - 0.4;

    return 20.0 + 3.0 * x + 10.0 * exp(-12.0 * (dx * dx + dy * dy + dz * dz)) +
           sin(6.0 * (y + t)) * cos(4.0 * z);
}

/** samples out: [nz][ny][nx] at step `t` of n_steps. */
static inline void series_fill(const int dims[3], int t, int n_steps, float *samples)
{
    const double time = n_steps > 1 ? (double)t / (n_steps - 1) : 0.0;

    for (int z = 0; z < dims[2]; z++) {
        for (int y = 0; y < dims[1]; y++) {
            for (int x = 0; x < dims[0]; x++) {
                *samples++ = (float)series_value(dims[0] > 1 ? x / (dims[0] - 1.0) : 0.0,
                                                 dims[1] > 1 ? y / (dims[1] - 1.0) : 0.0,
                                                 dims[2] > 1 ? z / (dims[2] - 1.0) : 0.0, time);
            }
        }
    }
}

/** A volume that holds one array. */
static inline kdinr_volume series_volume(const int dims[3], const kdinr_array *array)
{
    kdinr_volume volume = kdinr_volume_default();

    for (int axis = 0; axis < 3; axis++) {
        volume.dims[axis] = dims[axis];
    }
    volume.n_arrays = 1;
    volume.arrays = array;
    return volume;
}

/** Options that train in a second or so. */
static inline kdinr_options series_options(void)
{
    kdinr_options options = kdinr_options_default();

    options.effort = KDINR_EFFORT_LOW;
    options.ratio = 30;
    options.omega_first = 6;
    options.teacher_samples = 1e5;
    options.student_samples = 4e5;
    return options;
}

#endif
