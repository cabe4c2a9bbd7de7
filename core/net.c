/* The layer table of Table I. Before: plan.c chooses width and depth. After: train.c trains the
 * parameters, quant.c packs them, and the backends walk the table. */
#include "net.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "rng.h"

static void add_layer(kd_net *net, int n_in, int n_out, float omega)
{
    kd_layer *layer = &net->layers[net->n_layers++];

    layer->n_in = n_in;
    layer->n_out = n_out;
    layer->omega = omega;
    layer->weights = net->n_params;
    layer->biases = layer->weights + (size_t)n_in * (size_t)n_out;
    net->n_params = layer->biases + (size_t)n_out;
}

/* From the coordinates to what the blocks read. */
static void add_encoder(const kd_net_shape *shape, kd_net *net)
{
    const int m = shape->width;

    add_layer(net, shape->n_inputs, m, shape->omega_first);
    if (shape->form == KD_FORM_KDINR) {
        add_layer(net, m, 2 * m, shape->omega_hidden);
        add_layer(net, 2 * m, 4 * m, shape->omega_hidden);
    }
    net->n_encoder = net->n_layers;
}

/* A block on `wide` neurons: 4m-m-m-4m, or layers that are all as wide. */
static void add_block(const kd_net_shape *shape, int wide, kd_net *net)
{
    const float omega = shape->omega_hidden;

    if (shape->block_layers == 3) {
        add_layer(net, wide, shape->width, omega);
        add_layer(net, shape->width, shape->width, omega);
        add_layer(net, shape->width, wide, omega);
        return;
    }
    for (int l = 0; l < shape->block_layers; l++) {
        add_layer(net, wide, wide, omega);
    }
}

void kd_net_layout(const kd_net_shape *shape, kd_net *net)
{
    const int m = shape->width;

    assert(m >= 2 && m <= KD_NET_MAX_WIDTH);
    assert(shape->depth >= 1 && shape->depth <= KD_NET_MAX_DEPTH);
    memset(net, 0, sizeof *net);
    net->n_inputs = shape->n_inputs;
    net->n_outputs = shape->n_outputs;
    net->width = m;
    net->depth = shape->depth;
    net->block_layers = shape->block_layers;
    net->skip = shape->form == KD_FORM_SIREN  ? KD_SKIP_NONE
                : shape->form == KD_FORM_EVEN ? KD_SKIP_SUM
                                              : KD_SKIP_MEAN;
    add_encoder(shape, net);
    const int wide = net->layers[net->n_encoder - 1].n_out;
    for (int block = 0; block < shape->depth; block++) {
        add_block(shape, wide, net);
    }
    add_layer(net, wide, shape->n_outputs, 0.0f);
}

size_t kd_net_count(const kd_net_shape *shape)
{
    kd_net net;

    kd_net_layout(shape, &net);
    return net.n_params;
}

int kd_net_width_for(const kd_net_shape *shape, double n_params)
{
    kd_net_shape trial = *shape;
    int low = 2, high = KD_NET_MAX_WIDTH;

    while (low < high) {
        trial.width = (low + high + 1) / 2;
        if ((double)kd_net_count(&trial) <= n_params) {
            low = trial.width;
        } else {
            high = trial.width - 1;
        }
    }
    return low;
}

/* Columns of the first layer's weights beyond the fourth, of modes, start at 0: a mode jumps from
 * step to step, and random sums of such jumps would have to be unlearnt. */
static void clear_modes(const kd_layer *first, float *weights)
{
    for (int o = 0; o < first->n_out; o++) {
        for (int i = 4; i < first->n_in; i++) {
            weights[o * first->n_in + i] = 0.0f;
        }
    }
}

static void fill_uniform(float *values, size_t n, double bound, uint64_t key, uint64_t *counter)
{
    for (size_t i = 0; i < n; i++) {
        const double unit = (double)kd_rng_unit(kd_rng_at(key, (*counter)++));
        values[i] = (float)((2.0 * unit - 1.0) * bound);
    }
}

/* Does layer `l` read a sum of two, of a block that came before? */
static bool reads_sum(const kd_net *net, int l)
{
    return net->skip == KD_SKIP_SUM && l > 0 && kd_blocks_end(net, l - 1);
}

void kd_net_initialise(const kd_net *net, float omega_hidden, uint64_t seed, uint64_t stream,
                       float *params)
{
    const uint64_t key = kd_rng_key(seed, stream);
    uint64_t counter = 0;

    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const double n_in = layer->n_in;
        const double usual =
            l == 0 ? 1.0 / fmin(n_in, 4.0) : sqrt(6.0 / n_in) / (double)omega_hidden;
        const double bound = reads_sum(net, l) ? 0.5 * usual : usual;

        fill_uniform(params + layer->weights, (size_t)layer->n_in * (size_t)layer->n_out, bound,
                     key, &counter);
        fill_uniform(params + layer->biases, (size_t)layer->n_out, 1.0 / sqrt(n_in), key, &counter);
    }
    clear_modes(&net->layers[0], params + net->layers[0].weights);
}

void kd_net_rescale(const kd_net *net, const double *scale, const double *offset, float *params)
{
    const kd_layer *last = &net->layers[net->n_layers - 1];

    for (int c = 0; c < last->n_out; c++) {
        float *row = params + last->weights + (size_t)c * (size_t)last->n_in;
        float *bias = params + last->biases + c;

        for (int i = 0; i < last->n_in; i++) {
            row[i] = (float)(row[i] * scale[c]);
        }
        *bias = (float)(*bias * scale[c] + offset[c]);
    }
}

size_t kd_net_tensor(const kd_net *net, int tensor, size_t *n)
{
    const kd_layer *layer = &net->layers[tensor / 2];

    if (tensor % 2 == 1) {
        *n = (size_t)layer->n_out;
        return layer->biases;
    }
    *n = (size_t)layer->n_in * (size_t)layer->n_out;
    return layer->weights;
}

void kd_net_add_time(const kd_net *teacher, const float *teacher_params, const kd_net *student,
                     float *params)
{
    const kd_layer *from = &teacher->layers[0];
    const kd_layer *to = &student->layers[0];
    const size_t rest = student->n_params - to->biases;

    assert(teacher->n_params - from->biases == rest);
    for (int o = 0; o < to->n_out; o++) {
        const float *source = teacher_params + from->weights + (size_t)o * (size_t)from->n_in;
        float *row = params + to->weights + (size_t)o * (size_t)to->n_in;

        memcpy(row, source, (size_t)from->n_in * sizeof *row);
        memset(row + from->n_in, 0, (size_t)(to->n_in - from->n_in) * sizeof *row);
    }
    memcpy(params + to->biases, teacher_params + from->biases, rest * sizeof *params);
}
