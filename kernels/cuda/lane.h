/* What one piece of work on the device needs for itself: a stream, a cuBLAS handle on it, a block
 * of device memory and a block of pinned host memory. A training instance keeps one lane as long as
 * it lives; decoding takes two and gives them back, so that a file of a thousand networks does not
 * hold two thousand. Lanes given back wait in a pool, the backend's one piece of shared state. */
#ifndef KD_CUDA_LANE_H
#define KD_CUDA_LANE_H

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "kdinr.h"

enum { KD_CUDA_LANE_WORKSPACE = 8 << 20 }; /* bytes, of cuBLAS */

typedef struct kd_cuda_lane {
    int device;
    cudaStream_t stream; /* does not wait for the default stream */
    cublasHandle_t blas; /* on `stream`, its workspace is d_workspace */
    cudaEvent_t done;    /* recorded by who needs it */
    char *d_memory, *d_workspace;
    char *pinned;
    size_t d_size, pinned_size; /* bytes of d_memory, pinned */
    struct kd_cuda_lane *next;  /* in the pool */
} kd_cuda_lane;

/** Count an instance that may take lanes. With the last one released, the pool is emptied. */
void kd_cuda_lanes_hold(void);
void kd_cuda_lanes_release(void);

/** Take a lane of the thread's device with at least that many bytes, idle. *lane is NULL on
 * failure. precision  in  of cuBLAS's products: KDINR_PRECISION_TF32, or anything else for 32 bits
 *  errors     MEMORY, BACKEND */
kdinr_status kd_cuda_lane_take(size_t d_size, size_t pinned_size, kdinr_precision precision,
                               kd_cuda_lane **lane, kdinr_error *error);

/** Give a lane back to the pool, all its work known to be done; NULL is fine. */
void kd_cuda_lane_give(kd_cuda_lane *lane);

/** Wait for a lane's work, whatever became of it, and release the lane; NULL is fine. */
void kd_cuda_lane_drop(kd_cuda_lane *lane);

#endif
