/* Networks and data made by hand for the backend tests and their benchmark. */
#include "nets.h"

#include <math.h>
#include <string.h>

static void add_layer(kd_net *net, int n_in, int n_out, float omega)
{
    kd_layer *layer = &net->layers[net->n_layers++];
    layer->n_in = n_in;
    layer->n_out = n_out;
    layer->omega = omega;
    layer->weights = net->n_params;
    layer->biases = net->n_params + (size_t)n_in * (size_t)n_out;
    net->n_params = layer->biases + (size_t)n_out;
}

void net_make(const net_case *shape, kd_net *net)
{
    const int m = shape->width, wide = shape->flat ? m : 4 * m;
    const float omega = 30;
    memset(net, 0, sizeof *net);
    net->n_inputs = shape->n_inputs;
    net->n_outputs = shape->n_outputs;
    net->width = m;
    net->depth = shape->depth;
    net->block_layers = shape->block_layers;
    net->n_encoder = shape->flat ? 1 : 3;
    net->skip = shape->skip;
    add_layer(net, shape->n_inputs, m, 20);
    if (!shape->flat) {
        add_layer(net, m, 2 * m, omega);
        add_layer(net, 2 * m, 4 * m, omega);
    }
    for (int block = 0; block < shape->depth; block++) {
        const int inner = shape->block_layers == 3 ? m : wide;
        add_layer(net, wide, inner, omega);
        if (shape->block_layers == 3) {
            add_layer(net, m, m, omega);
        }
        if (shape->block_layers > 1) {
            add_layer(net, inner, wide, omega);
        }
    }
    add_layer(net, wide, shape->n_outputs, 0);
}

float random_float(unsigned long long *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (float)(*state >> 40) / (float)(1 << 23) - 1;
}

void random_fill(unsigned long long seed, size_t n, float *values)
{
    unsigned long long state = seed;
    for (size_t i = 0; i < n; i++) {
        values[i] = random_float(&state);
    }
}

void net_random_params(const kd_net *net, unsigned long long seed, float *params)
{
    unsigned long long state = seed;
    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const double bound = l == 0              ? 1.0 / layer->n_in
                             : layer->omega == 0 ? sqrt(6.0 / layer->n_in)
                                                 : sqrt(6.0 / layer->n_in) / (double)layer->omega;
        const size_t end = layer->biases + (size_t)layer->n_out;
        for (size_t i = layer->weights; i < end; i++) {
            params[i] = (float)bound * random_float(&state);
        }
    }
}
