/* Modes of time: how a brick of a window mostly moves. A series rarely moves evenly; its leading
 * principal components along time (the temporal coefficients of a proper orthogonal decomposition),
 * read by the student beside time, tell it when much changes and which steps are alike. The paper
 * has time alone; two modes gain up to 0.7 dB at equal bytes (tests/quality/README.md).
 * Before: distill.c asks for all steps at the same places. After: the student's inputs. */
#ifndef KD_MODES_H
#define KD_MODES_H

#include "backend.h"
#include "kdinr.h"

/** Modes that tell anything in a window of n_steps: what a constant and time itself leave.
 *  wanted  0..KD_NET_MAX_MODES */
int kd_modes_count(int wanted, int n_steps);

/** Add places to the sums of products that modes are made of.
 *  values   in   [n_steps][n] at the same n places, of one component
 *  missing  in   [n_steps][n] nonzero: not there, counts as the straight line through the others
 *                in time; NULL: all are there
 *  sums     in/out [n_steps][n_steps] symmetric, starts as 0
 *  errors   MEMORY */
kdinr_status kd_modes_add(const float *values, const uint8_t *missing, size_t n, size_t n_steps,
                          double *sums, kdinr_error *error);

/** The leading eigenvectors of `sums`, orthogonal to a constant and to time. The largest element
 *  of each is 127; where there are none left they are 0.
 *  sums    in  [n_steps][n_steps] of kd_modes_add
 *  modes   out [n_steps][n_modes] -127..127, which stand for -1..1
 *  errors  MEMORY */
kdinr_status kd_modes_find(const double *sums, size_t n_steps, size_t n_modes, int8_t *modes,
                           kdinr_error *error);

/** The inputs of a network after x, y, z: the time coordinate, then the modes, which are linear
 *  between steps.
 *  modes   in  [n_steps][n_modes]; not looked at if n_modes is 0
 *  at      position in steps from the window's first, 0..n_steps - 1
 *  local   time coordinate there
 *  times   out, the rest is 0 */
void kd_modes_inputs(const int8_t *modes, int n_modes, int n_steps, double at, float local,
                     float times[KD_NET_MAX_TIMES]);

#endif
