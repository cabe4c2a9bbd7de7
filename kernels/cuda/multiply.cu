/* Products of many small matrices in one launch, for Muon (muon.cu): a block of threads makes a
 * tile of one of them, each thread four elements. An element is one sum in the order of the
 * factors' common dimension, so that its bits depend on nothing but its matrices. */
#include "cuda/check.h"
#include "cuda/muon_step.h"
#include "cuda/operations.h"
#include "cuda/launch.h"

#define TILE 32u /* elements along a tile's edge */
#define SIDE 16u /* and threads */

/* a [row][k] and b [column][k] of this block's tile, from k = first on; outside 0 */
static __device__ __forceinline__ void load_tiles(const kd_cuda_product *p, const float *a,
                                                  const float *b, unsigned first,
                                                  float to_a[TILE][TILE + 1],
                                                  float to_b[TILE][TILE + 1])
{
    const unsigned row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    for (unsigned i = threadIdx.x; i < TILE * TILE; i += SIDE * SIDE) {
        const unsigned u = i % TILE, v = i / TILE;
        const unsigned k = first + (p->b_transposed ? u : v), j = p->b_transposed ? v : u;
        const size_t at =
            p->b_transposed ? (size_t)(column + j) * p->n + k : (size_t)k * p->columns + column + j;
        to_a[v][u] =
            row + v < p->rows && first + u < p->n ? a[(size_t)(row + v) * p->n + first + u] : 0.0f;
        to_b[j][k - first] = column + j < p->columns && k < p->n ? b[at] : 0.0f;
    }
}

/* Block (x, y, z): tile (x, y) of matrix z % n_matrices of network z / n_matrices. */
__global__ void multiply_kernel(const __grid_constant__ kd_cuda_product p)
{
    __shared__ float tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
    const size_t matrix = blockIdx.z % p.n_matrices;
    const size_t network = blockIdx.z / p.n_matrices * p.network;
    const float *a = p.a + network + matrix * p.a_next, *b = p.b + network + matrix * p.b_next;
    float *c = p.c + network + matrix * p.c_next;
    const unsigned x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    float sums[2][2] = {};
    for (unsigned first = 0; first < p.n; first += TILE) {
        const unsigned left = p.n - first, count = left < TILE ? left : TILE;
        load_tiles(&p, a, b, first, tile_a, tile_b);
        __syncthreads();
        for (unsigned k = 0; k < count; k++) {
            for (unsigned i = 0; i < 4; i++) {
                sums[i / 2][i % 2] += tile_a[y + i / 2 * SIDE][k] * tile_b[x + i % 2 * SIDE][k];
            }
        }
        __syncthreads();
    }
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = blockIdx.y * TILE + y + i / 2 * SIDE;
        const unsigned column = blockIdx.x * TILE + x + i % 2 * SIDE;
        if (row >= p.rows || column >= p.columns) continue;
        const size_t at = (size_t)row * p.columns + column;
        const float sum = sums[i / 2][i % 2];
        c[at] = p.polynomial ? kd_cuda_newton_schulz(row == column, a[at], sum) : sum;
    }
}

kdinr_status kd_cuda_multiply(const kd_cuda_lane *lane, const kd_cuda_product *product,
                              kdinr_error *error)
{
    const dim3 grid((product->columns + TILE - 1) / TILE, (product->rows + TILE - 1) / TILE,
                    product->n_networks * product->n_matrices);
    KD_LAUNCH(multiply_kernel, grid, SIDE * SIDE, 0, lane->stream, *product);
    KD_CUDA_TRY(cudaGetLastError(), error);
    return KDINR_OK;
}
