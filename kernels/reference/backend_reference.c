/* The reference backend's instance: owns the parameters and calls the operations in order.
 * Above: backend.h. Below: forward.c, backward.c, adam.c, muon.c. One thread, doubles. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "groups.h"
#include "reference/reference.h"
#include "status.h"

typedef struct instance {
    kd_net net;
    kd_backend_config config;
    size_t step; /* optimiser steps done */
    double *params, *gradient, *first, *second, *scratch;
    kd_reference_trace trace;
} instance;

static bool reference_available(const char **reason)
{
    if (reason != NULL) *reason = NULL;
    return true;
}

static void reference_close(void *state)
{
    instance *self = state;
    if (self == NULL) return;
    free(self->params);
    free(self->gradient);
    free(self->first);
    free(self->second);
    free(self->scratch);
    free(self);
}

static size_t scratch_count(const kd_net *net)
{
    size_t most = 1;
    for (int l = 0; l < net->n_layers; l++) {
        const size_t n = kd_reference_muon_scratch(net->layers[l].n_out, net->layers[l].n_in);
        if (n > most) most = n;
    }
    return most;
}

static bool allocate(instance *self)
{
    const size_t n = self->net.n_params;
    self->params = calloc(n, sizeof *self->params);
    if (!self->config.training) return self->params != NULL;
    self->gradient = calloc(n, sizeof *self->gradient);
    self->first = calloc(n, sizeof *self->first);
    self->second = calloc(n, sizeof *self->second);
    self->scratch = calloc(scratch_count(&self->net), sizeof *self->scratch);
    return self->params != NULL && self->gradient != NULL && self->first != NULL &&
           self->second != NULL && self->scratch != NULL;
}

static kdinr_status reference_open(const kd_net *net, const kd_backend_config *config, void **state,
                                   kdinr_error *error)
{
    *state = NULL;
    instance *self = calloc(1, sizeof *self);
    if (self == NULL) return kd_fail_memory(error, sizeof *self, "reference backend");
    self->net = *net;
    self->config = *config;
    if (!allocate(self)) {
        reference_close(self);
        return kd_fail_memory(error, 5 * net->n_params * sizeof(double), "reference backend");
    }
    *state = self;
    return KDINR_OK;
}

static kdinr_status reference_set_params(void *state, const float *params, kdinr_error *error)
{
    (void)error;
    instance *self = state;
    const size_t n = self->net.n_params;
    for (size_t i = 0; i < n; i++) {
        self->params[i] = (double)params[i];
    }
    self->step = 0;
    if (self->config.training) {
        memset(self->first, 0, n * sizeof *self->first);
        memset(self->second, 0, n * sizeof *self->second);
    }
    return KDINR_OK;
}

static kdinr_status reference_get_params(void *state, float *params, kdinr_error *error)
{
    (void)error;
    const instance *self = state;
    for (size_t i = 0; i < self->net.n_params; i++) {
        params[i] = (float)self->params[i];
    }
    return KDINR_OK;
}

static void forward_sample(instance *self, const float *coords)
{
    for (int i = 0; i < self->net.n_inputs; i++) {
        self->trace.inputs[0][i] = (double)coords[i];
    }
    kd_reference_forward(&self->net, self->params, &self->trace);
}

static kdinr_status check_batch(const instance *self, size_t n, kdinr_error *error)
{
    if (!self->config.training || n < 1 || n > self->config.max_batch) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "batch of %zu samples; this instance takes %zu",
                       n, self->config.training ? self->config.max_batch : 0);
    }
    return kd_groups_check(&self->config, n, error);
}

/* misses [n][n_outputs] = answers - targets. Returns the sum of their squares. */
static double find_misses(instance *self, const float *coords, const float *targets, size_t n,
                          double misses[][KD_NET_MAX_OUTPUTS])
{
    const size_t n_inputs = (size_t)self->net.n_inputs, n_outputs = (size_t)self->net.n_outputs;
    double sum = 0;
    for (size_t b = 0; b < n; b++) {
        forward_sample(self, coords + b * n_inputs);
        for (size_t c = 0; c < n_outputs; c++) {
            const double answer = self->trace.inputs[self->net.n_layers][c];
            misses[b][c] = answer - (double)targets[b * n_outputs + c];
            sum += misses[b][c] * misses[b][c];
        }
    }
    return sum;
}

/* Let the misses of a group pull at each other. */
static void pull_misses(const instance *self, const float *coords,
                        double misses[][KD_NET_MAX_OUTPUTS])
{
    for (int c = 0; c < self->net.n_outputs; c++) {
        const double first = misses[0][c];
        for (int axis = 0; axis < 3; axis++) {
            const double pull =
                (misses[1 + axis][c] - first) *
                kd_groups_pull(coords, self->net.n_inputs, axis, self->config.gradient_weight);
            misses[1 + axis][c] += pull;
            misses[0][c] -= pull;
        }
    }
}

/* self->gradient and *loss over the batch, group by group or sample by sample */
static kdinr_status batch_gradient(instance *self, const float *coords, const float *targets,
                                   size_t n, double *loss, kdinr_error *error)
{
    const kd_net *net = &self->net;
    const size_t n_inputs = (size_t)net->n_inputs, n_outputs = (size_t)net->n_outputs;
    const size_t group = self->config.gradient_weight > 0 ? KD_GROUP_ROWS : 1;
    KD_TRY(check_batch(self, n, error));
    const double count = (double)n * (double)n_outputs;
    double sum = 0;
    memset(self->gradient, 0, net->n_params * sizeof *self->gradient);
    for (size_t first = 0; first < n; first += group) {
        const float *at = coords + first * n_inputs;
        double misses[KD_GROUP_ROWS][KD_NET_MAX_OUTPUTS];
        sum += find_misses(self, at, targets + first * n_outputs, group, misses);
        if (group > 1) pull_misses(self, at, misses);
        for (size_t b = 0; b < group; b++) {
            double by_output[KD_REFERENCE_MAX_NEURONS];
            for (size_t c = 0; c < n_outputs; c++) {
                by_output[c] = 2 * misses[b][c] / count;
            }
            if (group > 1) forward_sample(self, at + b * n_inputs);
            kd_reference_backward(net, self->params, &self->trace, by_output, self->gradient);
        }
    }
    *loss = sum / count;
    return KDINR_OK;
}

static kdinr_status reference_gradient(void *state, const float *coords, const float *targets,
                                       size_t n, float *gradient, double *loss, kdinr_error *error)
{
    instance *self = state;
    KD_TRY(batch_gradient(self, coords, targets, n, loss, error));
    for (size_t i = 0; i < self->net.n_params; i++) {
        gradient[i] = (float)self->gradient[i];
    }
    return KDINR_OK;
}

static void step_adam(instance *self, size_t start, size_t n, double rate)
{
    kd_reference_adam(n, rate, self->step, self->gradient + start, self->first + start,
                      self->second + start, self->params + start);
}

static kdinr_status reference_train_step(void *state, const float *coords, const float *targets,
                                         size_t n, const kd_step *step, double *loss,
                                         kdinr_error *error)
{
    instance *self = state;
    KD_TRY(batch_gradient(self, coords, targets, n, loss, error));
    self->step++;
    for (int l = 0; l < self->net.n_layers; l++) {
        const kd_layer *layer = &self->net.layers[l];
        const size_t at = layer->weights, n_out = (size_t)layer->n_out;
        if (self->config.optimizer == KDINR_OPTIMIZER_MUON && kd_blocks_hidden(&self->net, l)) {
            kd_reference_muon(layer->n_out, layer->n_in, step->rate_matrix, self->gradient + at,
                              self->first + at, self->params + at, self->scratch);
        } else {
            step_adam(self, at, n_out * (size_t)layer->n_in, step->rate_adam);
        }
        step_adam(self, layer->biases, n_out, step->rate_adam);
    }
    return KDINR_OK;
}

static kdinr_status reference_evaluate(void *state, const float *coords, size_t n, float *values,
                                       kdinr_error *error)
{
    (void)error;
    instance *self = state;
    const size_t n_inputs = (size_t)self->net.n_inputs, n_outputs = (size_t)self->net.n_outputs;
    for (size_t b = 0; b < n; b++) {
        forward_sample(self, coords + b * n_inputs);
        for (size_t c = 0; c < n_outputs; c++) {
            values[b * n_outputs + c] = (float)self->trace.inputs[self->net.n_layers][c];
        }
    }
    return KDINR_OK;
}

static kdinr_status reference_evaluate_grid(void *state, const kd_grid *grid, float *values,
                                            kdinr_error *error)
{
    const instance *self = state;
    const size_t n = grid->n[0] * grid->n[1] * grid->n[2], n_outputs = (size_t)self->net.n_outputs;
    for (size_t i = 0; i < n; i++) {
        float coords[KD_NET_MAX_INPUTS] = {grid->axes[0][i % grid->n[0]],
                                           grid->axes[1][i / grid->n[0] % grid->n[1]],
                                           grid->axes[2][i / grid->n[0] / grid->n[1]]};
        memcpy(coords + 3, grid->times, sizeof grid->times);
        KD_TRY(reference_evaluate(state, coords, 1, values + i * n_outputs, error));
    }
    return KDINR_OK;
}

const kd_backend kd_reference_backend = {
    .name = "reference",
    .available = reference_available,
    .open = reference_open,
    .close = reference_close,
    .set_params = reference_set_params,
    .get_params = reference_get_params,
    .gradient = reference_gradient,
    .train_step = reference_train_step,
    .evaluate = reference_evaluate,
    .evaluate_grid = reference_evaluate_grid,
};
