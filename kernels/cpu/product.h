/* The matrix product that everything in cpu/ is made of:
 *     y[row][lane] = start + sum over k of w[row][k] * x[k][lane]
 * One block of at most KD_ROWS rows and KD_VECTORS vectors stays in registers over the whole sum.
 * forward.c, backward.c and muon.c say through the strides what w, x and y are. */
#ifndef KD_PRODUCT_H
#define KD_PRODUCT_H

#include <stddef.h>

#include "cpu/simd.h"

/* What the sums start from. */
typedef enum kd_product_start {
    KD_START_ZERO,
    KD_START_Y,   /* add to what y holds */
    KD_START_BIAS /* bias[row] in all lanes */
} kd_product_start;

typedef struct kd_product {
    ptrdiff_t n_terms;
    const float *w; /* w[row * w_row + k * w_term] */
    ptrdiff_t w_row, w_term;
    const float *x; /* x[k * x_term + lane] */
    ptrdiff_t x_term;
    float *y; /* y[row * y_row + lane] */
    ptrdiff_t y_row;
    kd_product_start start;
    const float *bias; /* of the first row; unused unless KD_START_BIAS */
} kd_product;

KD_INLINE kd_vec kd_product_first(const kd_product *p, int row, int vector)
{
    if (p->start == KD_START_Y) return kd_vec_load(p->y + row * p->y_row + vector * KD_LANES);
    if (p->start == KD_START_BIAS) return kd_vec_all(p->bias[row]);
    return kd_vec_all(0);
}

/** One block. `rows` and `vectors` are constants after inlining, so all loops over them unroll. */
KD_INLINE void kd_product_block(const kd_product *p, const int rows, const int vectors)
{
    kd_vec sums[KD_ROWS][KD_VECTORS];
    const float *w = p->w, *x = p->x;
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            sums[row][v] = kd_product_first(p, row, v);
        }
    }
    for (ptrdiff_t k = 0; k < p->n_terms; k++, w += p->w_term, x += p->x_term) {
        kd_vec terms[KD_VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            terms[v] = kd_vec_load(x + v * KD_LANES);
        }
#pragma GCC unroll 8
        for (int row = 0; row < rows; row++) {
            const kd_vec factor = kd_vec_all(w[row * p->w_row]);
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) {
                sums[row][v] += factor * terms[v];
            }
        }
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            kd_vec_store(p->y + row * p->y_row + v * KD_LANES, sums[row][v]);
        }
    }
}

/** One block with a number of rows known at run time, 1..KD_ROWS. */
KD_INLINE void kd_product_rows(const kd_product *p, int rows, const int vectors)
{
    switch (rows) {
    case 1:
        kd_product_block(p, 1, vectors);
        break;
    case 2:
        kd_product_block(p, 2, vectors);
        break;
    case 3:
        kd_product_block(p, 3, vectors);
        break;
    case 4:
        kd_product_block(p, 4, vectors);
        break;
#if KD_ROWS == 8
    case 5:
        kd_product_block(p, 5, vectors);
        break;
    case 6:
        kd_product_block(p, 6, vectors);
        break;
    case 7:
        kd_product_block(p, 7, vectors);
        break;
    case 8:
        kd_product_block(p, 8, vectors);
        break;
#endif
    default:
        break;
    }
}

/** The same with a number of vectors known at run time: KD_VECTORS of them, or all if fewer. */
KD_INLINE void kd_product_any(const kd_product *p, int rows, int vectors)
{
    if (vectors >= KD_VECTORS) {
        kd_product_rows(p, rows, KD_VECTORS);
    } else if (vectors == 1) {
        kd_product_rows(p, rows, 1);
    } else if (KD_VECTORS > 2) {
        kd_product_rows(p, rows, 2);
    }
}

/** Panels: rows are cut into the fewest runs of at most KD_ROWS, of nearly equal length. */
KD_INLINE int kd_panel_count(int n_rows)
{
    return (n_rows + KD_ROWS - 1) / KD_ROWS;
}

/** First row of panel `i` of `count`; of panel `count`: n_rows. */
KD_INLINE int kd_panel_first(int n_rows, int count, int i)
{
    return (int)((long)n_rows * i / count);
}

#endif
