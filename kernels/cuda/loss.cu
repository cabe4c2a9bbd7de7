/* The squared misses of a batch and their derivative. Before: forward.cu. After: backward.cu. */
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

#include "groups.h"

/* by_answer = scale * miss; losses [blocks of the grid] = each block's sum of squares */
__global__ void miss_kernel(unsigned n, float scale, const float *answers, const float *targets,
                            float *by_answer, double *losses)
{
    __shared__ double shared[KD_CUDA_BLOCK];
    double sum = 0;
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const float miss = answers[i] - targets[i];
        by_answer[i] = scale * miss;
        sum += (double)miss * (double)miss;
    }
    sum = kd_cuda_block_sum(sum, shared);
    if (threadIdx.x == 0) losses[blockIdx.x] = sum;
}

/* One block: *total = sum of the n values, plus what it was if `add`. */
__global__ void total_kernel(unsigned n, const double *values, bool add, double *total)
{
    __shared__ double shared[KD_CUDA_BLOCK];
    double sum = 0;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        sum += values[i];
    }
    sum = kd_cuda_block_sum(sum, shared);
    if (threadIdx.x == 0) *total = (add ? *total : 0) + sum;
}

/* The misses of each group of rows pull at each other (groups.h), whatever factor they have. A
 * thread for each group and output. */
__global__ void pull_kernel(unsigned n, int n_inputs, int n_outputs, double gradient_weight,
                            const float *coords, float *by_answer)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const size_t first = i / (unsigned)n_outputs * (size_t)KD_GROUP_ROWS;
        const float *own_coords = coords + first * (size_t)n_inputs;
        float *own = by_answer + first * (size_t)n_outputs + i % (unsigned)n_outputs;
        const float own_miss = *own;
        for (int axis = 0; axis < 3; axis++) {
            float *other = own + (1 + axis) * n_outputs;
            const float pull = (float)kd_groups_pull(own_coords, n_inputs, axis, gradient_weight);
            const float change = pull * (*other - own_miss);
            *other += change;
            *own -= change;
        }
    }
}

kdinr_status kd_cuda_pull(const kd_cuda_lane *lane, const kd_net *net, const kd_cuda_pass *pass,
                          double gradient_weight, kdinr_error *error)
{
    const unsigned n = (unsigned)pass->rows / KD_GROUP_ROWS * (unsigned)net->n_outputs;
    KD_LAUNCH(pull_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, lane->stream, n, net->n_inputs,
              net->n_outputs, gradient_weight, pass->coords, pass->by[0]);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

kdinr_status kd_cuda_loss(const kd_cuda_lane *lane, const kd_net *net, const kd_cuda_pass *pass,
                          const float *d_targets, float scale, bool add, double *d_loss,
                          kdinr_error *error)
{
    const unsigned n = (unsigned)pass->rows * (unsigned)net->n_outputs;
    const unsigned blocks = kd_cuda_blocks(n);
    KD_LAUNCH(miss_kernel, blocks, KD_CUDA_BLOCK, 0, lane->stream, n, scale,
              pass->outputs[net->n_layers - 1], d_targets, pass->by[0], pass->losses);
    KD_CUDA_TRY(cudaGetLastError(), error);
    KD_LAUNCH(total_kernel, 1, KD_CUDA_BLOCK, 0, lane->stream, blocks, pass->losses, add, d_loss);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
