/* How kernels are launched and walked. Every .cu file here includes this instead of the runtime's
 * header alone. The tests compile the same files for the host: their cuda_runtime.h brings its own
 * KD_LAUNCH, see tests/cuda_shim. */
#ifndef KD_CUDA_LAUNCH_H
#define KD_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#include <stddef.h>

#ifndef KD_LAUNCH
#define KD_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                   \
    kernel<<<grid, block, shared_size, stream>>>(__VA_ARGS__)
#endif

enum { KD_CUDA_BLOCK = 256, KD_CUDA_MAX_BLOCKS = 4096 };

/** Blocks of KD_CUDA_BLOCK threads for n elements; each thread goes on in strides of the grid. */
static inline unsigned kd_cuda_blocks(size_t n)
{
    const size_t blocks = (n + KD_CUDA_BLOCK - 1) / KD_CUDA_BLOCK;
    return blocks < 1                    ? 1u
           : blocks > KD_CUDA_MAX_BLOCKS ? (unsigned)KD_CUDA_MAX_BLOCKS
                                         : (unsigned)blocks;
}

/** The first element of this thread, and how far it is to its next one. */
static __device__ __forceinline__ unsigned kd_cuda_first(void)
{
    return blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ unsigned kd_cuda_stride(void)
{
    return gridDim.x * blockDim.x;
}

#endif
