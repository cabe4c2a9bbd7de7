/* The cuda backend's instance: memory on the device, parameters in and out; and the module's entry,
 * which cuda_loader.c calls. Above: backend.h. Below: batch.cu for training, evaluate.cu for
 * decoding, lane.cu for streams and working memory. */
#include <stdlib.h>

#include "blocks.h"
#include "cuda/check.h"
#include "cuda/devices.h"
#include "cuda/fused.h"
#include "groups.h"
#include "cuda/instance.h"
#include "cuda_module.h"

static bool cuda_available(const char **reason)
{
    const char *fault = kd_cuda_device_fault(0);
    if (reason != NULL) *reason = fault;
    return fault == NULL;
}

void kd_cuda_close(kd_cuda_instance *self)
{
    if (self == NULL) return;
    (void)kd_cuda_enter(self->device, NULL);
    kd_cuda_close(self->team);
    if (self->graph != NULL) cudaGraphExecDestroy(self->graph);
    kd_cuda_lane_drop(self->lane);
    if (self->supplies != NULL && self->n_networks == 1) kd_cuda_supply_free(self->supplies);
    free(self->supplies);
    cudaFree(self->d_params);
    cudaFree(self->d_packed);
    cudaFree(self->d_matrices);
    cudaFree(self->d_hidden);
    cudaFree(self->d_scratch);
    cudaFree(self->d_gradient);
    cudaFree(self->d_first);
    cudaFree(self->d_second);
    kd_cuda_lanes_release();
    free(self);
}

/* Copies and fills here are rare and waited for: lanes do not wait for the default stream. */
static kdinr_status copy(void *to, const void *from, size_t size, cudaMemcpyKind kind,
                         kdinr_error *error)
{
    KD_CUDA_TRY(cudaMemcpy(to, from, size, kind), error);
    KD_CUDA_TRY(cudaStreamSynchronize(0), error);
    return KDINR_OK;
}

static kdinr_status clear(float *d_values, size_t n, kdinr_error *error)
{
    KD_CUDA_TRY(cudaMemset(d_values, 0, n * sizeof(float)), error);
    KD_CUDA_TRY(cudaStreamSynchronize(0), error);
    return KDINR_OK;
}

static kdinr_status allocate(float **d_values, size_t n, kdinr_error *error)
{
    KD_CUDA_TRY(cudaMalloc((void **)d_values, n * sizeof(float)), error);
    return clear(*d_values, n, error);
}

/* d_hidden [n_params] says which parameters Muon moves. */
static kdinr_status mark_hidden(kd_cuda_instance *self, kdinr_error *error)
{
    KD_CUDA_TRY(cudaMalloc((void **)&self->d_hidden, self->net.n_params), error);
    KD_CUDA_TRY(cudaMemset(self->d_hidden, 0, self->net.n_params), error);
    for (int l = 0; l < self->net.n_layers; l++) {
        const kd_layer *layer = &self->net.layers[l];
        if (!kd_blocks_hidden(&self->net, l)) continue;
        KD_CUDA_TRY(cudaMemset(self->d_hidden + layer->weights, 1,
                               (size_t)layer->n_out * (size_t)layer->n_in),
                    error);
    }
    KD_CUDA_TRY(cudaStreamSynchronize(0), error);
    return KDINR_OK;
}

static kdinr_status open_muon(kd_cuda_instance *self, kdinr_error *error)
{
    const size_t size = (size_t)self->muon.n_matrices * sizeof *self->d_matrices;
    KD_TRY(mark_hidden(self, error));
    KD_TRY(allocate(&self->d_scratch, (size_t)self->n_networks * self->muon.n_scratch, error));
    KD_CUDA_TRY(cudaMalloc((void **)&self->d_matrices, size), error);
    return copy(self->d_matrices, self->muon.matrices, size, cudaMemcpyHostToDevice, error);
}

static kdinr_status open_training(kd_cuda_instance *self, kdinr_error *error)
{
    const kd_net *net = &self->net;
    const size_t n = (size_t)self->n_networks * net->n_params;
    const kd_cuda_use use = {net, self->d_packed != NULL, self->n_networks, self->config.max_batch};
    kd_cuda_layout_desk(&use, NULL, &self->desk);
    KD_TRY(kd_cuda_lane_take(self->desk.size, kd_cuda_layout_pinned(&use), self->config.precision,
                             &self->lane, error));
    kd_cuda_layout_desk(&use, self->lane->d_memory, &self->desk);
    self->supplies = (kd_cuda_supply *)calloc((size_t)self->n_networks, sizeof *self->supplies);
    if (self->supplies == NULL) {
        return kd_fail_memory(error, (size_t)self->n_networks * sizeof *self->supplies, "supplies");
    }
    KD_TRY(allocate(&self->d_gradient, n, error));
    KD_TRY(allocate(&self->d_first, n, error));
    KD_TRY(allocate(&self->d_second, n, error));
    kd_cuda_muon_plan_make(net, &self->muon);
    return self->config.optimizer == KDINR_OPTIMIZER_MUON ? open_muon(self, error) : KDINR_OK;
}

bool kd_cuda_goes_fused(const kd_net *net, const kd_backend_config *config)
{
    const kdinr_precision precision = config->precision;
    return !(config->training && config->gradient_weight > 0) && precision != KDINR_PRECISION_32 &&
           precision != KDINR_PRECISION_TF32 && kd_fused_supports(net);
}

static kdinr_status open_all(kd_cuda_instance *self, kdinr_error *error)
{
    const size_t n = (size_t)self->n_networks;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_TRY(allocate(&self->d_params, n * self->net.n_params, error));
    if (kd_cuda_goes_fused(&self->net, &self->config)) {
        KD_CUDA_TRY(cudaMalloc((void **)&self->d_packed, n * kd_fused_packed_size(&self->net)),
                    error);
    }
    return self->config.training ? open_training(self, error) : KDINR_OK;
}

kdinr_status kd_cuda_open(const kd_net *net, const kd_backend_config *config, int device,
                          int n_networks, kd_cuda_instance **made, kdinr_error *error)
{
    *made = NULL;
    kd_cuda_instance *self = (kd_cuda_instance *)calloc(1, sizeof *self);
    if (self == NULL) return kd_fail_memory(error, sizeof *self, "cuda backend");
    self->net = *net;
    self->config = *config;
    self->device = device;
    self->n_networks = n_networks;
    kd_cuda_lanes_hold();
    const kdinr_status status = open_all(self, error);
    if (status != KDINR_OK) {
        kd_cuda_close(self);
        return status;
    }
    *made = self;
    return KDINR_OK;
}

static kdinr_status cuda_open(const kd_net *net, const kd_backend_config *config, void **state,
                              kdinr_error *error)
{
    kd_cuda_instance *self = NULL;
    int device = 0;
    kdinr_status status = kd_cuda_devices_pick(config->devices, config->turn, &device, error);
    if (status == KDINR_OK) status = kd_cuda_open(net, config, device, 1, &self, error);
    *state = self;
    return status;
}

static void cuda_close(void *state)
{
    kd_cuda_close((kd_cuda_instance *)state);
}

static kdinr_status cuda_set_params(void *state, const float *params, kdinr_error *error)
{
    kd_cuda_instance *self = (kd_cuda_instance *)state;
    const size_t n = self->net.n_params;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_TRY(copy(self->d_params, params, n * sizeof *params, cudaMemcpyHostToDevice, error));
    KD_TRY(kd_cuda_batch_pack(self, NULL, error));
    KD_CUDA_TRY(cudaStreamSynchronize(0), error);
    self->step = 0;
    if (!self->config.training) return KDINR_OK;
    KD_TRY(clear(self->d_first, n, error));
    return clear(self->d_second, n, error);
}

static kdinr_status cuda_get_params(void *state, float *params, kdinr_error *error)
{
    const kd_cuda_instance *self = (const kd_cuda_instance *)state;
    KD_TRY(kd_cuda_enter(self->device, error));
    return copy(params, self->d_params, self->net.n_params * sizeof *params, cudaMemcpyDeviceToHost,
                error);
}

static kdinr_status check_batch(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const size_t most = self->config.training ? self->config.max_batch : 0;
    if (n >= 1 && n <= most) return kd_groups_check(&self->config, n, error);
    return kd_fail(error, KDINR_ERROR_ARGUMENT, "batch of %zu samples; this instance takes %zu", n,
                   most);
}

static kdinr_status cuda_gradient(void *state, const float *coords, const float *targets, size_t n,
                                  float *gradient, double *loss, kdinr_error *error)
{
    kd_cuda_instance *self = (kd_cuda_instance *)state;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_TRY(check_batch(self, n, error));
    KD_TRY(kd_cuda_batch_gradient(self, coords, targets, n, loss, error));
    return copy(gradient, self->d_gradient, self->net.n_params * sizeof *gradient,
                cudaMemcpyDeviceToHost, error);
}

static kdinr_status cuda_train_step(void *state, const float *coords, const float *targets,
                                    size_t n, const kd_step *step, double *loss, kdinr_error *error)
{
    kd_cuda_instance *self = (kd_cuda_instance *)state;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_TRY(check_batch(self, n, error));
    return kd_cuda_batch_step(self, coords, targets, n, step, loss, error);
}

static kdinr_status cuda_set_supply(void *state, const kd_supply *supply, bool *taken,
                                    kdinr_error *error)
{
    kd_cuda_instance *self = (kd_cuda_instance *)state;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_CUDA_TRY(cudaStreamSynchronize(self->lane->stream), error);
    kd_cuda_batch_forget(self);
    kd_cuda_supply_free(self->supplies);
    return kd_cuda_supply_make(supply, &self->net, self->config.max_batch, self->supplies, taken,
                               error);
}

static kdinr_status cuda_train_supply(const kd_turn *turns, size_t n_turns, size_t n_steps,
                                      kdinr_error *error)
{
    if (n_turns > KD_MOST_TURNS) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "%zu instances at once, allowed are %d",
                       n_turns, KD_MOST_TURNS);
    }
    for (size_t i = 0; i < n_turns; i++) {
        KD_TRY(check_batch((const kd_cuda_instance *)turns[i].state, turns[i].n, error));
    }
    return kd_cuda_together_train(turns, n_turns, n_steps, error);
}

static kdinr_status cuda_read_supply(void *state, uint64_t first, size_t n, float *coords,
                                     float *targets, kdinr_error *error)
{
    kd_cuda_instance *self = (kd_cuda_instance *)state;
    KD_TRY(kd_cuda_enter(self->device, error));
    KD_TRY(check_batch(self, n, error));
    return kd_cuda_batch_read_supply(self, first, n, coords, targets, error);
}

static const kd_backend backend = {"cuda",
                                   cuda_available,
                                   cuda_open,
                                   cuda_close,
                                   cuda_set_params,
                                   cuda_get_params,
                                   cuda_gradient,
                                   cuda_train_step,
                                   kd_cuda_evaluate,
                                   kd_cuda_evaluate_grid,
                                   cuda_set_supply,
                                   cuda_train_supply,
                                   kd_cuda_together_count,
                                   cuda_read_supply,
                                   kd_cuda_devices_check};

extern "C" KDINR_API const kd_cuda_module *kdinr_cuda_module(void);

const kd_cuda_module *kdinr_cuda_module(void)
{
    static const kd_cuda_module module = {
        KD_CUDA_MODULE_VERSION, KDINR_VERSION,   sizeof(kd_net),     sizeof(kd_backend_config),
        sizeof(kd_step),        sizeof(kd_grid), sizeof(kd_backend), &backend};
    return &module;
}
