/* What lies where in a lane's device memory. Before: backend_cuda.cu or evaluate.cu knows the
 * sizes. After: batch.cu and evaluate.cu fill it. */
#include "cuda/instance.h"
#include "cuda/walk.h"

#include "blocks.h"
#include "cuda/fused.h"

/* Limits of one pass's memory. */
static const size_t max_train_size = (size_t)1 << 30, max_evaluate_size = (size_t)1 << 26;

/* Memory that is handed out piece by piece; with base NULL only counted. */
typedef struct arena {
    char *base;
    size_t used;
} arena;

static void *take(arena *from, size_t n, size_t size)
{
    const size_t alignment = 256;
    void *piece = from->base == NULL ? NULL : from->base + from->used;
    from->used += (n * size + alignment - 1) / alignment * alignment;
    return piece;
}

static float *take_floats(arena *from, size_t n)
{
    return (float *)take(from, n, sizeof(float));
}

static size_t widest(const kd_net *net)
{
    size_t most = 0;
    for (int l = 0; l < net->n_layers; l++) {
        if ((size_t)net->layers[l].n_out > most) most = (size_t)net->layers[l].n_out;
    }
    return most;
}

/* The largest halving of `rows` whose passes take at most `limit` bytes at `n` floats per row. */
static size_t limit_rows(size_t rows, size_t n, size_t limit)
{
    while (rows > 64 && rows * n * sizeof(float) > limit) {
        rows /= 2;
    }
    return rows;
}

static size_t trained_floats(const kd_net *net)
{
    size_t n = 3 * widest(net);
    for (int l = 0; l < net->n_layers; l++) {
        n += 2 * (size_t)net->layers[l].n_out;
    }
    return n;
}

static size_t batch_floats(const kd_net *net, size_t max_batch)
{
    return max_batch * (size_t)(net->n_inputs + net->n_outputs);
}

/* A team's batches never are on the host. */
size_t kd_cuda_layout_pinned(const kd_cuda_use *use)
{
    const size_t n = (size_t)use->n_networks;
    const size_t floats = n > 1 ? 0 : batch_floats(use->net, use->max_batch);
    return n * sizeof(kd_cuda_run) + (n + 1) * sizeof(kd_cuda_head) + floats * sizeof(float);
}

static void place_pass(const kd_net *net, size_t rows, arena *from, kd_cuda_pass *pass)
{
    for (int l = 0; l < net->n_layers; l++) {
        const size_t n = rows * (size_t)net->layers[l].n_out;
        pass->outputs[l] = take_floats(from, n);
        pass->slopes[l] = take_floats(from, n);
    }
    for (int i = 0; i < 3; i++) {
        pass->by[i] = take_floats(from, rows * widest(net));
    }
    pass->column_sums = take_floats(from, KD_CUDA_MAX_RUNS * widest(net));
    pass->losses = (double *)take(from, KD_CUDA_MAX_BLOCKS, sizeof(double));
}

void kd_cuda_layout_desk(const kd_cuda_use *use, char *d_memory, kd_cuda_desk *desk)
{
    const size_t most = limit_rows(KD_CUDA_TRAIN_ROWS, trained_floats(use->net), max_train_size);
    const size_t batch_size = batch_floats(use->net, use->max_batch) * sizeof(float);
    const size_t n = (size_t)use->n_networks;
    arena from = {d_memory, 0};
    *desk = {};
    desk->rows = use->fused || use->max_batch < most ? use->max_batch : most;
    desk->d_head = (kd_cuda_head *)take(&from, n, sizeof(kd_cuda_head) + batch_size);
    desk->d_run = (kd_cuda_run *)take(&from, n, sizeof(kd_cuda_run));
    desk->d_loss = (double *)take(&from, 1, sizeof(double));
    desk->d_fused_loss = take_floats(&from, n);
    if (use->fused) {
        desk->d_workspace = (char *)take(&from, n, kd_fused_workspace(use->net, use->max_batch));
    } else {
        place_pass(use->net, desk->rows, &from, &desk->pass);
    }
    desk->size = from.used;
}

/* Layer l writes to the first buffer that neither its input nor what its block skips is in. */
static void take_turns(const kd_net *net, float *const buffers[3], kd_cuda_pass *pass)
{
    for (int l = 0; l < net->n_layers; l++) {
        const float *input = l == 0 ? NULL : pass->outputs[l - 1], *skip = NULL;
        int i = 0;
        for (int k = l; skip == NULL && kd_blocks_contain(net, l) && k > l - net->block_layers;
             k--) {
            if (kd_blocks_start(net, k)) skip = pass->outputs[k - 1];
        }
        while (buffers[i] == input || buffers[i] == skip) {
            i++;
        }
        pass->outputs[l] = buffers[i];
        pass->slopes[l] = NULL;
    }
}

void kd_cuda_layout_window(const kd_net *net, bool fused, size_t n_axes, char *d_memory,
                           kd_cuda_window *window)
{
    const size_t most = limit_rows(KD_CUDA_EVALUATE_ROWS, 3 * widest(net), max_evaluate_size);
    const size_t rows = fused ? KD_CUDA_FUSED_ROWS : most;
    arena from = {d_memory, 0};
    float *buffers[3];
    *window = {};
    window->rows = rows;
    window->pass.rows = (int)rows;
    window->d_axes = take_floats(&from, n_axes);
    window->d_coords = take_floats(&from, rows * (size_t)net->n_inputs);
    window->pass.coords = window->d_coords;
    if (fused) {
        window->d_values = take_floats(&from, rows * (size_t)net->n_outputs);
    }
    for (int i = 0; i < 3 && !fused; i++) {
        buffers[i] = take_floats(&from, rows * widest(net));
    }
    if (d_memory != NULL && !fused) {
        take_turns(net, buffers, &window->pass);
        window->d_values = window->pass.outputs[net->n_layers - 1];
    }
    window->size = from.used;
}
