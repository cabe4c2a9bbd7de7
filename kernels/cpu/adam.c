/* Adam on a run of parameters (Kingma and Ba, 2015; beta 0.9 and 0.999, eps 1e-8).
 * Before: reduce.c. After: pack.c. The loop is plain: compilers turn it into vectors. */
#include <math.h>

#include "cpu/operations.h"

void kd_cpu_adam(size_t n, float scale, const kd_adam_rates *rates, const float *gradient,
                 float *restrict first, float *restrict second, float *restrict params)
{
    const float rate = rates->rate, root_of_bias = rates->root_of_bias;
    for (size_t i = 0; i < n; i++) {
        const float g = scale * gradient[i];
        first[i] += 0.1f * (g - first[i]);
        second[i] += 0.001f * (g * g - second[i]);
        params[i] -= rate * first[i] / (sqrtf(second[i]) * root_of_bias + 1e-8f);
    }
}
