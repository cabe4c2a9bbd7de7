/* Counter-based random numbers: the n-th number of a stream is a pure function of (seed, stream,
 * n), so that batches are the same for every backend, thread count and restart. */
#ifndef KD_RNG_H
#define KD_RNG_H

#include <stdint.h>

/* The cuda backend draws on the device. */
#ifdef __CUDACC__
#define KD_DEVICE_TOO __host__ __device__
#else
#define KD_DEVICE_TOO
#endif

/** Mix 64 bits (the finaliser of SplitMix64). */
static KD_DEVICE_TOO inline uint64_t kd_rng_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/** The key of one stream. Combine once, then draw with kd_rng_at. */
static KD_DEVICE_TOO inline uint64_t kd_rng_key(uint64_t seed, uint64_t stream)
{
    return kd_rng_mix(seed ^ kd_rng_mix(stream ^ 0xD1B54A32D192ED03u));
}

/** Number `counter` of the stream with `key`. */
static KD_DEVICE_TOO inline uint64_t kd_rng_at(uint64_t key, uint64_t counter)
{
    return kd_rng_mix(key ^ (counter * 0xDA942042E4DD58B5u));
}

/** The upper 24 bits as a float in [0,1). */
static KD_DEVICE_TOO inline float kd_rng_unit(uint64_t bits)
{
    return (float)(bits >> 40) * 0x1p-24f;
}

/** The upper 32 bits as an integer in [0,n). */
static KD_DEVICE_TOO inline uint32_t kd_rng_below(uint64_t bits, uint32_t n)
{
    return (uint32_t)(((bits >> 32) * n) >> 32);
}

#endif
