/* The second half of a gradient, called by fused_gradient.cu after the traces are written. */
#ifndef KD_CUDA_FUSED_WEIGHTS_H
#define KD_CUDA_FUSED_WEIGHTS_H

#include <cuda_runtime.h>

#include "cuda/fused_plan.h"

/** A launch's part of the samples. */
typedef struct kd_fused_range {
    size_t first, rows; /* samples first .. first + rows - 1, of which the last may not exist */
    bool is_first;      /* of the parts of this gradient */
} kd_fused_range;

/** Add the weights' and biases' gradients of the traces in the workspaces to their partial sums, or
 *  set those if the range is the first. */
int kd_fused_add_weights(const kd_fused_plan *plan, const kd_fused_split *split,
                         const kd_fused_batch *batch, const kd_fused_range *range,
                         cudaStream_t stream);

/** gradient [n_networks][n_params] and loss_sum [n_networks] of all partial sums. */
int kd_fused_reduce(const kd_fused_plan *plan, const kd_fused_split *split,
                    const kd_fused_batch *batch, cudaStream_t stream);

#endif
