/* What a warp holds of a matrix, as the tensor cores take it (PTX mma.m16n8k16), for fused_*.cu.
 * A chunk is 16 samples x 16 neurons in halves, one uint4 per lane. Lane 4g + t holds, two neurons
 * to a word:
 *     x: sample g,     neurons 2t, 2t + 1        z: sample g,     neurons 2t + 8, 2t + 9
 *     y: sample g + 8, neurons 2t, 2t + 1        w: sample g + 8, neurons 2t + 8, 2t + 9
 * That is a product's left factor, and sums of 16 neurons come out in the same places: one layer's
 * output is the next one's input without any exchange between lanes. The four words transposed,
 * each as an 8 x 8 matrix, are a factor of a product that sums over samples. */
#ifndef KD_CUDA_FRAGMENTS_H
#define KD_CUDA_FRAGMENTS_H

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#ifdef __CUDACC__

/** sum [16][8] += a [16][16] b [16][8]; b0, b1: (k = 2t, 2t + 1) and (k = 2t + 8, 2t + 9) of column
 *  g. All lanes of the warp call it. */
static __device__ __forceinline__ void kd_multiply(float sum[4], uint4 a, unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

/** Sums of a chunk: low += a times b's first eight columns (words x, y), high those of the rest. */
static __device__ __forceinline__ void kd_multiply_chunk(float low[4], float high[4], uint4 a,
                                                         uint4 b)
{
    kd_multiply(low, a, b.x, b.y);
    kd_multiply(high, a, b.z, b.w);
}

/** An [8][8] matrix, of which lane 4g + t holds (g, 2t) and (g, 2t + 1), transposed. All lanes of
 *  the warp call it. */
static __device__ __forceinline__ unsigned kd_transpose(unsigned pair)
{
    unsigned result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
    return result;
}

#endif

/** Two floats as a word of halves; the first in the lower 16 bits. */
static __device__ __forceinline__ unsigned kd_pack_halves(float first, float second)
{
    const __half2 pair = __floats2half2_rn(first, second);
    unsigned word;
    memcpy(&word, &pair, sizeof word);
    return word;
}

static __device__ __forceinline__ float2 kd_unpack_halves(unsigned word)
{
    __half2 pair;
    memcpy(&pair, &word, sizeof pair);
    return __half22float2(pair);
}

/** One chunk of sums: those of its first and its second eight neurons. */
typedef struct kd_chunk_sums {
    float low[4], high[4];
} kd_chunk_sums;

static __device__ __forceinline__ uint4 kd_pack_chunk(const kd_chunk_sums *values)
{
    return make_uint4(kd_pack_halves(values->low[0], values->low[1]),
                      kd_pack_halves(values->low[2], values->low[3]),
                      kd_pack_halves(values->high[0], values->high[1]),
                      kd_pack_halves(values->high[2], values->high[3]));
}

static __device__ __forceinline__ void kd_unpack_chunk(uint4 chunk, kd_chunk_sums *values)
{
    const unsigned words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 pair = kd_unpack_halves(words[i]);
        float *to = i < 2 ? values->low : values->high;
        to[i % 2 * 2] = pair.x;
        to[i % 2 * 2 + 1] = pair.y;
    }
}

/** What halves left of the values, as a chunk of its own: both together have 22 places. */
static __device__ __forceinline__ uint4 kd_pack_rest(const kd_chunk_sums *values, uint4 chunk)
{
    kd_chunk_sums rest;
    kd_unpack_chunk(chunk, &rest);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        rest.low[i] = values->low[i] - rest.low[i];
        rest.high[i] = values->high[i] - rest.high[i];
    }
    return kd_pack_chunk(&rest);
}

/** The chunk with its words transposed: as a left factor that sums over samples it is taken in the
 *  order x, z, y, w; as a right factor x, y belong to the first eight neurons and z, w to the rest.
 */
static __device__ __forceinline__ uint4 kd_transpose_chunk(uint4 chunk)
{
    return make_uint4(kd_transpose(chunk.x), kd_transpose(chunk.y), kd_transpose(chunk.z),
                      kd_transpose(chunk.w));
}

#endif
