/* Batches of stage 2: what the steps of a window say, data or teachers, at places that are drawn a
 * pool at a time, so that each teacher answers many coordinates per call; batches are consecutive
 * rows of the pool and mix all steps evenly. And what all steps say at the same places, of which
 * the student's modes of time are made. Before: distill.c decides what is trained. After: train.c
 * draws from here. */
#ifndef KD_POOL_H
#define KD_POOL_H

#include "distill.h"

/** The batches of one student, and what its training is made of. With a loss on gradients every
 * draw gives a group of rows, see kd_backend_config; row r belongs to draw r / n_group. */
typedef struct kd_pool {
    /* set before kd_pool_open */
    kd_run *run;
    const kd_lesson *lesson;
    const kd_student_plan *plan;
    kd_student *student; /* its net, range and room for modes */
    bool here;           /* is this the process that trains? */
    uint64_t key;        /* of the random numbers */
    size_t n_group;      /* rows of a draw: 1 or KD_GROUP_ROWS */
    size_t n;            /* rows */

    kd_schedule schedule;
    kd_rounding rounding;
    kd_supply supply; /* the same samples, for backends that draw themselves */
    kd_source source;

    kd_sampler *sampler;
    int n_active;      /* steps that have present samples */
    kd_answer *learnt; /* [n_active] what is learnt of each */
    void **answerers;  /* [n_active] backend states of the teachers, NULL where there is none */
    uint64_t first;    /* row 0 of the pool is this sample; UINT64_MAX: empty */
    float *coords;     /* [n][n_inputs of the student] */
    float *targets;    /* [n][n_components] */
    float *asked;      /* [n][3] coordinates put to one teacher */
    float *answers;    /* [n][n_components] */
    size_t *at;        /* [n] sample indices in the brick */
} kd_pool;

/** Open the teachers, find the student's modes, prepare sampler and supply. kd_pool_free also after
 *  a failure.
 *  errors  MEMORY, BACKEND */
kdinr_status kd_pool_open(kd_pool *pool, kdinr_error *error);

/** draw of a kd_source; user is the pool. */
kdinr_status kd_pool_draw(void *user, uint64_t first, size_t n, float *coords, float *targets,
                          kdinr_error *error);

/** From now on n_rows places that stand for the whole brick: fill the pool with the first of them.
 *  n_rows  at most those the pool was opened with
 *  errors  MEMORY, BACKEND */
kdinr_status kd_pool_spread(kd_pool *pool, size_t n_rows, kdinr_error *error);

/** Elements of the student's modes: [n_steps][n_inputs - 4]. */
size_t kd_pool_count_modes(const kd_pool *pool);

void kd_pool_free(kd_pool *pool);

#endif
