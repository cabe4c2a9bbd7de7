/* What the stand-in counts so that tests can see leaks, the call that a test wants to fail, and
 * errors as text. */
#include <atomic>

#include "shim.h"

namespace
{

std::atomic<int> n_objects{0}, n_calls{0}, failing{-1};

struct error_text {
    cudaError_t error;
    const char *name, *text;
};
const error_text error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
};

const error_text *find_text(cudaError_t error)
{
    for (const error_text &entry : error_texts) {
        if (entry.error == error) return &entry;
    }
    static const error_text unknown = {cudaSuccess, "unknown", "unrecognized error code"};
    return &unknown;
}

} // namespace

bool shim_fails_now()
{
    return n_calls++ == failing;
}

void shim_count_object(int change)
{
    n_objects += change;
}

extern "C" {

void shim_fail_call(int n)
{
    n_calls = 0;
    failing = n;
}

int shim_call_count(void)
{
    return n_calls;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return find_text(error)->text;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return find_text(error)->name;
}

int shim_object_count(void)
{
    return n_objects;
}

} // extern "C"
