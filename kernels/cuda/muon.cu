/* Muon on all hidden matrices of all networks at once: momentum, then the nearest orthogonal matrix
 * by five Newton-Schulz steps (Jordan et al., 2024). Before: backward.cu or fused_weights.cu.
 * After: the next batch. X is the update with its smaller dimension as rows: X <- P X with P = aI +
 * bA + cA^2, A = X X^T. Small matrices are left to orthogonal.cu. Larger ones of one shape are
 * multiplied together: by multiply.cu, or, where there is one network on path 1, by cuBLAS, which
 * is faster for wide ones but chooses its order of summation by how many there are. */
#include <math.h>

#include "blocks.h"
#include "cuda/check.h"
#include "cuda/muon_step.h"
#include "cuda/walk.h"
#include "cuda/operations.h"

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* Put all hidden matrices of layer l's shape into a new group. */
static void add_group(const kd_net *net, int l, kd_cuda_muon_plan *plan)
{
    const int rows = smaller(net->layers[l].n_out, net->layers[l].n_in);
    const int columns = larger(net->layers[l].n_out, net->layers[l].n_in);
    const size_t n = (size_t)rows * (size_t)columns;
    kd_cuda_group *group = &plan->groups[plan->n_groups++];
    *group = {rows, columns, plan->n_matrices, 0, plan->n_x};
    for (int k = l; k < net->n_layers - 1; k++) {
        const kd_layer *layer = &net->layers[k];
        if (smaller(layer->n_out, layer->n_in) != rows) continue;
        if (larger(layer->n_out, layer->n_in) != columns) continue;
        plan->matrices[plan->n_matrices++] = {(unsigned)layer->weights, layer->n_out, layer->n_in,
                                              (unsigned)plan->n_x};
        plan->n_x += n;
        group->count++;
    }
    const size_t n_square = (size_t)group->count * (size_t)rows * (size_t)rows;
    if (n_square > plan->n_square) plan->n_square = n_square;
}

static bool is_grouped(const kd_net *net, int l, const kd_cuda_muon_plan *plan)
{
    for (int g = 0; g < plan->n_groups; g++) {
        if (plan->groups[g].rows == smaller(net->layers[l].n_out, net->layers[l].n_in) &&
            plan->groups[g].columns == larger(net->layers[l].n_out, net->layers[l].n_in)) {
            return true;
        }
    }
    return false;
}

void kd_cuda_muon_plan_make(const kd_net *net, kd_cuda_muon_plan *plan)
{
    *plan = {};
    for (int l = 0; l < net->n_layers; l++) {
        if (kd_blocks_hidden(net, l) && !is_grouped(net, l, plan)) add_group(net, l, plan);
    }
    plan->n_scratch = 2 * plan->n_x + 2 * plan->n_square;
}

/* Block (x, y), matrix x of network y: momentum moves; x becomes the Nesterov update over its
 * Frobenius norm. */
__global__ void nesterov_kernel(kd_cuda_moved moved, size_t n_scratch)
{
    __shared__ double shared[KD_CUDA_BLOCK];
    const kd_cuda_matrix matrix = moved.matrices[blockIdx.x];
    const unsigned n = (unsigned)(matrix.n_out * matrix.n_in);
    const unsigned longer = (unsigned)max(matrix.n_out, matrix.n_in);
    const size_t weights = blockIdx.y * moved.n_params + matrix.weights;
    const float *gradient = moved.gradient + weights;
    float *momentum = moved.first + weights, *x = moved.scratch + blockIdx.y * n_scratch + matrix.x;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        const float update = kd_cuda_nesterov(gradient[i], &momentum[i]);
        x[kd_cuda_update_place(&matrix, i, longer)] = update;
        sum += (double)update * (double)update;
    }
    const float shrink = kd_cuda_shrink(kd_cuda_block_sum(sum, shared));
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        x[i] *= shrink;
    }
}

/* Block (x, y, z) moves its part of matrix y of network z against its update, which lies at
 * scratch + updates. */
__global__ void move_kernel(kd_cuda_moved moved, size_t n_scratch, size_t updates)
{
    const kd_cuda_matrix matrix = moved.matrices[blockIdx.y];
    const unsigned n = (unsigned)(matrix.n_out * matrix.n_in);
    const unsigned longer = (unsigned)max(matrix.n_out, matrix.n_in);
    const float *x = moved.scratch + blockIdx.z * n_scratch + updates + matrix.x;
    float *params = moved.params + blockIdx.z * moved.n_params + matrix.weights;
    const float rate = moved.rates[blockIdx.z].matrix;
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const float update = x[kd_cuda_update_place(&matrix, i, longer)];
        params[i] = kd_cuda_muon_move(params[i], rate, (float)longer, update);
    }
}

/* ---- products by multiply.cu, of all networks ---- */

/* One Newton-Schulz step of a group: next = P x. The first network's x is at moved->scratch + from,
 * its next at moved->scratch + to. A and P are symmetric: no matter which of their indices is
 * first. */
static kdinr_status iterate_all(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                                const kd_cuda_group *group, const kd_cuda_moved *moved, size_t from,
                                size_t to, kdinr_error *error)
{
    const unsigned rows = (unsigned)group->rows, columns = (unsigned)group->columns;
    const size_t square = (size_t)rows * rows, whole = (size_t)rows * columns;
    float *x = moved->scratch + from, *next = moved->scratch + to;
    float *a = moved->scratch + 2 * plan->n_x, *p = a + plan->n_square;
    kd_cuda_product product = {(unsigned)moved->n_networks,
                               (unsigned)group->count,
                               rows,
                               rows,
                               columns,
                               x,
                               x,
                               a,
                               plan->n_scratch,
                               whole,
                               whole,
                               square,
                               true,
                               false};
    KD_TRY(kd_cuda_multiply(lane, &product, error));
    product.n = rows;
    product.a = product.b = a;
    product.c = p;
    product.a_next = product.b_next = square;
    product.polynomial = true;
    KD_TRY(kd_cuda_multiply(lane, &product, error));
    product.columns = columns;
    product.a = p;
    product.b = x;
    product.c = next;
    product.b_next = product.c_next = whole;
    product.b_transposed = product.polynomial = false;
    return kd_cuda_multiply(lane, &product, error);
}

/* ---- products by cuBLAS, of one network ---- */

/* p [n / rows^2][rows][rows]: in A^2, out aI + bA + cA^2 */
__global__ void polynomial_kernel(unsigned n, unsigned rows, const float *a, float *p)
{
    for (unsigned i = kd_cuda_first(); i < n; i += kd_cuda_stride()) {
        const unsigned row = i / rows % rows, column = i % rows;
        p[i] = kd_cuda_newton_schulz(row == column, a[i], p[i]);
    }
}

/* c = op(a) b for each of a group's matrices, as cuBLAS sees them: [columns][rows]. */
typedef struct blas_product {
    cublasOperation_t op;
    int m, n, k;
    const float *a, *b;
    int a_column, b_column; /* floats from column to column */
    size_t a_next, b_next;  /* floats from matrix to matrix */
    float *c;               /* [n][m] */
} blas_product;

static kdinr_status multiply(const kd_cuda_lane *lane, const blas_product *p, int count,
                             kdinr_error *error)
{
    const float one = 1, zero = 0;
    KD_CUBLAS_TRY(cublasSgemmStridedBatched(lane->blas, p->op, CUBLAS_OP_N, p->m, p->n, p->k, &one,
                                            p->a, p->a_column, (long long)p->a_next, p->b,
                                            p->b_column, (long long)p->b_next, &zero, p->c, p->m,
                                            (long long)p->m * p->n, count),
                  error);
    return KDINR_OK;
}

/* As iterate_all. */
static kdinr_status iterate(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                            const kd_cuda_group *group, float *scratch, size_t from, size_t to,
                            kdinr_error *error)
{
    const int rows = group->rows, columns = group->columns;
    const size_t square = (size_t)rows * (size_t)rows, whole = (size_t)rows * (size_t)columns;
    const unsigned n = (unsigned)(square * (size_t)group->count);
    float *a = scratch + 2 * plan->n_x, *p = a + plan->n_square, *x = scratch + from;
    const blas_product gram = {CUBLAS_OP_T, rows,    rows,  columns, x, x,
                               columns,     columns, whole, whole,   a};
    const blas_product power = {CUBLAS_OP_N, rows, rows, rows, a, a, rows, rows, square, square, p};
    const blas_product apply = {CUBLAS_OP_N, columns, rows,  rows,   x,           p,
                                columns,     rows,    whole, square, scratch + to};
    KD_TRY(multiply(lane, &gram, group->count, error));
    KD_TRY(multiply(lane, &power, group->count, error));
    KD_LAUNCH(polynomial_kernel, kd_cuda_blocks(n), KD_CUDA_BLOCK, 0, lane->stream, n,
              (unsigned)rows, a, p);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return multiply(lane, &apply, group->count, error);
}

/* After an odd number of steps the result is in the second half of the updates' memory. */
static kdinr_status orthogonalise(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                                  const kd_cuda_moved *moved, bool alike, kdinr_error *error)
{
    for (int g = 0; g < plan->n_groups; g++) {
        const kd_cuda_group *group = &plan->groups[g];
        size_t from = group->x, to = from + plan->n_x;
        for (int i = 0; i < KD_CUDA_NEWTON_SCHULZ_STEPS; i++) {
            KD_TRY(alike ? iterate_all(lane, plan, group, moved, from, to, error)
                         : iterate(lane, plan, group, moved->scratch, from, to, error));
            const size_t swap = from;
            from = to;
            to = swap;
        }
    }
    return KDINR_OK;
}

static size_t largest_matrix(const kd_cuda_muon_plan *plan)
{
    size_t most = 1;
    for (int g = 0; g < plan->n_groups; g++) {
        const size_t n = (size_t)plan->groups[g].rows * (size_t)plan->groups[g].columns;
        if (n > most) most = n;
    }
    return most;
}

kdinr_status kd_cuda_muon(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                          const kd_cuda_moved *moved, bool alike, kdinr_error *error)
{
    const unsigned n_matrices = (unsigned)plan->n_matrices, n = (unsigned)moved->n_networks;
    KD_LAUNCH(nesterov_kernel, dim3(n_matrices, n), KD_CUDA_BLOCK, 0, lane->stream, *moved,
              plan->n_scratch);
    KD_CUDA_TRY(cudaGetLastError(), error);
    KD_TRY(orthogonalise(lane, plan, moved, alike, error));
    KD_LAUNCH(move_kernel, dim3(kd_cuda_blocks(largest_matrix(plan)), n_matrices, n), KD_CUDA_BLOCK,
              0, lane->stream, *moved, plan->n_scratch, plan->n_x);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
