/* What is known of a network's layers before rounding. Places, and then groups of rows, are dealt
 * to threads; each sum is one thread's, so that their number changes nothing. */
#include "feedback_layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "factor.h"
#include "status.h"

enum { CHUNK = 64 }; /* samples that a thread takes at once */

/* Added to H's diagonal, of its mean: what so few samples say of rare directions is little. */
#define DAMPING 0.01

/* Products that are summed for one layer, and doubles that the factors of all layers take, at most.
 * Where rows are many and long some share an H, of their mean g^2. */
#define MOST_PRODUCTS 2e9
#define MOST_FACTORS  3.3e7

/* Places: so many for each number of the longest row, these at least and at most, and floats of all
 * of them together, at most. */
enum { PLACES_PER_NUMBER = 128, LEAST_PLACES = 512, MOST_PLACES = 4096, MOST_FLOATS = 1 << 26 };

/* One layer, while its groups are known or places pass. */
typedef struct pass_job {
    kd_feedback *feedback;
    int l;
    const float *params; /* rounded */
} pass_job;

/* ---- what the layers read, and what the outputs make of it ---- */

/* W x + b of one row. */
static double row_sum(const kd_layer *layer, const float *params, int o, const float *x)
{
    const float *row = params + layer->weights + (size_t)o * (size_t)layer->n_in;
    double sum = params[layer->biases + (size_t)o];

    for (int i = 0; i < layer->n_in; i++) {
        sum += (double)row[i] * x[i];
    }
    return sum;
}

/* What layer l reads, before rounding or once the layers before it are rounded. */
static float *read_by(const kd_feedback *feedback, bool rounded, int l)
{
    return rounded ? feedback->layers[l].rounded : feedback->layers[l].inputs;
}

/* What layer l makes of sample s, for the layer that follows.
 *  params  NULL: as they were before rounding
 *  slopes  out [n_out] derivatives of the layer's answers by its sums, or NULL */
static void pass_layer(const kd_feedback *feedback, const float *params, int l, size_t s,
                       double *slopes)
{
    const kd_net *net = feedback->net;
    const kd_layer *layer = &net->layers[l];
    const size_t n_out = (size_t)layer->n_out;
    const float *x = read_by(feedback, params != NULL, l) + s * (size_t)layer->n_in;
    float *y = read_by(feedback, params != NULL, l + 1) + s * n_out;

    for (int o = 0; o < layer->n_out; o++) {
        const double sum = row_sum(layer, params != NULL ? params : feedback->params, o, x);
        const double phase = (double)layer->omega * sum;

        y[o] = (float)(layer->omega == 0.0f ? sum : sin(phase));
        if (slopes != NULL) {
            slopes[o] = layer->omega == 0.0f ? 1.0 : (double)layer->omega * cos(phase);
        }
    }
    if (!kd_blocks_end(net, l)) return;
    const float *passed = read_by(feedback, params != NULL, l + 1 - net->block_layers) + s * n_out;
    for (size_t o = 0; o < n_out; o++) {
        y[o] = kd_blocks_share(net) * (passed[o] + y[o]);
    }
}

/* One step back through layer l, of one output.
 *  by       in/out [n_layers + 1][KD_FEEDBACK_NUMBERS] derivatives by what layers read
 *  slopes   [n_out]
 *  squares  in/out [n_out] */
static void return_layer(const kd_feedback *feedback, int l, double (*by)[KD_FEEDBACK_NUMBERS],
                         const double *slopes, float *squares)
{
    const kd_net *net = feedback->net;
    const kd_layer *layer = &net->layers[l];
    const bool ends = kd_blocks_end(net, l);

    for (int o = 0; o < layer->n_out; o++) {
        const float *row = feedback->params + layer->weights + (size_t)o * (size_t)layer->n_in;
        const double share = ends ? (double)kd_blocks_share(net) : 1.0;
        const double by_answer = share * by[l + 1][o], by_sum = by_answer * slopes[o];

        if (ends) by[l + 1 - net->block_layers][o] += by_answer;
        squares[o] += (float)(by_sum * by_sum);
        for (int i = 0; i < layer->n_in; i++) {
            by[l][i] += by_sum * row[i];
        }
    }
}

/* The network's inputs and g^2 at sample s. */
static void follow_sample(kd_feedback *feedback, size_t s, double *scratch)
{
    const kd_net *net = feedback->net;
    const int n_layers = net->n_layers;
    double(*by)[KD_FEEDBACK_NUMBERS] = (double(*)[KD_FEEDBACK_NUMBERS])scratch;
    double(*slopes)[KD_FEEDBACK_NUMBERS] = by + n_layers + 1;

    for (int l = 0; l < n_layers; l++) {
        pass_layer(feedback, NULL, l, s, slopes[l]);
    }
    for (int c = 0; c < net->n_outputs; c++) {
        memset(by, 0, ((size_t)n_layers + 1) * sizeof *by);
        by[n_layers][c] = 1.0;
        for (int l = n_layers - 1; l >= 0; l--) {
            return_layer(feedback, l, by, slopes[l],
                         feedback->layers[l].squares + s * (size_t)net->layers[l].n_out);
        }
    }
}

static size_t chunk_end(const kd_feedback *feedback, int chunk)
{
    const size_t end = ((size_t)chunk + 1) * CHUNK;

    return end < feedback->n ? end : feedback->n;
}

static int count_chunks(const kd_feedback *feedback)
{
    return (int)((feedback->n + CHUNK - 1) / CHUNK);
}

static void follow_chunk(void *context, int item, int thread)
{
    kd_feedback *feedback = context;

    for (size_t s = (size_t)item * CHUNK; s < chunk_end(feedback, item); s++) {
        follow_sample(feedback, s, feedback->scratch + (size_t)thread * feedback->n_scratch);
    }
}

/* Samples through a rounded layer. */
static void pass_chunk(void *context, int item, int thread)
{
    const pass_job *job = context;
    const kd_feedback *feedback = job->feedback;

    (void)thread;
    for (size_t s = (size_t)item * CHUNK; s < chunk_end(feedback, item); s++) {
        pass_layer(feedback, job->params, job->l, s, NULL);
    }
}

void kd_feedback_pass(kd_feedback *feedback, int l, const float *params)
{
    pass_job job = {.feedback = feedback, .l = l, .params = params};

    kd_threads_run(feedback->threads, pass_chunk, &job, count_chunks(feedback));
}

/* ---- one layer ---- */

int kd_feedback_first_row(const kd_feedback *feedback, int l, int group)
{
    return feedback->net->layers[l].n_out * group / feedback->layers[l].n_groups;
}

/* Weights and L of rows that share an H. */
static void know_group(void *context, int item, int thread)
{
    const pass_job *job = context;
    const kd_feedback *feedback = job->feedback;
    const kd_known_layer *known = &feedback->layers[job->l];
    const size_t n_out = (size_t)feedback->net->layers[job->l].n_out, m = (size_t)known->m;
    const size_t first = (size_t)kd_feedback_first_row(feedback, job->l, item);
    const size_t end = (size_t)kd_feedback_first_row(feedback, job->l, item + 1);
    float *weights = known->weights + (size_t)item * feedback->n;
    double *factor = known->factors + (size_t)item * m * m;

    (void)thread;
    for (size_t s = 0; s < feedback->n; s++) {
        weights[s] = 0.0f;
        for (size_t o = first; o < end; o++) {
            weights[s] += known->squares[s * n_out + o] / (float)(end - first);
        }
    }
    kd_factor_sum(feedback->x, weights, feedback->n, known->m, factor);
    kd_factor_decompose(factor, known->m, DAMPING);
}

/* The bias comes first and is rounded last; the largest inputs are rounded first. */
static void choose_order(const kd_feedback *feedback, kd_known_layer *known)
{
    const size_t n_in = (size_t)known->m - 1;
    double moments[KD_FEEDBACK_NUMBERS] = {0};

    for (size_t s = 0; s < feedback->n; s++) {
        for (size_t i = 0; i < n_in; i++) {
            const double value = known->inputs[s * n_in + i];
            moments[i] += value * value;
        }
    }
    known->order[0] = known->m - 1;
    for (int i = 0; i < known->m - 1; i++) {
        int at = i + 1;
        for (; at > 1 && moments[known->order[at - 1]] > moments[i]; at--) {
            known->order[at] = known->order[at - 1];
        }
        known->order[at] = i;
    }
}

void kd_feedback_gather(kd_feedback *feedback, int l, bool rounded)
{
    const kd_known_layer *known = &feedback->layers[l];
    const size_t m = (size_t)known->m, n_in = m - 1;

    for (size_t s = 0; s < feedback->n; s++) {
        const float *before = known->inputs + s * n_in;
        const float *now = read_by(feedback, rounded, l) + s * n_in;

        for (size_t i = 0; i < m; i++) {
            const size_t from = (size_t)known->order[i];
            const bool bias = from == n_in;

            feedback->x[s * m + i] = bias ? 1.0f : now[from];
            feedback->lacks[s * m + i] = bias ? 0.0f : before[from] - now[from];
        }
    }
}

/* ---- opening ---- */

/* What the arrays of a feedback have together. */
typedef struct sizes {
    size_t n_floats, n_ints, n_doubles;
    size_t most; /* numbers in a row */
} sizes;

/* Deal out memory, or with NULL only count. */
static sizes lay_out(kd_feedback *feedback, float *memory)
{
    const kd_net *net = feedback->net;
    const size_t n = feedback->n;
    sizes at = {0};

    for (int l = 0; l <= net->n_layers; l++) {
        kd_known_layer *known = &feedback->layers[l];
        const bool last = l == net->n_layers;
        const size_t n_in = (size_t)(last ? net->n_outputs : net->layers[l].n_in);
        const size_t n_out = last ? 0 : (size_t)net->layers[l].n_out, m = n_in + 1;
        const double square = (double)m * (double)m;
        const double quick = MOST_PRODUCTS / (0.5 * (double)n * square);
        const double small = MOST_FACTORS / (net->n_layers * square);

        known->m = (int)m;
        known->n_groups = last ? 0 : (int)fmax(1.0, fmin((double)n_out, fmin(quick, small)));
        const size_t n_groups = (size_t)known->n_groups;
        if (memory != NULL) {
            known->inputs = memory + at.n_floats;
            known->rounded = l == 0 ? known->inputs : known->inputs + n * n_in;
            known->squares = known->rounded + n * n_in;
            known->weights = known->squares + n * n_out;
            known->order = feedback->orders + at.n_ints;
            known->factors = feedback->factors + at.n_doubles;
        }
        at.n_floats += n * ((l == 0 ? 1 : 2) * n_in + n_out + n_groups);
        at.n_ints += m;
        at.n_doubles += n_groups * m * m;
        at.most = m > at.most ? m : at.most;
    }
    if (memory != NULL) {
        feedback->x = memory + at.n_floats;
        feedback->lacks = feedback->x + n * at.most;
    }
    at.n_floats += 2 * n * at.most;
    const size_t n_sample = (2 * (size_t)net->n_layers + 1) * KD_FEEDBACK_NUMBERS;
    const size_t n_row = 2 * at.most + n;
    feedback->n_scratch = n_sample > n_row ? n_sample : n_row;
    return at;
}

size_t kd_feedback_places(const kd_net *net)
{
    kd_feedback one = {.net = net, .n = 1};
    const sizes each = lay_out(&one, NULL);
    const size_t wanted = PLACES_PER_NUMBER * each.most, room = MOST_FLOATS / each.n_floats;
    const size_t n = wanted < room ? wanted : room;

    return n < LEAST_PLACES ? LEAST_PLACES : n < MOST_PLACES ? n : MOST_PLACES;
}

static kdinr_status allocate(kd_feedback *feedback, int n_threads, kdinr_error *error)
{
    const int count = n_threads <= 0 ? kd_threads_available() : n_threads;
    const size_t threads = (size_t)(count < KD_THREADS_MAX ? count : KD_THREADS_MAX);
    const sizes all = lay_out(feedback, NULL);

    feedback->memory = calloc(all.n_floats, sizeof *feedback->memory);
    feedback->orders = malloc(all.n_ints * sizeof *feedback->orders);
    feedback->factors = malloc(all.n_doubles * sizeof *feedback->factors);
    feedback->scratch = malloc(threads * feedback->n_scratch * sizeof *feedback->scratch);
    feedback->threads = kd_threads_start((int)threads);
    if (feedback->memory == NULL || feedback->orders == NULL || feedback->factors == NULL ||
        feedback->scratch == NULL || feedback->threads == NULL) {
        return kd_fail_memory(error, all.n_floats * sizeof(float) + all.n_doubles * sizeof(double),
                              "rounding, at least");
    }
    (void)lay_out(feedback, feedback->memory);
    return KDINR_OK;
}

kdinr_status kd_feedback_make(const kd_net *net, const float *params, const float *coords, size_t n,
                              int n_threads, kd_feedback **made, kdinr_error *error)
{
    kd_feedback *feedback = *made = calloc(1, sizeof *feedback);

    if (feedback == NULL) return kd_fail_memory(error, sizeof *feedback, "rounding");
    feedback->net = net;
    feedback->params = params;
    feedback->n = n;
    KD_TRY(allocate(feedback, n_threads, error));
    memcpy(feedback->memory /* inputs of layer 0 */, coords,
           n * (size_t)net->n_inputs * sizeof *coords);
    kd_threads_run(feedback->threads, follow_chunk, feedback, count_chunks(feedback));
    for (int l = 0; l < net->n_layers; l++) {
        pass_job job = {.feedback = feedback, .l = l};

        choose_order(feedback, &feedback->layers[l]);
        kd_feedback_gather(feedback, l, false);
        kd_threads_run(feedback->threads, know_group, &job, feedback->layers[l].n_groups);
    }
    return KDINR_OK;
}

void kd_feedback_free(kd_feedback *feedback)
{
    if (feedback == NULL) return;
    kd_threads_stop(feedback->threads);
    free(feedback->memory);
    free(feedback->orders);
    free(feedback->factors);
    free(feedback->scratch);
    free(feedback);
}
