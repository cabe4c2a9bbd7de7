/* How the kernels of path 1 walk over their elements and add them up: blocks of KD_CUDA_BLOCK
 * threads, as many as needed up to a limit, in strides of the whole grid. The tests set smaller
 * numbers, since they execute threads one by one. */
#ifndef KD_CUDA_WALK_H
#define KD_CUDA_WALK_H

#include <stddef.h>

#include "cuda/launch.h"

#ifndef KD_CUDA_BLOCK
#define KD_CUDA_BLOCK 256 /* a power of two, at least 32 */
#endif
#ifndef KD_CUDA_MAX_BLOCKS
#define KD_CUDA_MAX_BLOCKS 4096
#endif

/** Blocks for n elements. */
static inline unsigned kd_cuda_blocks(size_t n)
{
    const size_t blocks = (n + KD_CUDA_BLOCK - 1) / KD_CUDA_BLOCK;
    if (blocks < 1) return 1;
    return blocks > KD_CUDA_MAX_BLOCKS ? KD_CUDA_MAX_BLOCKS : (unsigned)blocks;
}

/** The first element of this thread. */
static __device__ __forceinline__ unsigned kd_cuda_first(void)
{
    return blockIdx.x * blockDim.x + threadIdx.x;
}

/** How far it is from one element of this thread to its next. */
static __device__ __forceinline__ unsigned kd_cuda_stride(void)
{
    return gridDim.x * blockDim.x;
}

/** The sum of every thread's `value`, in a fixed order and the same in all of them. To be called by
 *  the whole block.
 *  shared  scratch  [KD_CUDA_BLOCK] in shared memory */
static __device__ __forceinline__ double kd_cuda_block_sum(double value, double *shared)
{
    const unsigned t = threadIdx.x;
    shared[t] = value;
    __syncthreads();
    for (unsigned half = KD_CUDA_BLOCK / 2; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads();
    }
    const double sum = shared[0];
    __syncthreads();
    return sum;
}

#endif
