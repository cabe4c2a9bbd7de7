/* Lays a network out in memory for the cpu backend, and moves parameters between the flat order
 * of kd_net and that layout. Before: backend_cpu.c opens an instance. After: pack.c. */
#include "cpu/plan.h"

#include <string.h>

#include "blocks.h"

enum { ALIGNMENT = 16 }; /* floats: a cache line, and the longest vector */

/* Take n floats, whole cache lines, from a region that is `used` long. */
static size_t take(size_t *used, size_t n)
{
    const size_t at = *used;
    *used += (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void place_parameters(kd_cpu_plan *plan)
{
    size_t used = 0;
    for (int l = 0; l < plan->net.n_layers; l++) {
        kd_cpu_layer *layer = &plan->layers[l];
        layer->weights = take(&used, (size_t)layer->rows * (size_t)layer->stride);
    }
    plan->n_weights = used;
    for (int l = 0; l < plan->net.n_layers; l++) {
        plan->layers[l].biases = take(&used, (size_t)plan->layers[l].n_out);
    }
    plan->n_params = used;
    plan->n_biases = used - plan->n_weights;
    plan->n_slot = plan->n_weights + plan->n_biases * (size_t)plan->n_vector;
    for (int l = 0; l < plan->net.n_layers; l++) {
        const size_t bias = plan->layers[l].biases - plan->n_weights;
        plan->layers[l].partial_biases = plan->n_weights + bias * (size_t)plan->n_vector;
    }
}

static void place_packed(kd_cpu_plan *plan)
{
    size_t used = 0;
    for (int l = 0; l < plan->net.n_layers; l++) {
        kd_cpu_layer *layer = &plan->layers[l];
        const size_t n = (size_t)layer->n_in * (size_t)layer->n_out;
        layer->forward_panels = take(&used, n);
        layer->packed_biases = take(&used, (size_t)layer->n_out);
        layer->backward_panels = plan->training && l > 0 ? take(&used, n) : 0;
    }
    plan->n_packed = used;
}

static size_t widest(const kd_net *net)
{
    int most = net->n_inputs;
    for (int l = 0; l < net->n_layers; l++) {
        if (net->layers[l].n_out > most) most = net->layers[l].n_out;
    }
    return (size_t)most;
}

/* Training keeps what enters and leaves every layer until backward has passed. */
static void place_training_tile(kd_cpu_plan *plan)
{
    const size_t wide = widest(&plan->net) * KD_TILE;
    size_t used = 0, columns = 0;
    size_t input = take(&used, (size_t)plan->net.n_inputs * KD_TILE);
    for (int l = 0; l < plan->net.n_layers; l++) {
        kd_cpu_layer *layer = &plan->layers[l];
        layer->input = input;
        layer->output = input = take(&used, (size_t)layer->n_out * KD_TILE);
        layer->slopes = layer->sine ? take(&used, (size_t)layer->n_out * KD_TILE) : 0;
        columns = max_size(columns, (size_t)layer->stride * KD_TILE);
    }
    plan->stream = take(&used, wide);
    plan->local = take(&used, wide);
    plan->sums = take(&used, wide);
    plan->columns = take(&used, columns);
    plan->n_tile = used;
}

/* Evaluation needs the stream h that blocks read and move, and two buffers in turn. */
static void place_evaluation_tile(kd_cpu_plan *plan)
{
    const size_t wide = widest(&plan->net) * KD_TILE;
    size_t used = 0;
    const size_t stream = take(&used, wide);
    const size_t turns[2] = {take(&used, wide), take(&used, wide)};
    size_t input = turns[0];
    for (int l = 0; l < plan->net.n_layers; l++) {
        const bool to_stream = kd_blocks_encoded(&plan->net, l) || kd_blocks_end(&plan->net, l);
        plan->layers[l].input = input;
        input = to_stream ? stream : input == turns[0] ? turns[1] : turns[0];
        plan->layers[l].output = input;
    }
    plan->n_tile = used;
}

static void describe_layer(const kd_layer *from, int n_vector, kd_cpu_layer *layer)
{
    const double pi = 3.14159265358979323846;
    layer->n_in = from->n_in;
    layer->n_out = from->n_out;
    layer->sine = from->omega != 0;
    layer->scale = layer->sine ? (float)((double)from->omega / pi) : 1;
    layer->lanes_are_outputs = from->n_out < from->n_in;
    layer->rows = layer->lanes_are_outputs ? from->n_in : from->n_out;
    layer->lanes = layer->lanes_are_outputs ? from->n_out : from->n_in;
    layer->stride = (layer->lanes + n_vector - 1) / n_vector * n_vector;
}

void kd_cpu_plan_make(const kd_net *net, bool training, int n_vector, kd_cpu_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    plan->net = *net;
    plan->training = training;
    plan->n_vector = n_vector;
    for (int l = 0; l < net->n_layers; l++) {
        kd_cpu_layer *layer = &plan->layers[l];
        describe_layer(&net->layers[l], n_vector, layer);
        const size_t matrix = (size_t)layer->rows * (size_t)layer->stride;
        const size_t square = (size_t)layer->lanes * (size_t)layer->stride;
        plan->n_muon = max_size(plan->n_muon, 2 * (matrix + square));
    }
    place_parameters(plan);
    place_packed(plan);
    if (training) {
        place_training_tile(plan);
    } else {
        place_evaluation_tile(plan);
    }
}

/* Offset in the flat block of the weight at [row][lane] of the padded matrix. */
static size_t flat_weight(const kd_layer *flat, const kd_cpu_layer *layer, int row, int lane)
{
    const int o = layer->lanes_are_outputs ? lane : row;
    const int i = layer->lanes_are_outputs ? row : lane;
    return flat->weights + (size_t)o * (size_t)layer->n_in + (size_t)i;
}

void kd_cpu_plan_import(const kd_cpu_plan *plan, const float *flat, float *parameters)
{
    memset(parameters, 0, plan->n_params * sizeof *parameters);
    for (int l = 0; l < plan->net.n_layers; l++) {
        const kd_layer *from = &plan->net.layers[l];
        const kd_cpu_layer *to = &plan->layers[l];
        for (int row = 0; row < to->rows; row++) {
            float *lanes = parameters + to->weights + (size_t)row * (size_t)to->stride;
            for (int lane = 0; lane < to->lanes; lane++) {
                lanes[lane] = flat[flat_weight(from, to, row, lane)];
            }
        }
        memcpy(parameters + to->biases, flat + from->biases, (size_t)to->n_out * sizeof *flat);
    }
}

void kd_cpu_plan_export(const kd_cpu_plan *plan, const float *parameters, float *flat)
{
    for (int l = 0; l < plan->net.n_layers; l++) {
        const kd_layer *to = &plan->net.layers[l];
        const kd_cpu_layer *from = &plan->layers[l];
        for (int row = 0; row < from->rows; row++) {
            const float *lanes = parameters + from->weights + (size_t)row * (size_t)from->stride;
            for (int lane = 0; lane < from->lanes; lane++) {
                flat[flat_weight(to, from, row, lane)] = lanes[lane];
            }
        }
        memcpy(flat + to->biases, parameters + from->biases, (size_t)from->n_out * sizeof *flat);
    }
}
