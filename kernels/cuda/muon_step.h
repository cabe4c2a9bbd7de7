/* What Muon does to single elements (backend.h, kd_step), for all ways of making the products
 * between: muon.cu by cuBLAS, multiply.cu and orthogonal.cu by themselves. */
#ifndef KD_CUDA_MUON_STEP_H
#define KD_CUDA_MUON_STEP_H

#include "backend.h"
#include "cuda/launch.h"
#include "cuda/operations.h"

enum { KD_CUDA_NEWTON_SCHULZ_STEPS = 5 };

/** Where parameter i of a matrix is in its update, which has the smaller dimension as rows.
 *  stride  in  from row to row of the update */
static __device__ __forceinline__ unsigned kd_cuda_update_place(const kd_cuda_matrix *matrix,
                                                                unsigned i, unsigned stride)
{
    const unsigned n_in = (unsigned)matrix->n_in, in = i % n_in, out = i / n_in;
    return matrix->n_out > matrix->n_in ? in * stride + out : out * stride + in;
}

/** The momentum moves. Returns the Nesterov update. */
static __device__ __forceinline__ float kd_cuda_nesterov(float gradient, float *momentum)
{
    const float mean = *momentum + 0.05f * (gradient - *momentum);
    *momentum = mean;
    return gradient + 0.95f * (mean - gradient);
}

/** What divides updates, of which that is the sum of squares, by their Frobenius norm. */
static __device__ __forceinline__ float kd_cuda_shrink(double sum)
{
    return (float)(1 / (sqrt(sum) + 1e-12));
}

/** An element of aI + bA + cA^2, from those of A and A^2. */
static __device__ __forceinline__ float kd_cuda_newton_schulz(bool on_diagonal, float a,
                                                              float a_squared)
{
    return (on_diagonal ? 3.4445f : 0.0f) - 4.7750f * a + 2.0315f * a_squared;
}

/** A parameter that loses its share and moves against its update.
 *  longer  in  the matrix's larger dimension */
static __device__ __forceinline__ float kd_cuda_muon_move(float param, float rate, float longer,
                                                          float update)
{
    const float keep = 1 - rate * (float)KD_MATRIX_DECAY, move = rate * 0.2f * sqrtf(longer);
    return keep * param - move * update;
}

#endif
