/* Adam on all parameters that Muon does not move. Before: backward.cu. After: the next batch. */
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

__global__ void adam_kernel(unsigned n, const kd_cuda_rates *rates, const unsigned char *hidden,
                            const float *gradient, float *first, float *second, float *params)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        if (hidden != NULL && hidden[i]) continue;
        const float g = gradient[i];
        const float mean = first[i] + 0.1f * (g - first[i]);
        const float square = second[i] + 0.001f * (g * g - second[i]);
        first[i] = mean;
        second[i] = square;
        params[i] -= rates->adam * mean / (sqrtf(square) * rates->root_of_bias + 1e-8f);
    }
}

kdinr_status kd_cuda_adam(const kd_cuda_lane *lane, size_t n, const kd_cuda_rates *d_rates,
                          const unsigned char *d_hidden, const float *d_gradient, float *d_first,
                          float *d_second, float *d_params, kdinr_error *error)
{
    KD_LAUNCH(adam_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, lane->stream, (unsigned)n, d_rates,
              d_hidden, d_gradient, d_first, d_second, d_params);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
