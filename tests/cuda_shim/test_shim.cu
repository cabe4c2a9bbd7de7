/* The stand-in for the launch model against known answers: what the kernels' tests rest on. */
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include "check.h"
}

#include "cublas_v2.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace
{

enum { THREADS = 96, BLOCKS = 3 };

template <class T> T *allocate(size_t n)
{
    T *memory = nullptr;
    assert_int_equal(cudaMalloc(&memory, n * sizeof(T)), cudaSuccess);
    return memory;
}

/* sums[block * warps + warp] of 1 .. 32 times the warp's number in the grid */
__global__ void sum_kernel(unsigned *sums)
{
    const unsigned warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    unsigned value = (threadIdx.x % 32 + 1) * (warp + 1);
    for (int bits = 16; bits > 0; bits /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, bits);
    }
    if (threadIdx.x % 32 == 0) sums[warp] = value;
}

void shuffles_reduce_a_warp(void **)
{
    const unsigned n_warps = BLOCKS * THREADS / 32;
    auto *sums = allocate<unsigned>(n_warps);
    KD_LAUNCH(sum_kernel, dim3(BLOCKS), dim3(THREADS), 0, nullptr, sums);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    for (unsigned warp = 0; warp < n_warps; warp++) {
        assert_int_equal(sums[warp], 528 * (warp + 1));
    }
    cudaFree(sums);
}

/* Each lane shuffled up and down by 1, and from lane 5, in groups of 8 lanes. */
__global__ void shift_kernel(int *moved)
{
    const int lane = static_cast<int>(threadIdx.x);
    moved[lane] = __shfl_up_sync(0xffffffffu, lane, 1, 8);
    moved[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 1, 8);
    moved[64 + lane] = __shfl_sync(0xffffffffu, lane, 5, 8);
}

void shuffles_stay_in_their_group(void **)
{
    auto *moved = allocate<int>(96);
    KD_LAUNCH(shift_kernel, dim3(1), dim3(32), 0, nullptr, moved);
    for (int lane = 0; lane < 32; lane++) {
        assert_int_equal(moved[lane], lane % 8 == 0 ? lane : lane - 1);
        assert_int_equal(moved[32 + lane], lane % 8 == 7 ? lane : lane + 1);
        assert_int_equal(moved[64 + lane], lane / 8 * 8 + 5);
    }
    cudaFree(moved);
}

/* Inclusive sums of 1 .. n in two halves of dynamic shared memory that take turns. */
__global__ void prefix_kernel(int *sums)
{
    KD_DYNAMIC_SHARED(memory);
    int *from = reinterpret_cast<int *>(memory);
    int *to = from + blockDim.x;
    const unsigned i = threadIdx.x;
    from[i] = static_cast<int>(i) + 1;
    __syncthreads();
    for (unsigned step = 1; step < blockDim.x; step *= 2) {
        to[i] = from[i] + (i >= step ? from[i - step] : 0);
        __syncthreads();
        int *swap = from;
        from = to;
        to = swap;
    }
    sums[blockIdx.x * blockDim.x + i] = from[i];
}

void barriers_order_a_prefix_sum(void **)
{
    auto *sums = allocate<int>(BLOCKS * THREADS);
    KD_LAUNCH(prefix_kernel, dim3(BLOCKS), dim3(THREADS), 2 * THREADS * sizeof(int), nullptr, sums);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    for (int i = 0; i < BLOCKS * THREADS; i++) {
        const int n = i % THREADS + 1;
        assert_int_equal(sums[i], n * (n + 1) / 2);
    }
    cudaFree(sums);
}

/* sum [16][8] = a [16][16] b [16][8], row-major here; then a's upper left [8][8] transposed */
__global__ void product_kernel(const float *a, const float *b, float *sum, float *transposed)
{
    const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4 * 2;
    unsigned pairs[6];
    for (int i = 0; i < 4; i++) {
        const float *at = a + (g + 8 * (i % 2)) * 16 + t + 8 * (i / 2);
        const __half2 pair = __floats2half2_rn(at[0], at[1]);
        memcpy(&pairs[i], &pair, sizeof pair);
    }
    for (int i = 0; i < 2; i++) {
        const float *at = b + (t + 8 * i) * 8 + g;
        const __half2 pair = __floats2half2_rn(at[0], at[8]);
        memcpy(&pairs[4 + i], &pair, sizeof pair);
    }
    float mine[4] = {1, 1, 1, 1};
    kd_multiply(mine, make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]), pairs[4], pairs[5]);
    for (int i = 0; i < 4; i++) {
        sum[(g + 8 * (i / 2)) * 8 + t + i % 2] = mine[i];
    }
    const unsigned turned = kd_transpose(pairs[0]);
    __half2 pair;
    memcpy(&pair, &turned, sizeof pair);
    transposed[g * 8 + t] = __low2float(pair);
    transposed[g * 8 + t + 1] = __high2float(pair);
}

void fragments_multiply_and_transpose(void **)
{
    auto *a = allocate<float>(256), *b = allocate<float>(128);
    auto *sum = allocate<float>(128), *transposed = allocate<float>(64);
    for (int i = 0; i < 256; i++) {
        a[i] = static_cast<float>(i * 7 % 31 - 15);
        if (i < 128) b[i] = static_cast<float>(i * 5 % 23 - 11);
    }
    KD_LAUNCH(product_kernel, dim3(1), dim3(32), 0, nullptr, a, b, sum, transposed);
    for (int i = 0; i < 128; i++) {
        float expected = 1;
        for (int k = 0; k < 16; k++) {
            expected += a[i / 8 * 16 + k] * b[k * 8 + i % 8];
        }
        assert_true(sum[i] == expected);
        if (i < 64) assert_true(transposed[i] == a[i % 8 * 16 + i / 8]);
    }
    cudaFree(a), cudaFree(b), cudaFree(sum), cudaFree(transposed);
}

/* Threads of the second half return before the barrier, which must not wait for them. */
__global__ void leave_early_kernel(int *n_counted)
{
    if (threadIdx.x >= 32) return;
    const int counted = __syncthreads_count(1);
    if (threadIdx.x == 0) *n_counted = counted;
}

void a_barrier_does_not_wait_for_the_returned(void **)
{
    auto *n_counted = allocate<int>(1);
    KD_LAUNCH(leave_early_kernel, dim3(1), dim3(64), 0, nullptr, n_counted);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(*n_counted, 32);
    cudaFree(n_counted);
}

/* what 0: lane 3 returned before a shuffle that names it; 1: half the threads wait at a barrier,
 * half at a shuffle; 2: a shuffle by a lane its mask leaves out */
__global__ void fault_kernel(int what)
{
    const unsigned lane = threadIdx.x;
    if (what == 0 && lane == 3) return;
    if (what == 1 && lane < 16) __syncthreads();
    __shfl_sync(what == 2 ? 0xfffeu : 0xffffffffu, lane, 0);
}

void faults_are_named_and_stick(void **)
{
    static const char *const texts[] = {"thread 3, which has returned", "nobody can go on",
                                        "not in the mask"};
    for (int what = 0; what < 3; what++) {
        KD_LAUNCH(fault_kernel, dim3(2), dim3(32), 0, nullptr, what);
        assert_non_null(strstr(shim_fault(), texts[what]));
        assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
        assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
        assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
        shim_reset_fault();
        assert_int_equal(cudaGetLastError(), cudaSuccess);
    }
}

void launches_beyond_the_limits_are_refused(void **)
{
    auto *sums = allocate<int>(THREADS);
    KD_LAUNCH(prefix_kernel, dim3(1), dim3(1025), 0, nullptr, sums);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    KD_LAUNCH(prefix_kernel, dim3(1), dim3(THREADS), 60 << 10, nullptr, sums);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    const cudaFuncAttribute most = cudaFuncAttributeMaxDynamicSharedMemorySize;
    assert_int_equal(cudaFuncSetAttribute(prefix_kernel, most, 100 << 10), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaFuncSetAttribute(prefix_kernel, most, 60 << 10), cudaSuccess);
    KD_LAUNCH(prefix_kernel, dim3(1), dim3(THREADS), 60 << 10, nullptr, sums);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(sums[THREADS - 1], THREADS * (THREADS + 1) / 2);
    cudaFree(sums);
}

/* A neighbour's value, with or without the barrier that it needs */
__global__ void neighbour_kernel(int *result, bool with_barrier)
{
    KD_DYNAMIC_SHARED(memory);
    int *values = reinterpret_cast<int *>(memory);
    const unsigned i = threadIdx.x;
    values[i] = 0;
    __syncthreads();
    values[i] = static_cast<int>(i);
    if (with_barrier) __syncthreads();
    result[i] = values[(i + 1) % blockDim.x];
}

bool order_matters(bool with_barrier)
{
    bool differs = false;
    auto *result = allocate<int>(THREADS);
    for (unsigned seed = 0; seed < 4; seed++) {
        shim_set_order(seed);
        KD_LAUNCH(neighbour_kernel, dim3(1), dim3(THREADS), THREADS * sizeof(int), nullptr, result,
                  with_barrier);
        for (int i = 0; i < THREADS; i++) {
            if (result[i] != (i + 1) % THREADS) differs = true;
        }
    }
    shim_set_order(0);
    cudaFree(result);
    return differs;
}

void a_missing_barrier_makes_the_order_matter(void **)
{
    assert_false(order_matters(true));
    assert_true(order_matters(false));
}

__global__ void add_kernel(int *value, int step)
{
    *value += step;
}

void graphs_repeat_what_was_captured(void **)
{
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    auto *value = allocate<int>(1);
    assert_int_equal(cudaMemset(value, 0, sizeof *value), cudaSuccess);
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    KD_LAUNCH(add_kernel, dim3(1), dim3(1), 0, stream, value, 5);
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaGetLastError(), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    assert_int_equal(*value, 0);
    assert_int_equal(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cudaGraphLaunch(executable, stream), cudaSuccess);
    }
    assert_int_equal(*value, 0); /* nobody has waited yet */
    assert_int_equal(cudaStreamSynchronize(stream), cudaSuccess);
    assert_int_equal(*value, 15);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    cudaFree(value);
}

void copies_check_their_ends(void **)
{
    auto *there = allocate<int>(4);
    int here[4] = {1, 2, 3, 4};
    assert_int_equal(cudaMemcpy(there, here, sizeof here, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(there[3], 4);
    assert_int_equal(cudaMemcpy(here, there, sizeof here, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(there + 1, here, sizeof here, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    shim_set_memory(20);
    int *more = nullptr;
    assert_int_equal(cudaMalloc(&more, 8), cudaErrorMemoryAllocation);
    assert_null(more);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    shim_set_memory(size_t{1} << 30);
    cudaFree(there);
}

void half_precision_rounds_to_even(void **)
{
    for (unsigned bits = 0; bits < 0x7c00; bits++) {
        const float value = shim_half_value(static_cast<uint16_t>(bits));
        const float above = shim_half_value(static_cast<uint16_t>(bits + 1));
        const unsigned even = bits + (bits & 1);
        assert_int_equal(shim_half_bits(value), bits);
        assert_int_equal(shim_half_bits(-value), bits | 0x8000);
        if (bits < 0x7bff) assert_int_equal(shim_half_bits((value + above) / 2), even);
    }
    assert_int_equal(shim_half_bits(65519.0f), 0x7bff);
    assert_int_equal(shim_half_bits(65520.0f), 0x7c00);
    assert_true(shim_half_value(0x3c00) == 1.0f && shim_half_value(0xc000) == -2.0f);
    assert_true(isinf(shim_half_value(0xfc00)) && isnan(shim_half_value(0x7e00)));
}

/* C [2][2] = 2 A^T [2][3] B [3][2] + 3 C, columns first */
void cublas_multiplies_column_major(void **)
{
    const float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, -1, 1, 0};
    float c[] = {1, 1, 1, 1};
    const float alpha = 2, beta = 3;
    cublasHandle_t handle;
    assert_int_equal(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(
        cublasSgemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, 2, 2, 3, &alpha, a, 3, b, 3, &beta, c, 2),
        CUBLAS_STATUS_SUCCESS);
    const float expected[] = {17, 35, 5, 5};
    assert_memory_equal(c, expected, sizeof c);
    assert_int_equal(
        cublasSgemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, 2, 2, 3, &alpha, a, 2, b, 3, &beta, c, 2),
        CUBLAS_STATUS_INVALID_VALUE);
    cublasDestroy(handle);
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles_reduce_a_warp),
        cmocka_unit_test(shuffles_stay_in_their_group),
        cmocka_unit_test(barriers_order_a_prefix_sum),
        cmocka_unit_test(fragments_multiply_and_transpose),
        cmocka_unit_test(a_barrier_does_not_wait_for_the_returned),
        cmocka_unit_test(a_missing_barrier_makes_the_order_matter),
        cmocka_unit_test(faults_are_named_and_stick),
        cmocka_unit_test(launches_beyond_the_limits_are_refused),
        cmocka_unit_test(graphs_repeat_what_was_captured),
        cmocka_unit_test(copies_check_their_ends),
        cmocka_unit_test(half_precision_rounds_to_even),
        cmocka_unit_test(cublas_multiplies_column_major),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
