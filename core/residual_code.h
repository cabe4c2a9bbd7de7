/* How a code of a residual becomes decisions of the range coder: whether it is 0, how large, its
 * sign, each by how large the codes around it were. Before: residual.c has the code. After:
 * coder.h. core/FORMAT.md section 5.1. */
#ifndef KD_RESIDUAL_CODE_H
#define KD_RESIDUAL_CODE_H

#include "coder.h"
#include "residual_predict.h"

enum {
    KD_RESIDUAL_UNARY = 15, /* magnitudes up to this are counted, then come numbers of bits */
    KD_RESIDUAL_BITS = 32,  /* the number of bits that says: stored as it is */
    KD_RESIDUAL_SUMS = 16,  /* classes of summed activity */
    KD_RESIDUAL_PLACES = 135,
    KD_RESIDUAL_GROUPS = 9 /* three groups of lattices times the number of odd axes */
};

/** What a stream has learned. */
typedef struct kd_residual_model {
    kd_context zero[KD_RESIDUAL_GROUPS][KD_RESIDUAL_SUMS];
    kd_context zero_around[KD_RESIDUAL_GROUPS][KD_RESIDUAL_PLACES];
    kd_context more[KD_RESIDUAL_UNARY][KD_RESIDUAL_SUMS];
    kd_context more_around[KD_RESIDUAL_UNARY][KD_RESIDUAL_SUMS];
    kd_context bits[KD_RESIDUAL_BITS];
} kd_residual_model;

void kd_residual_model_reset(kd_residual_model *model);

/** The contexts of one sample. */
typedef struct kd_surroundings {
    kd_context *zero, *zero_around;
    int sum, around; /* classes of activity, for magnitudes */
} kd_surroundings;

/** What is known around sample `i` (indices at[]): codes of the same pass before it, of the
 *  neighbours between which it lies, and of the step before.
 *  group     0 finest lattice, 1 next, 2 all others
 *  activity  of this step
 *  before    of the step before, or NULL */
kd_surroundings kd_residual_around(kd_residual_model *model, const kd_pass *pass, int group,
                                   const uint8_t *activity, const uint8_t *before, const int at[3],
                                   size_t i);

/** The contexts of sample (0,0,0). */
kd_surroundings kd_residual_around_first(kd_residual_model *model);

/** Code n_bits even decisions, the highest bit first. */
uint64_t kd_residual_raw(kd_coder *coder, uint64_t value, int n_bits);

/** Code a code, or that the sample is stored as it is: then *exact, and what is returned is 0. */
int64_t kd_residual_number(kd_coder *coder, kd_residual_model *model, const kd_surroundings *around,
                           int64_t code, bool *exact);

#endif
