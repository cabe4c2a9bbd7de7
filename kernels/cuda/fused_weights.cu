/* Gradients of weights and biases: sums over samples of (derivative by W x + b) times input.
 * Before: fused_gradient.cu left both factors in the traces, as fragments. After: the optimiser. A
 * warp owns a tile of one weight matrix, 32 outputs x 64 inputs, and a slice of the samples; the
 * slices' partial sums are then added in their order. No atomics: the same bits every time. */
#include "cuda/fragments.h"
#include "cuda/fused_weights.h"
#include "cuda/launch.h"

enum { REDUCE_THREADS = 256 };

/* A tile: of layer `l`, from these chunks on. */
typedef struct weight_tile {
    const kd_fused_layer *layer;
    uint32_t out, in;     /* chunks */
    uint32_t n_out, n_in; /* how many of them there are, up to TILE_OUT and TILE_IN */
} weight_tile;

typedef struct tile_sums {
    kd_chunk_sums weights[KD_FUSED_TILE_OUT][KD_FUSED_TILE_IN];
    float biases[KD_FUSED_TILE_OUT][4];
} tile_sums;

static __device__ weight_tile find_tile(const kd_fused_plan *plan, uint32_t index)
{
    uint32_t l = 0;
    weight_tile tile;
    while (l + 1 < plan->n_layers && plan->layers[l + 1].first_tile <= index) {
        l++;
    }
    tile.layer = &plan->layers[l];
    const uint32_t in = KD_FUSED_CHUNKS(tile.layer->n_in), out = KD_FUSED_CHUNKS(tile.layer->n_out);
    const uint32_t across = (in + KD_FUSED_TILE_IN - 1) / KD_FUSED_TILE_IN;
    const uint32_t local = index - tile.layer->first_tile;
    tile.out = local / across * KD_FUSED_TILE_OUT;
    tile.in = local % across * KD_FUSED_TILE_IN;
    tile.n_out = min(out - tile.out, (uint32_t)KD_FUSED_TILE_OUT);
    tile.n_in = min(in - tile.in, (uint32_t)KD_FUSED_TILE_IN);
    return tile;
}

/* Add 16 samples; the biases' input is 1. */
static __device__ __forceinline__ void add_samples(const weight_tile *tile, const uint4 *trace,
                                                   tile_sums *sums)
{
    const unsigned ones = 0x3c003c00u;
    const uint4 *by_sum = trace + (tile->layer->slopes + tile->out) * 32;
    const uint4 *inputs = trace + (tile->layer->inputs + tile->in) * 32;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    uint4 a[KD_FUSED_TILE_OUT], b[KD_FUSED_TILE_IN];
#pragma unroll
    for (uint32_t o = 0; o < KD_FUSED_TILE_OUT; o++) {
        const uint4 words = o < tile->n_out ? __ldg(by_sum + o * 32) : zero;
        a[o] = make_uint4(words.x, words.z, words.y, words.w);
    }
#pragma unroll
    for (uint32_t i = 0; i < KD_FUSED_TILE_IN; i++) {
        b[i] = i < tile->n_in ? __ldg(inputs + i * 32) : zero;
    }
#pragma unroll
    for (uint32_t o = 0; o < KD_FUSED_TILE_OUT; o++) {
        kd_multiply(sums->biases[o], a[o], ones, ones);
#pragma unroll
        for (uint32_t i = 0; i < KD_FUSED_TILE_IN; i++) {
            kd_multiply_chunk(sums->weights[o][i].low, sums->weights[o][i].high, a[o], b[i]);
        }
    }
}

static __device__ void store_sum(float *to, float sum, bool set)
{
    *to = set ? sum : *to + sum;
}

/* One chunk of outputs of the tile into the slice's partial sums [n_params]. */
static __device__ __forceinline__ void store_outputs(const weight_tile *tile, const tile_sums *sums,
                                                     uint32_t o, bool set, float *partial)
{
    const kd_fused_layer *layer = tile->layer;
    const uint32_t lane = threadIdx.x % 32;
    float *biases = partial + layer->weights + (size_t)layer->n_out * layer->n_in;
#pragma unroll
    for (uint32_t k = 0; k < 4; k++) {
        const uint32_t output = (tile->out + o) * KD_FUSED_CHUNK + lane / 4 + k / 2 * 8;
        float *row = partial + layer->weights + (size_t)output * layer->n_in;
        if (output >= layer->n_out) continue;
        if (tile->in == 0 && lane % 4 == 0 && k % 2 == 0) {
            store_sum(biases + output, layer->omega * sums->biases[o][k], set);
        }
#pragma unroll
        for (uint32_t i = 0; i < KD_FUSED_TILE_IN; i++) {
            const uint32_t low = (tile->in + i) * KD_FUSED_CHUNK + lane % 4 * 2 + k % 2;
            const kd_chunk_sums *chunk = &sums->weights[o][i];
            if (low < layer->n_in) store_sum(row + low, layer->omega * chunk->low[k], set);
            if (low + 8 < layer->n_in) store_sum(row + low + 8, layer->omega * chunk->high[k], set);
        }
    }
}

/* blockIdx: tiles, slices, networks */
__global__ void __launch_bounds__(KD_FUSED_THREADS, 4)
    fused_weights_kernel(const __grid_constant__ kd_fused_plan plan,
                         const __grid_constant__ kd_fused_split split, char *workspace,
                         size_t row_tiles, bool set)
{
    const uint32_t index = blockIdx.x * KD_FUSED_WARPS + threadIdx.x / 32, slice = blockIdx.y;
    if (index >= plan.n_tiles) return;
    const weight_tile tile = find_tile(&plan, index);
    const size_t stride = (size_t)plan.trace * 32;
    const size_t from = row_tiles * slice / split.slices;
    const size_t to = row_tiles * (slice + 1) / split.slices;
    workspace += blockIdx.z * split.size;

    const uint4 *trace = (const uint4 *)workspace + threadIdx.x % 32;
    float *partial = (float *)(workspace + split.partials) + (size_t)slice * plan.n_params;
    tile_sums sums;
    memset(&sums, 0, sizeof sums);
    for (size_t row_tile = from; row_tile < to; row_tile++) {
        add_samples(&tile, trace + row_tile * stride, &sums);
    }
#pragma unroll
    for (uint32_t o = 0; o < KD_FUSED_TILE_OUT; o++) {
        store_outputs(&tile, &sums, o, set, partial);
    }
}

static int launch_fused_weights(const kd_fused_plan *plan, const kd_fused_split *split,
                                const kd_fused_batch *batch, const kd_fused_range *range,
                                cudaStream_t stream)
{
    const dim3 grid((plan->n_tiles + KD_FUSED_WARPS - 1) / KD_FUSED_WARPS, split->slices,
                    (unsigned)batch->n_networks);
    KD_LAUNCH(fused_weights_kernel, grid, dim3(KD_FUSED_THREADS), 0, stream, *plan, *split,
              (char *)batch->workspace, range->rows / KD_FUSED_CHUNK, range->is_first);
    return (int)cudaGetLastError();
}

int kd_fused_add_weights(const kd_fused_plan *plan, const kd_fused_split *split,
                         const kd_fused_batch *batch, const kd_fused_range *range,
                         cudaStream_t stream)
{
    return launch_fused_weights(plan, split, batch, range, stream);
}

/* gradient [n_params]: the slices' sums in their order */
static __device__ void reduce_gradient(const char *workspace, const kd_fused_split *split,
                                       uint32_t n_params, float scale, float *gradient)
{
    const size_t at = (size_t)blockIdx.x * REDUCE_THREADS + threadIdx.x;
    if (at >= n_params) return;
    const float *partials = (const float *)(workspace + split->partials);
    float sum = 0;
    for (uint32_t slice = 0; slice < split->slices; slice++) {
        sum += partials[(size_t)slice * n_params + at];
    }
    gradient[at] = scale * sum;
}

/* loss_sum [1]: every thread sums its share, then halves of the threads add the other half's */
static __device__ void reduce_loss(const float *losses, size_t n_groups, float *loss_sum)
{
    __shared__ float shares[REDUCE_THREADS];
    float sum = 0;
    for (size_t i = threadIdx.x; i < n_groups; i += REDUCE_THREADS) {
        sum += losses[i];
    }
    shares[threadIdx.x] = sum;
    for (uint32_t half = REDUCE_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shares[threadIdx.x] += shares[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *loss_sum = shares[0];
}

/* blockIdx: parameters, and behind them the loss; networks */
__global__ void fused_reduce_kernel(const __grid_constant__ kd_fused_batch batch,
                                    const __grid_constant__ kd_fused_split split, uint32_t n_params,
                                    size_t n_groups, float scale)
{
    const size_t network = blockIdx.y;
    const char *workspace = (const char *)batch.workspace + network * split.size;
    if (blockIdx.x + 1 < gridDim.x) {
        reduce_gradient(workspace, &split, n_params, scale, batch.gradient + network * n_params);
    } else {
        reduce_loss((const float *)(workspace + split.losses), n_groups, batch.loss_sum + network);
    }
}

int kd_fused_reduce(const kd_fused_plan *plan, const kd_fused_split *split,
                    const kd_fused_batch *batch, cudaStream_t stream)
{
    const size_t group_rows = kd_fused_group_rows(plan);
    const size_t n_groups = (batch->n + group_rows - 1) / group_rows;
    const float count = (float)batch->n * (float)plan->n_outputs;
    const dim3 grid((plan->n_params + REDUCE_THREADS - 1) / REDUCE_THREADS + 1,
                    (unsigned)batch->n_networks);
    KD_LAUNCH(fused_reduce_kernel, grid, dim3(REDUCE_THREADS), 0, stream, *batch, *split,
              plan->n_params, n_groups, 1 / (KD_FUSED_LOSS_SCALE * count));
    return (int)cudaGetLastError();
}
