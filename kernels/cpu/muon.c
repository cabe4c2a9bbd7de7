/* Muon on one hidden matrix: momentum, then the nearest orthogonal matrix by five Newton-Schulz
 * steps (Jordan et al., 2024). Before: reduce.c. After: pack.c.
 * X is the update as it lies in memory, the smaller dimension along the lanes [rows][stride]:
 * X <- X B with B = aI + bA + cA^2 and A = X^T X, both [lanes][stride]. */
#include <math.h>

#include "cpu/operations.h"
#include "cpu/product.h"

enum { NEWTON_SCHULZ_STEPS = 5 };

/* Momentum moves; x = Nesterov update. Returns the sum of its squares. */
static double nesterov(size_t n, float scale, const float *gradient, float *momentum, float *x)
{
    kd_vec squares = kd_vec_all(0);
    double sum = 0;
    for (size_t i = 0; i < n; i += KD_LANES) {
        const kd_vec g = scale * kd_vec_load(gradient + i);
        kd_vec m = kd_vec_load(momentum + i);
        m += 0.05f * (g - m);
        const kd_vec update = g + 0.95f * (m - g);
        kd_vec_store(momentum + i, m);
        kd_vec_store(x + i, update);
        squares += update * update;
    }
    for (int lane = 0; lane < KD_LANES; lane++) {
        sum += (double)squares[lane];
    }
    return sum;
}

/* y[n_rows][stride] = w times x, where w's element (row, k) is at row * w_row + k * w_term */
static void multiply(int n_rows, int n_terms, int stride, const float *w, int w_row, const float *x,
                     float *y)
{
    const int n_panels = kd_panel_count(n_rows), n_vectors = stride / KD_LANES;
    for (int v = 0; v < n_vectors; v += KD_VECTORS) {
        for (int i = 0; i < n_panels; i++) {
            const int first = kd_panel_first(n_rows, n_panels, i);
            const int rows = kd_panel_first(n_rows, n_panels, i + 1) - first;
            const kd_product product = {.n_terms = n_terms,
                                        .w = w + (ptrdiff_t)first * w_row,
                                        .w_row = w_row,
                                        .w_term = w_row == 1 ? stride : 1,
                                        .x = x + v * KD_LANES,
                                        .x_term = stride,
                                        .y = y + (ptrdiff_t)first * stride + v * KD_LANES,
                                        .y_row = stride,
                                        .start = KD_START_ZERO};
            kd_product_any(&product, rows, n_vectors - v);
        }
    }
}

/* b = 3.4445 I - 4.7750 a + 2.0315 b, where b holds a^2 */
static void polynomial(const kd_cpu_layer *layer, const float *a, float *b)
{
    for (int i = 0; i < layer->lanes * layer->stride; i += KD_LANES) {
        kd_vec_store(b + i, 2.0315f * kd_vec_load(b + i) - 4.7750f * kd_vec_load(a + i));
    }
    for (int i = 0; i < layer->lanes; i++) {
        b[i * layer->stride + i] += 3.4445f;
    }
}

void kd_cpu_muon(const kd_cpu_layer *layer, float scale, double rate, const float *gradient,
                 float *momentum, float *params, float *scratch)
{
    const int rows = layer->rows, lanes = layer->lanes, stride = layer->stride;
    const size_t n = (size_t)rows * (size_t)stride, square = (size_t)lanes * (size_t)stride;
    float *x = scratch, *next = x + n, *a = next + n, *b = a + square;
    const double norm = sqrt(nesterov(n, scale, gradient, momentum, x));
    const float shrink = (float)(1 / (norm + 1e-12));
    for (size_t i = 0; i < n; i += KD_LANES) {
        kd_vec_store(x + i, shrink * kd_vec_load(x + i));
    }
    for (int i = 0; i < NEWTON_SCHULZ_STEPS; i++) {
        multiply(lanes, rows, stride, x, 1, x, a);
        multiply(lanes, lanes, stride, a, stride, a, b);
        polynomial(layer, a, b);
        multiply(rows, lanes, stride, x, stride, b, next);
        float *swap = x;
        x = next;
        next = swap;
    }
    const float move = (float)(rate * 0.2 * sqrt((double)rows));
    const float keep = (float)(1 - rate * KD_MATRIX_DECAY);
    for (size_t i = 0; i < n; i += KD_LANES) {
        kd_vec_store(params + i, keep * kd_vec_load(params + i) - move * kd_vec_load(x + i));
    }
}
