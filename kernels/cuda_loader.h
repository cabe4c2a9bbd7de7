/* The cuda backend as the rest of the program sees it: always in the list, available where the
 * module, a driver and a device are. */
#ifndef KD_CUDA_LOADER_H
#define KD_CUDA_LOADER_H

#include "backend.h"

extern const kd_backend kd_cuda_backend;

#endif
