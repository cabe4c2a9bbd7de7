/* The stand-in's cudart: memory, streams, events, graphs and errors. Work given to a stream runs
 * when somebody waits for it, to the default stream at once; while a stream is captured it is
 * written down instead. */
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "shim.h"

struct shim_graph {
    std::vector<shim_work> calls;
};
struct shim_stream {
    int device = 0;
    shim_graph *capture = nullptr;
    std::deque<shim_work> waiting; /* given to it and not yet run */
    size_t n_run = 0;
};
struct shim_event {
    bool recorded = false;
    shim_stream *stream = nullptr;
    size_t position = 0; /* it is reached when the stream has run that much */
};

namespace
{

struct allocation {
    size_t size;
    int device;
};

std::mutex memory_lock;
std::map<const char *, allocation> allocations;
size_t memory_size = shim_from_environment("SHIM_MEMORY", size_t{1} << 30);
size_t memory_used[shim_most_devices] = {};
int n_capturing = 0;
std::set<cudaStream_t> streams; /* guarded by memory_lock */
cudaError_t last_error = cudaSuccess;
std::string fault_message;

/* The device that has all of it; -1: it is not device memory. */
int find_device(const void *memory, size_t size)
{
    const std::lock_guard<std::mutex> guard(memory_lock);
    const char *at = static_cast<const char *>(memory);
    auto after = allocations.upper_bound(at);
    if (after == allocations.begin()) return -1;
    --after;
    return at + size <= after->first + after->second.size ? after->second.device : -1;
}

bool is_device_memory(const void *memory, size_t size)
{
    return find_device(memory, size) >= 0;
}

/* What is forbidden while any stream is captured, or after a fault. */
cudaError_t check_ready()
{
    if (shim_has_fault()) return shim_set_error(cudaErrorLaunchFailure);
    if (n_capturing > 0) return shim_set_error(cudaErrorStreamCaptureUnsupported);
    return cudaSuccess;
}

bool copy_is_valid(void *to, const void *from, size_t size, cudaMemcpyKind kind)
{
    if (size == 0 || kind == cudaMemcpyDefault) return true;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return is_device_memory(to, size) == to_device && is_device_memory(from, size) == from_device;
}

} // namespace

cudaError_t shim_set_error(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

void shim_set_fault(const char *message)
{
    fault_message = message;
    last_error = cudaErrorLaunchFailure;
}

bool shim_has_fault()
{
    return !fault_message.empty();
}

bool shim_is_capturing(cudaStream_t stream)
{
    return stream != nullptr && stream->capture != nullptr;
}

void shim_submit(cudaStream_t stream, shim_work work)
{
    if (shim_is_capturing(stream)) {
        stream->capture->calls.push_back(std::move(work));
    } else if (stream != nullptr) {
        stream->waiting.push_back(std::move(work));
    } else if (!shim_has_fault()) {
        work();
    }
}

int shim_launch_device(cudaStream_t stream)
{
    if (stream == nullptr || stream->device == shim_current_device()) return shim_current_device();
    shim_set_error(cudaErrorInvalidResourceHandle);
    return -1;
}

/* Run what `stream` was given until it has run `position` in all. */
static void run_until(cudaStream_t stream, size_t position)
{
    while (stream != nullptr && stream->n_run < position) {
        const shim_work work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        stream->n_run++;
        if (!shim_has_fault()) work();
    }
}

static size_t stream_end(cudaStream_t stream)
{
    return stream == nullptr ? 0 : stream->n_run + stream->waiting.size();
}

extern "C" {

const char *shim_fault(void)
{
    return fault_message.c_str();
}

void shim_reset_fault(void)
{
    fault_message.clear();
    last_error = cudaSuccess;
}

void shim_set_memory(size_t size)
{
    memory_size = size;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = shim_has_fault() ? cudaErrorLaunchFailure : cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaDeviceSynchronize(void)
{
    const cudaError_t ready = check_ready();
    if (ready != cudaSuccess) return ready;
    for (cudaStream_t stream : std::set<cudaStream_t>(streams)) {
        run_until(stream, stream_end(stream));
    }
    return check_ready();
}

cudaError_t cudaMemGetInfo(size_t *free_size, size_t *total_size)
{
    const size_t used = memory_used[shim_current_device()];
    *free_size = memory_size > used ? memory_size - used : 0;
    *total_size = memory_size;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t size)
{
    const cudaError_t ready = check_ready();
    *memory = nullptr;
    if (ready != cudaSuccess || size == 0) return ready;
    if (shim_fails_now()) return shim_set_error(cudaErrorMemoryAllocation);
    const std::lock_guard<std::mutex> guard(memory_lock);
    size_t &used = memory_used[shim_current_device()];
    if (used + size > memory_size || posix_memalign(memory, 256, size) != 0) {
        return shim_set_error(cudaErrorMemoryAllocation);
    }
    std::memset(*memory, 0xff, size);
    used += size;
    allocations[static_cast<char *>(*memory)] = {size, shim_current_device()};
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    if (memory == nullptr) return cudaSuccess;
    const std::lock_guard<std::mutex> guard(memory_lock);
    const auto found = allocations.find(static_cast<char *>(memory));
    if (found == allocations.end()) return shim_set_error(cudaErrorInvalidValue);
    memory_used[found->second.device] -= found->second.size;
    allocations.erase(found);
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void **memory, size_t size, cudaStream_t)
{
    return cudaMalloc(memory, size);
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t)
{
    return cudaFree(memory);
}

cudaError_t cudaMallocHost(void **memory, size_t size)
{
    *memory = shim_fails_now() ? nullptr : std::malloc(size);
    if (*memory == nullptr) return shim_set_error(cudaErrorMemoryAllocation);
    shim_count_object(1);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned)
{
    return cudaMallocHost(memory, size);
}

cudaError_t cudaFreeHost(void *memory)
{
    if (memory != nullptr) shim_count_object(-1);
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (shim_has_fault()) return shim_set_error(cudaErrorLaunchFailure);
    if (shim_fails_now()) return shim_set_error(cudaErrorInvalidValue);
    if (!copy_is_valid(to, from, size, kind)) return shim_set_error(cudaErrorInvalidValue);
    shim_submit(stream, [=] {
        if (size > 0) std::memmove(to, from, size);
    });
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, cudaMemcpyKind kind)
{
    const cudaError_t ready = check_ready();
    return ready != cudaSuccess ? ready : cudaMemcpyAsync(to, from, size, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream)
{
    if (shim_has_fault()) return shim_set_error(cudaErrorLaunchFailure);
    if (shim_fails_now()) return shim_set_error(cudaErrorInvalidValue);
    if (size > 0 && find_device(memory, size) != shim_current_device()) {
        return shim_set_error(cudaErrorInvalidValue);
    }
    shim_submit(stream, [=] {
        if (size > 0) std::memset(memory, value, size);
    });
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t size)
{
    const cudaError_t ready = check_ready();
    return ready != cudaSuccess ? ready : cudaMemsetAsync(memory, value, size, nullptr);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    if (shim_fails_now()) return shim_set_error(cudaErrorMemoryAllocation);
    *stream = new shim_stream();
    (*stream)->device = shim_current_device();
    const std::lock_guard<std::mutex> guard(memory_lock);
    streams.insert(*stream);
    shim_count_object(1);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    run_until(stream, stream_end(stream));
    {
        const std::lock_guard<std::mutex> guard(memory_lock);
        streams.erase(stream);
    }
    shim_count_object(-1);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const cudaError_t ready = check_ready();
    if (ready != cudaSuccess) return ready;
    if (shim_fails_now()) return shim_set_error(cudaErrorInvalidValue);
    run_until(stream, stream_end(stream));
    return check_ready();
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    return cudaStreamSynchronize(stream);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    shim_stream *const other = event->stream;
    const size_t position = event->position;
    shim_submit(stream, [=] { run_until(other, position); });
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    if (shim_fails_now()) return shim_set_error(cudaErrorMemoryAllocation);
    *event = new shim_event();
    shim_count_object(1);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    shim_count_object(-1);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (shim_fails_now()) return shim_set_error(cudaErrorInvalidValue);
    event->recorded = true;
    event->stream = stream;
    event->position = stream_end(stream);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const cudaError_t ready = check_ready();
    if (ready != cudaSuccess) return ready;
    if (shim_fails_now()) return shim_set_error(cudaErrorInvalidValue);
    run_until(event->stream, event->position);
    return check_ready();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return cudaEventSynchronize(event);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    *milliseconds = 1; /* speed is not modelled */
    return start->recorded && end->recorded ? cudaSuccess : shim_set_error(cudaErrorInvalidValue);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (stream == nullptr || stream->capture != nullptr || shim_fails_now()) {
        return shim_set_error(cudaErrorStreamCaptureUnsupported);
    }
    stream->capture = new shim_graph();
    n_capturing++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    if (!shim_is_capturing(stream)) return shim_set_error(cudaErrorInvalidValue);
    *graph = stream->capture;
    stream->capture = nullptr;
    n_capturing--;
    shim_count_object(1);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long)
{
    if (shim_fails_now()) return shim_set_error(cudaErrorMemoryAllocation);
    *executable = new shim_graph(*graph);
    shim_count_object(1);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream)
{
    if (shim_launch_device(stream) < 0) return cudaErrorInvalidResourceHandle;
    for (const shim_work &call : executable->calls) {
        shim_submit(stream, call);
    }
    return last_error;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    shim_count_object(-1);
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    shim_count_object(-1);
    delete executable;
    return cudaSuccess;
}

} // extern "C"
