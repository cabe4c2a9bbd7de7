/* The operations of the cpu backend, one table of them per instruction set.
 * Above: backend_cpu.c, which gives tiles and layers to threads. Below: sine.c, forward.c,
 * backward.c, reduce.c, adam.c, muon.c and pack.c, each compiled once per instruction set. */
#ifndef KD_CPU_KERNELS_H
#define KD_CPU_KERNELS_H

#include "cpu/plan.h"

/** Factors of one Adam step; kd_cpu_adam_rates makes them. */
typedef struct kd_adam_rates {
    float rate;         /* rate / (1 - 0.9^step) */
    float root_of_bias; /* 1 / sqrt(1 - 0.999^step) */
} kd_adam_rates;

typedef struct kd_cpu_kernels {
    const char *name;
    int n_vector; /* floats in a vector */

    /** sine[n] = sin(pi t) and slope[n] = pi cos(pi t) for half turns t, |t| < 2^22, within
     *  2e-7 resp. pi * 2e-7 of the truth. In place is fine.
     *  n      a multiple of n_vector
     *  slope  may be NULL */
    void (*sine)(int n, const float *half_turns, float *sine, float *slope);

    /** The first layer's output for samples first..first+count-1 of a grid (x fastest), count at
     *  most KD_TILE; no slopes. */
    void (*grid_rows)(const kd_cpu_plan *plan, const float *packed, const kd_grid *grid,
                      size_t first, size_t count, float *tile);

    /** Move one tile from the input of layer `first_layer` to the last layer's output.
     *  packed       [n_packed]
     *  first_layer  0, or 1 after grid_rows
     *  tile         [n_tile], aligned to 64 bytes */
    void (*forward)(const kd_cpu_plan *plan, const float *packed, int first_layer, float *tile);

    /** Add one tile's gradient to `slot`, without the factor layer.scale. The tile's `stream`
     *  holds the derivative of the loss by the last layer's output and is overwritten.
     *  slot  [n_slot] */
    void (*backward)(const kd_cpu_plan *plan, const float *packed, float *tile, float *slot);

    /** sum[n] = slots[0] + slots[1] + ..., each slot `slot_stride` floats after the last.
     *  n  a multiple of n_vector */
    void (*reduce)(const float *slots, int n_slots, size_t slot_stride, size_t n, float *sum);

    /** sum[n] = the same for partial bias sums: n vectors per slot, each added up. */
    void (*reduce_biases)(const float *slots, int n_slots, size_t slot_stride, size_t n,
                          float *sum);

    /** One Adam step on a run of n parameters; the gradient is scale * gradient[n]. */
    void (*adam)(size_t n, float scale, const kd_adam_rates *rates, const float *gradient,
                 float *first, float *second, float *params);

    /** One Muon step on a layer's weights (kd_step says which), rate as in kd_step.
     *  gradient, momentum, params  [rows][stride]; the gradient is scale * gradient
     *  scratch                     [plan.n_muon] */
    void (*muon)(const kd_cpu_layer *layer, float scale, double rate, const float *gradient,
                 float *momentum, float *params, float *scratch);

    /** Fill a layer's panels and biases from the parameters [n_params]. */
    void (*pack)(const kd_cpu_layer *layer, const float *params, float *packed);
} kd_cpu_kernels;

/* Those that the build compiled; cpu/paths.c knows which. */
extern const kd_cpu_kernels kd_cpu_kernels_portable, kd_cpu_kernels_avx2, kd_cpu_kernels_avx512;

#endif
