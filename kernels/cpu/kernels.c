/* The table of one instruction set's operations. Compiled once per set; backend_cpu.c picks one. */
#include "cpu/kernels.h"

#include "cpu/operations.h"

#define TEXT2(name) #name
#define TEXT(name)  TEXT2(name)

const kd_cpu_kernels KD_CPU_NAME(kd_cpu_kernels) = {
    .name = TEXT(KD_CPU_PATH),
    .n_vector = KD_LANES,
    .sine = kd_cpu_sine,
    .grid_rows = kd_cpu_grid_rows,
    .forward = kd_cpu_forward,
    .backward = kd_cpu_backward,
    .reduce = kd_cpu_reduce,
    .reduce_biases = kd_cpu_reduce_biases,
    .adam = kd_cpu_adam,
    .muon = kd_cpu_muon,
    .pack = kd_cpu_pack,
};
