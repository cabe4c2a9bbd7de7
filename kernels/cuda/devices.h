/* The machine's devices. backend_cuda.cu puts each instance on one of those that were asked for,
 * and whoever calls CUDA for an instance enters its device first. */
#ifndef KD_CUDA_DEVICES_H
#define KD_CUDA_DEVICES_H

#include "kdinr.h"

/** Why device k cannot be used, or NULL. With no driver or no device that is said of any k. */
const char *kd_cuda_device_fault(int k);

/** As backend.h's check_devices. */
kdinr_status kd_cuda_devices_check(uint64_t devices, kdinr_error *error);

/** The turn-th of `devices`, round and round; those that cannot be used are left out.
 *  devices  as kdinr_options has it
 *  errors   BACKEND (none is left) */
kdinr_status kd_cuda_devices_pick(uint64_t devices, unsigned turn, int *device, kdinr_error *error);

/** How many that are. */
int kd_cuda_devices_count(uint64_t devices);

/** Make `device` the calling thread's.
 *  errors  BACKEND */
kdinr_status kd_cuda_enter(int device, kdinr_error *error);

#endif
