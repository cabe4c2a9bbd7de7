/* The gradient of a batch: the slots' sums added in their order, so that the bits do not depend on
 * which thread filled which slot. Before: backward.c. After: adam.c, muon.c. */
#include "cpu/operations.h"

void kd_cpu_reduce(const float *slots, int n_slots, size_t slot_stride, size_t n, float *sum)
{
    for (size_t i = 0; i < n; i += KD_LANES) {
        kd_vec total = kd_vec_load(slots + i);
        for (int g = 1; g < n_slots; g++) {
            total += kd_vec_load(slots + (size_t)g * slot_stride + i);
        }
        kd_vec_store(sum + i, total);
    }
}

void kd_cpu_reduce_biases(const float *slots, int n_slots, size_t slot_stride, size_t n, float *sum)
{
    for (size_t i = 0; i < n; i++) {
        float lanes[KD_LANES], total = 0;
        kd_cpu_reduce(slots + i * KD_LANES, n_slots, slot_stride, KD_LANES, lanes);
        for (int lane = 0; lane < KD_LANES; lane++) {
            total += lanes[lane];
        }
        sum[i] = total;
    }
}
