/* The weights as the fused products read them: right factors in fp16, a chunk of 16 x 16 in 512
 * bytes that a warp loads at once. Before: the optimiser moved the fp32 parameters. After:
 * fused_forward.cu or fused_gradient.cu. W carries omega / (2 pi), so that products give turns;
 * then come the rests that rounding left; then W^T with omega, which the stored slopes then need
 * not carry. */
#include "cuda/fragments.h"
#include "cuda/fused_device.h"
#include "cuda/launch.h"

enum { PACK_THREADS = 128 };

/* scale * W[o][i], 0 outside */
static __device__ float weight_at(const kd_fused_layer *layer, const float *params, uint32_t o,
                                  uint32_t i, float scale)
{
    if (o >= layer->n_out || i >= layer->n_in) return 0;
    return scale * params[layer->weights + (size_t)o * layer->n_in + i];
}

enum { SECTION_HALVES, SECTION_RESTS, SECTION_TRANSPOSED, N_SECTIONS };

/* Two neighbours in the summed direction, of one column of a right factor. */
static __device__ unsigned pack_pair(const kd_fused_layer *layer, const float *params,
                                     uint32_t section, uint32_t column, uint32_t k)
{
    if (section == SECTION_TRANSPOSED) {
        return kd_pack_halves(weight_at(layer, params, k, column, layer->omega),
                              weight_at(layer, params, k + 1, column, layer->omega));
    }
    const float scale = kd_fused_turns(layer);
    const float first = weight_at(layer, params, column, k, scale);
    const float second = weight_at(layer, params, column, k + 1, scale);
    const unsigned halves = kd_pack_halves(first, second);
    if (section == SECTION_HALVES) return halves;
    const float2 rounded = kd_unpack_halves(halves);
    return kd_pack_halves(first - rounded.x, second - rounded.y);
}

/* One lane's part of one chunk per thread. */
__global__ void fused_pack_kernel(const __grid_constant__ kd_fused_plan plan, const float *params,
                                  uint4 *packed)
{
    const uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t section = at / 32 / plan.matrices, chunk = at / 32 % plan.matrices;
    if (section >= N_SECTIONS) return;

    uint32_t l = 1;
    while (l + 1 < plan.n_layers && plan.layers[l + 1].fragments <= chunk) {
        l++;
    }
    const kd_fused_layer *layer = &plan.layers[l];
    const uint32_t n_k = section == SECTION_TRANSPOSED ? layer->n_out : layer->n_in;
    const uint32_t local = chunk - layer->fragments, g = at % 32 / 4, t = at % 4;
    const uint32_t column = local / KD_FUSED_CHUNKS(n_k) * KD_FUSED_CHUNK + g;
    const uint32_t k = local % KD_FUSED_CHUNKS(n_k) * KD_FUSED_CHUNK + 2 * t;

    params += (size_t)blockIdx.y * plan.n_params;
    packed += (size_t)blockIdx.y * N_SECTIONS * plan.matrices * 32;
    packed[at] = make_uint4(pack_pair(layer, params, section, column, k),
                            pack_pair(layer, params, section, column, k + 8),
                            pack_pair(layer, params, section, column + 8, k),
                            pack_pair(layer, params, section, column + 8, k + 8));
}

static int launch_fused_pack(const kd_fused_plan *plan, int n_networks, const float *params,
                             void *packed, cudaStream_t stream)
{
    const uint32_t n_threads = N_SECTIONS * plan->matrices * 32;
    const uint32_t blocks = (n_threads + PACK_THREADS - 1) / PACK_THREADS;
    KD_LAUNCH(fused_pack_kernel, dim3(blocks, (unsigned)n_networks), dim3(PACK_THREADS), 0, stream,
              *plan, params, (uint4 *)packed);
    return (int)cudaGetLastError();
}

extern "C" int kd_fused_pack_many(const kd_net *net, int n_networks, const float *params,
                                  void *packed, void *stream)
{
    kd_fused_plan plan;
    kd_fused_plan_make(net, true, &plan);
    return launch_fused_pack(&plan, n_networks, params, packed, (cudaStream_t)stream);
}

extern "C" int kd_fused_pack(const kd_net *net, const float *params, void *packed, void *stream)
{
    return kd_fused_pack_many(net, 1, params, packed, stream);
}
