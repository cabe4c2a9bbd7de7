/* The pool of lanes, see lane.h. Above: backend_cuda.cu and evaluate.cu. Only the pool is shared
 * between threads; a lane belongs to who took it. */
#include "cuda/lane.h"

#include <pthread.h>
#include <stdlib.h>

#include "cuda/check.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static kd_cuda_lane *idle; /* guarded by mutex, as is: */
static size_t n_holders;

void kd_cuda_lane_drop(kd_cuda_lane *lane)
{
    if (lane == NULL) return;
    cudaSetDevice(lane->device);
    if (lane->stream != NULL) cudaStreamSynchronize(lane->stream);
    if (lane->blas != NULL) cublasDestroy(lane->blas);
    if (lane->done != NULL) cudaEventDestroy(lane->done);
    if (lane->stream != NULL) cudaStreamDestroy(lane->stream);
    cudaFree(lane->d_memory);
    cudaFree(lane->d_workspace);
    cudaFreeHost(lane->pinned);
    (void)cudaGetLastError();
    free(lane);
}

void kd_cuda_lanes_hold(void)
{
    pthread_mutex_lock(&mutex);
    n_holders++;
    pthread_mutex_unlock(&mutex);
}

void kd_cuda_lanes_release(void)
{
    kd_cuda_lane *list = NULL;
    pthread_mutex_lock(&mutex);
    if (--n_holders == 0) {
        list = idle;
        idle = NULL;
    }
    pthread_mutex_unlock(&mutex);
    while (list != NULL) {
        kd_cuda_lane *next = list->next;
        kd_cuda_lane_drop(list);
        list = next;
    }
}

/* cuBLAS gives the same bits on every run if it works on one stream with one workspace. */
static kdinr_status start(kd_cuda_lane *lane, kdinr_error *error)
{
    KD_CUDA_TRY(cudaStreamCreateWithFlags(&lane->stream, cudaStreamNonBlocking), error);
    KD_CUDA_TRY(cudaEventCreateWithFlags(&lane->done, cudaEventDisableTiming), error);
    KD_CUDA_TRY(cudaMalloc((void **)&lane->d_workspace, KD_CUDA_LANE_WORKSPACE), error);
    KD_CUBLAS_TRY(cublasCreate(&lane->blas), error);
    KD_CUBLAS_TRY(cublasSetStream(lane->blas, lane->stream), error);
    KD_CUBLAS_TRY(cublasSetWorkspace(lane->blas, lane->d_workspace, KD_CUDA_LANE_WORKSPACE), error);
    return KDINR_OK;
}

static kdinr_status grow_device(kd_cuda_lane *lane, size_t size, kdinr_error *error)
{
    if (lane->d_size >= size) return KDINR_OK;
    cudaFree(lane->d_memory);
    lane->d_memory = NULL;
    lane->d_size = 0;
    KD_CUDA_TRY(cudaMalloc((void **)&lane->d_memory, size), error);
    lane->d_size = size;
    return KDINR_OK;
}

static kdinr_status grow_pinned(kd_cuda_lane *lane, size_t size, kdinr_error *error)
{
    if (lane->pinned_size >= size) return KDINR_OK;
    cudaFreeHost(lane->pinned);
    lane->pinned = NULL;
    lane->pinned_size = 0;
    KD_CUDA_TRY(cudaMallocHost((void **)&lane->pinned, size), error);
    lane->pinned_size = size;
    return KDINR_OK;
}

static kdinr_status prepare(kd_cuda_lane *lane, size_t d_size, size_t pinned_size,
                            kdinr_error *error)
{
    if (lane->blas == NULL) KD_TRY(start(lane, error));
    KD_TRY(grow_device(lane, d_size, error));
    return grow_pinned(lane, pinned_size, error);
}

static kdinr_status set_precision(const kd_cuda_lane *lane, kdinr_precision precision,
                                  kdinr_error *error)
{
    const cublasMath_t mode =
        precision == KDINR_PRECISION_TF32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH;
    KD_CUBLAS_TRY(cublasSetMathMode(lane->blas, mode), error);
    return KDINR_OK;
}

/* NULL: all of the device's are in use. */
static kd_cuda_lane *take_idle(int device)
{
    pthread_mutex_lock(&mutex);
    kd_cuda_lane **place = &idle;
    while (*place != NULL && (*place)->device != device) {
        place = &(*place)->next;
    }
    kd_cuda_lane *taken = *place;
    if (taken != NULL) *place = taken->next;
    pthread_mutex_unlock(&mutex);
    return taken;
}

kdinr_status kd_cuda_lane_take(size_t d_size, size_t pinned_size, kdinr_precision precision,
                               kd_cuda_lane **lane, kdinr_error *error)
{
    int device = 0;
    *lane = NULL;
    KD_CUDA_TRY(cudaGetDevice(&device), error);
    kd_cuda_lane *taken = take_idle(device);
    if (taken == NULL) taken = (kd_cuda_lane *)calloc(1, sizeof *taken);
    if (taken == NULL) return kd_fail_memory(error, sizeof(kd_cuda_lane), "cuda backend");
    taken->device = device;
    kdinr_status status = prepare(taken, d_size, pinned_size, error);
    if (status == KDINR_OK) status = set_precision(taken, precision, error);
    if (status != KDINR_OK) {
        kd_cuda_lane_drop(taken);
        return status;
    }
    *lane = taken;
    return KDINR_OK;
}

void kd_cuda_lane_give(kd_cuda_lane *lane)
{
    if (lane == NULL) return;
    pthread_mutex_lock(&mutex);
    lane->next = idle;
    idle = lane;
    pthread_mutex_unlock(&mutex);
}
