/* One training batch on all threads: gradient, then optimiser. Before: backend_cpu.c, called by
 * train.c. After: forward.c, backward.c, reduce.c, muon.c or adam.c, pack.c, in this order.
 * The batch is cut into tiles, the tiles into slots. A thread takes a whole slot at a time. */
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "cpu/instance.h"
#include "groups.h"

/* What the threads of one job share. */
typedef struct job {
    kd_cpu_instance *self;
    const kd_cpu_batch *batch; /* of run_slot */
    int n_slots;               /* of run_slot and reduce_run */
    size_t n;                  /* of optimise_layer: samples in the batch */
    const kd_step *step;
    kd_adam_rates rates;
} job;

enum {
    SLOT_SAMPLES = 128,         /* samples per slot, about */
    MAX_SLOTS = 64,             /* more threads than this do not help training */
    MIN_SLOTS = 4,              /* even if memory for them exceeds: */
    MAX_SLOTS_FLOATS = 1 << 26, /* floats in all slots together */
    REDUCE_FLOATS = 2048        /* of the gradient, per turn of a thread */
};

static size_t count_tiles(size_t n)
{
    return (n + KD_TILE - 1) / KD_TILE;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

int kd_cpu_batch_slots(const kd_cpu_plan *plan, size_t n)
{
    size_t most = MAX_SLOTS_FLOATS / plan->n_slot;
    if (most < MIN_SLOTS) most = MIN_SLOTS;
    if (most > MAX_SLOTS) most = MAX_SLOTS;
    const size_t wanted = n / SLOT_SAMPLES;
    return (int)(wanted < 1 ? 1 : min_size(wanted, most));
}

void kd_cpu_batch_load(const kd_cpu_plan *plan, const float *coords, size_t first, size_t count,
                       float *tile)
{
    const size_t n_inputs = (size_t)plan->net.n_inputs;
    float *input = tile + plan->layers[0].input;
    memset(input, 0, n_inputs * KD_TILE * sizeof *input);
    for (size_t s = 0; s < count; s++) {
        for (size_t i = 0; i < n_inputs; i++) {
            input[i * KD_TILE + s] = coords[(first + s) * n_inputs + i];
        }
    }
}

/* The loss's derivative by the answers, without the factor 2 / (n n_outputs), into `stream`.
 * Returns the sum of squared errors. */
static double compare(const kd_cpu_plan *plan, const kd_cpu_batch *batch, size_t first,
                      size_t count, float *tile)
{
    const size_t n_outputs = (size_t)plan->net.n_outputs;
    const float *answers = tile + plan->layers[plan->net.n_layers - 1].output;
    float *by_answers = tile + plan->stream;
    double sum = 0;
    memset(by_answers, 0, n_outputs * KD_TILE * sizeof *by_answers);
    for (size_t s = 0; s < count; s++) {
        for (size_t c = 0; c < n_outputs; c++) {
            const float target = batch->targets[(first + s) * n_outputs + c];
            const float miss = answers[c * KD_TILE + s] - target;
            by_answers[c * KD_TILE + s] = miss;
            sum += (double)miss * (double)miss;
        }
    }
    return sum;
}

/* Let the misses of each group pull at each other. Tiles have whole groups. */
static void pull(const kd_cpu_instance *self, const kd_cpu_batch *batch, size_t first, size_t count,
                 float *tile)
{
    const kd_net *net = &self->plan.net;
    float *misses = tile + self->plan.stream;
    for (size_t s = 0; s < count; s += KD_GROUP_ROWS) {
        const float *coords = batch->coords + (first + s) * (size_t)net->n_inputs;
        float pulls[3];
        for (int axis = 0; axis < 3; axis++) {
            pulls[axis] =
                (float)kd_groups_pull(coords, net->n_inputs, axis, self->config.gradient_weight);
        }
        for (int c = 0; c < net->n_outputs; c++) {
            float *group = misses + (size_t)c * KD_TILE + s;
            const float own = group[0];
            for (int axis = 0; axis < 3; axis++) {
                const float change = pulls[axis] * (group[1 + axis] - own);
                group[1 + axis] += change;
                group[0] -= change;
            }
        }
    }
}
_Static_assert(KD_TILE % KD_GROUP_ROWS == 0, "a tile has whole groups");

/* Slot number `item`: forward and backward, tile by tile. */
static void run_slot(void *context, int item, int thread)
{
    const job *shared = context;
    const kd_cpu_instance *self = shared->self;
    const kd_cpu_plan *plan = &self->plan;
    const size_t n = shared->batch->n, n_slots = (size_t)shared->n_slots, g = (size_t)item;
    const size_t end = count_tiles(n) * (g + 1) / n_slots;
    float *tile = self->tiles + (size_t)thread * plan->n_tile;
    float *slot = self->slots + g * plan->n_slot;
    double sum = 0;
    memset(slot, 0, plan->n_slot * sizeof *slot);
    for (size_t t = count_tiles(n) * g / n_slots; t < end; t++) {
        const size_t first = t * KD_TILE, count = min_size(n - first, KD_TILE);
        kd_cpu_batch_load(plan, shared->batch->coords, first, count, tile);
        self->kernels->forward(plan, self->packed, 0, tile);
        sum += compare(plan, shared->batch, first, count, tile);
        if (self->config.gradient_weight > 0) pull(self, shared->batch, first, count, tile);
        self->kernels->backward(plan, self->packed, tile, slot);
    }
    self->losses[g] = sum;
}

/* Run number `item` of self->gradient = the sum of the slots. */
static void reduce_run(void *context, int item, int thread)
{
    (void)thread;
    const job *shared = context;
    const kd_cpu_instance *self = shared->self;
    const kd_cpu_plan *plan = &self->plan;
    const size_t n_weights = plan->n_weights, at = (size_t)item * REDUCE_FLOATS;
    const size_t end = min_size(at + REDUCE_FLOATS, plan->n_params);
    const size_t middle = end < n_weights ? end : at > n_weights ? at : n_weights;
    if (at < middle) {
        self->kernels->reduce(self->slots + at, shared->n_slots, plan->n_slot, middle - at,
                              self->gradient + at);
    }
    if (middle < end) {
        const size_t partial = n_weights + (middle - n_weights) * (size_t)plan->n_vector;
        self->kernels->reduce_biases(self->slots + partial, shared->n_slots, plan->n_slot,
                                     end - middle, self->gradient + middle);
    }
}

void kd_cpu_batch_gradient(kd_cpu_instance *self, const kd_cpu_batch *batch, double *loss)
{
    const int n_slots = kd_cpu_batch_slots(&self->plan, batch->n);
    const size_t n_runs = (self->plan.n_params + REDUCE_FLOATS - 1) / REDUCE_FLOATS;
    job shared = {.self = self, .batch = batch, .n_slots = n_slots};
    double sum = 0;
    kd_threads_run(self->threads, run_slot, &shared, n_slots);
    kd_threads_run(self->threads, reduce_run, &shared, (int)n_runs);
    for (int g = 0; g < n_slots; g++) {
        sum += self->losses[g];
    }
    *loss = sum / ((double)batch->n * (double)self->plan.net.n_outputs);
}

float kd_cpu_batch_factor(const kd_cpu_plan *plan, int layer, size_t n)
{
    const double mean = 2 / ((double)n * (double)plan->net.n_outputs);
    return (float)(mean * (double)plan->layers[layer].scale);
}

static void adam(kd_cpu_instance *self, size_t at, size_t n, float factor,
                 const kd_adam_rates *rates)
{
    self->kernels->adam(n, factor, rates, self->gradient + at, self->first + at, self->second + at,
                        self->params + at);
}

/* Layer number `item`: optimiser, then packing. */
static void optimise_layer(void *context, int item, int thread)
{
    const job *shared = context;
    kd_cpu_instance *self = shared->self;
    const kd_cpu_plan *plan = &self->plan;
    const kd_cpu_layer *layer = &plan->layers[item];
    const float factor = kd_cpu_batch_factor(plan, item, shared->n);
    const size_t at = layer->weights, n = (size_t)layer->rows * (size_t)layer->stride;
    if (self->config.optimizer == KDINR_OPTIMIZER_MUON && kd_blocks_hidden(&plan->net, item)) {
        self->kernels->muon(layer, factor, shared->step->rate_matrix, self->gradient + at,
                            self->first + at, self->params + at,
                            self->scratch + (size_t)thread * plan->n_muon);
    } else {
        adam(self, at, n, factor, &shared->rates);
    }
    adam(self, layer->biases, (size_t)layer->n_out, factor, &shared->rates);
    self->kernels->pack(layer, self->params, self->packed);
}

void kd_cpu_batch_optimise(kd_cpu_instance *self, size_t n, const kd_step *step)
{
    const double k = (double)++self->step;
    job shared = {.self = self,
                  .n = n,
                  .step = step,
                  .rates = {.rate = (float)(step->rate_adam / (1 - pow(0.9, k))),
                            .root_of_bias = (float)(1 / sqrt(1 - pow(0.999, k)))}};
    kd_threads_run(self->threads, optimise_layer, &shared, self->plan.net.n_layers);
}

void kd_cpu_batch_pack(kd_cpu_instance *self)
{
    for (int l = 0; l < self->plan.net.n_layers; l++) {
        self->kernels->pack(&self->plan.layers[l], self->params, self->packed);
    }
}
