/* One batch: copied to the device with the step's rates in one piece, forward and backward in
 * passes of bounded size, optimiser, and the loss back. Or a run of batches that are drawn on the
 * device, where rates go and from where losses come back once for all: for several networks at once
 * if the instance is a team. Above: backend_cuda.cu, and together.cu for runs. Below: supply.cu,
 * forward.cu, loss.cu, backward.cu or fused.h, muon.cu, adam.cu. A step that repeats becomes a CUDA
 * graph: the host then launches one thing instead of some hundred. */
#include <math.h>
#include <string.h>

#include "cuda/check.h"
#include "cuda/fused.h"
#include "cuda/instance.h"
#include "cuda/launch.h"

/* Pinned memory: the runs, the loss in a head's room, then what is copied to the device. */
static kd_cuda_run *pinned_runs(const kd_cuda_instance *self)
{
    return (kd_cuda_run *)self->lane->pinned;
}

static size_t runs_size(const kd_cuda_instance *self)
{
    return (size_t)self->n_networks * sizeof(kd_cuda_run);
}

static size_t heads_size(const kd_cuda_instance *self)
{
    return (size_t)self->n_networks * sizeof(kd_cuda_head);
}

static char *pinned_loss(const kd_cuda_instance *self)
{
    return self->lane->pinned + runs_size(self);
}

static char *pinned_head(const kd_cuda_instance *self)
{
    return pinned_loss(self) + sizeof(kd_cuda_head);
}

/* Where the batches lie on the device: all coordinates, then all targets. */
static float *device_coords(const kd_cuda_instance *self)
{
    return (float *)(self->desk.d_head + self->n_networks);
}

static float *device_targets(const kd_cuda_instance *self, size_t n)
{
    return device_coords(self) + (size_t)self->n_networks * n * (size_t)self->net.n_inputs;
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
    const float *d_coords = device_coords(self), *d_targets = device_targets(self, n);
    const float scale = (float)(2 / ((double)n * (double)n_outputs));
    const double gradient_weight = self->config.gradient_weight;
    const size_t desk_rows = self->desk.rows;
    const size_t most = gradient_weight > 0 ? desk_rows - desk_rows % KD_GROUP_ROWS : desk_rows;
    kd_cuda_pass pass = self->desk.pass;
    for (size_t first = 0; first < n; first += most) {
        const size_t left = n - first, rows = left < most ? left : most;
        pass.rows = (int)rows;
        pass.coords = d_coords + first * n_inputs;
        KD_TRY(kd_cuda_forward(self->lane, net, self->d_params, &pass, error));
        KD_TRY(kd_cuda_loss(self->lane, net, &pass, d_targets + first * n_outputs, scale, first > 0,
                            self->desk.d_loss, error));
        if (gradient_weight > 0) {
            KD_TRY(kd_cuda_pull(self->lane, net, &pass, gradient_weight, error));
        }
        KD_TRY(kd_cuda_backward(self->lane, net, self->d_params, &pass, first > 0, self->d_gradient,
                                error));
    }
    return KDINR_OK;
}

/* The same on path 2, where one launch takes any n. */
static kdinr_status enqueue_fused(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    kd_fused_batch batch = {};
    batch.n_networks = self->n_networks;
    batch.n = n;
    batch.halves = self->config.precision == KDINR_PRECISION_16;
    batch.packed = self->d_packed;
    batch.params = self->d_params;
    batch.coords = device_coords(self);
    batch.targets = device_targets(self, n);
    batch.gradient = self->d_gradient;
    batch.loss_sum = self->desk.d_fused_loss;
    batch.workspace = self->desk.d_workspace;
    KD_CUDA_TRY((cudaError_t)kd_fused_gradient_many(&self->net, &batch, self->lane->stream), error);
    return KDINR_OK;
}

static kdinr_status enqueue_device(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    return self->d_packed != NULL ? enqueue_fused(self, n, error) : enqueue_passes(self, n, error);
}

/* Pinned memory in, d_gradient and the pinned loss out. */
static kdinr_status enqueue_gradient(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const size_t size = sizeof(kd_cuda_head) + coords_size(self, n) + targets_size(self, n);
    const bool fused = self->d_packed != NULL;
    KD_CUDA_TRY(cudaMemcpyAsync(self->desk.d_head, pinned_head(self), size, cudaMemcpyHostToDevice,
                                self->lane->stream),
                error);
    KD_TRY(enqueue_device(self, n, error));
    KD_CUDA_TRY(cudaMemcpyAsync(pinned_loss(self),
                                fused ? (const void *)self->desk.d_fused_loss : self->desk.d_loss,
                                fused ? sizeof(float) : sizeof(double), cudaMemcpyDeviceToHost,
                                self->lane->stream),
                error);
    return KDINR_OK;
}

/* A step of each network's run is over: its loss is kept, and the next one's rates and samples are
 * due. A thread for each network. */
__global__ void turn_kernel(kd_cuda_run *runs, kd_cuda_head *heads, unsigned n,
                            const float *fused_losses, const double *loss)
{
    kd_cuda_run *run = runs + threadIdx.x;
    kd_cuda_head *head = heads + threadIdx.x;
    const unsigned k = run->n_done;
    run->losses[k] = fused_losses != NULL ? (double)fused_losses[threadIdx.x] : *loss;
    run->first += n;
    run->n_done = k + 1;
    head->rates = run->rates[k + 1];
}

static kdinr_status launch_turn(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const kd_cuda_desk *desk = &self->desk;
    KD_LAUNCH(turn_kernel, 1, (unsigned)self->n_networks, 0, self->lane->stream, desk->d_run,
              desk->d_head, (unsigned)n,
              self->d_packed != NULL ? desk->d_fused_loss : (const float *)NULL, desk->d_loss);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

kdinr_status kd_cuda_batch_pack(const kd_cuda_instance *self, cudaStream_t stream,
                                kdinr_error *error)
{
    if (self->d_packed == NULL) return KDINR_OK;
    KD_CUDA_TRY((cudaError_t)kd_fused_pack_many(&self->net, self->n_networks, self->d_params,
                                                self->d_packed, stream),
                error);
    return KDINR_OK;
}

/* Muon and Adam: in one launch, if the matrices are small enough. */
static kdinr_status enqueue_moves(const kd_cuda_instance *self, const kd_cuda_moved *moved,
                                  kdinr_error *error)
{
    const kd_cuda_muon_plan *muon = &self->muon;
    if (self->d_matrices == NULL) return kd_cuda_adam(self->lane, moved, error);
    if (kd_cuda_orthogonal_fits(muon)) return kd_cuda_orthogonal(self->lane, muon, moved, error);
    KD_TRY(kd_cuda_muon(self->lane, muon, moved, self->d_packed != NULL, error));
    return kd_cuda_adam(self->lane, moved, error);
}

static kdinr_status enqueue_optimiser(const kd_cuda_instance *self, kdinr_error *error)
{
    const kd_cuda_moved moved = {self->n_networks, self->net.n_params, &self->desk.d_head->rates,
                                 self->d_hidden,   self->d_matrices,   self->d_gradient,
                                 self->d_first,    self->d_second,     self->d_params,
                                 self->d_scratch};
    KD_TRY(enqueue_moves(self, &moved, error));
    return kd_cuda_batch_pack(self, self->lane->stream, error);
}

static kdinr_status enqueue_drawing(const kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    const kd_cuda_drawn to = {self->n_networks, n, device_coords(self), device_targets(self, n)};
    return kd_cuda_supply_draw(self->supplies, self->lane, self->desk.d_run, &to, error);
}

static kdinr_status enqueue_step(const kd_cuda_instance *self, size_t n, bool drawing,
                                 kdinr_error *error)
{
    if (!drawing) {
        KD_TRY(enqueue_gradient(self, n, error));
        return enqueue_optimiser(self, error);
    }
    KD_TRY(enqueue_drawing(self, n, error));
    KD_TRY(enqueue_device(self, n, error));
    KD_TRY(enqueue_optimiser(self, error));
    return launch_turn(self, n, error);
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
static kdinr_status record(kd_cuda_instance *self, size_t n, bool drawing, cudaGraph_t *graph,
                           kdinr_error *error)
{
    cudaStream_t stream = self->lane->stream;
    KD_CUDA_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), error);
    const kdinr_status status = enqueue_step(self, n, drawing, error);
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

static kdinr_status make_graph(kd_cuda_instance *self, size_t n, bool drawing, kdinr_error *error)
{
    cudaGraph_t graph = NULL;
    kd_cuda_batch_forget(self);
    const kdinr_status status = record(self, n, drawing, &graph, error);
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
static kdinr_status launch_step(kd_cuda_instance *self, size_t n, bool drawing, kdinr_error *error)
{
    if (self->drawing != drawing) kd_cuda_batch_forget(self);
    self->drawing = drawing;
    if (self->graph_n != n) {
        const bool again = self->direct_n == n;
        self->direct_n = n;
        if (!again) return enqueue_step(self, n, drawing, error);
        KD_TRY(make_graph(self, n, drawing, error));
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

/* What the optimisers need to know `ahead` steps from now. */
static kd_cuda_rates make_rates(const kd_cuda_instance *self, size_t ahead, const kd_step *step)
{
    const double k = (double)(self->step + ahead + 1);
    const kd_cuda_rates rates = {(float)(step->rate_adam / (1 - pow(0.9, k))),
                                 (float)(1 / sqrt(1 - pow(0.999, k))), (float)step->rate_matrix, 0};
    return rates;
}

kdinr_status kd_cuda_batch_step(kd_cuda_instance *self, const float *coords, const float *targets,
                                size_t n, const kd_step *step, double *loss, kdinr_error *error)
{
    const kd_cuda_head head = {make_rates(self, 0, step)};
    fill_pinned(self, &head, coords, targets, n);
    KD_TRY(launch_step(self, n, false, error));
    self->step++;
    return finish(self, n, loss, error);
}

kd_cuda_run *kd_cuda_batch_fill(const kd_cuda_instance *self, const kd_turn *const *turns,
                                size_t n_steps)
{
    kd_cuda_run *runs = pinned_runs(self);
    kd_cuda_head *heads = (kd_cuda_head *)pinned_head(self);
    for (int i = 0; i < self->n_networks; i++) {
        const kd_cuda_instance *member = (const kd_cuda_instance *)turns[i]->state;
        kd_cuda_run *run = &runs[i];
        memset(run, 0, sizeof *run);
        run->first = turns[i]->first;
        run->drawing = self->supplies[i].drawing;
        for (size_t k = 0; k < n_steps; k++) {
            run->rates[k] = make_rates(member, k, &turns[i]->steps[k]);
        }
        heads[i].rates = run->rates[0];
    }
    return runs;
}

kdinr_status kd_cuda_batch_send(const kd_cuda_instance *self, kdinr_error *error)
{
    KD_CUDA_TRY(cudaMemcpyAsync(self->desk.d_run, pinned_runs(self), runs_size(self),
                                cudaMemcpyHostToDevice, self->lane->stream),
                error);
    KD_CUDA_TRY(cudaMemcpyAsync(self->desk.d_head, pinned_head(self), heads_size(self),
                                cudaMemcpyHostToDevice, self->lane->stream),
                error);
    return KDINR_OK;
}

kdinr_status kd_cuda_batch_go(kd_cuda_instance *self, size_t n, kdinr_error *error)
{
    return launch_step(self, n, true, error);
}

kdinr_status kd_cuda_batch_fetch(const kd_cuda_instance *self, kdinr_error *error)
{
    KD_CUDA_TRY(cudaMemcpyAsync(pinned_runs(self), self->desk.d_run, runs_size(self),
                                cudaMemcpyDeviceToHost, self->lane->stream),
                error);
    return KDINR_OK;
}

void kd_cuda_batch_collect(const kd_cuda_instance *self, const kd_turn *const *turns,
                           size_t n_steps)
{
    for (int i = 0; i < self->n_networks; i++) {
        const double count = (double)turns[i]->n * (double)self->net.n_outputs;
        for (size_t k = 0; k < n_steps; k++) {
            turns[i]->losses[k] = pinned_runs(self)[i].losses[k] / count;
        }
    }
}

kdinr_status kd_cuda_batch_read_supply(kd_cuda_instance *self, uint64_t first, size_t n,
                                       float *coords, float *targets, kdinr_error *error)
{
    char *from = pinned_head(self) + sizeof(kd_cuda_head);
    const size_t size = coords_size(self, n) + targets_size(self, n);
    const kd_turn turn = {self, first, n, NULL, NULL};
    const kd_turn *const turns[1] = {&turn};
    (void)kd_cuda_batch_fill(self, turns, 0);
    KD_TRY(kd_cuda_batch_send(self, error));
    KD_TRY(enqueue_drawing(self, n, error));
    KD_CUDA_TRY(cudaMemcpyAsync(from, device_coords(self), size, cudaMemcpyDeviceToHost,
                                self->lane->stream),
                error);
    KD_CUDA_TRY(cudaStreamSynchronize(self->lane->stream), error);
    memcpy(coords, from, coords_size(self, n));
    memcpy(targets, from + coords_size(self, n), targets_size(self, n));
    return KDINR_OK;
}
