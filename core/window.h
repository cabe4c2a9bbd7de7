/* Stage 2 for one array: closes the open window, so that its teachers become students in the model.
 * Before: track.c has trained the teachers of the window's steps. After: quant.c. */
#ifndef KD_WINDOW_H
#define KD_WINDOW_H

#include "track.h"

/** Decide how many windows of each array are collected before they are trained: with more processes
 *  than bricks as many as give each one something to do; alone, as many as fill a backend that
 *  trains several networks at once, if their data may be kept (options->window_memory). Then it is
 *  known who holds what (deal.h). Before the first push.
 *  errors  MEMORY */
kdinr_status kd_window_open(kd_track *tracks, int n, kd_run *run, kdinr_error *error);

/** Distil the open windows of some arrays, where they have steps, and begin the next ones. Teachers
 *  are dropped. Collective, like kd_share_exchange.
 *  tracks  [n]
 *  all     those that are not full too
 *  errors  as kd_train */
kdinr_status kd_window_close(kd_track *tracks, int n, bool all, kd_run *run, kdinr_error *error);

#endif
