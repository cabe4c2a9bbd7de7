/* Which devices there are, and which may be used, see devices.h. Above: backend_cuda.cu. */
#include "cuda/devices.h"

#include "cuda/check.h"

enum { OLDEST_MAJOR = 8, MOST_DEVICES = 64 };

const char *kd_cuda_device_fault(int k)
{
    int n_devices = 0, driver = 0, major = 0;
    cudaError_t code = cudaDriverGetVersion(&driver);
    if (code == cudaSuccess && driver == 0) return "no NVIDIA driver is installed";
    if (code == cudaSuccess) code = cudaGetDeviceCount(&n_devices);
    if (code == cudaSuccess && n_devices == 0) code = cudaErrorNoDevice;
    if (code == cudaSuccess) {
        code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, k);
    }
    if (code != cudaSuccess) {
        (void)cudaGetLastError();
        return cudaGetErrorString(code);
    }
    return major >= OLDEST_MAJOR ? NULL : "the device is older than compute capability 8.0";
}

/* Devices of the machine that can have a bit. */
static int count_all(void)
{
    int n_devices = 0;
    if (cudaGetDeviceCount(&n_devices) != cudaSuccess) (void)cudaGetLastError();
    return n_devices < MOST_DEVICES ? n_devices : (int)MOST_DEVICES;
}

/* Those of `devices` that are there and can be used. Returns how many. */
static int list_devices(uint64_t devices, int list[MOST_DEVICES])
{
    const uint64_t wanted = devices == 0 ? 1 : devices;
    const int n_devices = count_all();
    int n = 0;
    for (int k = 0; k < n_devices; k++) {
        if ((wanted >> k & 1) != 0 && kd_cuda_device_fault(k) == NULL) list[n++] = k;
    }
    return n;
}

kdinr_status kd_cuda_devices_check(uint64_t devices, kdinr_error *error)
{
    const int n_devices = count_all();
    for (int k = 0; k < MOST_DEVICES && devices != KDINR_DEVICES_ALL; k++) {
        if ((devices >> k & 1) == 0) continue;
        if (k >= n_devices) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "option devices: device %d was asked for; this machine has %d, "
                           "numbered from 0",
                           k, n_devices);
        }
        const char *fault = kd_cuda_device_fault(k);
        if (fault == NULL) continue;
        return kd_fail(error, KDINR_ERROR_BACKEND,
                       "option devices: device %d of this machine's %d cannot be used: %s", k,
                       n_devices, fault);
    }
    return KDINR_OK;
}

kdinr_status kd_cuda_devices_pick(uint64_t devices, unsigned turn, int *device, kdinr_error *error)
{
    int list[MOST_DEVICES];
    const int n = list_devices(devices, list);
    if (n == 0) {
        const char *fault = kd_cuda_device_fault(0);
        return kd_fail(error, KDINR_ERROR_BACKEND, "cuda backend: no device can be used: %s",
                       fault == NULL ? "those that were asked for are gone" : fault);
    }
    *device = list[turn % (unsigned)n];
    return KDINR_OK;
}

int kd_cuda_devices_count(uint64_t devices)
{
    int list[MOST_DEVICES];
    return list_devices(devices, list);
}

kdinr_status kd_cuda_enter(int device, kdinr_error *error)
{
    KD_CUDA_TRY(cudaSetDevice(device), error);
    return KDINR_OK;
}
