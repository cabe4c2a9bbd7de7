/* Rounding with which tests compare: each parameter to the nearest multiple of its unit. */
#ifndef PLAIN_ROUNDING_H
#define PLAIN_ROUNDING_H

#include <math.h>

#include "net.h"

/** units   [2 * n_layers]
 *  params  in/out [n_params] */
static inline void round_plainly(const kd_net *net, const float *units, float *params)
{
    for (int tensor = 0; tensor < 2 * net->n_layers; tensor++) {
        size_t n;
        const size_t start = kd_net_tensor(net, tensor, &n);

        for (size_t i = start; i < start + n; i++) {
            params[i] = nearbyintf(params[i] / units[tensor]) * units[tensor];
        }
    }
}

#endif
