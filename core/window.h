/* Stage 2 for one array: closes the open window, so that its teachers become students in the model.
 * Before: track.c has trained the teachers of the window's steps. After: quant.c. */
#ifndef KD_WINDOW_H
#define KD_WINDOW_H

#include "track.h"

/** Distil the open window, if it has steps, and begin the next one. Teachers are dropped.
 *  errors  as kd_train */
kdinr_status kd_window_close(kd_track *track, kd_run *run, kdinr_error *error);

#endif
