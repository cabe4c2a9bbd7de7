/* The polynomial of Muon's Newton-Schulz steps, for all ways of making their products: muon.cu by
 * cuBLAS, multiply.cu and orthogonal.cu by themselves. */
#ifndef KD_CUDA_NEWTON_SCHULZ_H
#define KD_CUDA_NEWTON_SCHULZ_H

#include "cuda/launch.h"

enum { KD_CUDA_NEWTON_SCHULZ_STEPS = 5 };

/** An element of aI + bA + cA^2 (backend.h, kd_step), from those of A and A^2. */
static __device__ __forceinline__ float kd_cuda_newton_schulz(bool on_diagonal, float a,
                                                              float a_squared)
{
    return (on_diagonal ? 3.4445f : 0.0f) - 4.7750f * a + 2.0315f * a_squared;
}

#endif
