/* Which process has the data of which bricks, and which trains which students. Bricks are held by
 * runs, so that what a process needs of a step is a small box; a student that would keep its holder
 * busy much longer than the others is trained elsewhere, and its data go there. Before: track.c has
 * planned the bricks. After: survey.c and track.c cut what is held, window.c trains. */
#ifndef KD_DEAL_H
#define KD_DEAL_H

#include "share.h"
#include "track.h"

/** Deal the bricks of all open windows. */
void kd_deal_holders(kd_track *tracks, int n_tracks, int n_ranks);

/** The smallest box with all samples of the next step that a process holds. */
kd_box kd_deal_box(const kd_track *track, int rank);

/** Deal the students of the windows that are closing, by window->sizes: sets window->trainers.
 *  errors  MEMORY */
kdinr_status kd_deal_students(kd_track *tracks, int n_tracks, const kd_share *share,
                              kdinr_error *error);

/** Collective. The data of a closing window to those that train: sets window->classes.
 *  errors  MEMORY, as kd_share_exchange */
kdinr_status kd_deal_data(kd_track *track, kd_window *window, kd_share *share, kdinr_error *error);

#endif
