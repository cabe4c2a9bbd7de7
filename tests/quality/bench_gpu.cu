/* What this GPU can do at most, in the two things a network costs: fp16 matrix products with fp32
 * sums, by cuBLAS, and sines. bench_gpu.py runs it beside the backend. Not a test.
 *   bench_gpu [EDGE REPEATS]    of the products (8192 20)
 * Prints one line of JSON. Exit code 77: there is no device. */
#include <cstdio>
#include <cstdlib>

#include <cublas_v2.h>
#include <cuda_fp16.h>

#include "cuda/walk.h"

enum { SINES = 64, SKIPPED = 77 };

static bool failed(cudaError_t code, const char *what)
{
    if (code != cudaSuccess) std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(code));
    return code != cudaSuccess;
}

__global__ void fill_kernel(unsigned n, __half *values)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        values[i] = __float2half((float)(i % 17) / 17 - 0.5f);
    }
}

/* SINES sines per element, each of the one before, so that none can be left out. */
__global__ void sine_kernel(unsigned n, float *values)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        float x = (float)i;
        for (int k = 0; k < SINES; k++) {
            x = sinf(30 * x + 0.1f);
        }
        values[i] = x;
    }
}

/* The same by the special-function unit alone. */
__global__ void fast_sine_kernel(unsigned n, float *values)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        float x = (float)i;
        for (int k = 0; k < SINES; k++) {
            x = __sinf(x + 0.1f);
        }
        values[i] = x;
    }
}

/* Memory and events that one measurement needs. */
typedef struct bench {
    cudaEvent_t start, end;
    cublasHandle_t blas;
    __half *a, *b;
    float *c;
    int edge, repeats;
} bench;

/* Seconds between the events, and room for an error: negative. */
static double elapsed(const bench *m)
{
    float milliseconds = -1000;
    if (failed(cudaEventSynchronize(m->end), "waiting")) return -1;
    if (failed(cudaEventElapsedTime(&milliseconds, m->start, m->end), "timing")) return -1;
    return 1e-3 * (double)milliseconds;
}

static bool multiply(const bench *m)
{
    const float one = 1, zero = 0;
    const cublasStatus_t status =
        cublasGemmEx(m->blas, CUBLAS_OP_N, CUBLAS_OP_N, m->edge, m->edge, m->edge, &one, m->a,
                     CUDA_R_16F, m->edge, m->b, CUDA_R_16F, m->edge, &zero, m->c, CUDA_R_32F,
                     m->edge, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    return status == CUBLAS_STATUS_SUCCESS;
}

/* FLOP/s of the best of `repeats` products; 0: failed. */
static double product_rate(const bench *m)
{
    const double work = 2.0 * m->edge * m->edge * m->edge;
    double best = 0;
    for (int i = 0; i < m->repeats; i++) {
        cudaEventRecord(m->start, 0);
        if (!multiply(m)) return 0;
        cudaEventRecord(m->end, 0);
        const double seconds = elapsed(m);
        if (seconds > 0 && work / seconds > best) best = work / seconds;
    }
    return best;
}

/* Sines per second of the best of `repeats` runs of `kernel`. */
static double sine_rate(const bench *m, void (*kernel)(unsigned, float *))
{
    const unsigned n = (unsigned)m->edge * (unsigned)m->edge;
    double best = 0;
    for (int i = 0; i < m->repeats; i++) {
        cudaEventRecord(m->start, 0);
        KD_LAUNCH(kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, 0, n, m->c);
        if (failed(cudaGetLastError(), "sines")) return 0;
        cudaEventRecord(m->end, 0);
        const double seconds = elapsed(m), work = (double)SINES * n;
        if (seconds > 0 && work / seconds > best) best = work / seconds;
    }
    return best;
}

static bool prepare(bench *m)
{
    const size_t n = (size_t)m->edge * (size_t)m->edge;
    if (failed(cudaEventCreate(&m->start), "event") || failed(cudaEventCreate(&m->end), "event") ||
        failed(cudaMalloc((void **)&m->a, n * sizeof *m->a), "memory") ||
        failed(cudaMalloc((void **)&m->b, n * sizeof *m->b), "memory") ||
        failed(cudaMalloc((void **)&m->c, n * sizeof *m->c), "memory") ||
        cublasCreate(&m->blas) != CUBLAS_STATUS_SUCCESS) {
        return false;
    }
    KD_LAUNCH(fill_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, 0, (unsigned)n, m->a);
    KD_LAUNCH(fill_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, 0, (unsigned)n, m->b);
    return !failed(cudaDeviceSynchronize(), "filling");
}

static void release(bench *m)
{
    if (m->blas != NULL) cublasDestroy(m->blas);
    if (m->start != NULL) cudaEventDestroy(m->start);
    if (m->end != NULL) cudaEventDestroy(m->end);
    cudaFree(m->a);
    cudaFree(m->b);
    cudaFree(m->c);
}

int main(int argc, char **argv)
{
    bench m = {};
    cudaDeviceProp properties;
    int n_devices = 0;
    m.edge = argc == 3 ? std::atoi(argv[1]) : 8192;
    m.repeats = argc == 3 ? std::atoi(argv[2]) : 20;
    if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
        std::fprintf(stderr, "bench_gpu: there is no CUDA device\n");
        return SKIPPED;
    }
    if (failed(cudaGetDeviceProperties(&properties, 0), "device") || !prepare(&m)) {
        release(&m);
        return 1;
    }
    const double products = product_rate(&m), sines = sine_rate(&m, sine_kernel);
    const double fast_sines = sine_rate(&m, fast_sine_kernel);
    std::printf("{\"device\": \"%s\", \"multiprocessors\": %d, \"half_flops\": %.4g, "
                "\"sines\": %.4g, \"fast_sines\": %.4g}\n",
                properties.name, properties.multiProcessorCount, products, sines, fast_sines);
    release(&m);
    return products > 0 && sines > 0 && fast_sines > 0 ? 0 : 1;
}
