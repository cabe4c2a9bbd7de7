/* The operations as functions of one instruction set, for the files that are compiled once per
 * set; kernels.h says what each does. The names here stand for names with the set's appended. */
#ifndef KD_CPU_OPERATIONS_H
#define KD_CPU_OPERATIONS_H

#include "cpu/kernels.h"
#include "cpu/simd.h"

#define kd_cpu_sine          KD_CPU_NAME(kd_cpu_sine)
#define kd_cpu_grid_rows     KD_CPU_NAME(kd_cpu_grid_rows)
#define kd_cpu_forward       KD_CPU_NAME(kd_cpu_forward)
#define kd_cpu_backward      KD_CPU_NAME(kd_cpu_backward)
#define kd_cpu_reduce        KD_CPU_NAME(kd_cpu_reduce)
#define kd_cpu_reduce_biases KD_CPU_NAME(kd_cpu_reduce_biases)
#define kd_cpu_adam          KD_CPU_NAME(kd_cpu_adam)
#define kd_cpu_muon          KD_CPU_NAME(kd_cpu_muon)
#define kd_cpu_pack          KD_CPU_NAME(kd_cpu_pack)

void kd_cpu_sine(int n, const float *half_turns, float *sine, float *slope);
void kd_cpu_grid_rows(const kd_cpu_plan *plan, const float *packed, const kd_grid *grid,
                      size_t first, size_t count, float *tile);
void kd_cpu_forward(const kd_cpu_plan *plan, const float *packed, int first_layer, float *tile);
void kd_cpu_backward(const kd_cpu_plan *plan, const float *packed, float *tile, float *slot);
void kd_cpu_reduce(const float *slots, int n_slots, size_t slot_stride, size_t n, float *sum);
void kd_cpu_reduce_biases(const float *slots, int n_slots, size_t slot_stride, size_t n,
                          float *sum);
void kd_cpu_adam(size_t n, float scale, const kd_adam_rates *rates, const float *gradient,
                 float *first, float *second, float *params);
void kd_cpu_muon(const kd_cpu_layer *layer, float scale, double rate, const float *gradient,
                 float *momentum, float *params, float *scratch);
void kd_cpu_pack(const kd_cpu_layer *layer, const float *params, float *packed);

#endif
