/* The cpu backend's instance: memory, and parameters in and out.
 * Above: backend.h. Below: batch.c for training, evaluate.c, and the operations of one instruction
 * set. */
#include "cpu/backend_cpu.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/instance.h"
#include "groups.h"
#include "status.h"

enum { ALIGNMENT_SIZE = 64 };

static bool cpu_available(const char **reason)
{
    if (reason != NULL) *reason = NULL;
    return true;
}

/* Zeroed and aligned, or NULL. */
static float *allocate(size_t n_arrays, size_t n_floats)
{
    size_t n = 0, size = 0;
    if (!kd_size_mul(n_arrays, n_floats, &n) || n > SIZE_MAX / sizeof(float) - ALIGNMENT_SIZE) {
        return NULL;
    }
    size = (n * sizeof(float) / ALIGNMENT_SIZE + 1) * ALIGNMENT_SIZE;
    float *memory = aligned_alloc(ALIGNMENT_SIZE, size);
    if (memory != NULL) memset(memory, 0, size);
    return memory;
}

static bool allocate_training(kd_cpu_instance *self)
{
    const kd_cpu_plan *plan = &self->plan;
    self->n_slots = kd_cpu_batch_slots(plan, self->config.max_batch);
    self->slots = allocate((size_t)self->n_slots, plan->n_slot);
    self->losses = calloc((size_t)self->n_slots, sizeof *self->losses);
    self->gradient = allocate(1, plan->n_params);
    self->first = allocate(1, plan->n_params);
    self->second = allocate(1, plan->n_params);
    self->scratch = allocate((size_t)self->config.n_threads, plan->n_muon);
    return self->slots != NULL && self->losses != NULL && self->gradient != NULL &&
           self->first != NULL && self->second != NULL && self->scratch != NULL;
}

static bool allocate_all(kd_cpu_instance *self)
{
    self->params = allocate(1, self->plan.n_params);
    self->packed = allocate(1, self->plan.n_packed);
    self->tiles = allocate((size_t)self->config.n_threads, self->plan.n_tile);
    self->threads = kd_threads_start(self->config.n_threads);
    return self->params != NULL && self->packed != NULL && self->tiles != NULL &&
           self->threads != NULL && (!self->config.training || allocate_training(self));
}

static void cpu_close(void *state)
{
    kd_cpu_instance *self = state;
    if (self == NULL) return;
    kd_threads_stop(self->threads);
    free(self->params);
    free(self->packed);
    free(self->tiles);
    free(self->slots);
    free(self->losses);
    free(self->gradient);
    free(self->first);
    free(self->second);
    free(self->scratch);
    free(self);
}

static int count_threads(int asked)
{
    if (asked <= 0) return kd_threads_available();
    return asked < KD_THREADS_MAX ? asked : KD_THREADS_MAX;
}

kdinr_status kd_cpu_open(const kd_cpu_kernels *kernels, const kd_net *net,
                         const kd_backend_config *config, void **state, kdinr_error *error)
{
    *state = NULL;
    kd_cpu_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return kd_fail_memory(error, sizeof *self, "cpu backend");
    self->kernels = kernels;
    self->config = *config;
    self->config.n_threads = count_threads(config->n_threads);
    kd_cpu_plan_make(net, config->training, kernels->n_vector, &self->plan);
    if (!allocate_all(self)) {
        const size_t n = self->plan.n_params + self->plan.n_packed + self->plan.n_tile;
        cpu_close(self);
        return kd_fail_memory(error, n * sizeof(float), "cpu backend, at least");
    }
    *state = self;
    return KDINR_OK;
}

static kdinr_status cpu_open(const kd_net *net, const kd_backend_config *config, void **state,
                             kdinr_error *error)
{
    int i = 0;
    while (!kd_cpu_path_available(i)) {
        i++;
    }
    return kd_cpu_open(kd_cpu_path(i), net, config, state, error);
}

static kdinr_status cpu_set_params(void *state, const float *params, kdinr_error *error)
{
    (void)error;
    kd_cpu_instance *self = state;
    kd_cpu_plan_import(&self->plan, params, self->params);
    kd_cpu_batch_pack(self);
    self->step = 0;
    if (self->config.training) {
        memset(self->first, 0, self->plan.n_params * sizeof *self->first);
        memset(self->second, 0, self->plan.n_params * sizeof *self->second);
    }
    return KDINR_OK;
}

static kdinr_status cpu_get_params(void *state, float *params, kdinr_error *error)
{
    (void)error;
    const kd_cpu_instance *self = state;
    kd_cpu_plan_export(&self->plan, self->params, params);
    return KDINR_OK;
}

static kdinr_status check_batch(const kd_cpu_instance *self, size_t n, kdinr_error *error)
{
    const size_t most = self->config.training ? self->config.max_batch : 0;
    if (n >= 1 && n <= most) return kd_groups_check(&self->config, n, error);
    return kd_fail(error, KDINR_ERROR_ARGUMENT, "batch of %zu samples; this instance takes %zu", n,
                   most);
}

static kdinr_status cpu_gradient(void *state, const float *coords, const float *targets, size_t n,
                                 float *gradient, double *loss, kdinr_error *error)
{
    kd_cpu_instance *self = state;
    const kd_cpu_batch batch = {coords, targets, n};
    KD_TRY(check_batch(self, n, error));
    kd_cpu_batch_gradient(self, &batch, loss);
    kd_cpu_plan_export(&self->plan, self->gradient, gradient);
    for (int l = 0; l < self->plan.net.n_layers; l++) {
        const kd_layer *layer = &self->plan.net.layers[l];
        const float factor = kd_cpu_batch_factor(&self->plan, l, n);
        const size_t n_out = (size_t)layer->n_out;
        for (size_t i = 0; i < n_out * (size_t)layer->n_in; i++) {
            gradient[layer->weights + i] *= factor;
        }
        for (size_t o = 0; o < n_out; o++) {
            gradient[layer->biases + o] *= factor;
        }
    }
    return KDINR_OK;
}

static kdinr_status cpu_train_step(void *state, const float *coords, const float *targets, size_t n,
                                   const kd_step *step, double *loss, kdinr_error *error)
{
    kd_cpu_instance *self = state;
    const kd_cpu_batch batch = {coords, targets, n};
    KD_TRY(check_batch(self, n, error));
    kd_cpu_batch_gradient(self, &batch, loss);
    kd_cpu_batch_optimise(self, n, step);
    return KDINR_OK;
}

const kd_backend kd_cpu_backend = {
    .name = "cpu",
    .available = cpu_available,
    .open = cpu_open,
    .close = cpu_close,
    .set_params = cpu_set_params,
    .get_params = cpu_get_params,
    .gradient = cpu_gradient,
    .train_step = cpu_train_step,
    .evaluate = kd_cpu_evaluate,
    .evaluate_grid = kd_cpu_evaluate_grid,
};
