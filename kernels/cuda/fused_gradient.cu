/* A batch's samples forward and backward, a tile per block as in fused_forward.cu. Before:
 * fused_pack.cu. After: fused_weights.cu turns the traces into the weights' gradients.
 *
 * What backward needs is saved, not computed again: per neuron the input and the slope (4 bytes),
 * whose place the derivative by W x + b then takes. Computing again would cost a third more
 * products and sines. The traces of at least KD_FUSED_TRACE_BLOCKS blocks are in memory at once,
 * about two blocks per multiprocessor of a large device: for bottleneck blocks 53 MB at m = 32,
 * d = 3, near such a device's L2 cache (twice that with halves). Networks with smaller traces, as
 * even ones of m up to 64, have more blocks, as long as all fit well into that cache. Weight
 * gradients are a product that sums over samples, so they are left to a kernel that sums over many:
 * with a tile's 32 each fp32 sum would move once per two products. */
#include "cuda/fused_device.h"
#include "cuda/fused_weights.h"
#include "cuda/launch.h"

/* The first layer's inputs, as a chunk of which all but four columns are zero. */
template <int ROWS>
static __device__ void save_coords(const kd_fused_warp *warp, const kd_fused_coords *coords,
                                   uint32_t to)
{
    const uint32_t t = warp->lane % 4;
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        const float *upper = coords->of[2 * r], *lower = coords->of[2 * r + 1];
        uint4 chunk = make_uint4(0, 0, 0, 0);
        if (t == 0) {
            chunk.x = kd_pack_halves(upper[0], upper[1]);
            chunk.y = kd_pack_halves(lower[0], lower[1]);
        } else if (t == 1) {
            chunk.x = kd_pack_halves(upper[2], upper[3]);
            chunk.y = kd_pack_halves(lower[2], lower[3]);
        }
        *kd_fused_trace(warp, to, r) = kd_transpose_chunk(chunk);
    }
}

/* A derivative that grows out of fp16's range stays at its end instead of spoiling all weights. */
static __device__ float saturated(float value)
{
    return fminf(fmaxf(value, -65504.0f), 65504.0f);
}

static __device__ uint4 pack_saturated(kd_chunk_sums *values)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        values->low[i] = saturated(values->low[i]);
        values->high[i] = saturated(values->high[i]);
    }
    return kd_pack_chunk(values);
}

/* Predictions in sums[4] of outputs `output` and the next, of samples row and row + 8, become the
 * scaled derivatives of the sum of squares; returns the squares. */
static __device__ float compare(const float *targets, size_t row, uint32_t output, size_t n,
                                uint32_t n_outputs, float sums[4])
{
    float loss = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const size_t at_row = row + i / 2 * 8;
        const uint32_t at = output + i % 2;
        const bool given = at_row < n && at < n_outputs;
        const float miss = given ? sums[i] - __ldg(targets + at_row * n_outputs + at) : 0;
        loss += miss * miss;
        sums[i] = 2 * KD_FUSED_LOSS_SCALE * miss;
    }
    return loss;
}

/* The last layer, the loss of the group's samples, and the derivative by its outputs. */
template <int ROWS>
static __device__ void turn_around(const kd_fused_plan *plan, const kd_fused_warp *warp,
                                   const float *targets, size_t n, float *loss)
{
    const kd_fused_layer *layer = &plan->layers[plan->n_layers - 1];
    const uint32_t output = warp->lane % 4 * 2;
    kd_chunk_sums sums[ROWS];
    float sum = 0;
    kd_fused_last_layer<ROWS>(plan, warp, sums);
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        const size_t row = warp->first_row + r * KD_FUSED_CHUNK + warp->lane / 4;
        sum += compare(targets, row, output, n, plan->n_outputs, sums[r].low);
        sum += compare(targets, row, output + 8, n, plan->n_outputs, sums[r].high);
    }
    for (int bits = 16; bits > 0; bits /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    }
    if (warp->lane == 0) *loss = sum;
    __syncwarp();
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        *kd_fused_slot<ROWS>(warp, layer->by_sum, r) = pack_saturated(&sums[r]);
    }
}

/* The derivatives by a layer's input [PAIRS chunks] are those by the layer before's output: through
 * its slope they become the derivatives by its W x + b. */
template <int ROWS>
static __device__ void finish_backward(const kd_fused_plan *plan, const kd_fused_warp *warp,
                                       uint32_t l, uint32_t chunk, uint32_t row_tile,
                                       kd_chunk_sums *sums)
{
    const kd_fused_layer *layer = &plan->layers[l], *before = &plan->layers[l - 1];
    const float share = (before->flags & KD_FUSED_ADDS) != 0 ? plan->share : 1.0f;
    kd_chunk_sums slopes;
    if ((layer->flags & KD_FUSED_STREAM) != 0) {
        *kd_fused_slot<ROWS>(warp, plan->by_stream + chunk, row_tile) = pack_saturated(sums);
    }
    kd_unpack_chunk(*kd_fused_trace(warp, before->slopes + chunk, row_tile), &slopes);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sums->low[i] *= share * slopes.low[i];
        sums->high[i] *= share * slopes.high[i];
    }
    *kd_fused_slot<ROWS>(warp, before->by_sum + chunk, row_tile) = pack_saturated(sums);
}

/* The part of the derivative by the stream that skips the block: a share of that behind it. */
template <int ROWS>
static __device__ void start_backward(const kd_fused_plan *plan, const kd_fused_warp *warp,
                                      const kd_fused_layer *layer, uint32_t chunk,
                                      kd_chunk_sums sums[ROWS])
{
    const float share = (layer->flags & KD_FUSED_SKIPS) != 0 ? plan->share : 0.0f;
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        uint4 behind = make_uint4(0, 0, 0, 0);
        if (share > 0) behind = *kd_fused_slot<ROWS>(warp, plan->by_stream + chunk, r);
        kd_unpack_chunk(behind, &sums[r]);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sums[r].low[i] *= share;
            sums[r].high[i] *= share;
        }
    }
}

template <int ROWS, int PAIRS>
static __device__ __forceinline__ void
inputs_backward(const kd_fused_plan *plan, const kd_fused_warp *warp, uint32_t l, uint32_t chunk)
{
    const kd_fused_layer *layer = &plan->layers[l];
    const uint32_t n_chunks = KD_FUSED_CHUNKS(layer->n_out);
    const uint4 *weights =
        warp->packed + ((size_t)2 * plan->matrices + layer->fragments + chunk * n_chunks) * 32;
    kd_chunk_sums sums[PAIRS][ROWS];
#pragma unroll
    for (uint32_t p = 0; p < PAIRS; p++) {
        start_backward<ROWS>(plan, warp, layer, chunk + p, sums[p]);
    }
    kd_fused_product<ROWS, PAIRS, false>(warp, weights, NULL, n_chunks, layer->by_sum, sums);
#pragma unroll
    for (uint32_t p = 0; p < PAIRS; p++) {
#pragma unroll
        for (uint32_t r = 0; r < ROWS; r++) {
            finish_backward<ROWS>(plan, warp, l, chunk + p, r, &sums[p][r]);
        }
    }
}

template <int ROWS>
static __device__ __forceinline__ void layer_backward(const kd_fused_plan *plan,
                                                      const kd_fused_warp *warp, uint32_t l)
{
    const uint32_t n_chunks = KD_FUSED_CHUNKS(plan->layers[l].n_in);
    const uint32_t at_once = kd_fused_at_once(warp, n_chunks);
    for (uint32_t chunk = at_once * warp->column; chunk < n_chunks;
         chunk += at_once * warp->columns) {
        if (chunk + 1 < n_chunks && at_once == 2) {
            inputs_backward<ROWS, 2>(plan, warp, l, chunk);
        } else {
            inputs_backward<ROWS, 1>(plan, warp, l, chunk);
        }
    }
}

/* From the last layer to the first; the derivatives by W x + b take the slopes' place in the trace.
 */
template <int ROWS>
static __device__ __forceinline__ void carry_back(const kd_fused_plan *plan,
                                                  const kd_fused_warp *warp)
{
    for (uint32_t l = plan->n_layers - 1;; l--) {
        const kd_fused_layer *layer = &plan->layers[l];
        kd_fused_meet();
        kd_fused_save<ROWS, ROWS>(warp, layer->by_sum, KD_FUSED_CHUNKS(layer->n_out),
                                  layer->slopes);
        if (l == 0) return;
        layer_backward<ROWS>(plan, warp, l);
    }
}

template <int ROWS>
__global__ void __launch_bounds__(KD_FUSED_THREADS, 3)
    fused_gradient_kernel(const __grid_constant__ kd_fused_plan plan,
                          const __grid_constant__ kd_fused_batch batch,
                          const __grid_constant__ kd_fused_split split, size_t first)
{
    KD_DYNAMIC_SHARED(shared);
    const size_t network = blockIdx.y, n = batch.n;
    char *workspace = (char *)batch.workspace + network * split.size;
    const float *targets = batch.targets + network * n * plan.n_outputs;
    kd_fused_warp warp = kd_fused_warp_here(&plan, &batch, (uint4 *)shared, plan.gradient_chunks);
    warp.trace_stride = (size_t)plan.trace * 32;
    warp.trace = (uint4 *)workspace + warp.first_row / KD_FUSED_CHUNK * warp.trace_stride;
    warp.first_row += first;
    kd_fused_coords coords;
    kd_fused_read_coords<ROWS>(&warp, batch.coords + network * n * plan.n_inputs, n, plan.n_inputs,
                               &coords);

    if (warp.column == 0) save_coords<ROWS>(&warp, &coords, plan.layers[0].inputs);
    kd_fused_carry<ROWS, true>(&plan, &warp, &coords);
    kd_fused_meet();
    if (warp.column == 0) {
        float *losses = (float *)(workspace + split.losses);
        turn_around<ROWS>(&plan, &warp, targets, n,
                          losses + warp.first_row / (ROWS * KD_FUSED_CHUNK));
    }
    carry_back<ROWS>(&plan, &warp);
}

template <int ROWS>
static int launch_fused_gradient(const kd_fused_plan *plan, const kd_fused_split *split,
                                 const kd_fused_batch *batch, const kd_fused_range *range,
                                 cudaStream_t stream)
{
    const size_t shared_size = kd_fused_shared_size(plan, plan->gradient_chunks);
    const dim3 grid((unsigned)(range->rows / kd_fused_block_rows(plan)),
                    (unsigned)batch->n_networks);
    const cudaError_t status =
        cudaFuncSetAttribute(fused_gradient_kernel<ROWS>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, KD_FUSED_SHARED_SIZE);
    if (status != cudaSuccess) return (int)status;
    KD_LAUNCH(fused_gradient_kernel<ROWS>, grid, dim3(KD_FUSED_THREADS), shared_size, stream, *plan,
              *batch, *split, range->first);
    return (int)cudaGetLastError();
}

extern "C" int kd_fused_gradient_many(const kd_net *net, const kd_fused_batch *batch, void *stream)
{
    kd_fused_plan plan;
    kd_fused_split split;
    kd_fused_range range = {0, 0, true};
    int status = (int)cudaSuccess;
    kd_fused_plan_make(net, batch->halves, &plan);
    kd_fused_split_make(&plan, batch->n, &split);
    kd_fused_plan spread = plan; /* for the samples; the weights' sums must not know of it */
    spread.columns = kd_fused_columns(&plan, batch);
    while (range.first < batch->n && status == (int)cudaSuccess) {
        const size_t block_rows = kd_fused_block_rows(&plan), left = batch->n - range.first;
        const size_t rows = (left + block_rows - 1) / block_rows * block_rows;
        range.rows = rows < split.rows ? rows : split.rows;
        status =
            batch->halves
                ? launch_fused_gradient<2>(&spread, &split, batch, &range, (cudaStream_t)stream)
                : launch_fused_gradient<1>(&spread, &split, batch, &range, (cudaStream_t)stream);
        if (status != (int)cudaSuccess) break;
        status = kd_fused_add_weights(&plan, &split, batch, &range, (cudaStream_t)stream);
        range.first += range.rows;
        range.is_first = false;
    }
    if (status != (int)cudaSuccess) return status;
    return kd_fused_reduce(&plan, &split, batch, (cudaStream_t)stream);
}
