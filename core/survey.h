/* What a step is like before it is trained: range and missing values, looked at brick by brick by
 * the processes that hold them and made known to all. Before: encode.c hands over a step. After:
 * track.c cuts bricks out of it. */
#ifndef KD_SURVEY_H
#define KD_SURVEY_H

#include "share.h"
#include "track.h"

/** Collective. Look at a first step, of which each process has a part and which all have together.
 *  errors  MEMORY, as kd_share_exchange */
kdinr_status kd_survey_first(kd_share *share, const kd_view *view, const int samples[3],
                             kd_first_look *look, kdinr_error *error);

/** Look at the bricks that this process holds of the step that was last added to the model, and
 *  announce track->surveys.
 *  errors  ARGUMENT (the view has not all samples of these bricks), MEMORY */
kdinr_status kd_survey_step(kd_track *track, const kd_run *run, const kd_view *view,
                            kdinr_error *error);

/** XXH64 of the step's values, from the surveys of all. */
uint64_t kd_survey_hash(const kd_track *track, uint64_t hash);

/** Collective, after the surveys were exchanged: widen the series' range; the step's
 *  missing-value map into model and window, the map of the step before if it is the same.
 *  *map is NULL where nothing is missing, and where this process holds nothing.
 *  errors  DATA (no value is present), MEMORY, as kd_share_exchange */
kdinr_status kd_survey_finish(kd_track *track, kd_run *run, kdinr_error *error);

#endif
