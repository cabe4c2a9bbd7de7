/* Messages for failures of CUDA and cuBLAS, see check.h. */
#include "cuda/check.h"

#include <string.h>

/* Where the function's name begins: a call may be cast. */
static const char *name_start(const char *call)
{
    const char *end = call[0] == '(' ? strchr(call, ')') : NULL;
    return end == NULL ? call : end + 1;
}

static int name_length(const char *call)
{
    return (int)strcspn(name_start(call), "(");
}

kdinr_status kd_cuda_fail(kdinr_error *error, cudaError_t code, const char *call)
{
    (void)cudaGetLastError();
    return kd_fail(error, KDINR_ERROR_BACKEND, "cuda backend: %.*s failed: %s (%s)",
                   name_length(call), name_start(call), cudaGetErrorString(code),
                   cudaGetErrorName(code));
}

kdinr_status kd_cublas_fail(kdinr_error *error, cublasStatus_t code, const char *call)
{
    return kd_fail(error, KDINR_ERROR_BACKEND, "cuda backend: %.*s failed: %s", name_length(call),
                   call, cublasGetStatusString(code));
}
