/* How failures of CUDA and cuBLAS become a kdinr_status. Every call of either goes through one of
 * these; a launch is followed by KD_CUDA_TRY(cudaGetLastError(), error). */
#ifndef KD_CUDA_CHECK_H
#define KD_CUDA_CHECK_H

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "status.h"

/** Record that `call` failed, with CUDA's own text, and forget the error on the CUDA side.
 *  call     in text of the call; what follows its name is left out
 *  returns  KDINR_ERROR_BACKEND */
kdinr_status kd_cuda_fail(kdinr_error *error, cudaError_t code, const char *call);

/** The same for cuBLAS. */
kdinr_status kd_cublas_fail(kdinr_error *error, cublasStatus_t code, const char *call);

#define KD_CUDA_TRY(call, error)                                                                   \
    do {                                                                                           \
        const cudaError_t kd_code_ = (call);                                                       \
        if (kd_code_ != cudaSuccess) return kd_cuda_fail(error, kd_code_, #call);                  \
    } while (0)

#define KD_CUBLAS_TRY(call, error)                                                                 \
    do {                                                                                           \
        const cublasStatus_t kd_code_ = (call);                                                    \
        if (kd_code_ != CUBLAS_STATUS_SUCCESS) return kd_cublas_fail(error, kd_code_, #call);      \
    } while (0)

#endif
