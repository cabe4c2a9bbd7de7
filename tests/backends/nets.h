/* Networks and data made by hand for the backend tests and their benchmark: no core needed. */
#ifndef NETS_H
#define NETS_H

#include "backend.h"

/** Blocks of 2 or 3 layers sit on an encoder m, 2m, 4m and average; with `flat`, all layers have m
 *  neurons, one is before the blocks, and `skip` says what these do. */
typedef struct net_case {
    int width, depth, n_inputs, n_outputs, block_layers;
    bool flat;
    kd_skip skip;
} net_case;

/** Lay out a network (Table I): weights, then biases, layer after layer. */
void net_make(const net_case *shape, kd_net *net);

/** The next number of a sequence, uniform in [-1,1). */
float random_float(unsigned long long *state);

/** values[n], uniform in [-1,1). */
void random_fill(unsigned long long seed, size_t n, float *values);

/** params[net->n_params] as a SIREN is initialised, so that half turns stay moderate. */
void net_random_params(const kd_net *net, unsigned long long seed, float *params);

#endif
