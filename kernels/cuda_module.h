/* What the loader and the CUDA module say to each other. The module kdinr_cuda.so is built from
 * cuda/ where there is a CUDA compiler and loaded at run time by cuda_loader.c, so that nothing
 * else needs CUDA. Both sides must have been built from the same headers. */
#ifndef KD_CUDA_MODULE_H
#define KD_CUDA_MODULE_H

#include "backend.h"

/** Raised whenever what crosses the border changes its meaning; a change of size is seen anyway. */
enum { KD_CUDA_MODULE_VERSION = 5 };

#define KD_CUDA_MODULE_FILE  "kdinr_cuda.so"
#define KD_CUDA_MODULE_ENTRY "kdinr_cuda_module"

/** What the module's entry returns; static. The first two fields never move. */
typedef struct kd_cuda_module {
    unsigned version;                                                 /* KD_CUDA_MODULE_VERSION */
    const char *release;                                              /* KDINR_VERSION */
    size_t net_size, config_size, step_size, grid_size, backend_size; /* sizeof, by the module */
    const kd_backend *backend;
} kd_cuda_module;

/** The type of the entry, the one symbol that the module shows. */
typedef const kd_cuda_module *(*kd_cuda_module_entry)(void);

#endif
