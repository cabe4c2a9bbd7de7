/* The gradient, from the last layer to the first (chain rule over forward.cu). Before: loss.cu left
 * the derivative by the answers in pass->by[0]. After: muon.cu and adam.cu.
 * Three buffers take turns: derivatives by a layer's output, by its sums W x + b, and what goes
 * around a block and waits for its start. */
#include "blocks.h"
#include "cuda/check.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

enum { COLUMNS = 32, ROWS = KD_CUDA_BLOCK / COLUMNS, MIN_RUN = 256 };

/* by_sum = part * by_output * slope; at the end of a block part is its share and by_output, which
 * goes around the block as well, is multiplied by it too. by_sum may be by_output if part is 1. */
__global__ void slope_kernel(unsigned n, float part, const float *slopes, float *by_output,
                             float *by_sum)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const float by = part * by_output[i];
        if (part != 1) by_output[i] = by;
        by_sum[i] = by * slopes[i];
    }
}

/* sums [runs][n_out]: block (x, y) adds up COLUMNS columns over run y of `run` rows. */
__global__ void column_kernel(unsigned rows, unsigned run, unsigned n_out, const float *by_sum,
                              float *sums)
{
    __shared__ float shared[KD_CUDA_BLOCK];
    const unsigned t = threadIdx.x, column = blockIdx.x * COLUMNS + t % COLUMNS;
    const unsigned begin = blockIdx.y * run, end = rows - begin < run ? rows : begin + run;
    float sum = 0;
    for (unsigned r = begin + t / COLUMNS; column < n_out && r < end; r += ROWS) {
        sum += by_sum[r * n_out + column];
    }
    shared[t] = sum;
    __syncthreads();
    if (t >= COLUMNS || column >= n_out) return;
    for (unsigned k = 1; k < ROWS; k++) {
        sum += shared[k * COLUMNS + t];
    }
    sums[blockIdx.y * n_out + column] = sum;
}

/* biases [n_out] = sum over runs, plus what they were if `add` */
__global__ void bias_kernel(unsigned runs, unsigned n_out, const float *sums, bool add,
                            float *biases)
{
    for (unsigned o = kd_cuda_first(); o < n_out; o += kd_cuda_stride()) {
        float sum = add ? biases[o] : 0;
        for (unsigned r = 0; r < runs; r++) {
            sum += sums[r * n_out + o];
        }
        biases[o] = sum;
    }
}

static kdinr_status launch_slope(const kd_cuda_lane *lane, unsigned n, float part,
                                 const float *slopes, float *by_output, float *by_sum,
                                 kdinr_error *error)
{
    KD_LAUNCH(slope_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, lane->stream, n, part, slopes,
              by_output, by_sum);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

static kdinr_status launch_biases(const kd_cuda_lane *lane, const kd_cuda_pass *pass,
                                  unsigned n_out, const float *by_sum, bool add, float *biases,
                                  kdinr_error *error)
{
    const unsigned rows = (unsigned)pass->rows;
    const unsigned even = (rows + KD_CUDA_MAX_RUNS - 1) / KD_CUDA_MAX_RUNS;
    const unsigned run = even < MIN_RUN ? (unsigned)MIN_RUN : even;
    const dim3 grid((n_out + COLUMNS - 1) / COLUMNS, (rows + run - 1) / run);
    KD_LAUNCH(column_kernel, grid, KD_CUDA_BLOCK, 0, lane->stream, rows, run, n_out, by_sum,
              pass->column_sums);
    KD_CUDA_TRY(cudaGetLastError(), error);
    KD_LAUNCH(bias_kernel, kd_cuda_blocks(n_out), KD_CUDA_BLOCK, 0, lane->stream, grid.y, n_out,
              pass->column_sums, add, biases);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}

/* gradient of W [n_out][n_in] = transpose of by_sum [rows][n_out] times inputs [rows][n_in] */
static kdinr_status multiply_weights(const kd_cuda_lane *lane, const kd_layer *layer, int rows,
                                     const float *by_sum, const float *inputs, float keep,
                                     float *gradient, kdinr_error *error)
{
    const float one = 1;
    KD_CUBLAS_TRY(cublasSgemm(lane->blas, CUBLAS_OP_N, CUBLAS_OP_T, layer->n_in, layer->n_out, rows,
                              &one, inputs, layer->n_in, by_sum, layer->n_out, &keep, gradient,
                              layer->n_in),
                  error);
    return KDINR_OK;
}

/* by_input [rows][n_in] = by_sum [rows][n_out] times W, plus keep * by_input */
static kdinr_status multiply_inputs(const kd_cuda_lane *lane, const kd_layer *layer, int rows,
                                    const float *weights, const float *by_sum, float keep,
                                    float *by_input, kdinr_error *error)
{
    const float one = 1;
    KD_CUBLAS_TRY(cublasSgemm(lane->blas, CUBLAS_OP_N, CUBLAS_OP_N, layer->n_in, rows, layer->n_out,
                              &one, weights, layer->n_in, by_sum, layer->n_out, &keep, by_input,
                              layer->n_in),
                  error);
    return KDINR_OK;
}

/* A buffer that is neither `a` nor `b`. */
static float *spare(const kd_cuda_pass *pass, const float *a, const float *b)
{
    for (int i = 0; i < 2; i++) {
        if (pass->by[i] != a && pass->by[i] != b) return pass->by[i];
    }
    return pass->by[2];
}

/* Parameters of layer l: their part of the gradient from by_sum. */
static kdinr_status add_layer(const kd_cuda_lane *lane, const kd_net *net, const kd_cuda_pass *pass,
                              int l, const float *by_sum, bool add, float *d_gradient,
                              kdinr_error *error)
{
    const kd_layer *layer = &net->layers[l];
    const float *inputs = l == 0 ? pass->coords : pass->outputs[l - 1];
    KD_TRY(multiply_weights(lane, layer, pass->rows, by_sum, inputs, add ? 1.0f : 0.0f,
                            d_gradient + layer->weights, error));
    return launch_biases(lane, pass, (unsigned)layer->n_out, by_sum, add,
                         d_gradient + layer->biases, error);
}

kdinr_status kd_cuda_backward(const kd_cuda_lane *lane, const kd_net *net, const float *d_params,
                              const kd_cuda_pass *pass, bool add, float *d_gradient,
                              kdinr_error *error)
{
    float *by_output = pass->by[0], *around = NULL;
    for (int l = net->n_layers - 1; l >= 0; l--) {
        const kd_layer *layer = &net->layers[l];
        const bool end = kd_blocks_end(net, l), start = kd_blocks_start(net, l);
        const unsigned n = (unsigned)pass->rows * (unsigned)layer->n_out;
        float *by_sum = end ? spare(pass, by_output, NULL) : by_output;
        if (end) around = by_output;
        if (l < net->n_layers - 1) {
            KD_TRY(launch_slope(lane, n, end ? kd_blocks_share(net) : 1.0f, pass->slopes[l],
                                by_output, by_sum, error));
        }
        KD_TRY(add_layer(lane, net, pass, l, by_sum, add, d_gradient, error));
        if (l == 0) break;
        by_output = start ? around : spare(pass, by_sum, around);
        KD_TRY(multiply_inputs(lane, layer, pass->rows, d_params + layer->weights, by_sum,
                               start ? 1.0f : 0.0f, by_output, error));
        if (start) around = NULL;
    }
    return KDINR_OK;
}
