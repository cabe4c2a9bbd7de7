/* The kernels' half of the stand-in: what a .cu source says beyond C++. See cuda_runtime.h.
 * A block's threads are fibers of one host thread and blocks run one after the other. A fiber runs
 * until it waits, so what one warp does between two barriers is never interleaved with another. */
#ifndef CUDA_SHIM_LAUNCH_MODEL_H
#define CUDA_SHIM_LAUNCH_MODEL_H

#include <cmath>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__    static
#define __shared__      static /* blocks run one after the other: one copy is enough */
#define __forceinline__ inline
#define __noinline__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct alignas(8) uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct float3 {
    float x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

/* The running thread's place. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* The scheduler, fibers.cxx. */
using shim_work = std::function<void()>;
void shim_submit(cudaStream_t stream, shim_work work);
void shim_run(const void *kernel, dim3 grid, dim3 block, size_t shared_size, const shim_work &body);
/* The device that a kernel for `stream` runs on, or -1 if that is not the thread's. */
int shim_launch_device(cudaStream_t stream);
void shim_count_launch(int device);
unsigned char *shim_dynamic_shared();
void shim_wait_block();
int shim_count_block(int predicate);
/* Every lane of `mask` gives up to 64 bytes and gets those of all 32 lanes, 64 bytes apart, after
 * the last one to come has combined them. */
const unsigned char *shim_exchange(unsigned mask, const char *what, const void *value, size_t size,
                                   void (*combine)(unsigned char *slots) = nullptr);
int shim_lane();
cudaError_t shim_allow_shared(const void *kernel, int size);

/* Launches, one macro for nvcc and for this: see kernels/cuda/launch.h. */
template <class... Parameters, class... Arguments>
void shim_launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_size,
                 cudaStream_t stream, Arguments... arguments)
{
    std::tuple<std::decay_t<Parameters>...> values(arguments...);
    const int device = shim_launch_device(stream);
    if (device < 0) return;
    shim_submit(stream, [=] {
        const void *key = reinterpret_cast<const void *>(kernel);
        shim_count_launch(device);
        shim_run(key, grid, block, shared_size, [&] { std::apply(kernel, values); });
    });
}
#define KD_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                   \
    shim_launch(kernel, grid, block, shared_size, stream, __VA_ARGS__)
#define KD_DYNAMIC_SHARED(name) unsigned char *const name = shim_dynamic_shared()

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute, int value)
{
    return shim_allow_shared(reinterpret_cast<const void *>(kernel), value);
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n_blocks, Kernel *, int, size_t)
{
    *n_blocks = 1;
    return cudaSuccess;
}

template <class T> cudaError_t cudaMalloc(T **memory, size_t size)
{
    return cudaMalloc(reinterpret_cast<void **>(memory), size);
}
template <class T> cudaError_t cudaMallocHost(T **memory, size_t size)
{
    return cudaMallocHost(reinterpret_cast<void **>(memory), size);
}

/* Barriers. Threads that have returned do not count, as on devices since Volta. */
static inline void __syncthreads()
{
    shim_wait_block();
}
static inline int __syncthreads_count(int predicate)
{
    return shim_count_block(predicate != 0);
}
static inline int __syncthreads_or(int predicate)
{
    return shim_count_block(predicate != 0) != 0;
}
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    shim_exchange(mask, "__syncwarp", nullptr, 0);
}
static inline void __threadfence()
{
}
static inline void __threadfence_block()
{
}

/* Warp collectives. */
template <class T> T shim_from_lane(const unsigned char *all, int lane)
{
    T value;
    std::memcpy(&value, all + 64 * lane, sizeof value);
    return value;
}
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32)
{
    const unsigned char *all = shim_exchange(mask, "__shfl_sync", &value, sizeof value);
    const int base = shim_lane() & ~(width - 1);
    return shim_from_lane<T>(all, base + (lane & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32)
{
    const unsigned char *all = shim_exchange(mask, "__shfl_xor_sync", &value, sizeof value);
    const int lane = shim_lane(), other = lane ^ bits;
    return shim_from_lane<T>(all, (other & ~(width - 1)) <= (lane & ~(width - 1)) ? other : lane);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const unsigned char *all = shim_exchange(mask, "__shfl_down_sync", &value, sizeof value);
    const int lane = shim_lane(), other = lane + (int)delta;
    return shim_from_lane<T>(all, other / width == lane / width ? other : lane);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32)
{
    const unsigned char *all = shim_exchange(mask, "__shfl_up_sync", &value, sizeof value);
    const int lane = shim_lane(), other = lane - (int)delta;
    return shim_from_lane<T>(all, other >= (lane & ~(width - 1)) ? other : lane);
}
unsigned __ballot_sync(unsigned mask, int predicate);
static inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) == mask;
}
unsigned __reduce_add_sync(unsigned mask, unsigned value);

/* Atomics: fibers change only where one waits, so that these are plain. */
template <class T> T atomicAdd(T *address, T value)
{
    const T old = *address;
    *address = old + value;
    return old;
}
template <class T> T atomicMax(T *address, T value)
{
    const T old = *address;
    *address = old < value ? value : old;
    return old;
}

/* Arithmetic by the host's functions. The fast sine and cosine, which a device gives to about
 * 2^-21 on [-pi,pi], are rounded to that many places. Macros, as glibc has such names too. */
static inline float shim_fast_places(float x)
{
    return rintf(x * 0x1p21f) * 0x1p-21f;
}
#define __sinf(x) shim_fast_places(sinf(x))
#define __cosf(x) shim_fast_places(cosf(x))
#define __expf(x) expf(x)
static inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
static inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}
float sinpif(float x);
float cospif(float x);
static inline void sincospif(float x, float *sine, float *cosine)
{
    *sine = sinpif(x);
    *cosine = cospif(x);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b)
{
    return a + b;
}
static inline double __dmul_rn(double a, double b)
{
    return a * b;
}
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits)
{
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
template <class T> T __ldg(const T *address)
{
    return *address;
}
static inline int min(int a, int b)
{
    return a < b ? a : b;
}
static inline unsigned min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}
static inline int max(int a, int b)
{
    return a > b ? a : b;
}
static inline unsigned max(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

#endif
