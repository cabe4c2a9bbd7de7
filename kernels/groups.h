/* The loss on gradients, for backends that are told gradient_weight: how the misses of a group of
 * samples pull at each other. A group is a sample and its neighbours along x, y and z. Before: a
 * backend knows the misses of a batch, e = answer - target. After: it goes backward from them.
 *
 * The loss is the mean of e^2 over rows and outputs, plus gradient_weight times the mean, over
 * groups, outputs and axes, of ((e_axis - e_0) / h)^2, h being the neighbour's distance: its square
 * is that of the difference between the network's slope and the data's. Its derivative by e, times
 * n_rows * n_outputs / 2, is e plus or minus the pulls below.
 * NeurComp's authors (Lu et al., 2021) take the network's gradient at the sample itself, for which
 * they differentiate twice. */
#ifndef KD_GROUPS_H
#define KD_GROUPS_H

#include "backend.h"
#include "rng.h"
#include "status.h"

/** The factor of e_axis - e_0 in the pull between a group's first row and its neighbour's along
 *  `axis`; 0 where the neighbour is missing, which lies where the sample does.
 *  coords  [KD_GROUP_ROWS][n_inputs] of the group */
static KD_DEVICE_TOO inline double kd_groups_pull(const float *coords, int n_inputs, int axis,
                                                  double gradient_weight)
{
    const double h = (double)coords[(1 + axis) * n_inputs + axis] - (double)coords[axis];

    return h == 0.0 ? 0.0 : gradient_weight * KD_GROUP_ROWS / 3.0 / (h * h);
}

/** Is a batch of n rows one of whole groups, if it has groups?
 *  errors  ARGUMENT */
static inline kdinr_status kd_groups_check(const kd_backend_config *config, size_t n,
                                           kdinr_error *error)
{
    if (config->gradient_weight <= 0 || n % KD_GROUP_ROWS == 0) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_ARGUMENT, "batch of %zu samples, groups have %d", n,
                   KD_GROUP_ROWS);
}

#endif
