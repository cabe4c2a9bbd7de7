/* Adam on a run of parameters. Before: backward.c, averaged over the batch.
 * After: the next batch. */
#include <math.h>

#include "reference/reference.h"

void kd_reference_adam(size_t n, double rate, size_t step, const double *gradient, double *first,
                       double *second, double *params)
{
    const double beta_first = 0.9, beta_second = 0.999, epsilon = 1e-8;
    const double bias_first = 1 - pow(beta_first, (double)step);
    const double bias_second = 1 - pow(beta_second, (double)step);
    for (size_t i = 0; i < n; i++) {
        first[i] = beta_first * first[i] + (1 - beta_first) * gradient[i];
        second[i] = beta_second * second[i] + (1 - beta_second) * gradient[i] * gradient[i];
        params[i] -= rate * (first[i] / bias_first) / (sqrt(second[i] / bias_second) + epsilon);
    }
}
