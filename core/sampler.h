/* Which samples go into a training batch: blocks are drawn by their entropy, then one sample of the
 * block (features of interest preservation-based sampling, sec. III-C, eq. 1-2, Fig. 4).
 * Before: volume.c normalises a brick. After: teacher.c and distill.c make batches. */
#ifndef KD_SAMPLER_H
#define KD_SAMPLER_H

#include "backend.h"
#include "bricks.h"
#include "kdinr.h"

/** How the samples of one brick are grouped into blocks. */
typedef struct kd_blocks {
    int dims[3]; /* samples of the brick */
    int edge;    /* samples along a block's edge; the last blocks may be smaller */
    int counts[3];
    size_t n;
} kd_blocks;

kd_blocks kd_sampler_blocks(const int dims[3], int edge);

/** Entropy of each block, eq. 1, with 256 bins over [-1,1], averaged over components; natural
 *  logarithm. Blocks without present samples get 0.
 *  values   [n_samples][n_components] in [-1,1]
 *  classes  [n_samples] kd_missing
 *  entropy  in/out [blocks->n]: added to, so that steps of a window accumulate */
void kd_sampler_entropy(const kd_blocks *blocks, const float *values, const uint8_t *classes,
                        int n_components, float *entropy);

/** Number of present samples of each block.
 *  present  in/out [blocks->n]: added to */
void kd_sampler_present(const kd_blocks *blocks, const uint8_t *classes, float *present);

typedef struct kd_sampler kd_sampler;

/** Prepare drawing. A block that has present samples is drawn with probability proportional to
 *  E_i / sum E + epsilon, eq. 2 (epsilon < 0: -epsilon / number of blocks); with
 *  KDINR_SAMPLING_UNIFORM every present sample is equally likely.
 *  entropy, present  [blocks->n], not kept; sum of present must be > 0
 *  errors  MEMORY */
kdinr_status kd_sampler_create(const kd_blocks *blocks, const float *entropy, const float *present,
                               kdinr_sampling kind, double epsilon, kd_sampler **sampler,
                               kdinr_error *error);

/** Draw sample number `counter` of a stream: its index in the brick. Samples with a class other
 *  than KD_MISSING_NONE are not drawn.
 *  classes  [n_samples], one of which at least is KD_MISSING_NONE; NULL: nothing is missing */
void kd_sampler_draw(const kd_sampler *sampler, uint64_t key, uint64_t counter,
                     const uint8_t *classes, int index[3]);

/** The same samples, for backends that draw themselves. Holds the sampler's tables, the brick's
 *  coordinates and `answers`, which must all outlive it.
 *  answers  [n_answers] */
kd_supply kd_sampler_supply(const kd_sampler *sampler, const kd_brick *brick, uint64_t key,
                            int n_answers, const kd_answer *answers);

/** NULL is fine. */
void kd_sampler_free(kd_sampler *sampler);

#endif
