/* The stand-in's cuBLAS: plain loops, column-major as there. */
#include <algorithm>
#include <vector>

#include "cublas_v2.h"
#include "cuda_fp16.h"
#include "shim.h"

struct shim_blas {
    cudaStream_t stream = nullptr;
};

namespace
{

/* A matrix in column-major order, of floats or halves, maybe read transposed. */
struct matrix {
    const void *values;
    cudaDataType type;
    int leading;
    cublasOperation_t operation;

    double at(int row, int column) const
    {
        if (operation == CUBLAS_OP_T) std::swap(row, column);
        const size_t i =
            static_cast<size_t>(column) * static_cast<size_t>(leading) + static_cast<size_t>(row);
        if (type == CUDA_R_32F) return static_cast<double>(static_cast<const float *>(values)[i]);
        return static_cast<double>(__half2float(static_cast<const __half *>(values)[i]));
    }
};

struct product {
    int m, n, k;
    double alpha, beta;
    matrix a, b;
    void *c;
    cudaDataType type_c;
    int leading_c;
};

bool is_valid(const product &p)
{
    const int rows_a = p.a.operation == CUBLAS_OP_N ? p.m : p.k;
    const int rows_b = p.b.operation == CUBLAS_OP_N ? p.k : p.n;
    return p.m >= 0 && p.n >= 0 && p.k >= 0 && p.a.leading >= std::max(1, rows_a) &&
           p.b.leading >= std::max(1, rows_b) && p.leading_c >= std::max(1, p.m);
}

/* sums [n] += a [n] * b. Without sanitizers: all of both is the caller's own. */
__attribute__((no_sanitize("address", "undefined"))) void add_scaled(double *sums, const double *a,
                                                                     double b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sums[i] += a[i] * b;
    }
}

void store(const product &p, int row, int column, double sum)
{
    const matrix c = {p.c, p.type_c, p.leading_c, CUBLAS_OP_N};
    const size_t i =
        static_cast<size_t>(column) * static_cast<size_t>(p.leading_c) + static_cast<size_t>(row);
    sum *= p.alpha;
    if (p.beta != 0) sum += p.beta * c.at(row, column);
    if (p.type_c == CUDA_R_32F) {
        static_cast<float *>(p.c)[i] = static_cast<float>(sum);
    } else {
        static_cast<__half *>(p.c)[i] = __float2half(static_cast<float>(sum));
    }
}

/* Each factor is read once, so that sanitizers see every access but not every product. */
void multiply(const product &p)
{
    const size_t m = static_cast<size_t>(p.m);
    std::vector<double> a(m * static_cast<size_t>(p.k)), sums(m);
    for (int k = 0; k < p.k; k++) {
        for (int row = 0; row < p.m; row++) {
            a[static_cast<size_t>(k) * m + static_cast<size_t>(row)] = p.a.at(row, k);
        }
    }
    for (int column = 0; column < p.n; column++) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int k = 0; k < p.k; k++) {
            add_scaled(sums.data(), a.data() + static_cast<size_t>(k) * m, p.b.at(k, column), m);
        }
        for (int row = 0; row < p.m; row++) {
            store(p, row, column, sums[static_cast<size_t>(row)]);
        }
    }
}

cublasStatus_t submit(cublasHandle_t handle, const product &p)
{
    if (!is_valid(p) || shim_fails_now()) return CUBLAS_STATUS_INVALID_VALUE;
    shim_submit(handle->stream, [=] { multiply(p); });
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    if (shim_fails_now()) return CUBLAS_STATUS_INVALID_VALUE;
    *handle = new shim_blas();
    shim_count_object(1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    shim_count_object(-1);
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t, cublasPointerMode_t mode)
{
    return mode == CUBLAS_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "an invalid value";
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType type_a, int lda, const void *b, cudaDataType type_b,
                            int ldb, const void *beta, void *c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t)
{
    if (compute == CUBLAS_COMPUTE_16F) return CUBLAS_STATUS_INVALID_VALUE;
    const auto scale = static_cast<double>(*static_cast<const float *>(alpha));
    const auto keep = static_cast<double>(*static_cast<const float *>(beta));
    return submit(
        handle,
        {m, n, k, scale, keep, {a, type_a, lda, op_a}, {b, type_b, ldb, op_b}, c, type_c, ldc});
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                           int m, int n, int k, const float *alpha, const float *a, int lda,
                           const float *b, int ldb, const float *beta, float *c, int ldc)
{
    return cublasGemmEx(handle, op_a, op_b, m, n, k, alpha, a, CUDA_R_32F, lda, b, CUDA_R_32F, ldb,
                        beta, c, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasSgemmBatched(cublasHandle_t handle, cublasOperation_t op_a,
                                  cublasOperation_t op_b, int m, int n, int k, const float *alpha,
                                  const float *const a[], int lda, const float *const b[], int ldb,
                                  const float *beta, float *const c[], int ldc, int n_products)
{
    const float scale = *alpha, keep = *beta;
    shim_submit(handle->stream, [=] { /* the lists of pointers are device memory too */
                                      for (int i = 0; i < n_products; i++) {
                                          multiply({m,
                                                    n,
                                                    k,
                                                    static_cast<double>(scale),
                                                    static_cast<double>(keep),
                                                    {a[i], CUDA_R_32F, lda, op_a},
                                                    {b[i], CUDA_R_32F, ldb, op_b},
                                                    c[i],
                                                    CUDA_R_32F,
                                                    ldc});
                                      }
    });
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t op_a,
                                         cublasOperation_t op_b, int m, int n, int k,
                                         const float *alpha, const float *a, int lda,
                                         long long stride_a, const float *b, int ldb,
                                         long long stride_b, const float *beta, float *c, int ldc,
                                         long long stride_c, int n_products)
{
    for (long long i = 0; i < n_products; i++) {
        const cublasStatus_t status =
            cublasSgemm(handle, op_a, op_b, m, n, k, alpha, a + i * stride_a, lda, b + i * stride_b,
                        ldb, beta, c + i * stride_c, ldc);
        if (status != CUBLAS_STATUS_SUCCESS) return status;
    }
    return CUBLAS_STATUS_SUCCESS;
}

} // extern "C"
