/* Batches drawn on the device, of several networks at once: places by draw.h, values from the
 * volume, or networks' answers, put on the training's scale. Above: backend_cuda.cu hands the
 * supply over, batch.cu asks for batches. Below: fused.h or forward.cu, by which networks answer.
 */
#include "cuda/supply.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/check.h"
#include "cuda/fused.h"
#include "cuda/instance.h"
#include "cuda/walk.h"
#include "draw.h"

/* ---- drawing ---- */

/* Clamped and mapped as core/distill.c does, in doubles and without fused multiplication: the same
 * bits. */
static __device__ __forceinline__ float target_of(const kd_cuda_answer *answer, unsigned c, float a)
{
    const float clamped = a < -1.0f ? -1.0f : a > 1.0f ? 1.0f : a;
    return (float)__dadd_rn(__dmul_rn((double)clamped, answer->scale[c]), answer->offset[c]);
}

/* Samples of a batch of n that one answer is asked for, at most. */
static __host__ __device__ __forceinline__ unsigned most_rows(const kd_cuda_drawing *drawing,
                                                              unsigned n)
{
    return (n + drawing->n_answers - 1) / drawing->n_answers;
}

/* Batch blockIdx.y, from its own run. Sample i of it is the (i / n_answers)-th that its answer is
 * asked for. */
__global__ void draw_kernel(const kd_cuda_run *runs, unsigned n, float *coords, float *targets)
{
    const kd_cuda_drawing *drawing = &runs[blockIdx.y].drawing;
    const uint64_t first = runs[blockIdx.y].first;
    const unsigned n_outputs = drawing->n_outputs, most = most_rows(drawing, n);
    coords += (size_t)blockIdx.y * n * drawing->n_inputs;
    targets += (size_t)blockIdx.y * n * n_outputs;
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const kd_cuda_answer *answer = drawing->answers + (first + i) % drawing->n_answers;
        float *const to = coords + (size_t)i * drawing->n_inputs;
        int index[3];
        kd_draw_sample(&drawing->chooser, drawing->key, first + i, answer->classes, index);
        for (int a = 0; a < 3; a++) {
            to[a] = drawing->axes[a][index[a]];
        }
        for (unsigned k = 3; k < drawing->n_inputs; k++) {
            to[k] = answer->times[k - 3];
        }
        if (answer->network >= 0) {
            const size_t row = (size_t)answer->network * most + i / drawing->n_answers;
            for (int a = 0; a < 3; a++) {
                drawing->asked[row * 3 + a] = to[a];
            }
            continue;
        }
        const size_t at = kd_draw_at(&drawing->chooser, index) * n_outputs;
        for (unsigned c = 0; c < n_outputs; c++) {
            const float value = answer->values == NULL ? -1.0f : answer->values[at + c];
            targets[(size_t)i * n_outputs + c] = target_of(answer, c, value);
        }
    }
}

/* What networks said becomes targets. */
__global__ void said_kernel(const kd_cuda_run *runs, unsigned n, float *targets)
{
    const kd_cuda_drawing *drawing = &runs[blockIdx.y].drawing;
    const uint64_t first = runs[blockIdx.y].first;
    const unsigned n_outputs = drawing->n_outputs, most = most_rows(drawing, n);
    targets += (size_t)blockIdx.y * n * n_outputs;
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const kd_cuda_answer *answer = drawing->answers + (first + i) % drawing->n_answers;
        if (answer->network < 0) continue;
        const float *said =
            drawing->said + ((size_t)answer->network * most + i / drawing->n_answers) * n_outputs;
        for (unsigned c = 0; c < n_outputs; c++) {
            targets[(size_t)i * n_outputs + c] = target_of(answer, c, said[c]);
        }
    }
}

/* Path 1: one network after the other, as many rows at a time as the window takes. */
static kdinr_status ask_one_by_one(const kd_cuda_supply *supply, const kd_cuda_lane *lane,
                                   size_t most, kdinr_error *error)
{
    const kd_net *net = &supply->net;
    const size_t n_outputs = (size_t)net->n_outputs, all = (size_t)supply->n_networks * most;
    kd_cuda_window window;
    kd_cuda_layout_window(net, false, 0, supply->d_window, &window);
    for (size_t first = 0; first < all;) {
        const size_t network = first / most, left = (network + 1) * most - first;
        const size_t rows = left < window.rows ? left : window.rows;
        window.pass.rows = (int)rows;
        window.pass.coords = supply->drawing.asked + first * 3;
        KD_TRY(kd_cuda_forward(lane, net, supply->d_params + network * net->n_params, &window.pass,
                               error));
        KD_CUDA_TRY(cudaMemcpyAsync(supply->drawing.said + first * n_outputs, window.d_values,
                                    rows * n_outputs * sizeof(float), cudaMemcpyDeviceToDevice,
                                    lane->stream),
                    error);
        first += rows;
    }
    return KDINR_OK;
}

static kdinr_status ask(const kd_cuda_supply *supply, const kd_cuda_lane *lane, size_t most,
                        kdinr_error *error)
{
    if (supply->d_packed == NULL) return ask_one_by_one(supply, lane, most, error);
    kd_fused_batch batch = {};
    batch.n_networks = supply->n_networks;
    batch.n = most;
    batch.packed = supply->d_packed;
    batch.params = supply->d_params;
    batch.coords = supply->drawing.asked;
    batch.values = supply->drawing.said;
    KD_CUDA_TRY((cudaError_t)kd_fused_forward_many(&supply->net, &batch, lane->stream), error);
    return KDINR_OK;
}

kdinr_status kd_cuda_supply_draw(const kd_cuda_supply *supplies, const kd_cuda_lane *lane,
                                 const kd_cuda_run *d_runs, const kd_cuda_drawn *to,
                                 kdinr_error *error)
{
    const unsigned n = (unsigned)to->n;
    const dim3 grid(kd_cuda_blocks(n), (unsigned)to->n_batches);
    bool asks = false;
    KD_LAUNCH(draw_kernel, grid, KD_CUDA_BLOCK, 0, lane->stream, d_runs, n, to->d_coords,
              to->d_targets);
    KD_CUDA_TRY(cudaGetLastError(), error);
    for (int i = 0; i < to->n_batches; i++) {
        if (supplies[i].n_networks == 0) continue;
        KD_TRY(ask(&supplies[i], lane, most_rows(&supplies[i].drawing, n), error));
        asks = true;
    }
    if (!asks) return KDINR_OK;
    KD_LAUNCH(said_kernel, grid, KD_CUDA_BLOCK, 0, lane->stream, d_runs, n, to->d_targets);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

/* ---- handing over ---- */

/* The device's memory as it is filled; with base NULL pieces are only counted. */
typedef struct filling {
    char *base;
    size_t used;
    cudaError_t code; /* of the first copy that failed */
} filling;

static void *reserve(filling *f, size_t size)
{
    const size_t alignment = 256;
    void *piece = f->base == NULL ? NULL : f->base + f->used;
    f->used += (size + alignment - 1) / alignment * alignment;
    return piece;
}

static void *put(filling *f, const void *from, size_t size)
{
    void *piece = reserve(f, size);
    if (piece != NULL && f->code == cudaSuccess) {
        f->code = cudaMemcpy(piece, from, size, cudaMemcpyHostToDevice);
    }
    return piece;
}

static void put_chooser(filling *f, const kd_supply *supply, kd_cuda_drawing *drawing)
{
    const size_t n = supply->chooser.n_blocks;
    drawing->chooser = supply->chooser;
    drawing->chooser.keep = (const float *)put(f, supply->chooser.keep, n * sizeof(float));
    drawing->chooser.alias = (const uint32_t *)put(f, supply->chooser.alias, n * sizeof(uint32_t));
    for (int a = 0; a < 3; a++) {
        const size_t size = (size_t)supply->chooser.dims[a] * sizeof(float);
        drawing->axes[a] = (const float *)put(f, supply->axes[a], size);
    }
}

/* Answers that share their classes, as a map that stays does, share them here too. */
static void put_answers(filling *f, const kd_supply *supply, kd_cuda_supply *made,
                        kd_cuda_answer *answers)
{
    const int *dims = supply->chooser.dims;
    const size_t n = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    for (int i = 0; i < supply->n_answers; i++) {
        const kd_answer *from = &supply->answers[i];
        kd_cuda_answer *to = &answers[i];
        memset(to, 0, sizeof *to);
        if (i > 0 && from->classes == from[-1].classes) {
            to->classes = to[-1].classes;
        } else if (from->classes != NULL) {
            to->classes = (const uint8_t *)put(f, from->classes, n);
        }
        if (from->values != NULL) {
            const size_t size = n * made->drawing.n_outputs * sizeof(float);
            to->values = (const float *)put(f, from->values, size);
        }
        to->network = from->values == NULL && from->net != NULL ? made->n_networks++ : -1;
        memcpy(to->times, from->times, sizeof to->times);
        memcpy(to->scale, from->scale, sizeof to->scale);
        memcpy(to->offset, from->offset, sizeof to->offset);
    }
    made->drawing.answers =
        (const kd_cuda_answer *)put(f, answers, (size_t)supply->n_answers * sizeof *answers);
}

static void put_networks(filling *f, const kd_supply *supply, size_t max_batch,
                         kd_cuda_supply *made)
{
    const size_t n = (size_t)made->n_networks, n_params = made->net.n_params;
    const size_t n_rows = n * most_rows(&made->drawing, (unsigned)max_batch);
    const bool fused = kd_fused_supports(&made->net);
    float *params = (float *)reserve(f, n * n_params * sizeof(float));
    made->d_params = params;
    for (int i = 0; params != NULL && i < supply->n_answers; i++) {
        const kd_answer *answer = &supply->answers[i];
        if (answer->values != NULL || answer->net == NULL || f->code != cudaSuccess) continue;
        f->code =
            cudaMemcpy(params, answer->params, n_params * sizeof(float), cudaMemcpyHostToDevice);
        params += n_params;
    }
    made->drawing.asked = (float *)reserve(f, n_rows * 3 * sizeof(float));
    made->drawing.said = (float *)reserve(f, n_rows * made->drawing.n_outputs * sizeof(float));
    if (fused) {
        made->d_packed = (char *)reserve(f, n * kd_fused_packed_size(&made->net));
    } else {
        kd_cuda_window window;
        kd_cuda_layout_window(&made->net, false, 0, NULL, &window);
        made->d_window = (char *)reserve(f, window.size);
    }
}

/* All pieces into f->base, or only their sizes. */
static void fill(filling *f, const kd_supply *supply, size_t max_batch, kd_cuda_supply *made,
                 kd_cuda_answer *answers)
{
    made->n_networks = 0;
    put_chooser(f, supply, &made->drawing);
    put_answers(f, supply, made, answers);
    if (made->n_networks > 0) put_networks(f, supply, max_batch, made);
}

bool kd_cuda_is_same(const kd_net *a, const kd_net *b)
{
    if (a->n_layers != b->n_layers || a->block_layers != b->block_layers || a->skip != b->skip ||
        a->n_encoder != b->n_encoder) {
        return false;
    }
    for (int l = 0; l < a->n_layers; l++) {
        const kd_layer *one = &a->layers[l], *other = &b->layers[l];
        if (one->n_in != other->n_in || one->n_out != other->n_out || one->omega != other->omega) {
            return false;
        }
    }
    return true;
}

/* The shape that all answering networks have. */
static bool find_net(const kd_supply *supply, kd_net *net)
{
    bool found = false;
    for (int i = 0; i < supply->n_answers; i++) {
        const kd_answer *answer = &supply->answers[i];
        if (answer->values != NULL || answer->net == NULL) continue;
        if (found && !kd_cuda_is_same(answer->net, net)) return false;
        *net = *answer->net;
        found = true;
    }
    return true;
}

/* Places where nobody asks, at a batch's end, are asked nevertheless: not of what memory held. */
static kdinr_status prepare_networks(const kd_cuda_supply *made, size_t max_batch,
                                     kdinr_error *error)
{
    const size_t n_rows = (size_t)made->n_networks * most_rows(&made->drawing, (unsigned)max_batch);
    if (made->n_networks == 0) return KDINR_OK;
    KD_CUDA_TRY(cudaMemset(made->drawing.asked, 0, n_rows * 3 * sizeof(float)), error);
    if (made->d_packed != NULL) {
        KD_CUDA_TRY((cudaError_t)kd_fused_pack_many(&made->net, made->n_networks, made->d_params,
                                                    made->d_packed, NULL),
                    error);
    }
    return KDINR_OK;
}

static kdinr_status make(const kd_supply *supply, size_t max_batch, kd_cuda_supply *made,
                         kd_cuda_answer *answers, bool *taken, kdinr_error *error)
{
    filling f = {};
    fill(&f, supply, max_batch, made, answers);
    const cudaError_t code = cudaMalloc((void **)&made->d_memory, f.used);
    *taken = code == cudaSuccess;
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        memset(made, 0, sizeof *made);
        return KDINR_OK;
    }
    if (code != cudaSuccess) return kd_cuda_fail(error, code, "cudaMalloc");
    f.base = made->d_memory;
    f.used = 0;
    fill(&f, supply, max_batch, made, answers);
    if (f.code != cudaSuccess) return kd_cuda_fail(error, f.code, "cudaMemcpy");
    KD_TRY(prepare_networks(made, max_batch, error));
    KD_CUDA_TRY(cudaStreamSynchronize(0), error);
    return KDINR_OK;
}

kdinr_status kd_cuda_supply_make(const kd_supply *supply, const kd_net *net, size_t max_batch,
                                 kd_cuda_supply *made, bool *taken, kdinr_error *error)
{
    const size_t size = (size_t)supply->n_answers * sizeof(kd_cuda_answer);
    memset(made, 0, sizeof *made);
    *taken = false;
    if (!find_net(supply, &made->net)) return KDINR_OK;
    made->drawing.key = supply->key;
    made->drawing.n_answers = (unsigned)supply->n_answers;
    made->drawing.n_inputs = (unsigned)net->n_inputs;
    made->drawing.n_outputs = (unsigned)net->n_outputs;
    kd_cuda_answer *answers = (kd_cuda_answer *)malloc(size);
    if (answers == NULL) return kd_fail_memory(error, size, "cuda backend");
    const kdinr_status status = make(supply, max_batch, made, answers, taken, error);
    free(answers);
    if (status != KDINR_OK) kd_cuda_supply_free(made);
    return status;
}

void kd_cuda_supply_free(kd_cuda_supply *supply)
{
    cudaFree(supply->d_memory);
    memset(supply, 0, sizeof *supply);
}
