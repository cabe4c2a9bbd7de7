/* Mean and variance of targets, as they are drawn. Before: train.c has a batch. After: it compares
 * losses with the variance. */
#ifndef KD_TALLY_H
#define KD_TALLY_H

#include "backend.h"

/** All zero: nothing was added yet. */
typedef struct kd_tally {
    double n, sum[KD_NET_MAX_OUTPUTS], squares;
} kd_tally;

/** targets  in  [n][n_outputs] */
static inline void kd_tally_add(kd_tally *t, const float *targets, size_t n, int n_outputs)
{
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < n_outputs; c++) {
            const double v = targets[i * (size_t)n_outputs + (size_t)c];

            t->sum[c] += v;
            t->squares += v * v;
        }
    }
    t->n += (double)n;
}

/** Mean over the outputs of each one's variance: the loss of the best constant. */
static inline double kd_tally_variance(const kd_tally *t, int n_outputs)
{
    double variance = t->squares / t->n;

    for (int c = 0; c < n_outputs; c++) {
        variance -= (t->sum[c] / t->n) * (t->sum[c] / t->n);
    }
    return variance / n_outputs;
}

#endif
