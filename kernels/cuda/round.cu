/* Parameters as the file will round them, each to multiples of its tensor's unit. Before: muon.cu
 * and adam.cu moved them, or units were set. After: fused_pack.cu, and the products. */
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

__global__ void round_kernel(unsigned n, const float *units, const float *params, float *rounded)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        rounded[i] = rintf(params[i] / units[i]) * units[i];
    }
}

kdinr_status kd_cuda_round(const kd_cuda_lane *lane, size_t n, const float *d_units,
                           const float *d_params, float *d_rounded, kdinr_error *error)
{
    KD_LAUNCH(round_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, lane->stream, (unsigned)n, d_units,
              d_params, d_rounded);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
