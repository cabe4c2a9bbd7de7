/* One array on its way through both stages: keeps the teachers of the open window, closes the
 * window when its last step is in, and leaves students in the model. Before: encode.c hands it one
 * step at a time. After: quant.c takes the students' parameters. */
#ifndef KD_TRACK_H
#define KD_TRACK_H

#include "distill.h"
#include "measure.h"
#include "plan.h"
#include "rng.h"

/** A missing-value map shared by the steps that have it. */
typedef struct kd_map {
    int n_users;
    uint8_t classes[]; /* [n_samples] kd_missing */
} kd_map;

typedef struct kd_track {
    kd_model *model; /* not owned */
    int a;           /* index into model->arrays */
    int samples[3];  /* of the array, per axis */
    size_t n_samples;
    int block_edge;
    int n_bricks;
    kd_brick *bricks; /* [n_bricks], owned */
    kd_plan plan;
    bool no_networks; /* a constant for all: residuals alone keep the bound */

    int window_first;     /* step; the open window holds window_first..model->n_steps-1 */
    int n_open;           /* steps in the open window */
    kd_teacher *teachers; /* [plan.window][n_bricks], owned */
    float **values;       /* [plan.window][n_bricks] the data itself (option `direct`), owned */
    kd_map **maps;        /* [plan.window], NULL where nothing is missing */
    kd_kept *kept;        /* [plan.window] */
    float **entropy;      /* [n_bricks][blocks] summed over the open window, owned */
    float **present;      /* likewise */
    kd_map *last_map;     /* of the latest step, to recognise a map that stays */

    kd_quality *quality;     /* [n_steps], owned */
    kd_student *students;    /* [n_networks] sensitivities; params belong to the model's networks */
    double *network_samples; /* [n_networks] samples (voxels times steps) it stands for */
    size_t n_networks;
} kd_track;

/** Plan the array at its first step and prepare. The model's array must have its description.
 *  step_bytes  bytes the file may spend on this array for one step; 0 with max_error: no networks
 *  *track must be freed with kd_track_free whatever the outcome.
 *  errors  as kd_plan_make, MEMORY */
kdinr_status kd_track_start(kd_track *track, kd_model *model, int a, const kdinr_options *options,
                            const kdinr_array *array, double step_bytes, kdinr_error *error);

/** Samples to be drawn for `n_steps` steps, both stages: the unit of progress. */
double kd_track_work(const kd_track *track, int n_steps);

/** Stage 1 for the step that was last added to the model. Of trainings that are dealt to other
 *  processes the result is there after kd_share_exchange; then a full window must be closed.
 *  errors  DATA (no present value), as kd_train */
kdinr_status kd_track_push(kd_track *track, kd_run *run, const kdinr_array *array,
                           kdinr_error *error);

/** Free what belongs to the steps of the open window. */
void kd_track_release_steps(kd_track *track);

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
