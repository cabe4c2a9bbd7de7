/* One sample through the network: y = sin(omega (W x + b)) per layer, h <- share (h + f(h))
 * per block. Before: coordinates. After: backward.c, which needs the whole trace. */
#include <math.h>

#include "blocks.h"
#include "reference/reference.h"

static void linear_sine(const kd_layer *layer, const double *params, const double *input,
                        double *output, double *slope)
{
    for (int o = 0; o < layer->n_out; o++) {
        const double *row = params + layer->weights + (size_t)o * (size_t)layer->n_in;
        double sum = params[layer->biases + (size_t)o];
        for (int i = 0; i < layer->n_in; i++) {
            sum += row[i] * input[i];
        }
        if (layer->omega == 0) {
            output[o] = sum;
            slope[o] = 1;
        } else {
            output[o] = sin((double)layer->omega * sum);
            slope[o] = (double)layer->omega * cos((double)layer->omega * sum);
        }
    }
}

void kd_reference_forward(const kd_net *net, const double *params, kd_reference_trace *trace)
{
    for (int l = 0; l < net->n_layers; l++) {
        double *output = trace->inputs[l + 1];
        linear_sine(&net->layers[l], params, trace->inputs[l], output, trace->slopes[l]);
        if (kd_blocks_end(net, l)) {
            const double *skipped = trace->inputs[l + 1 - net->block_layers];
            for (int o = 0; o < net->layers[l].n_out; o++) {
                output[o] = (double)kd_blocks_share(net) * (skipped[o] + output[o]);
            }
        }
    }
}
