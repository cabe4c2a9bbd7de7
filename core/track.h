/* One array on its way through both stages: keeps the teachers of the open window, closes the
 * window when its last step is in, and leaves students in the model. Before: encode.c hands it one
 * step at a time. After: quant.c takes the students' parameters. */
#ifndef KD_TRACK_H
#define KD_TRACK_H

#include "distill.h"
#include "measure.h"
#include "plan.h"
#include "rng.h"

/** Steps that will have one student per brick. Of processes that share the work (deal.h) each has
 *  the cuts, values, classes and maps, and fills entropy and present, of the bricks that it holds
 *  or, while students are trained, of those that it trains; the rest is the same on all. */
typedef struct kd_window {
    int first;              /* step */
    int n_steps;            /* so far */
    int number;             /* in the model, once it has room there */
    bool closing;           /* its students are about to be trained */
    int *holders;           /* [n_bricks] processes that are given the data, owned */
    int *trainers;          /* [n_bricks] processes that train the students, owned */
    kd_plan_student *sizes; /* [n_bricks] of the students, owned */
    kd_teacher *teachers;   /* [plan.window][n_bricks], owned */
    kd_cut *cuts;           /* [plan.window][n_bricks] of teachers that are trained when the window
                               is closed, owned */
    float **values;         /* [plan.window][n_bricks] with plan.keeps the data itself, owned */
    uint8_t **classes;      /* [plan.window][n_bricks] while closing: cut from maps, NULL where
                               nothing is missing; steps that follow each other may share them;
                               owned */
    kd_map **maps;          /* [plan.window], NULL where nothing is missing */
    kd_kept *kept;          /* [plan.window] */
    float **entropy;        /* [n_bricks][blocks] summed over the steps, owned */
    float **present;        /* likewise */
} kd_window;

typedef struct kd_track {
    kd_model *model; /* not owned */
    int a;           /* index into model->arrays */
    int samples[3];  /* of the array, per axis */
    size_t n_samples;
    int block_edge;
    int n_bricks;
    kd_brick *bricks; /* [n_bricks], owned */
    kd_plan plan;
    double share;     /* of the file's bytes */
    bool no_networks; /* a constant for all: residuals alone keep the bound */

    int n_windows;      /* open ones, filled one after the other; see kd_window_open */
    kd_window *windows; /* [n_windows], owned */
    int window;         /* that the next step goes to */

    kd_survey *surveys; /* [n_bricks] of the latest step, owned */
    kd_map *fresh;      /* of a step that is being surveyed, else NULL; owned */
    kd_map *last_map;   /* what this process has of the latest map, to recognise one that stays */

    kd_quality *quality;     /* [n_steps], owned */
    kd_student *students;    /* [n_networks] sensitivities; params belong to the model's networks */
    double *network_samples; /* [n_networks] samples (voxels times steps) it stands for */
    size_t n_networks;
} kd_track;

/** What the file may spend on one array. */
typedef struct kd_track_bytes {
    double step;  /* for one step, after its part of `fixed`; 0 with max_error: no networks */
    double fixed; /* goes to what does not grow with the steps */
    double share; /* of the file's */
} kd_track_bytes;

/** What planning wants to know of the first step. */
typedef struct kd_first_look {
    double mask_bytes; /* that the missing-value map will take in the file; 0: there is none */
    bool constant;     /* the present samples are all the same */
} kd_first_look;

/** Plan the array at its first step and prepare. The model's array must have its description.
 *  *track must be freed with kd_track_free whatever the outcome.
 *  errors  as kd_plan_make, MEMORY */
kdinr_status kd_track_start(kd_track *track, kd_model *model, int a, const kdinr_options *options,
                            const kd_first_look *look, const kd_track_bytes *bytes,
                            kdinr_error *error);

/** Samples to be drawn for `n_steps` steps, both stages: the unit of progress. */
double kd_track_work(const kd_track *track, const kdinr_options *options, int n_steps);

/** Room for one more step.
 *  errors  MEMORY */
kdinr_status kd_track_grow(kd_track *track, kdinr_error *error);

/** Stage 1 for the step that was last added to the model, its surveys being known to all. Of
 *  trainings that are dealt to other processes the result is there after kd_share_exchange; then a
 *  full window must be closed.
 *  errors  DATA (no present value), as kd_train */
kdinr_status kd_track_push(kd_track *track, kd_run *run, const kd_view *view, kdinr_error *error);

/** Collect `n` windows before any is trained, so that processes can train one each, brick by brick.
 *  Before the first push.
 *  errors  MEMORY */
kdinr_status kd_track_widen(kd_track *track, int n, kdinr_error *error);

/** Free what belongs to the steps of a window, and let it begin at step `first`. */
void kd_track_restart(kd_track *track, kd_window *window, int first);

/** The array's part of the model. */
static inline kd_model_array *kd_track_array(const kd_track *track)
{
    return &track->model->arrays[track->a];
}

/** A number that no other random stream of this encoder has. */
static inline uint64_t kd_track_stream(const kd_track *track, int stage, int window_or_step,
                                       int brick)
{
    return kd_rng_mix(((uint64_t)(track->a * 8 + stage) << 48) ^ ((uint64_t)window_or_step << 24) ^
                      (uint64_t)brick);
}

/** Free what the track owns. */
void kd_track_free(kd_track *track);

#endif
