/* What the stand-in's own files share: errors that stick, and the limits of a small device (those
 * of compute capability 8.6 and 8.9, the least of what the kernels are built for). */
#ifndef CUDA_SHIM_SHIM_H
#define CUDA_SHIM_SHIM_H

#include "cuda_runtime.h"

constexpr size_t shim_shared_default = 48 << 10, shim_shared_most = 99 << 10;

/** Remember what cudaGetLastError will say; returns `error`. */
cudaError_t shim_set_error(cudaError_t error);

/** A kernel's fault: every later call fails until shim_reset_fault. */
void shim_set_fault(const char *message);

/** Has a kernel failed? */
bool shim_has_fault();

/** Is `stream` being captured, so that nothing may run? */
bool shim_is_capturing(cudaStream_t stream);

/** Devices that a machine can have here. */
constexpr int shim_most_devices = 4;

/** The device that the calling thread has chosen. */
int shim_current_device();

/** The number that the environment has as `name`, if it has. */
size_t shim_from_environment(const char *name, size_t otherwise);

/** Is this the call that shim_fail_call chose to fail? */
bool shim_fails_now();

/** A stream, event, graph, handle or piece of pinned memory was made (1) or released (-1). */
void shim_count_object(int change);

#endif
