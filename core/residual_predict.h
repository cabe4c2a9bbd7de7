/* What a residual sample is expected to be, from those already coded: interpolation on lattices
 * that get finer by halves, and the step before. Before: residual.c walks the lattices. All
 * arithmetic is on integers, so that every decoder agrees to the last bit; core/FORMAT.md
 * section 6.5. */
#ifndef KD_RESIDUAL_PREDICT_H
#define KD_RESIDUAL_PREDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One pass: the samples whose index is an odd multiple of h along the axes of `odd` (bit 0: x) and
 *  an even one along the others. */
typedef struct kd_pass {
    int dims[3];
    size_t strides[3];
    int h;
    unsigned odd; /* 1..7 */
} kd_pass;

/** How a pass is predicted. */
typedef struct kd_predictor {
    unsigned axes; /* the mean along these axes, a part of `odd`, not empty */
    bool curved;   /* by cubics through four neighbours, else by lines through two */
    int follow;    /* eighths of what the step before adds to its own interpolation, 0..8 */
} kd_predictor;

/** Samples of a pass. */
size_t kd_pass_count(const kd_pass *pass);

/** The expected level of sample `i`, at[] being its indices.
 *  now     levels of this step; those of coarser passes are known
 *  before  levels of the step before; NULL: there is none, and follow is 0 */
int32_t kd_residual_predict(const kd_pass *pass, const kd_predictor *predictor, const int32_t *now,
                            const int32_t *before, const int at[3], size_t i);

/** The predictor that comes closest to what is to be coded, by trial on some samples.
 *  wanted   the true levels of all samples
 *  skip     [n] samples that are not coded, or NULL
 *  quantum  errors well below it cost nothing */
kd_predictor kd_residual_choose(const kd_pass *pass, const int32_t *now, const int32_t *before,
                                const float *wanted, const uint8_t *skip, int quantum);

#endif
