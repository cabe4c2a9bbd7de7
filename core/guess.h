/* With max_error and no ratio: how large the networks should be, from what a few steps take without
 * any. Before: start.c has steps, the first one or a pair from the middle. After: plan.c. */
#ifndef KD_GUESS_H
#define KD_GUESS_H

#include "keep.h"

/** What is known of one array. All zero: nothing. */
typedef struct kd_guess {
    int n_steps; /* that were looked at, one after the other */
    kd_bound bound;
    double data;        /* bytes of a step */
    double first, next; /* bytes of the first one's residual, and of the latest one's after it */
    kd_residual before; /* the latest one */
} kd_guess;

/** Code a step without networks. A bound that is relative is so to the first one's range.
 *  samples  of the array, per axis
 *  errors   MEMORY */
kdinr_status kd_guess_step(const kdinr_options *options, const kdinr_array *array,
                           const int samples[3], kd_guess *guess, kdinr_error *error);

/** Bytes of a step without networks, on average.
 *  n_steps  of the series */
double kd_guess_alone(const kd_guess *guess, int n_steps);

/** Data bytes / networks' bytes that should make a bounded file smallest; 0: no networks.
 *  data   bytes of a step
 *  alone  bytes of its residual alone */
double kd_guess_ratio(double data, double alone);

/** Free what it owns. */
void kd_guess_free(kd_guess *guess);

#endif
