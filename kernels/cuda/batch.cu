/* One batch: copied to the device with the step's rates in one piece, forward and backward in
 * passes of bounded size, optimiser, and the loss back. Above: backend_cuda.cu. Below: forward.cu,
 * loss.cu, backward.cu, muon.cu, adam.cu. A step that repeats becomes a CUDA graph: the host then
 * launches one thing instead of some hundred. */
#include <math.h>
#include <string.h>

#include "cuda/check.h"
#include "cuda/fused.h"
#include "cuda/instance.h"

/* Pinned memory: the loss in a head's room, then what is copied to the device. */
static char *pinned_loss(const kd_cuda_instance *self)
{
    return self->lane->pinned;
}

static char *pinned_head(const kd_cuda_instance *self)
{
    return self->lane->pinned + sizeof(kd_cuda_head);
}

static size_t coords_size(const kd_cuda_instance *self, size_t n)
{
    return n * (size_t)self->net.n_inputs * sizeof(float);
}

static size_t targets_size(const kd_cuda_instance *self, size_t n)
{
    return n * (size_t)self->net.n_outputs * sizeof(float);
}

static void fill_pinned(const kd_cuda_instance *self, const kd_cuda_head *head, const float *coords,
                        const float *targets, size_t n)
{
    char *to = pinned_head(self);
    memcpy(to, head, sizeof *head);
    memcpy(to + sizeof *head, coords, coords_size(self, n));
    memcpy(to + sizeof *head + coords_size(self, n), targets, targets_size(self, n));
}

/* The gradient of n samples that are on the device already. */
static kdinr_status enqueue_passes(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const kd_net *net = &self->net;
    const size_t n_inputs = (size_t)net->n_inputs, n_outputs = (size_t)net->n_outputs;
    const float *d_coords = (const float *)(self->desk.d_head + 1);
    const float *d_targets = d_coords + n * n_inputs;
    const float scale = (float)(2 / ((double)n * (double)n_outputs));
    kd_cuda_pass pass = self->desk.pass;
    for (size_t first = 0; first < n; first += self->desk.rows) {
        const size_t left = n - first, rows = left < self->desk.rows ? left : self->desk.rows;
        pass.rows = (int)rows;
        pass.coords = d_coords + first * n_inputs;
        KD_TRY(kd_cuda_forward(self->lane, net, kd_cuda_seen(self), &pass, error));
        KD_TRY(kd_cuda_loss(self->lane, net, &pass, d_targets + first * n_outputs, scale, first > 0,
                            self->desk.d_loss, error));
        KD_TRY(kd_cuda_backward(self->lane, net, kd_cuda_seen(self), &pass, first > 0,
                                self->d_gradient, error));
    }
    KD_CUDA_TRY(cudaMemcpyAsync(pinned_loss(self), self->desk.d_loss, sizeof(double),
                                cudaMemcpyDeviceToHost, self->lane->stream),
                error);
    return KDINR_OK;
}

/* The same on path 2, where one launch takes any n. */
static kdinr_status enqueue_fused(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const float *d_coords = (const float *)(self->desk.d_head + 1);
    kd_fused_batch batch = {};
    batch.n_networks = 1;
    batch.n = n;
    batch.halves = self->config.precision == KDINR_PRECISION_16;
    batch.packed = self->d_packed;
    batch.params = kd_cuda_seen(self);
    batch.coords = d_coords;
    batch.targets = d_coords + n * (size_t)self->net.n_inputs;
    batch.gradient = self->d_gradient;
    batch.loss_sum = self->desk.d_fused_loss;
    batch.workspace = self->desk.d_workspace;
    KD_CUDA_TRY((cudaError_t)kd_fused_gradient_many(&self->net, &batch, self->lane->stream), error);
    KD_CUDA_TRY(cudaMemcpyAsync(pinned_loss(self), self->desk.d_fused_loss, sizeof(float),
                                cudaMemcpyDeviceToHost, self->lane->stream),
                error);
    return KDINR_OK;
}

/* Pinned memory in, d_gradient and the pinned loss out. */
static kdinr_status enqueue_gradient(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const size_t size = sizeof(kd_cuda_head) + coords_size(self, n) + targets_size(self, n);
    KD_CUDA_TRY(cudaMemcpyAsync(self->desk.d_head, pinned_head(self), size, cudaMemcpyHostToDevice,
                                self->lane->stream),
                error);
    return self->d_packed != NULL ? enqueue_fused(self, n, error) : enqueue_passes(self, n, error);
}

kdinr_status kd_cuda_batch_pack(const kd_cuda_instance *self, cudaStream_t stream,
                                kdinr_error *error)
{
    if (self->rounding) {
        KD_TRY(kd_cuda_round(self->lane, self->net.n_params, self->d_units, self->d_params,
                             self->d_rounded, error));
    }
    if (self->d_packed == NULL) return KDINR_OK;
    KD_CUDA_TRY((cudaError_t)kd_fused_pack(&self->net, kd_cuda_seen(self), self->d_packed, stream),
                error);
    return KDINR_OK;
}

static kdinr_status enqueue_step(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const kd_cuda_rates *d_rates = &self->desk.d_head->rates;
    KD_TRY(enqueue_gradient(self, n, error));
    if (self->d_matrices != NULL) {
        const kd_cuda_muon_data data = {self->d_matrices, d_rates,        self->d_gradient,
                                        self->d_first,    self->d_params, self->d_scratch};
        KD_TRY(kd_cuda_muon(self->lane, &self->muon, &data, error));
    }
    KD_TRY(kd_cuda_adam(self->lane, self->net.n_params, d_rates, self->d_hidden, self->d_gradient,
                        self->d_first, self->d_second, self->d_params, error));
    return kd_cuda_batch_pack(self, self->lane->stream, error);
}

/* Wait for the lane and fetch the loss. */
static kdinr_status finish(const kd_cuda_instance *self, size_t n, double *loss, kdinr_error *error)
{
    double sum = 0;
    float fused_sum = 0;
    KD_CUDA_TRY(cudaStreamSynchronize(self->lane->stream), error);
    memcpy(&sum, pinned_loss(self), sizeof sum);
    memcpy(&fused_sum, pinned_loss(self), sizeof fused_sum);
    if (self->d_packed != NULL) sum = (double)fused_sum;
    *loss = sum / ((double)n * (double)self->net.n_outputs);
    return KDINR_OK;
}

/* Record the step for n samples instead of doing it. The stream leaves the recording whatever
 * happens in it. */
static kdinr_status record(kd_cuda_instance *self, size_t n, cudaGraph_t *graph, kdinr_error *error)
{
    cudaStream_t stream = self->lane->stream;
    KD_CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), error);
    const kdinr_status status = enqueue_step(self, n, error);
    const cudaError_t code = cudaStreamEndCapture(stream, graph);
    if (status != KDINR_OK) return status;
    KD_CUDA_TRY(code, error);
    return KDINR_OK;
}

void kd_cuda_batch_forget(kd_cuda_instance *self)
{
    if (self->graph != NULL) cudaGraphExecDestroy(self->graph);
    self->graph = NULL;
    self->graph_n = self->direct_n = 0;
}

static kdinr_status make_graph(kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    cudaGraph_t graph = NULL;
    kd_cuda_batch_forget(self);
    const kdinr_status status = record(self, n, &graph, error);
    cudaError_t code = cudaSuccess;
    if (status == KDINR_OK) code = cudaGraphInstantiate(&self->graph, graph, 0);
    if (graph != NULL) cudaGraphDestroy(graph);
    if (status != KDINR_OK) return status;
    if (code != cudaSuccess) return kd_cuda_fail(error, code, "cudaGraphInstantiate");
    self->graph_n = n;
    return KDINR_OK;
}

/* The first step of a size is done directly, which also lets cuBLAS load what it needs; the second
 * one in a row is recorded. */
static kdinr_status launch_step(kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    if (self->graph_n != n) {
        const bool again = self->direct_n == n;
        self->direct_n = n;
        if (!again) return enqueue_step(self, n, error);
        KD_TRY(make_graph(self, n, error));
    }
    KD_CUDA_TRY(cudaGraphLaunch(self->graph, self->lane->stream), error);
    return KDINR_OK;
}

kdinr_status kd_cuda_batch_gradient(kd_cuda_instance *self, const float *coords,
                                    const float *targets, size_t n, double *loss,
                                    kdinr_error *error)
{
    const kd_cuda_head head = {};
    fill_pinned(self, &head, coords, targets, n);
    KD_TRY(enqueue_gradient(self, n, error));
    return finish(self, n, loss, error);
}

kdinr_status kd_cuda_batch_step(kd_cuda_instance *self, const float *coords, const float *targets,
                                size_t n, const kd_step *step, double *loss, kdinr_error *error)
{
    const double k = (double)(self->step + 1);
    const kd_cuda_head head = {{(float)(step->rate_adam / (1 - pow(0.9, k))),
                                (float)(1 / sqrt(1 - pow(0.999, k))), (float)step->rate_matrix, 0}};
    fill_pinned(self, &head, coords, targets, n);
    KD_TRY(launch_step(self, n, error));
    self->step++;
    return finish(self, n, loss, error);
}
