/* How kernels are launched and get shared memory, for every .cu file here. The two macros are all
 * that a host's C++ compiler could not read: the tests bring their own (tests/cuda_shim) and
 * execute the kernels' source on a machine without a GPU. */
#ifndef KD_CUDA_LAUNCH_H
#define KD_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#ifndef KD_LAUNCH
/** kernel<<<grid, block, shared_size, stream>>>(...); at least one argument follows. A kernel that
 *  is a template with a comma goes into parentheses. cudaGetLastError says whether it started. */
#define KD_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                   \
    kernel<<<(grid), (block), (shared_size), (stream)>>>(__VA_ARGS__)
/** Declare `name`, a pointer to the shared memory of the launch, aligned to 16 bytes. */
#define KD_DYNAMIC_SHARED(name)                                                                    \
    extern __shared__ __align__(16) unsigned char kd_dynamic_shared[];                             \
    unsigned char *const name = kd_dynamic_shared
#endif

#endif
