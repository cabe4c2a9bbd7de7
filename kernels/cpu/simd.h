/* Vectors of floats for whatever instruction set this file is compiled for: the only place in
 * cpu/ that knows one. forward.c, backward.c and their neighbours are compiled once per set; the
 * names of their functions get the set's name appended, backend_cpu.c picks a set at run time. */
#ifndef KD_SIMD_H
#define KD_SIMD_H

#include <stdint.h>

/* KD_CPU_PATH is avx512, avx2 or portable, given by the build. */
#define KD_CPU_JOIN2(name, path) name##_##path
#define KD_CPU_JOIN(name, path)  KD_CPU_JOIN2(name, path)
#define KD_CPU_NAME(name)        KD_CPU_JOIN(name, KD_CPU_PATH)

/* LANES floats in a vector. A matrix product keeps ROWS x VECTORS vectors of sums in registers:
 * with the VECTORS operands and a factor they must fit the 32 or 16 registers of the set. */
#if defined(__AVX512F__)
#define KD_LANES       16
#define KD_ROWS        8
#define KD_VECTORS     3
#define KD_LOW_HALVES  0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define KD_HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define KD_LANES       8
#define KD_ROWS        4
#define KD_VECTORS     3
#define KD_LOW_HALVES  0, 8, 1, 9, 2, 10, 3, 11
#define KD_HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#if defined(__aarch64__)
#define KD_LANES   4
#define KD_ROWS    8
#define KD_VECTORS 3
#else
#define KD_LANES   4
#define KD_ROWS    4
#define KD_VECTORS 2
#endif
#define KD_LOW_HALVES  0, 4, 1, 5
#define KD_HIGH_HALVES 2, 6, 3, 7
#endif

#define KD_INLINE static inline __attribute__((always_inline))

typedef float kd_vec __attribute__((vector_size(4 * KD_LANES)));
typedef int32_t kd_vec_int __attribute__((vector_size(4 * KD_LANES)));
typedef float kd_vec_memory __attribute__((vector_size(4 * KD_LANES), aligned(4), may_alias));

KD_INLINE kd_vec kd_vec_load(const float *from)
{
    return *(const kd_vec_memory *)from;
}

KD_INLINE void kd_vec_store(float *to, kd_vec value)
{
    *(kd_vec_memory *)to = value;
}

/** All lanes `value`. */
KD_INLINE kd_vec kd_vec_all(float value)
{
    return value - (kd_vec){0};
}

/** Lanes of a and b in turn: the first halves (low) or the second halves (high). */
#if defined(__clang__) || __GNUC__ >= 12
#define KD_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define KD_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (kd_vec_int){__VA_ARGS__})
#endif

KD_INLINE kd_vec kd_vec_low(kd_vec a, kd_vec b)
{
    return KD_SHUFFLE(a, b, KD_LOW_HALVES);
}

KD_INLINE kd_vec kd_vec_high(kd_vec a, kd_vec b)
{
    return KD_SHUFFLE(a, b, KD_HIGH_HALVES);
}

#endif
