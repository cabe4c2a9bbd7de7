/* Muon's step of small matrices in one launch: a block of threads takes one matrix of one network,
 * moves its momentum, keeps the update in shared memory for all Newton-Schulz steps, and moves the
 * parameters; further blocks do Adam's step on all others. Beside it muon.cu and adam.cu have the
 * same in eighteen launches, for matrices that are too large for that; a training of small networks
 * is little else than waiting for launches. Elements are summed in the order of muon.cu and
 * multiply.cu, so that both ways give the same bits.
 *
 * Matrices lie with their smaller dimension as rows, both dimensions filled up with zeros to
 * multiples of 4, rows 4 floats longer than that: a warp's float4 then come from all banks. */
#include "cuda/adam.h"
#include "cuda/check.h"
#include "cuda/muon_step.h"
#include "cuda/operations.h"
#include "cuda/walk.h"

/* The most that a block of every device from compute capability 8.0 on has room for: square
 * matrices of up to 88 rows. The tests set less. */
#ifndef KD_CUDA_ORTHOGONAL_SHARED
#define KD_CUDA_ORTHOGONAL_SHARED (96 << 10)
#endif

enum { SMALL = 32 * 32 }; /* elements up to which a thread makes 4 at a time, not 16 */

/* A matrix in shared memory. */
typedef struct tile_matrix {
    float *values;
    unsigned stride; /* from row to row */
} tile_matrix;

static __host__ __device__ __forceinline__ unsigned filled(unsigned n)
{
    return (n + 3) / 4 * 4;
}

static __host__ __device__ __forceinline__ unsigned stride_of(unsigned columns)
{
    return filled(columns) + 4;
}

/* Floats of shared memory: the update twice, X X^T and the polynomial. Of a square matrix the
 * second update takes the place of X X^T. */
static __host__ __device__ __forceinline__ unsigned shared_floats(unsigned rows, unsigned columns)
{
    const unsigned update = filled(rows) * stride_of(columns),
                   square = filled(rows) * stride_of(rows);
    return rows == columns ? 3 * square : 2 * update + 2 * square;
}

/* sums [T][T] += elements k .. k + 3 of rows row, row + rows, ... of a times those of rows column,
 * column + columns, ... of b. */
template <unsigned T>
static __device__ __forceinline__ void add_rows(tile_matrix a, tile_matrix b, unsigned row,
                                                unsigned rows, unsigned column, unsigned columns,
                                                unsigned k, float sums[T][T])
{
    float4 from_a[T], from_b[T];
#pragma unroll
    for (unsigned i = 0; i < T; i++) {
        from_a[i] = *(const float4 *)(a.values + (row + i * rows) * a.stride + k);
        from_b[i] = *(const float4 *)(b.values + (column + i * columns) * b.stride + k);
    }
#pragma unroll
    for (unsigned i = 0; i < T; i++) {
#pragma unroll
        for (unsigned j = 0; j < T; j++) {
            sums[i][j] += from_a[i].x * from_b[j].x;
            sums[i][j] += from_a[i].y * from_b[j].y;
            sums[i][j] += from_a[i].z * from_b[j].z;
            sums[i][j] += from_a[i].w * from_b[j].w;
        }
    }
}

/* c [n][n] = a a^T, or with `polynomial` that of a, which is symmetric: aI + bA + cA^2. */
template <unsigned T>
static __device__ __forceinline__ void multiply_by_itself(tile_matrix a, unsigned n, unsigned depth,
                                                          bool polynomial, tile_matrix c)
{
    const unsigned side = filled(n) / T;
    for (unsigned t = threadIdx.x; t < side * side; t += blockDim.x) {
        const unsigned row = t / side, column = t % side;
        float sums[T][T] = {};
#pragma unroll 2
        for (unsigned k = 0; k < depth; k += 4) {
            add_rows<T>(a, a, row, side, column, side, k, sums);
        }
#pragma unroll
        for (unsigned i = 0; i < T; i++) {
#pragma unroll
            for (unsigned j = 0; j < T; j++) {
                const unsigned y = row + i * side, x = column + j * side;
                const float sum = sums[i][j];
                c.values[y * c.stride + x] =
                    polynomial ? kd_cuda_newton_schulz(y == x, a.values[y * a.stride + x], sum)
                               : sum;
            }
        }
    }
    __syncthreads();
}

/* to [T] = T floats from `from` on, which is aligned to all of them */
template <unsigned T>
static __device__ __forceinline__ void load_along(const float *from, float to[T])
{
    static_assert(T == 2 || T == 4, "two or four floats");
    if (T == 2) {
        const float2 pair = *(const float2 *)from;
        to[0] = pair.x;
        to[1] = pair.y;
    } else {
        const float4 all = *(const float4 *)from;
        to[0] = all.x;
        to[1] = all.y;
        to[T - 2] = all.z;
        to[T - 1] = all.w;
    }
}

/* c [rows][columns] = p x */
template <unsigned T>
static __device__ __forceinline__ void apply(tile_matrix p, tile_matrix x, unsigned rows,
                                             unsigned columns, tile_matrix c)
{
    const unsigned down = filled(rows) / T, across = filled(columns) / T;
    for (unsigned t = threadIdx.x; t < down * across; t += blockDim.x) {
        const unsigned row = t / across, column = t % across * T;
        float sums[T][T] = {};
#pragma unroll 2
        for (unsigned k = 0; k < filled(rows); k += 4) {
            float4 from_p[T];
#pragma unroll
            for (unsigned i = 0; i < T; i++) {
                from_p[i] = *(const float4 *)(p.values + (row + i * down) * p.stride + k);
            }
#pragma unroll
            for (unsigned q = 0; q < 4; q++) {
                float from_x[T];
                load_along<T>(x.values + (k + q) * x.stride + column, from_x);
#pragma unroll
                for (unsigned i = 0; i < T; i++) {
                    const float4 all = from_p[i];
                    const float factor = q == 0 ? all.x : q == 1 ? all.y : q == 2 ? all.z : all.w;
#pragma unroll
                    for (unsigned j = 0; j < T; j++) {
                        sums[i][j] += factor * from_x[j];
                    }
                }
            }
        }
#pragma unroll
        for (unsigned i = 0; i < T; i++) {
#pragma unroll
            for (unsigned j = 0; j < T; j++) {
                c.values[(row + i * down) * c.stride + column + j] = sums[i][j];
            }
        }
    }
    __syncthreads();
}

/* The momentum moves; x becomes the Nesterov update over its Frobenius norm, zeros around it. */
static __device__ void start_update(const kd_cuda_moved *moved, const kd_cuda_matrix *matrix,
                                    unsigned rows, unsigned columns, tile_matrix x)
{
    __shared__ double shared[KD_CUDA_BLOCK];
    const size_t weights = blockIdx.y * moved->n_params + matrix->weights;
    const float *gradient = moved->gradient + weights;
    float *momentum = moved->first + weights;
    double sum = 0;
    for (unsigned i = threadIdx.x; i < filled(rows) * x.stride; i += blockDim.x) {
        x.values[i] = 0;
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < rows * columns; i += blockDim.x) {
        const float update = kd_cuda_nesterov(gradient[i], &momentum[i]);
        x.values[kd_cuda_update_place(matrix, i, x.stride)] = update;
        sum += (double)update * (double)update;
    }
    const float shrink = kd_cuda_shrink(kd_cuda_block_sum(sum, shared));
    for (unsigned i = threadIdx.x; i < filled(rows) * x.stride; i += blockDim.x) {
        x.values[i] *= shrink;
    }
    __syncthreads();
}

/* The nearest orthogonal matrix, by Newton-Schulz steps. Returns where it is. */
template <unsigned T>
static __device__ __forceinline__ tile_matrix orthogonalise(unsigned rows, unsigned columns,
                                                            tile_matrix x, float *free_memory)
{
    const bool square = rows == columns;
    const unsigned stride = stride_of(rows), n_square = filled(rows) * stride;
    tile_matrix a = {free_memory, stride}, p = {free_memory + n_square, stride};
    tile_matrix next = {square ? a.values : free_memory + 2 * n_square, x.stride};
    for (int i = 0; i < KD_CUDA_NEWTON_SCHULZ_STEPS; i++) {
        multiply_by_itself<T>(x, rows, filled(columns), false, a);
        multiply_by_itself<T>(a, rows, filled(rows), true, p);
        apply<T>(p, x, rows, columns, next);
        const tile_matrix swap = x;
        x = next;
        next = swap;
        if (square) a.values = swap.values;
    }
    return x;
}

/* Muon's step of matrix blockIdx.x. */
static __device__ __forceinline__ void move_matrix(const kd_cuda_moved *moved, float *memory)
{
    const kd_cuda_matrix matrix = moved->matrices[blockIdx.x];
    const unsigned rows = (unsigned)min(matrix.n_out, matrix.n_in);
    const unsigned columns = (unsigned)max(matrix.n_out, matrix.n_in);
    tile_matrix x = {memory, stride_of(columns)};
    float *free_memory = x.values + filled(rows) * x.stride;
    start_update(moved, &matrix, rows, columns, x);
    x = rows * columns <= SMALL ? orthogonalise<2>(rows, columns, x, free_memory)
                                : orthogonalise<4>(rows, columns, x, free_memory);

    float *params = moved->params + blockIdx.y * moved->n_params + matrix.weights;
    const float rate = moved->rates[blockIdx.y].matrix;
    for (unsigned i = threadIdx.x; i < rows * columns; i += blockDim.x) {
        const float update = x.values[kd_cuda_update_place(&matrix, i, x.stride)];
        params[i] = kd_cuda_muon_move(params[i], rate, (float)columns, update);
    }
}

/* Block (x, y): matrix x of network y, or a part of its other parameters. */
__global__ void __launch_bounds__(KD_CUDA_BLOCK)
    orthogonal_kernel(const __grid_constant__ kd_cuda_moved moved, unsigned n_matrices)
{
    KD_DYNAMIC_SHARED(memory);
    if (blockIdx.x < n_matrices) {
        move_matrix(&moved, (float *)memory);
    } else {
        kd_cuda_adam_move(&moved, (blockIdx.x - n_matrices) * blockDim.x + threadIdx.x,
                          (gridDim.x - n_matrices) * blockDim.x);
    }
}

/* Bytes of shared memory that the largest matrix takes. */
static size_t shared_size(const kd_cuda_muon_plan *plan)
{
    size_t most = 0;
    for (int g = 0; g < plan->n_groups; g++) {
        const kd_cuda_group *group = &plan->groups[g];
        const size_t n = shared_floats((unsigned)group->rows, (unsigned)group->columns);
        if (n > most) most = n;
    }
    return most * sizeof(float);
}

bool kd_cuda_orthogonal_fits(const kd_cuda_muon_plan *plan)
{
    return shared_size(plan) <= KD_CUDA_ORTHOGONAL_SHARED;
}

kdinr_status kd_cuda_orthogonal(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                                const kd_cuda_moved *moved, kdinr_error *error)
{
    const unsigned n_matrices = (unsigned)plan->n_matrices;
    const dim3 grid(n_matrices + kd_cuda_blocks(moved->n_params), (unsigned)moved->n_networks);
    KD_CUDA_TRY(cudaFuncSetAttribute(orthogonal_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     KD_CUDA_ORTHOGONAL_SHARED),
                error);
    KD_LAUNCH(orthogonal_kernel, grid, KD_CUDA_BLOCK, shared_size(plan), lane->stream, *moved,
              n_matrices);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
