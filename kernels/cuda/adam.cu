/* Adam on all parameters that Muon does not move, of all networks: a grid's y is the network.
 * Before: backward.cu or fused_weights.cu. After: the next batch. */
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

__global__ void adam_kernel(unsigned n, const kd_cuda_rates *rates, const unsigned char *hidden,
                            const float *gradient, float *first, float *second, float *params)
{
    const size_t network = (size_t)blockIdx.y * n;
    rates += blockIdx.y;
    gradient += network;
    first += network;
    second += network;
    params += network;
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

kdinr_status kd_cuda_adam(const kd_cuda_lane *lane, const kd_cuda_moved *moved, kdinr_error *error)
{
    const dim3 grid(kd_cuda_blocks(moved->n_params), (unsigned)moved->n_networks);
    KD_LAUNCH(adam_kernel, grid, KD_CUDA_BLOCK, 0, lane->stream, (unsigned)moved->n_params,
              moved->rates, moved->hidden, moved->gradient, moved->first, moved->second,
              moved->params);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
