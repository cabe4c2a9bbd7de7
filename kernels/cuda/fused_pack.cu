/* The weights as the fused products read them: right factors in fp16, a chunk of 16 x 16 in 512
 * bytes that a warp loads at once. Before: the optimiser moved the fp32 parameters. After:
 * fused_forward.cu or fused_gradient.cu. W carries omega / (2 pi), so that products give turns;
 * W^T, behind it, carries omega, which the stored slopes then need not. */
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

/* Two neighbours in the summed direction: row `column` of W, or of W^T if `transposed`. */
static __device__ unsigned pack_pair(const kd_fused_layer *layer, const float *params,
                                     bool transposed, uint32_t column, uint32_t k)
{
    if (transposed) {
        return kd_pack_halves(weight_at(layer, params, k, column, layer->omega),
                              weight_at(layer, params, k + 1, column, layer->omega));
    }
    const float scale = kd_fused_turns(layer);
    return kd_pack_halves(weight_at(layer, params, column, k, scale),
                          weight_at(layer, params, column, k + 1, scale));
}

/* One lane's part of one chunk per thread. */
__global__ void fused_pack_kernel(const __grid_constant__ kd_fused_plan plan, const float *params,
                                  uint4 *packed)
{
    const uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
    const bool transposed = at / 32 >= plan.transposed;
    const uint32_t chunk = at / 32 - (transposed ? plan.transposed : 0);
    if (at / 32 >= 2 * plan.transposed) return;

    uint32_t l = 1;
    while (l + 1 < plan.n_layers && plan.layers[l + 1].fragments <= chunk) {
        l++;
    }
    const kd_fused_layer *layer = &plan.layers[l];
    const uint32_t n_chunks = KD_FUSED_CHUNKS(transposed ? layer->n_out : layer->n_in);
    const uint32_t local = chunk - layer->fragments, g = at % 32 / 4, t = at % 4;
    const uint32_t column = local / n_chunks * KD_FUSED_CHUNK + g;
    const uint32_t k = local % n_chunks * KD_FUSED_CHUNK + 2 * t;

    params += (size_t)blockIdx.y * plan.n_params;
    packed += (size_t)blockIdx.y * 2 * plan.transposed * 32;
    packed[at] = make_uint4(pack_pair(layer, params, transposed, column, k),
                            pack_pair(layer, params, transposed, column, k + 8),
                            pack_pair(layer, params, transposed, column + 8, k),
                            pack_pair(layer, params, transposed, column + 8, k + 8));
}

static int launch_fused_pack(const kd_fused_plan *plan, int n_networks, const float *params,
                             void *packed, cudaStream_t stream)
{
    const uint32_t blocks = (2 * plan->transposed * 32 + PACK_THREADS - 1) / PACK_THREADS;
    KD_LAUNCH(fused_pack_kernel, dim3(blocks, (unsigned)n_networks), dim3(PACK_THREADS), 0, stream,
              *plan, params, (uint4 *)packed);
    return (int)cudaGetLastError();
}

extern "C" int kd_fused_pack_many(const kd_net *net, int n_networks, const float *params,
                                  void *packed, void *stream)
{
    kd_fused_plan plan;
    kd_fused_plan_make(net, &plan);
    return launch_fused_pack(&plan, n_networks, params, packed, (cudaStream_t)stream);
}

extern "C" int kd_fused_pack(const kd_net *net, const float *params, void *packed, void *stream)
{
    return kd_fused_pack_many(net, 1, params, packed, stream);
}
