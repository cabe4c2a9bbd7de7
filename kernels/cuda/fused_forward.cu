/* Outputs of many samples: one block carries its tile of samples from coordinates to values.
 * Before: fused_pack.cu. After: the caller copies the values. Coordinates come from memory, or from
 * a grid's axes as the kernel goes, so that decoding reads nothing but weights. */
#include "cuda/fused_device.h"
#include "cuda/launch.h"

/* Where samples are: `coords` [n][n_inputs], or if that is NULL, the grid's points from `first` on.
 */
typedef struct sample_source {
    const float *coords;
    const float *axes[3];
    size_t n_x, n_y, first;
    float times[KD_NET_MAX_TIMES];
} sample_source;

static __device__ void grid_coords(const sample_source *source, size_t row,
                                   float coords[KD_NET_MAX_INPUTS])
{
    const size_t at = source->first + row;
    coords[0] = __ldg(source->axes[0] + at % source->n_x);
    coords[1] = __ldg(source->axes[1] + at / source->n_x % source->n_y);
    coords[2] = __ldg(source->axes[2] + at / source->n_x / source->n_y);
#pragma unroll
    for (uint32_t i = 0; i < KD_NET_MAX_TIMES; i++) {
        coords[3 + i] = source->times[i];
    }
}

template <int ROWS>
static __device__ kd_fused_coords load_coords(const sample_source *source,
                                              const kd_fused_warp *warp, size_t n,
                                              uint32_t n_inputs)
{
    kd_fused_coords coords;
    if (source->coords != NULL) {
        kd_fused_read_coords<ROWS>(warp, source->coords, n, n_inputs, &coords);
        return coords;
    }
#pragma unroll
    for (uint32_t r = 0; r < 2 * ROWS; r++) {
        const size_t row = warp->first_row + 8 * r + warp->lane / 4;
        grid_coords(source, row < n ? row : 0, coords.of[r]);
    }
    return coords;
}

/* One chunk of outputs, of 16 samples, to values [n][n_outputs]. */
static __device__ void store_values(const kd_chunk_sums *sums, size_t row, uint32_t output,
                                    size_t n, uint32_t n_outputs, float *values)
{
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const size_t to_row = row + i / 2 * 8;
        const uint32_t low = output + i % 2, high = low + 8;
        if (to_row < n && low < n_outputs) values[to_row * n_outputs + low] = sums->low[i];
        if (to_row < n && high < n_outputs) values[to_row * n_outputs + high] = sums->high[i];
    }
}

template <int ROWS>
__global__ void __launch_bounds__(KD_FUSED_THREADS, 4)
    fused_forward_kernel(const __grid_constant__ kd_fused_plan plan,
                         const __grid_constant__ kd_fused_batch batch, sample_source source)
{
    KD_DYNAMIC_SHARED(shared);
    const kd_fused_warp warp = kd_fused_warp_here(&plan, &batch, (uint4 *)shared, plan.chunks);
    const size_t network = blockIdx.y, n = batch.n;
    if (source.coords != NULL) source.coords += network * n * plan.n_inputs;
    const kd_fused_coords coords = load_coords<ROWS>(&source, &warp, n, plan.n_inputs);
    kd_fused_carry<ROWS, false>(&plan, &warp, &coords);
    if (warp.column != 0) return;

    kd_chunk_sums sums[ROWS];
    float *values = batch.values + network * n * plan.n_outputs;
    kd_fused_last_layer<ROWS>(&plan, &warp, sums);
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++) {
        const size_t row = warp.first_row + r * KD_FUSED_CHUNK + warp.lane / 4;
        store_values(&sums[r], row, warp.lane % 4 * 2, n, plan.n_outputs, values);
    }
}

template <int ROWS>
static int launch_fused_forward(const kd_fused_plan *plan, const kd_fused_batch *batch,
                                const sample_source *source, cudaStream_t stream)
{
    const size_t block_rows = kd_fused_block_rows(plan);
    const size_t shared_size = kd_fused_shared_size(plan, plan->chunks);
    const dim3 grid((unsigned)((batch->n + block_rows - 1) / block_rows),
                    (unsigned)batch->n_networks);
    const cudaError_t status =
        cudaFuncSetAttribute(fused_forward_kernel<ROWS>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, KD_FUSED_SHARED_SIZE);
    if (status != cudaSuccess || batch->n == 0) return (int)status;
    KD_LAUNCH(fused_forward_kernel<ROWS>, grid, dim3(KD_FUSED_THREADS), shared_size, stream, *plan,
              *batch, *source);
    return (int)cudaGetLastError();
}

static int forward(const kd_net *net, const kd_fused_batch *batch, const sample_source *source,
                   void *stream)
{
    kd_fused_plan plan;
    kd_fused_plan_make(net, batch->halves, &plan);
    plan.columns = kd_fused_columns(&plan, batch);
    return batch->halves ? launch_fused_forward<2>(&plan, batch, source, (cudaStream_t)stream)
                         : launch_fused_forward<1>(&plan, batch, source, (cudaStream_t)stream);
}

extern "C" int kd_fused_forward_many(const kd_net *net, const kd_fused_batch *batch, void *stream)
{
    const sample_source source = {batch->coords, {NULL, NULL, NULL}, 0, 0, 0, {}};
    return forward(net, batch, &source, stream);
}

extern "C" int kd_fused_forward(const kd_net *net, const void *packed, const float *params,
                                const float *coords, size_t n, float *values, void *workspace,
                                void *stream)
{
    kd_fused_batch batch = {};
    (void)workspace;
    batch.n_networks = 1;
    batch.n = n;
    batch.packed = packed;
    batch.params = params;
    batch.coords = coords;
    batch.values = values;
    return kd_fused_forward_many(net, &batch, stream);
}

extern "C" int kd_fused_forward_grid(const kd_net *net, const void *packed, const float *params,
                                     const kd_grid *grid, size_t first, size_t n, float *values,
                                     void *stream)
{
    sample_source source = {
        NULL, {grid->axes[0], grid->axes[1], grid->axes[2]}, grid->n[0], grid->n[1], first, {}};
    memcpy(source.times, grid->times, sizeof source.times);
    kd_fused_batch batch = {};
    batch.n_networks = 1;
    batch.n = n;
    batch.packed = packed;
    batch.params = params;
    batch.values = values;
    return forward(net, &batch, &source, stream);
}
