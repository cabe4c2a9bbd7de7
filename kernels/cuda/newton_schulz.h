/* The polynomial of Muon's Newton-Schulz steps and the move at their end, for all ways of making
 * their products: muon.cu by cuBLAS, multiply.cu and orthogonal.cu by themselves. */
#ifndef KD_CUDA_NEWTON_SCHULZ_H
#define KD_CUDA_NEWTON_SCHULZ_H

#include "backend.h"
#include "cuda/launch.h"

enum { KD_CUDA_NEWTON_SCHULZ_STEPS = 5 };

/** An element of aI + bA + cA^2 (backend.h, kd_step), from those of A and A^2. */
static __device__ __forceinline__ float kd_cuda_newton_schulz(bool on_diagonal, float a,
                                                              float a_squared)
{
    return (on_diagonal ? 3.4445f : 0.0f) - 4.7750f * a + 2.0315f * a_squared;
}

/** A parameter that loses its share and moves against its update (backend.h, kd_step).
 *  longer  in  the matrix's larger dimension */
static __device__ __forceinline__ float kd_cuda_muon_move(float param, float rate, float longer,
                                                          float update)
{
    const float keep = 1 - rate * (float)KD_MATRIX_DECAY, move = rate * 0.2f * sqrtf(longer);
    return keep * param - move * update;
}

#endif
