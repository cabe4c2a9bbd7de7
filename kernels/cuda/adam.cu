/* Adam on all parameters that Muon does not move, of all networks: a grid's y is the network.
 * Before: backward.cu or fused_weights.cu. After: the next batch. */
#include "cuda/adam.h"
#include "cuda/check.h"
#include "cuda/walk.h"

__global__ void adam_kernel(const __grid_constant__ kd_cuda_moved moved)
{
    kd_cuda_adam_move(&moved, kd_cuda_first(), kd_cuda_stride());
}

kdinr_status kd_cuda_adam(const kd_cuda_lane *lane, const kd_cuda_moved *moved, kdinr_error *error)
{
    const dim3 grid(kd_cuda_blocks(moved->n_params), (unsigned)moved->n_networks);
    KD_LAUNCH(adam_kernel, grid, KD_CUDA_BLOCK, 0, lane->stream, *moved);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
