/* Symmetric matrices of a few hundred rows, of which the lower triangle counts. Before:
 * feedback_layers.c sums and decomposes one for each layer. After: feedback.c solves with it. */
#ifndef KD_FACTOR_H
#define KD_FACTOR_H

#include <stddef.h>

/** The lower triangle of H = sum over samples of weight x x^T.
 *  x        [n][m]
 *  weights  [n]
 *  h        out [m][m] */
void kd_factor_sum(const float *x, const float *weights, size_t n, int m, double *h);

/** Cholesky's L, H + d I = L L^T, in the place of H.
 *  h        in/out [m][m]
 *  damping  d / the mean of H's diagonal, > 0 */
void kd_factor_decompose(double *h, int m, double damping);

/** b <- (L L^T)^-1 b.
 *  factor  [m][m] L
 *  b       in/out [m] */
void kd_factor_solve(const double *factor, int m, double *b);

#endif
