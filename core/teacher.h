/* Stage 1: one small network per brick and time step, trained on the step's samples (sec. III-B, C,
 * eq. 3). Before: encode.c pushes a step. After: distill.c, which only asks the teachers. */
#ifndef KD_TEACHER_H
#define KD_TEACHER_H

#include "bricks.h"
#include "net.h"
#include "sampler.h"
#include "train.h"
#include "volume.h"

/** What all processes that share the work know of one brick of one step. */
typedef struct kd_survey {
    double range[KD_KDM_MAX_COMPONENTS][2]; /* of the present samples; 0 if there are none */
    uint64_t n_present;                     /* samples of the brick */
    uint64_t n_own;                         /* those of them that are its own */
    uint64_t hash;                          /* of the brick's values, if a part is kept */
    bool map_stays; /* the same samples are missing as in the step that its holder saw before */
} kd_survey;

/** One brick of one step of one array, ready for training: normalised values, classes, blocks. */
typedef struct kd_cut {
    const kd_brick *brick; /* not owned */
    int n_components;
    bool elsewhere;   /* another process has the data: what is owned is NULL */
    uint8_t *classes; /* [brick->n] kd_missing, owned */
    size_t n_present;
    double range[KD_KDM_MAX_COMPONENTS][2]; /* of the present samples */
    bool constant;                          /* every component is, or nothing is present */
    float *values; /* [brick->n][n_components] in [-1,1], owned; not filled if constant */
    kd_blocks blocks;
    float *entropy; /* [blocks.n], owned */
    float *present; /* [blocks.n], owned */
} kd_cut;

/** The cut of a brick whose data another process has: it says what a teacher that is trained there
 *  is like. */
kd_cut kd_cut_describe(const kd_survey *survey, const kd_brick *brick, int n_components,
                       int block_edge);

/** Memory for the data, to be copied from another process.
 *  errors  MEMORY */
kdinr_status kd_cut_allocate(kd_cut *cut, kdinr_error *error);

/** Cut a brick out of a step.
 *  map     has the brick; NULL: nothing is missing
 *  *cut must be freed with kd_cut_free whatever the outcome.
 *  errors  MEMORY */
kdinr_status kd_cut_make(const kd_view *view, const kd_map *map, const kd_survey *survey,
                         const kd_brick *brick, int block_edge, kd_cut *cut, kdinr_error *error);

/** Free what the cut owns. */
void kd_cut_free(kd_cut *cut);

/** What stage 1 leaves of a brick and step. */
typedef struct kd_teacher {
    kd_net net;
    float *params; /* [net.n_params], owned; NULL: constant, or nothing present */
    double range[KD_KDM_MAX_COMPONENTS][2]; /* values that outputs -1 and +1 stand for */
    bool present;                           /* has the brick a present sample in this step? */
    kd_outcome outcome;
} kd_teacher;

/** How to train one teacher. */
typedef struct kd_teacher_plan {
    kd_net_shape shape;
    kd_schedule schedule;       /* after a warm start */
    double cold_samples;        /* from random weights */
    uint64_t stream;            /* of random numbers, unique to (array, brick, step) */
    const kd_teacher *previous; /* warm start from this one; NULL: from random weights */
} kd_teacher_plan;

/** One teacher to train. */
typedef struct kd_teacher_task {
    const kd_cut *cut;
    kd_teacher_plan plan;
    int trainer;         /* process that trains, of those that have the cut, or KD_TRAIN_ANYWHERE */
    kd_teacher *teacher; /* out */
} kd_teacher_task;

/** Train n teachers, of which none is another's `previous`; one whose cut is elsewhere is announced
 *  to come from another process. A constant cut gives a teacher without network.
 *  errors  as kd_train */
kdinr_status kd_teacher_train(kd_run *run, const kd_teacher_task *tasks, size_t n,
                              kdinr_error *error);

/** Free what the teacher owns. */
void kd_teacher_free(kd_teacher *teacher);

/** Scale and offset that map an output meaning `from` to one meaning `to`: what was -1..1 over
 * range `from` becomes -1..1 over range `to` (0, 0 where `to` is empty). */
void kd_teacher_remap(const double from[2], const double to[2], double *scale, double *offset);

#endif
