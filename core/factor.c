/* Sums of products, Cholesky's factor of one, and what solves with it. */
#include "factor.h"

#include <math.h>
#include <string.h>

void kd_factor_sum(const float *x, const float *weights, size_t n, int m, double *h)
{
    memset(h, 0, (size_t)m * (size_t)m * sizeof *h);
    for (size_t s = 0; s < n; s++) {
        const float *row = x + s * (size_t)m;

        for (int i = 0; i < m; i++) {
            const double factor = (double)weights[s] * row[i];
            double *into = h + (size_t)i * (size_t)m;

            for (int k = 0; k <= i; k++) {
                into[k] += factor * row[k];
            }
        }
    }
}

void kd_factor_decompose(double *h, int m, double damping)
{
    double trace = 0.0;

    for (int i = 0; i < m; i++) {
        trace += h[i * m + i];
    }
    const double added = damping * trace / m + 1e-30; /* where nothing is read, nothing matters */
    for (int i = 0; i < m; i++) {
        double *row = h + (size_t)i * (size_t)m;

        row[i] += added;
        for (int k = 0; k <= i; k++) {
            const double *other = h + (size_t)k * (size_t)m;
            double sum = row[k];

            for (int j = 0; j < k; j++) {
                sum -= row[j] * other[j];
            }
            row[k] = k < i ? sum / other[k] : sqrt(fmax(sum, 0.5 * added));
        }
    }
}

void kd_factor_solve(const double *factor, int m, double *b)
{
    for (int i = 0; i < m; i++) {
        const double *row = factor + (size_t)i * (size_t)m;

        for (int k = 0; k < i; k++) {
            b[i] -= row[k] * b[k];
        }
        b[i] /= row[i];
    }
    for (int i = m - 1; i >= 0; i--) {
        const double *row = factor + (size_t)i * (size_t)m;

        b[i] /= row[i];
        for (int k = 0; k < i; k++) {
            b[k] -= row[k] * b[i];
        }
    }
}
