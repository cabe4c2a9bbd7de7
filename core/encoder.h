/* What an encoder is, for the files that have its public functions: start.c before the first push,
 * encode.c from there on. */
#ifndef KD_ENCODER_H
#define KD_ENCODER_H

#include "guess.h"
#include "share.h"
#include "track.h"

typedef enum kd_stage { STAGE_PUSHING, STAGE_SETTLED, STAGE_FINISHED, STAGE_FAILED } kd_stage;

struct kdinr_encoder {
    kdinr_options options;
    char *backend_name; /* copy of options.backend, owned */
    kd_run run;
    kd_model model;
    int times_capacity;
    kd_track *tracks;  /* [model.n_arrays] */
    kd_field **fields; /* [model.n_arrays] of the settled model */
    kd_keep *keeps;    /* [model.n_arrays] with max_error, else NULL */
    kd_stage stage;
    bool planned; /* tracks and model are described */
    bool verifying;
    kd_guess *guesses; /* [n_guesses] of the arrays of steps that were looked at */
    int n_guesses;
    bool chose_ratio; /* options.ratio was 0 */
};

/** Collective. Plan from the first step, of which each process has a part.
 *  errors  as kdinr_encoder_plan */
kdinr_status kd_start_plan(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error);

#endif
