/* One network at work in the cpu backend. backend_cpu.c owns it, batch.c trains with it. */
#ifndef KD_CPU_INSTANCE_H
#define KD_CPU_INSTANCE_H

#include "cpu/kernels.h"
#include "cpu/threads.h"

typedef struct kd_cpu_instance {
    const kd_cpu_kernels *kernels;
    kd_cpu_plan plan;
    kd_backend_config config; /* n_threads is never 0 */
    kd_threads *threads;
    size_t step;           /* optimiser steps done */
    float *params;         /* [plan.n_params] */
    float *packed;         /* [plan.n_packed], params once more, as products read them */
    float *tiles;          /* [n_threads][plan.n_tile] */
    int n_slots;           /* most that a batch is cut into; training only, as all below */
    float *slots;          /* [n_slots][plan.n_slot], sums of gradients */
    double *losses;        /* [n_slots], sums of squared errors */
    float *gradient;       /* [plan.n_params], without the layers' scales */
    float *first, *second; /* [plan.n_params], Adam's means; `first` is also Muon's momentum */
    float *scratch;        /* [n_threads][plan.n_muon] */
} kd_cpu_instance;

/** A training batch: coords [n][n_inputs], targets [n][n_outputs]. */
typedef struct kd_cpu_batch {
    const float *coords, *targets;
    size_t n;
} kd_cpu_batch;

/** Number of slots that a batch of n is cut into. It depends on the network and n alone, so that
 *  sums are formed in the same order for any number of threads. */
int kd_cpu_batch_slots(const kd_cpu_plan *plan, size_t n);

/** Fill self->gradient and *loss (mean squared error) for a batch. */
void kd_cpu_batch_gradient(kd_cpu_instance *self, const kd_cpu_batch *batch, double *loss);

/** Move the parameters by self->gradient of a batch of n. */
void kd_cpu_batch_optimise(kd_cpu_instance *self, size_t n, const kd_step *step);

/** Fill self->packed from self->params. */
void kd_cpu_batch_pack(kd_cpu_instance *self);

/** What gradients in self->gradient lack: d(loss)/d(weights of layer) = factor * gradient. */
float kd_cpu_batch_factor(const kd_cpu_plan *plan, int layer, size_t n);

/** Put samples first..first+count-1 into a tile's input; lanes past count are zero. */
void kd_cpu_batch_load(const kd_cpu_plan *plan, const float *coords, size_t first, size_t count,
                       float *tile);

/** kd_backend.evaluate and .evaluate_grid */
kdinr_status kd_cpu_evaluate(void *state, const float *coords, size_t n, float *values,
                             kdinr_error *error);
kdinr_status kd_cpu_evaluate_grid(void *state, const kd_grid *grid, float *values,
                                  kdinr_error *error);

#endif
