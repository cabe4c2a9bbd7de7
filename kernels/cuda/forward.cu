/* Samples through the network, layer by layer: W x by cuBLAS, then a kernel adds the bias, takes
 * the sine and its slope, and forms share * (h + f(h)) at the end of a block. Before: coordinates
 * on the device. After: loss.cu in training, a copy to the host in decoding. */
#include "blocks.h"
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

/* What happens to the sums W x of one layer. */
typedef struct activation {
    unsigned n, n_out;   /* values, neurons */
    float omega;         /* 0: linear */
    const float *biases; /* [n_out] */
    const float *skip;   /* [n], NULL: not the end of a block */
    float share;         /* of skip and of the layer's own, at the end of a block */
    float *outputs;      /* [n] in: sums, out: outputs */
    float *slopes;       /* [n] or NULL */
} activation;

__global__ void activation_kernel(activation a)
{
    for (unsigned i = kd_cuda_first(); i < a.n; i += kd_cuda_stride()) {
        float output = a.outputs[i] + a.biases[i % a.n_out], slope = 1;
        if (a.omega != 0) {
            float cosine;
            sincosf(a.omega * output, &output, &cosine);
            slope = a.omega * cosine;
        }
        if (a.skip != NULL) output = a.share * (a.skip[i] + output);
        if (a.slopes != NULL) a.slopes[i] = slope;
        a.outputs[i] = output;
    }
}

static kdinr_status launch_activation(const kd_cuda_lane *lane, const activation *a,
                                      kdinr_error *error)
{
    KD_LAUNCH(activation_kernel, kd_cuda_blocks(a->n), KD_CUDA_BLOCK, 0, lane->stream, *a);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

/* sums [rows][n_out] = inputs [rows][n_in] times the transpose of W [n_out][n_in]. cuBLAS sees the
 * transpose of everything, since its matrices lie column by column. */
static kdinr_status multiply(const kd_cuda_lane *lane, const kd_layer *layer, const float *d_params,
                             int rows, const float *inputs, float *sums, kdinr_error *error)
{
    const float one = 1, zero = 0;
    KD_CUBLAS_TRY(cublasSgemm(lane->blas, CUBLAS_OP_T, CUBLAS_OP_N, layer->n_out, rows, layer->n_in,
                              &one, d_params + layer->weights, layer->n_in, inputs, layer->n_in,
                              &zero, sums, layer->n_out),
                  error);
    return KDINR_OK;
}

kdinr_status kd_cuda_forward(const kd_cuda_lane *lane, const kd_net *net, const float *d_params,
                             const kd_cuda_pass *pass, kdinr_error *error)
{
    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const float *inputs = l == 0 ? pass->coords : pass->outputs[l - 1];
        const bool end = kd_blocks_end(net, l);
        const activation a = {(unsigned)pass->rows * (unsigned)layer->n_out,
                              (unsigned)layer->n_out,
                              layer->omega,
                              d_params + layer->biases,
                              end ? pass->outputs[l - net->block_layers] : NULL,
                              kd_blocks_share(net),
                              pass->outputs[l],
                              pass->slopes[l]};
        KD_TRY(multiply(lane, layer, d_params, pass->rows, inputs, a.outputs, error));
        KD_TRY(launch_activation(lane, &a, error));
    }
    return KDINR_OK;
}
