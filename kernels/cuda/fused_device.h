/* What the forward and the gradient kernel share: a warp's place, sines, and all layers but the
 * last. A row group is ROWS row tiles of 16 samples; `columns` warps share it and split its neurons
 * among them. Activations lie in shared memory as chunks (fragments.h), [slot][2][lane]: with ROWS
 * 2 a slot's chunks are those of two row tiles; with ROWS 1 they are one's halves and what rounding
 * to halves left, and a product takes three of the four products of parts. The fourth, of the two
 * rests, is beyond fp32's places. Backward there are no rests: [slot][ROWS][lane]. */
#ifndef KD_CUDA_FUSED_DEVICE_H
#define KD_CUDA_FUSED_DEVICE_H

#include "cuda/fragments.h"
#include "cuda/fused_plan.h"

/** A warp's place in its block, and the network it carries samples through. */
typedef struct kd_fused_warp {
    uint4 *slots;        /* of its row group */
    const uint4 *packed; /* of its network */
    const float *params;
    size_t rests;        /* from a weight's halves to its rests in `packed` */
    uint4 *trace;        /* of its first row tile; NULL: none is written */
    size_t trace_stride; /* from one row tile to the next */
    size_t first_row;
    uint32_t lane, column, columns;
    float share; /* of the stream and of a block's answer in their sum */
} kd_fused_warp;

/** What turns W x + b into turns: omega / (2 pi), or 1 for the last layer. */
static __device__ __forceinline__ float kd_fused_turns(const kd_fused_layer *layer)
{
    return (layer->flags & KD_FUSED_LAST) != 0 ? 1.0f : layer->omega * 0.15915494309f;
}

/** Turns less the nearest whole number, exactly, if |turns| < 2^22: adding 1.5 * 2^23 rounds. */
static __device__ __forceinline__ float kd_fused_fraction(float turns)
{
    const float rounder = 12582912.0f;
    return turns - ((turns + rounder) - rounder);
}

/** sin and cos of 2 pi turns, within 1.5e-6. The hardware's sine is good to 2^-21 on [-pi,pi] only:
 *  hence the reduction, whatever the network's arguments grow to. */
static __device__ __forceinline__ float kd_fused_sine(float turns)
{
    return __sinf(6.2831853072f * kd_fused_fraction(turns));
}

static __device__ __forceinline__ float kd_fused_cosine(float turns)
{
    return __cosf(6.2831853072f * kd_fused_fraction(turns));
}

/** Wait for all warps of the block: what those of the row group wrote can be read. Where a warp has
 *  a row group of its own they wait nevertheless, so that they load the same weights at about the
 *  same time and find them in the first-level cache. */
static __device__ __forceinline__ void kd_fused_meet(void)
{
    __syncthreads();
}

/** Chunk `which` of a slot that has CHUNKS. */
template <int CHUNKS>
static __device__ __forceinline__ uint4 *kd_fused_slot(const kd_fused_warp *warp, uint32_t slot,
                                                       uint32_t which)
{
    return warp->slots + (slot * CHUNKS + which) * 32 + warp->lane;
}

static __device__ __forceinline__ uint4 *kd_fused_trace(const kd_fused_warp *warp, uint32_t chunk,
                                                        uint32_t row_tile)
{
    return warp->trace + row_tile * warp->trace_stride + chunk * 32 + warp->lane;
}

/** sums [PAIRS][ROWS] += weights [PAIRS chunks of outputs][n_chunks] times the chunks from slot
 *  `from`; with `rests` (else NULL) both factors are halves and rests. Two outputs' chunks at a
 * time use each activation twice, as two row tiles do each weight: 256 bytes are loaded per
 * product. */
template <int ROWS, int PAIRS, bool SPLIT>
static __device__ __forceinline__ void
kd_fused_product(const kd_fused_warp *warp, const uint4 *weights, const uint4 *rests,
                 uint32_t n_chunks, uint32_t from, kd_chunk_sums sums[PAIRS][ROWS])
{
    constexpr int chunks = SPLIT ? KD_FUSED_SLOT_CHUNKS : ROWS;
#pragma unroll 2
    for (uint32_t c = 0; c < n_chunks; c++) {
        uint4 a[KD_FUSED_SLOT_CHUNKS];
#pragma unroll
        for (uint32_t i = 0; i < chunks; i++) {
            a[i] = *kd_fused_slot<chunks>(warp, from + c, i);
        }
#pragma unroll
        for (uint32_t p = 0; p < PAIRS; p++) {
            const uint32_t at = (p * n_chunks + c) * 32 + warp->lane;
            const uint4 b = __ldg(&weights[at]);
#pragma unroll
            for (uint32_t r = 0; r < ROWS; r++) {
                kd_multiply_chunk(sums[p][r].low, sums[p][r].high, a[r], b);
            }
            if (SPLIT) {
                const uint4 rest = __ldg(&rests[at]);
                kd_multiply_chunk(sums[p][0].low, sums[p][0].high, a[1], b);
                kd_multiply_chunk(sums[p][0].low, sums[p][0].high, a[0], rest);
            }
        }
    }
}

/** The biases of outputs o and o + 1 in turns, 0 beyond the layer's end. */
static __device__ __forceinline__ float2 kd_fused_biases(const kd_fused_warp *warp,
                                                         const kd_fused_layer *layer, uint32_t o)
{
    const float *biases = warp->params + layer->weights + (size_t)layer->n_out * layer->n_in;
    const float turns = kd_fused_turns(layer);
    return make_float2(o < layer->n_out ? turns * __ldg(biases + o) : 0,
                       o + 1 < layer->n_out ? turns * __ldg(biases + o + 1) : 0);
}

/** Every row tile's sums of a chunk of outputs begin with the biases. */
template <int ROWS>
static __device__ __forceinline__ void kd_fused_start(const kd_fused_warp *warp,
                                                      const kd_fused_layer *layer, uint32_t chunk,
                                                      kd_chunk_sums sums[ROWS])
{
    const uint32_t o = chunk * KD_FUSED_CHUNK + warp->lane % 4 * 2;
    const float2 low = kd_fused_biases(warp, layer, o), high = kd_fused_biases(warp, layer, o + 8);
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        sums[r].low[0] = sums[r].low[2] = low.x;
        sums[r].low[1] = sums[r].low[3] = low.y;
        sums[r].high[0] = sums[r].high[2] = high.x;
        sums[r].high[1] = sums[r].high[3] = high.y;
    }
}

/** The stream's chunk in `slot`, whose rests lie 32 further. */
template <int ROWS>
static __device__ __forceinline__ void kd_fused_load(const uint4 *slot, kd_chunk_sums *values)
{
    kd_unpack_chunk(*slot, values);
    if (ROWS == 1) {
        kd_chunk_sums rest;
        kd_unpack_chunk(slot[32], &rest);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            values->low[i] += rest.low[i];
            values->high[i] += rest.high[i];
        }
    }
}

/** From turns to the layer's output: sine, residual, and into its slot; TRACED: slopes too. */
template <int ROWS, bool TRACED>
static __device__ __forceinline__ void kd_fused_finish(const kd_fused_warp *warp,
                                                       const kd_fused_layer *layer, uint32_t chunk,
                                                       uint32_t row_tile, kd_chunk_sums *sums)
{
    uint4 *slot = kd_fused_slot<KD_FUSED_SLOT_CHUNKS>(warp, layer->to + chunk, row_tile);
    if (TRACED) {
        kd_chunk_sums slopes;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            slopes.low[i] = kd_fused_cosine(sums->low[i]);
            slopes.high[i] = kd_fused_cosine(sums->high[i]);
        }
        *kd_fused_trace(warp, layer->slopes + chunk, row_tile) = kd_pack_chunk(&slopes);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sums->low[i] = kd_fused_sine(sums->low[i]);
        sums->high[i] = kd_fused_sine(sums->high[i]);
    }
    if ((layer->flags & KD_FUSED_ADDS) != 0) {
        kd_chunk_sums stream;
        kd_fused_load<ROWS>(slot, &stream);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums->low[i] = warp->share * (stream.low[i] + sums->low[i]);
            sums->high[i] = warp->share * (stream.high[i] + sums->high[i]);
        }
    }
    *slot = kd_pack_chunk(sums);
    if (ROWS == 1) slot[32] = kd_pack_rest(sums, *slot);
}

/** PAIRS chunks of a layer's outputs, from `chunk` on. */
template <int ROWS, int PAIRS, bool TRACED>
static __device__ __forceinline__ void kd_fused_outputs(const kd_fused_warp *warp,
                                                        const kd_fused_layer *layer, uint32_t chunk)
{
    const uint32_t n_chunks = KD_FUSED_CHUNKS(layer->n_in);
    const uint4 *weights = warp->packed + ((size_t)layer->fragments + chunk * n_chunks) * 32;
    kd_chunk_sums sums[PAIRS][ROWS];
#pragma unroll
    for (uint32_t p = 0; p < PAIRS; p++) {
        kd_fused_start<ROWS>(warp, layer, chunk + p, sums[p]);
    }
    kd_fused_product<ROWS, PAIRS, ROWS == 1>(warp, weights, weights + warp->rests, n_chunks,
                                             layer->from, sums);
#pragma unroll
    for (uint32_t p = 0; p < PAIRS; p++) {
#pragma unroll
        for (uint32_t r = 0; r < ROWS; r++) {
            kd_fused_finish<ROWS, TRACED>(warp, layer, chunk + p, r, &sums[p][r]);
        }
    }
}

/** Chunks that a warp makes at a time: one, if that gives work to more warps. */
static __device__ __forceinline__ uint32_t kd_fused_at_once(const kd_fused_warp *warp,
                                                            uint32_t n_chunks)
{
    return n_chunks <= warp->columns ? 1 : 2;
}

/** A sine layer: the warp's share of its outputs. */
template <int ROWS, bool TRACED>
static __device__ __forceinline__ void kd_fused_layer_forward(const kd_fused_warp *warp,
                                                              const kd_fused_layer *layer)
{
    const uint32_t n_chunks = KD_FUSED_CHUNKS(layer->n_out);
    const uint32_t at_once = kd_fused_at_once(warp, n_chunks);
    for (uint32_t chunk = at_once * warp->column; chunk < n_chunks;
         chunk += at_once * warp->columns) {
        if (chunk + 1 < n_chunks && at_once == 2) {
            kd_fused_outputs<ROWS, 2, TRACED>(warp, layer, chunk);
        } else {
            kd_fused_outputs<ROWS, 1, TRACED>(warp, layer, chunk);
        }
    }
}

/** The coordinates of a lane's samples: those of row r % 2 * 8 + g of row tile r / 2. */
typedef struct kd_fused_coords {
    float of[2 * KD_FUSED_SLOT_CHUNKS][KD_NET_MAX_INPUTS];
} kd_fused_coords;

/** turns += those of outputs o (in [0], [2]) and o + 1 of two samples */
static __device__ __forceinline__ void kd_fused_first_sums(const kd_fused_layer *layer,
                                                           const float *weights, uint32_t o,
                                                           const float coords[2][KD_NET_MAX_INPUTS],
                                                           float sums[4])
{
    const float turns = kd_fused_turns(layer);
#pragma unroll
    for (uint32_t i = 0; i < KD_NET_MAX_INPUTS; i++) {
        if (i >= layer->n_in) continue;
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) {
            if (o + k >= layer->n_out) continue;
            const float weight = turns * __ldg(weights + (o + k) * layer->n_in + i);
            sums[k] += weight * coords[0][i];
            sums[2 + k] += weight * coords[1][i];
        }
    }
}

/** Coordinates [n][n_inputs] of a lane's samples; 0 beyond the last one. */
template <int ROWS>
static __device__ __forceinline__ void
kd_fused_read_coords(const kd_fused_warp *warp, const float *coords, size_t n, uint32_t n_inputs,
                     kd_fused_coords *result)
{
#pragma unroll
    for (uint32_t r = 0; r < 2 * ROWS; r++) {
        const size_t row = warp->first_row + 8 * r + warp->lane / 4;
#pragma unroll
        for (uint32_t i = 0; i < KD_NET_MAX_INPUTS; i++) {
            result->of[r][i] = row < n && i < n_inputs ? __ldg(coords + row * n_inputs + i) : 0;
        }
    }
}

/** The first layer, in fp32: halves would blur the coordinates of a large grid. */
template <int ROWS, bool TRACED>
static __device__ __forceinline__ void kd_fused_first_layer(const kd_fused_warp *warp,
                                                            const kd_fused_layer *layer,
                                                            const kd_fused_coords *coords)
{
    const float *weights = warp->params + layer->weights;
    const uint32_t n_chunks = KD_FUSED_CHUNKS(layer->n_out);
    for (uint32_t chunk = warp->column; chunk < n_chunks; chunk += warp->columns) {
        const uint32_t o = chunk * KD_FUSED_CHUNK + warp->lane % 4 * 2;
        kd_chunk_sums sums[ROWS];
        kd_fused_start<ROWS>(warp, layer, chunk, sums);
#pragma unroll
        for (uint32_t r = 0; r < ROWS; r++) {
            kd_fused_first_sums(layer, weights, o, &coords->of[2 * r], sums[r].low);
            kd_fused_first_sums(layer, weights, o + 8, &coords->of[2 * r], sums[r].high);
            kd_fused_finish<ROWS, TRACED>(warp, layer, chunk, r, &sums[r]);
        }
    }
}

/** Put chunks from slot `from` on, of CHUNKS each, into the trace, transposed: a factor of the
 * weight gradients. */
template <int ROWS, int CHUNKS>
static __device__ __forceinline__ void kd_fused_save(const kd_fused_warp *warp, uint32_t from,
                                                     uint32_t n_chunks, uint32_t to)
{
    for (uint32_t chunk = warp->column; chunk < n_chunks; chunk += warp->columns) {
#pragma unroll
        for (uint32_t r = 0; r < ROWS; r++) {
            const uint4 values = *kd_fused_slot<CHUNKS>(warp, from + chunk, r);
            *kd_fused_trace(warp, to + chunk, r) = kd_transpose_chunk(values);
        }
    }
}

/** All layers but the last, of which the input is then in its slots for all warps. */
template <int ROWS, bool TRACED>
static __device__ __forceinline__ void
kd_fused_carry(const kd_fused_plan *plan, const kd_fused_warp *warp, const kd_fused_coords *coords)
{
    kd_fused_first_layer<ROWS, TRACED>(warp, &plan->layers[0], coords);
    for (uint32_t l = 1; l < plan->n_layers; l++) {
        const kd_fused_layer *layer = &plan->layers[l];
        kd_fused_meet();
        if (TRACED) {
            kd_fused_save<ROWS, KD_FUSED_SLOT_CHUNKS>(warp, layer->from,
                                                      KD_FUSED_CHUNKS(layer->n_in), layer->inputs);
        }
        if ((layer->flags & KD_FUSED_LAST) == 0) kd_fused_layer_forward<ROWS, TRACED>(warp, layer);
    }
}

/** The linear layer of a warp's row tiles; its outputs fit into one chunk. Warps of column 0 only.
 */
template <int ROWS>
static __device__ __forceinline__ void
kd_fused_last_layer(const kd_fused_plan *plan, const kd_fused_warp *warp, kd_chunk_sums sums[ROWS])
{
    const kd_fused_layer *layer = &plan->layers[plan->n_layers - 1];
    const uint4 *weights = warp->packed + (size_t)layer->fragments * 32;
    kd_chunk_sums all[1][ROWS];
    kd_fused_start<ROWS>(warp, layer, 0, all[0]);
    kd_fused_product<ROWS, 1, ROWS == 1>(warp, weights, weights + warp->rests,
                                         KD_FUSED_CHUNKS(layer->n_in), layer->from, all);
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        sums[r] = all[0][r];
    }
}

/** The running warp of a block of KD_FUSED_THREADS threads, whose row groups have that many chunks
 * of shared memory; blockIdx.y is the network. */
static __device__ __forceinline__ kd_fused_warp kd_fused_warp_here(const kd_fused_plan *plan,
                                                                   const kd_fused_batch *batch,
                                                                   uint4 *shared, uint32_t chunks)
{
    const uint32_t index = threadIdx.x / 32, group = index / plan->columns;
    const size_t network = blockIdx.y, groups = KD_FUSED_WARPS / plan->columns;
    kd_fused_warp warp;
    warp.slots = shared + (size_t)group * chunks * 32;
    warp.packed = (const uint4 *)batch->packed + network * 3 * plan->matrices * 32;
    warp.params = batch->params + network * plan->n_params;
    warp.rests = (size_t)plan->matrices * 32;
    warp.trace = NULL;
    warp.trace_stride = 0;
    warp.first_row = (blockIdx.x * groups + group) * plan->tiles * KD_FUSED_CHUNK;
    warp.lane = threadIdx.x % 32;
    warp.column = index % plan->columns;
    warp.columns = plan->columns;
    warp.share = plan->share;
    return warp;
}

/** Bytes of shared memory of a block whose row groups have that many chunks. */
static inline size_t kd_fused_shared_size(const kd_fused_plan *plan, uint32_t chunks)
{
    return (size_t)(KD_FUSED_WARPS / plan->columns) * chunks * 32 * sizeof(uint4);
}

#endif
