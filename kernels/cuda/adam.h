/* Adam's step on parameters that Muon does not move, for adam.cu and orthogonal.cu. */
#ifndef KD_CUDA_ADAM_H
#define KD_CUDA_ADAM_H

#include "cuda/launch.h"
#include "cuda/operations.h"

/** Move every stride-th parameter of network blockIdx.y, from number `at` on. */
static __device__ __forceinline__ void kd_cuda_adam_move(const kd_cuda_moved *moved, unsigned at,
                                                         unsigned stride)
{
    const unsigned n = (unsigned)moved->n_params;
    const size_t network = (size_t)blockIdx.y * n;
    const kd_cuda_rates rates = moved->rates[blockIdx.y];
    const float *gradient = moved->gradient + network;
    float *first = moved->first + network, *second = moved->second + network;
    float *params = moved->params + network;
    for (unsigned i = at; i < n; i += stride) {
        if (moved->hidden != NULL && moved->hidden[i]) continue;
        const float g = gradient[i];
        const float mean = first[i] + 0.1f * (g - first[i]);
        const float square = second[i] + 0.001f * (g * g - second[i]);
        first[i] = mean;
        second[i] = square;
        params[i] -= rates.adam * mean / (sqrtf(square) * rates.root_of_bias + 1e-8f);
    }
}

#endif
