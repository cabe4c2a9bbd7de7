/* Decoding, of single samples or of a grid: chunks of fixed size take turns on two lanes, so that
 * one is computed while the other's values travel to the host and into the caller's array. Above:
 * backend_cuda.cu. Below: forward.cu or fused.h. Device memory does not depend on how much is
 * decoded, but for the axes. */
#include <string.h>

#include "cuda/check.h"
#include "cuda/devices.h"
#include "cuda/fused.h"
#include "cuda/instance.h"
#include "cuda/walk.h"

enum { N_LANES = 2 };

/* One decoding: what is asked, and where its lanes are. */
typedef struct decoding {
    const kd_cuda_instance *self;
    const float *coords; /* single samples, or NULL: */
    const kd_grid *grid;
    size_t n, n_axes;
    float *values;
    kd_cuda_lane *lanes[N_LANES];
    kd_cuda_window windows[N_LANES];
    size_t first[N_LANES], count[N_LANES]; /* of the chunk on its way; count 0: none */
} decoding;

/* A grid as the device sees it. */
typedef struct device_grid {
    const float *axes[3];
    size_t n[3];
    float times[KD_NET_MAX_TIMES];
} device_grid;

/* coords [count][n_inputs] of the grid's samples from number `first` on; x varies fastest */
__global__ void grid_kernel(device_grid grid, size_t first, unsigned count, unsigned n_inputs,
                            float *coords)
{
    for (unsigned i = kd_cuda_first(); i < count; i += kd_cuda_stride()) {
        const size_t sample = first + i, row = sample / grid.n[0];
        float *to = coords + i * n_inputs;
        to[0] = grid.axes[0][sample % grid.n[0]];
        to[1] = grid.axes[1][row % grid.n[1]];
        to[2] = grid.axes[2][row / grid.n[1]];
#pragma unroll
        for (unsigned k = 0; k < KD_NET_MAX_TIMES; k++) {
            if (3 + k < n_inputs) to[3 + k] = grid.times[k];
        }
    }
}

static kdinr_status launch_grid(const decoding *d, int i, kdinr_error *error)
{
    const kd_cuda_window *window = &d->windows[i];
    const size_t *n = d->grid->n;
    device_grid grid = {{window->d_axes, window->d_axes + n[0], window->d_axes + n[0] + n[1]},
                        {n[0], n[1], n[2]},
                        {}};
    memcpy(grid.times, d->grid->times, sizeof grid.times);
    KD_LAUNCH(grid_kernel, kd_cuda_blocks(d->count[i]), KD_CUDA_BLOCK, 0, d->lanes[i]->stream, grid,
              d->first[i], (unsigned)d->count[i], (unsigned)d->self->net.n_inputs,
              window->d_coords);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

static kdinr_status copy_coords(const decoding *d, int i, kdinr_error *error)
{
    const size_t n_inputs = (size_t)d->self->net.n_inputs;
    const size_t size = d->count[i] * n_inputs * sizeof(float);
    memcpy(d->lanes[i]->pinned, d->coords + d->first[i] * n_inputs, size);
    KD_CUDA_TRY(cudaMemcpyAsync(d->windows[i].d_coords, d->lanes[i]->pinned, size,
                                cudaMemcpyHostToDevice, d->lanes[i]->stream),
                error);
    return KDINR_OK;
}

static kdinr_status compute(const decoding *d, int i, kdinr_error *error)
{
    const kd_cuda_instance *self = d->self;
    KD_TRY(d->grid != NULL ? launch_grid(d, i, error) : copy_coords(d, i, error));
    return kd_cuda_forward(d->lanes[i], &self->net, self->d_params, &d->windows[i].pass, error);
}

/* The same on path 2, which takes a grid's axes as they are. */
static kdinr_status compute_fused(const decoding *d, int i, kdinr_error *error)
{
    const kd_cuda_instance *self = d->self;
    const kd_cuda_window *window = &d->windows[i];
    if (d->grid == NULL) {
        KD_TRY(copy_coords(d, i, error));
        KD_CUDA_TRY((cudaError_t)kd_fused_forward(&self->net, self->d_packed, self->d_params,
                                                  window->d_coords, d->count[i], window->d_values,
                                                  NULL, d->lanes[i]->stream),
                    error);
        return KDINR_OK;
    }
    kd_grid grid = *d->grid;
    grid.axes[0] = window->d_axes;
    grid.axes[1] = grid.axes[0] + grid.n[0];
    grid.axes[2] = grid.axes[1] + grid.n[1];
    KD_CUDA_TRY((cudaError_t)kd_fused_forward_grid(&self->net, self->d_packed, self->d_params,
                                                   &grid, d->first[i], d->count[i],
                                                   window->d_values, d->lanes[i]->stream),
                error);
    return KDINR_OK;
}

/* Set lane i to work on `count` samples; its values come to the start of its pinned memory. */
static kdinr_status start_chunk(decoding *d, int i, size_t first, size_t count, kdinr_error *error)
{
    const kd_cuda_lane *lane = d->lanes[i];
    const size_t size = count * (size_t)d->self->net.n_outputs * sizeof(float);
    d->first[i] = first;
    d->count[i] = count;
    KD_TRY(d->self->d_packed != NULL ? compute_fused(d, i, error) : compute(d, i, error));
    KD_CUDA_TRY(cudaMemcpyAsync(lane->pinned, d->windows[i].d_values, size, cudaMemcpyDeviceToHost,
                                lane->stream),
                error);
    KD_CUDA_TRY(cudaEventRecord(lane->done, lane->stream), error);
    return KDINR_OK;
}

/* Wait for lane i and hand its values over. */
static kdinr_status collect_chunk(decoding *d, int i, kdinr_error *error)
{
    const size_t n_outputs = (size_t)d->self->net.n_outputs;
    if (d->count[i] == 0) return KDINR_OK;
    KD_CUDA_TRY(cudaEventSynchronize(d->lanes[i]->done), error);
    memcpy(d->values + d->first[i] * n_outputs, d->lanes[i]->pinned,
           d->count[i] * n_outputs * sizeof(float));
    d->count[i] = 0;
    return KDINR_OK;
}

/* The axes, and on path 1 coordinates for the rows that a last chunk does not fill. */
static kdinr_status fill_window(const decoding *d, int i, kdinr_error *error)
{
    const kd_cuda_window *window = &d->windows[i];
    const size_t size = window->rows * (size_t)d->self->net.n_inputs * sizeof(float);
    float *to = window->d_axes;
    if (d->self->d_packed == NULL) {
        KD_CUDA_TRY(cudaMemsetAsync(window->d_coords, 0, size, d->lanes[i]->stream), error);
    }
    for (int a = 0; d->grid != NULL && a < 3; a++) {
        KD_CUDA_TRY(cudaMemcpyAsync(to, d->grid->axes[a], d->grid->n[a] * sizeof(float),
                                    cudaMemcpyHostToDevice, d->lanes[i]->stream),
                    error);
        to += d->grid->n[a];
    }
    return KDINR_OK;
}

static kdinr_status take_lane(decoding *d, int i, kdinr_error *error)
{
    const kd_net *net = &d->self->net;
    const bool fused = d->self->d_packed != NULL;
    const size_t n_most = (size_t)(net->n_inputs > net->n_outputs ? net->n_inputs : net->n_outputs);
    kd_cuda_layout_window(net, fused, d->n_axes, NULL, &d->windows[i]);
    KD_TRY(kd_cuda_lane_take(d->windows[i].size, d->windows[i].rows * n_most * sizeof(float),
                             d->self->config.precision, &d->lanes[i], error));
    kd_cuda_layout_window(net, fused, d->n_axes, d->lanes[i]->d_memory, &d->windows[i]);
    return fill_window(d, i, error);
}

static kdinr_status run_chunks(decoding *d, kdinr_error *error)
{
    int i = 0;
    for (size_t first = 0; first < d->n; i = (i + 1) % N_LANES) {
        if (d->lanes[i] == NULL) KD_TRY(take_lane(d, i, error));
        const size_t left = d->n - first, rows = d->windows[i].rows;
        const size_t count = left < rows ? left : rows;
        KD_TRY(collect_chunk(d, i, error));
        KD_TRY(start_chunk(d, i, first, count, error));
        first += count;
    }
    for (int k = 0; k < N_LANES; k++, i = (i + 1) % N_LANES) {
        KD_TRY(collect_chunk(d, i, error));
    }
    return KDINR_OK;
}

static kdinr_status decode(decoding *d, kdinr_error *error)
{
    KD_TRY(kd_cuda_enter(d->self->device, error));
    const kdinr_status status = run_chunks(d, error);
    for (int i = 0; i < N_LANES; i++) {
        if (status == KDINR_OK) {
            kd_cuda_lane_give(d->lanes[i]);
        } else {
            kd_cuda_lane_drop(d->lanes[i]);
        }
    }
    return status;
}

kdinr_status kd_cuda_evaluate(void *state, const float *coords, size_t n, float *values,
                              kdinr_error *error)
{
    decoding d = {};
    d.self = (const kd_cuda_instance *)state;
    d.coords = coords;
    d.n = n;
    d.values = values;
    return decode(&d, error);
}

kdinr_status kd_cuda_evaluate_grid(void *state, const kd_grid *grid, float *values,
                                   kdinr_error *error)
{
    decoding d = {};
    d.self = (const kd_cuda_instance *)state;
    d.grid = grid;
    d.values = values;
    d.n_axes = grid->n[0] + grid->n[1] + grid->n[2];
    if (!kd_size_mul(grid->n[0], grid->n[1], &d.n) || !kd_size_mul(d.n, grid->n[2], &d.n)) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "a grid of %zu x %zu x %zu samples is too large", grid->n[0], grid->n[1],
                       grid->n[2]);
    }
    return decode(&d, error);
}
