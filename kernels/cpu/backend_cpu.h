/* The fast backend: vectors, threads, no allocation after open. Its instruction sets are visible
 * here so that tests can run each of them; everyone else goes through kd_cpu_backend. */
#ifndef KD_BACKEND_CPU_H
#define KD_BACKEND_CPU_H

#include "cpu/kernels.h"

extern const kd_backend kd_cpu_backend;

/** Operations for instruction set `i` compiled in, fastest first, or NULL past the last. */
const kd_cpu_kernels *kd_cpu_path(int i);

/** Can this machine run instruction set `i`? */
bool kd_cpu_path_available(int i);

/** kd_backend.open with the given operations instead of the fastest available ones. The other
 *  functions of kd_cpu_backend take the instance.
 *  errors  MEMORY */
kdinr_status kd_cpu_open(const kd_cpu_kernels *kernels, const kd_net *net,
                         const kd_backend_config *config, void **state, kdinr_error *error);

#endif
