/* One sample's gradient, from the last layer to the first (chain rule over forward.c).
 * Before: forward.c filled the trace. After: adam.c or muon.c. */
#include <string.h>

#include "blocks.h"
#include "reference/reference.h"

/* by_sum[o]: derivative of the loss by neuron o's W x + b. */
static void add_layer(const kd_layer *layer, const double *by_sum, const double *input,
                      double *gradient)
{
    for (int o = 0; o < layer->n_out; o++) {
        double *row = gradient + layer->weights + (size_t)o * (size_t)layer->n_in;
        gradient[layer->biases + (size_t)o] += by_sum[o];
        for (int i = 0; i < layer->n_in; i++) {
            row[i] += by_sum[o] * input[i];
        }
    }
}

/* by_input = W^T by_sum */
static void through_weights(const kd_layer *layer, const double *params, const double *by_sum,
                            double *by_input)
{
    memset(by_input, 0, (size_t)layer->n_in * sizeof *by_input);
    for (int o = 0; o < layer->n_out; o++) {
        const double *row = params + layer->weights + (size_t)o * (size_t)layer->n_in;
        for (int i = 0; i < layer->n_in; i++) {
            by_input[i] += row[i] * by_sum[o];
        }
    }
}

void kd_reference_backward(const kd_net *net, const double *params, const kd_reference_trace *trace,
                           double *answer, double *gradient)
{
    double by_sum[KD_REFERENCE_MAX_NEURONS], skipped[KD_REFERENCE_MAX_NEURONS];
    double *by_output = answer; /* derivative of the loss by inputs[l + 1] */
    for (int l = net->n_layers - 1; l >= 0; l--) {
        const kd_layer *layer = &net->layers[l];
        const double share = kd_blocks_end(net, l) ? (double)kd_blocks_share(net) : 1;
        for (int o = 0; o < layer->n_out; o++) {
            by_sum[o] = share * by_output[o] * trace->slopes[l][o];
        }
        if (kd_blocks_end(net, l)) {
            memcpy(skipped, by_output, (size_t)layer->n_out * sizeof *skipped);
        }
        add_layer(layer, by_sum, trace->inputs[l], gradient);
        through_weights(layer, params, by_sum, by_output);
        for (int i = 0; kd_blocks_start(net, l) && i < layer->n_in; i++) {
            by_output[i] += (double)kd_blocks_share(net) * skipped[i];
        }
    }
}
