/* Finds the cuda backend, which is in the list whether it can run or not. */
#ifndef KD_CUDA_LOADER_H
#define KD_CUDA_LOADER_H

#include "backend.h"

/** The module's backend; where there is no driver or no fitting module, one that is not available
 *  and says why: all but its name and `available` is NULL then. Looks once. */
const kd_backend *kd_cuda_loader_find(void);

#endif
