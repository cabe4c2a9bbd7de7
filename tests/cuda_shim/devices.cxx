/* The stand-in's devices: how many there are, what they are like, and which one is the thread's. */
#include <cstdlib>
#include <cstring>

#include "shim.h"

static int n_devices = static_cast<int>(shim_from_environment("SHIM_DEVICES", 1));
static thread_local int current_device = 0;

size_t shim_from_environment(const char *name, size_t otherwise)
{
    const char *text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

int shim_current_device()
{
    return current_device;
}

extern "C" {

void shim_set_device_count(int count)
{
    n_devices = count;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = n_devices;
    return n_devices > 0 ? cudaSuccess : shim_set_error(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= n_devices) return shim_set_error(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
    if (device < 0 || device >= n_devices) return shim_set_error(cudaErrorInvalidDevice);
    *properties = cudaDeviceProp();
    std::strcpy(properties->name, "stand-in on the host");
    size_t free_size;
    cudaMemGetInfo(&free_size, &properties->totalGlobalMem);
    properties->sharedMemPerBlock = shim_shared_default;
    properties->sharedMemPerBlockOptin = shim_shared_most;
    properties->sharedMemPerMultiprocessor = shim_shared_most + 1024;
    properties->major = 8;
    properties->minor = 6;
    properties->multiProcessorCount = 2;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->l2CacheSize = 1 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceProperties(&properties, device);
    if (status != cudaSuccess) return status;
    switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = shim_shared_default;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = shim_shared_most;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        return cudaSuccess;
    }
    return shim_set_error(cudaErrorInvalidValue);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

} // extern "C"
