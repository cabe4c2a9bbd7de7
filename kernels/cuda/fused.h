/* Path 2 of the cuda backend: one kernel carries a tile of samples through all layers, activations
 * in shared memory, products by the tensor cores (fp16 factors, fp32 sums), sines in fp32.
 * Above: the cuda backend, which owns the memory and the optimiser. Below, in the order of a step:
 * fused_plan.cu (sizes), fused_pack.cu (weights as fragments), fused_forward.cu,
 * fused_gradient.cu (forward, backward, what the weights' gradients need), fused_weights.cu.
 *
 * Precision. A factor of a product is a half, with fp16's 11 places, or a half and what rounding
 * left, with 22; the latter takes three products for one. Sums, sines, the first layer, biases,
 * loss and the parameters' gradient are fp32. As a rule factors have 22 places forward, so that
 * outputs agree with the reference to some 1e-6 and files decode as FORMAT.md demands, and 11
 * backward: gradients agree to about 1e-3. With `halves` all have 11: outputs agree to about 1e-3
 * as well, which ends training at some 60 dB, and forward takes a third of the products. The
 * residual stream is then rounded too; where blocks average, each halves the errors of those
 * before, where they sum, errors add up.
 *
 * `params` are the fp32 values the first layer and all biases are read from; `packed` holds the
 * weights of the other products.
 *
 * All pointers but kd_net are device memory, aligned to 256 bytes if they are `packed` or
 * `workspace`; `stream` is a cudaStream_t; int results are cudaError_t. Nothing waits and nothing
 * is allocated, so that every call can be captured in a graph. Same inputs give the same bits on
 * every device of one architecture, whatever its number of multiprocessors. */
#ifndef KD_CUDA_FUSED_H
#define KD_CUDA_FUSED_H

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Can this path carry the network? Any width from 2 on with up to 512 neurons in a layer (m = 256
 *  or, behind an encoder m, 2m, 4m, m = 128); what a chunk of 16 neurons lacks is zeros. Blocks
 *  average or sum and have two layers, behind m, 2m, 4m also three; behind an encoder of one layer
 *  they may also pass nothing by, and then have one or two. */
bool kd_fused_supports(const kd_net *net);

/** Bytes of one network's `packed`; a multiple of 256. */
size_t kd_fused_packed_size(const kd_net *net);

/** Bytes of workspace for one network's gradient of n samples; a multiple of 256. Forward needs
 *  none. */
size_t kd_fused_workspace(const kd_net *net, size_t n);

/** Write the weights as the products read them.
 *  params  in   [n_params]
 *  packed  out  [kd_fused_packed_size] */
int kd_fused_pack(const kd_net *net, const float *params, void *packed, void *stream);

/** values out [n][n_outputs] of coords [n][n_inputs], n at least 1. `workspace` is not used and may
 * be NULL. */
int kd_fused_forward(const kd_net *net, const void *packed, const float *params,
                     const float *coords, size_t n, float *values, void *workspace, void *stream);

/** Many networks of one shape, side by side in one launch; each array holds the networks' parts one
 *  after the other: packed [n_networks][kd_fused_packed_size], params [n_networks][n_params],
 * coords [n_networks][n][n_inputs] and so on. */
typedef struct kd_fused_batch {
    int n_networks; /* 1 .. 65535 */
    size_t n;       /* samples of each network, at least 1 */
    bool halves;    /* false: forward to fp32's accuracy, see above */
    const void *packed;
    const float *params;
    const float *coords;
    const float *targets; /* gradient only */
    float *values;        /* forward only */
    float *gradient;      /* gradient only: [n_networks][n_params] */
    float *loss_sum;      /* gradient only: [n_networks] */
    void *workspace;      /* gradient only: [n_networks][kd_fused_workspace] */
} kd_fused_batch;

int kd_fused_pack_many(const kd_net *net, int n_networks, const float *params, void *packed,
                       void *stream);
int kd_fused_forward_many(const kd_net *net, const kd_fused_batch *batch, void *stream);

/** The gradients of the mean squared errors, of the mean over n * n_outputs, as kd_backend's; and
 *  loss_sum, of each network the sum over n * n_outputs of (prediction - target)^2. */
int kd_fused_gradient_many(const kd_net *net, const kd_fused_batch *batch, void *stream);

/** values out [n][n_outputs]: samples first .. first + n - 1 of a grid, x fastest. The axes'
 *  coordinates are in device memory; no coordinates are stored. A sample has the bits of
 *  kd_fused_forward. */
int kd_fused_forward_grid(const kd_net *net, const void *packed, const float *params,
                          const kd_grid *grid, size_t first, size_t n, float *values, void *stream);

#ifdef __cplusplus
}
#endif

#endif
