/* Stage 2 for one array: closes the open window, so that its teachers become students in the model.
 * Before: track.c has trained the teachers of the window's steps. After: quant.c. */
#ifndef KD_WINDOW_H
#define KD_WINDOW_H

#include "track.h"

/** Distil the open windows of some arrays, where they have steps, and begin the next ones. Teachers
 *  are dropped. Collective, like kd_share_exchange.
 *  tracks  [n]
 *  all     those that are not full too
 *  errors  as kd_train */
kdinr_status kd_window_close(kd_track *tracks, int n, bool all, kd_run *run, kdinr_error *error);

#endif
