/* Did the networks learn the data at all? Before: measure.c has compared. After: encode.c writes
 * the file, or refuses to leave one that says nothing. */
#ifndef KD_JUDGE_H
#define KD_JUDGE_H

#include "track.h"

/** Is every window of the array better than the best constant? A window fails if its mean squared
 *  error is above nine tenths of the variance of its values (half a decibel better than their
 *  mean), or of a tenth of the series' variance where the window varies less than that.
 *  errors  TRAINING (the message names the first such window, its PSNR and the constant's) */
kdinr_status kd_judge_array(const kd_track *track, kdinr_error *error);

#endif
