/* The tests' stand-in for the toolkit's half precision: IEEE binary16 in 16 bits, converted with
 * rounding to nearest even. See cuda_runtime.h. */
#ifndef CUDA_SHIM_CUDA_FP16_H
#define CUDA_SHIM_CUDA_FP16_H

#include "cuda_runtime.h"

uint16_t shim_half_bits(float value);
float shim_half_value(uint16_t bits);

struct __half {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};
using half = __half;
using half2 = __half2;

static inline __half __float2half(float value)
{
    return {shim_half_bits(value)};
}
static inline __half __float2half_rn(float value)
{
    return {shim_half_bits(value)};
}
static inline float __half2float(__half value)
{
    return shim_half_value(value.bits);
}
static inline __half2 __floats2half2_rn(float x, float y)
{
    return {__float2half(x), __float2half(y)};
}
static inline float2 __half22float2(__half2 pair)
{
    return {__half2float(pair.x), __half2float(pair.y)};
}
static inline float __low2float(__half2 pair)
{
    return __half2float(pair.x);
}
static inline float __high2float(__half2 pair)
{
    return __half2float(pair.y);
}
static inline __half2 __halves2half2(__half x, __half y)
{
    return {x, y};
}
static inline __half2 __hmul2(__half2 a, __half2 b)
{
    return __floats2half2_rn(__half2float(a.x) * __half2float(b.x),
                             __half2float(a.y) * __half2float(b.y));
}
static inline __half2 __hadd2(__half2 a, __half2 b)
{
    return __floats2half2_rn(__half2float(a.x) + __half2float(b.x),
                             __half2float(a.y) + __half2float(b.y));
}

/* The matrix fragments of kernels/cuda/fragments.h, as PTX lays them out. */
void kd_multiply(float sum[4], uint4 a, unsigned b0, unsigned b1);
void kd_multiply_chunk(float low[4], float high[4], uint4 a, uint4 b);
unsigned kd_transpose(unsigned pair);

#endif
