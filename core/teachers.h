/* The teachers of one step of an array, brick by brick or in groups. Before: track.c. After:
 * window.c. */
#ifndef KD_TEACHERS_H
#define KD_TEACHERS_H

#include "track.h"

/** Stage 1 for the step that is being pushed, of which this process has the bricks that it holds;
 *  before the first one, the pilot.
 *  errors  as kd_train */
kdinr_status kd_teachers_push(kd_track *track, kd_run *run, const kd_view *view,
                              kdinr_error *error);

/** Train the teachers of the first n open windows, whose data were kept, if several are open.
 *  errors  as kd_train */
kdinr_status kd_teachers_catch_up(kd_track *track, kd_run *run, int n, kdinr_error *error);

#endif
