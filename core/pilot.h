/* Short trainings before the real ones. Before: plan.c knows the networks' shape. After: teachers.c
 * trains the first teachers with what was chosen. */
#ifndef KD_PILOT_H
#define KD_PILOT_H

#include "plan.h"

/** Choose the first-layer frequency of a plan's networks by short trainings on one brick of the
 *  first step.
 *  errors  as kd_train */
kdinr_status kd_pilot_run(kd_run *run, const kd_cut *cut, kd_plan *plan, kdinr_error *error);

#endif
