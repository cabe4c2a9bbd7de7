/* Rounding with error feedback; feedback.h has the reasoning. Samples, and then rows, are dealt to
 * threads; each sum is one thread's, so that their number changes nothing. */
#include "feedback.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "cpu/threads.h"
#include "factor.h"
#include "quant.h"
#include "status.h"

enum {
    CHUNK = 64, /* samples that a thread takes at once */
    MOST_NUMBERS = 4 * KD_NET_MAX_WIDTH + 1
};

/* Added to H's diagonal, of its mean: what so few samples say of rare directions is little. */
#define DAMPING 0.01

/* Products that are summed for one layer, at most. Where rows are many and long some share an H, of
 * their mean g^2. */
#define MOST_PRODUCTS 2e9

struct kd_feedback {
    const kd_net *net;
    size_t n;
    kd_threads *threads;
    float *params;                         /* [n_params] before rounding, owned */
    float *memory;                         /* what the following point into, owned */
    float *inputs[KD_NET_MAX_LAYERS + 1];  /* [n][n_in] of layer l, and the outputs */
    float *rounded[KD_NET_MAX_LAYERS + 1]; /* the same once all layers before are rounded */
    float *squares[KD_NET_MAX_LAYERS];     /* [n][n_out] g^2, summed over the outputs */
    float *x;                              /* [n][n_in + 1] of a layer, in the order of rounding */
    float *lacks;                          /* likewise: what x was before rounding, less x */
    double *scratch;                       /* [threads][n_scratch], owned */
    size_t n_scratch;
};

/* One layer, while its rows are measured or rounded. */
typedef struct layer_job {
    kd_feedback *feedback;
    int l, m;                      /* m numbers in a row: n_in + 1 */
    int order[MOST_NUMBERS];       /* which comes where; number n_in is the bias */
    int n_groups;                  /* of rows that share an H */
    const float *units;            /* [2 * n_layers] */
    float *params;                 /* out, NULL: measure only */
    double costs[MOST_NUMBERS][2]; /* out [n_groups] sums of L_ii^2, of weights and of biases */
} layer_job;

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

/* What layer l makes of sample s, for the layer that follows.
 *  rows    inputs or rounded
 *  slopes  out [n_out] derivatives of the layer's answers by its sums, or NULL */
static void pass_layer(const kd_net *net, const float *params, int l, size_t s, float *const *rows,
                       double *slopes)
{
    const kd_layer *layer = &net->layers[l];
    const size_t n_out = (size_t)layer->n_out;
    const float *x = rows[l] + s * (size_t)layer->n_in;
    float *y = rows[l + 1] + s * n_out;

    for (int o = 0; o < layer->n_out; o++) {
        const double sum = row_sum(layer, params, o, x), phase = (double)layer->omega * sum;

        y[o] = (float)(layer->omega == 0.0f ? sum : sin(phase));
        if (slopes != NULL) {
            slopes[o] = layer->omega == 0.0f ? 1.0 : (double)layer->omega * cos(phase);
        }
    }
    if (!kd_blocks_end(net, l)) return;
    const float *passed = rows[l + 1 - net->block_layers] + s * n_out;
    for (size_t o = 0; o < n_out; o++) {
        y[o] = kd_blocks_share(net) * (passed[o] + y[o]);
    }
}

/* One step back through layer l, of one output.
 *  by      in/out [n_layers + 1][MOST_NUMBERS] derivatives by what layers read, of layer l + 1 done
 *  slopes  [n_out]
 *  squares in/out [n_out] */
static void return_layer(const kd_feedback *feedback, int l, double (*by)[MOST_NUMBERS],
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
    double(*by)[MOST_NUMBERS] = (double(*)[MOST_NUMBERS])scratch;
    double(*slopes)[MOST_NUMBERS] = by + n_layers + 1;

    for (int l = 0; l < n_layers; l++) {
        pass_layer(net, feedback->params, l, s, feedback->inputs, slopes[l]);
    }
    for (int c = 0; c < net->n_outputs; c++) {
        memset(by, 0, ((size_t)n_layers + 1) * sizeof *by);
        by[n_layers][c] = 1.0;
        for (int l = n_layers - 1; l >= 0; l--) {
            return_layer(feedback, l, by, slopes[l],
                         feedback->squares[l] + s * (size_t)net->layers[l].n_out);
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
    const layer_job *job = context;
    kd_feedback *feedback = job->feedback;

    (void)thread;
    for (size_t s = (size_t)item * CHUNK; s < chunk_end(feedback, item); s++) {
        pass_layer(feedback->net, job->params, job->l, s, feedback->rounded, NULL);
    }
}

/* ---- one row ---- */

/* Move w so that w . x is what it was before x changed, as nearly as weights tell. */
static void make_up(const kd_feedback *feedback, const double *factor, const float *weights, int m,
                    double *b, double *w)
{
    memset(b, 0, (size_t)m * sizeof *b);
    for (size_t s = 0; s < feedback->n; s++) {
        const float *x = feedback->x + s * (size_t)m, *lacks = feedback->lacks + s * (size_t)m;
        double lack = 0.0;

        for (int i = 0; i < m; i++) {
            lack += w[i] * lacks[i];
        }
        lack *= weights[s];
        for (int i = 0; i < m; i++) {
            b[i] += lack * x[i];
        }
    }
    kd_factor_solve(factor, m, b);
    for (int i = 0; i < m; i++) {
        w[i] += b[i];
    }
}

/* w to multiples of its units, the last number first.
 *  pulls  scratch [m] */
static void round_numbers(const layer_job *job, const double *factor, double *pulls, double *w)
{
    const int m = job->m;

    memset(pulls, 0, (size_t)m * sizeof *pulls);
    for (int i = m - 1; i >= 0; i--) {
        const double *row = factor + (size_t)i * (size_t)m;
        const double unit = job->units[2 * job->l + (job->order[i] == m - 1)];
        const double wanted = nearbyint((w[i] + pulls[i] / row[i]) / unit);
        const double rounded = fmax(-KD_QUANT_MAX_CODE, fmin(KD_QUANT_MAX_CODE, wanted)) * unit;
        const double lost = w[i] - rounded;

        w[i] = rounded;
        for (int k = 0; k < i; k++) {
            pulls[k] += row[k] * lost;
        }
    }
}

/* Where number i of a row is among the parameters. */
static size_t place_of(const layer_job *job, int o, int i)
{
    const kd_layer *layer = &job->feedback->net->layers[job->l];

    return job->order[i] == layer->n_in
               ? layer->biases + (size_t)o
               : layer->weights + (size_t)o * (size_t)layer->n_in + (size_t)job->order[i];
}

/* ---- one layer ---- */

/* Rows first..end-1 share an H: its factor into scratch, and what follows from it. */
static void run_group(void *context, int item, int thread)
{
    layer_job *job = context;
    kd_feedback *feedback = job->feedback;
    const int m = job->m, n_out = feedback->net->layers[job->l].n_out;
    const int first = n_out * item / job->n_groups, end = n_out * (item + 1) / job->n_groups;
    double *factor = feedback->scratch + (size_t)thread * feedback->n_scratch;
    double *w = factor + (size_t)m * (size_t)m, *b = w + m;
    float *weights = (float *)(b + m);

    for (size_t s = 0; s < feedback->n; s++) {
        const float *squares = feedback->squares[job->l] + s * (size_t)n_out;

        weights[s] = 0.0f;
        for (int o = first; o < end; o++) {
            weights[s] += squares[o] / (float)(end - first);
        }
    }
    kd_factor_sum(feedback->x, weights, feedback->n, m, factor);
    kd_factor_decompose(factor, m, DAMPING);
    job->costs[item][0] = job->costs[item][1] = 0.0;
    for (int i = 0; i < m; i++) {
        const double diagonal = factor[i * m + i];
        job->costs[item][job->order[i] == m - 1] += (end - first) * diagonal * diagonal;
    }
    for (int o = first; o < end && job->params != NULL; o++) {
        for (int i = 0; i < m; i++) {
            w[i] = feedback->params[place_of(job, o, i)];
        }
        if (job->l > 0) make_up(feedback, factor, weights, m, b, w);
        round_numbers(job, factor, b, w);
        for (int i = 0; i < m; i++) {
            job->params[place_of(job, o, i)] = (float)w[i];
        }
    }
}

/* The bias comes first and is rounded last; the largest inputs are rounded first. */
static void choose_order(layer_job *job, float *const *rows)
{
    const size_t n_in = (size_t)job->m - 1;
    double moments[MOST_NUMBERS] = {0};

    for (size_t s = 0; s < job->feedback->n; s++) {
        for (size_t i = 0; i < n_in; i++) {
            const double value = rows[job->l][s * n_in + i];
            moments[i] += value * value;
        }
    }
    job->order[0] = job->m - 1;
    for (int i = 0; i < job->m - 1; i++) {
        int at = i + 1;
        for (; at > 1 && moments[job->order[at - 1]] > moments[i]; at--) {
            job->order[at] = job->order[at - 1];
        }
        job->order[at] = i;
    }
}

/* x and lacks of a layer that reads rows. */
static void gather(layer_job *job, float *const *rows)
{
    kd_feedback *feedback = job->feedback;
    const size_t m = (size_t)job->m, n_in = m - 1;

    for (size_t s = 0; s < feedback->n; s++) {
        const float *now = rows[job->l] + s * n_in, *before = feedback->inputs[job->l] + s * n_in;

        for (size_t i = 0; i < m; i++) {
            const size_t from = (size_t)job->order[i];
            const bool bias = from == n_in;

            feedback->x[s * m + i] = bias ? 1.0f : now[from];
            feedback->lacks[s * m + i] = bias ? 0.0f : before[from] - now[from];
        }
    }
}

/* Measure layer l, or round it if there are params.
 *  rows  what it reads */
static void run_layer(layer_job *job, int l, float *const *rows)
{
    kd_feedback *feedback = job->feedback;
    const kd_layer *layer = &feedback->net->layers[l];

    job->l = l;
    job->m = layer->n_in + 1;
    const double products = 0.5 * (double)feedback->n * job->m * job->m;
    job->n_groups = (int)fmax(1.0, fmin(layer->n_out, MOST_PRODUCTS / products));
    choose_order(job, rows);
    gather(job, rows);
    kd_threads_run(feedback->threads, run_group, job, job->n_groups);
}

void kd_feedback_measure(kd_feedback *feedback, double *sensitivity)
{
    const kd_net *net = feedback->net;
    const double n_values = (double)feedback->n * net->n_outputs;
    layer_job job = {.feedback = feedback};

    for (int l = 0; l < net->n_layers; l++) {
        run_layer(&job, l, feedback->inputs);
        for (int kind = 0; kind < 2; kind++) {
            double sum = 0.0;
            size_t n;

            for (int g = 0; g < job.n_groups; g++) {
                sum += job.costs[g][kind];
            }
            (void)kd_net_tensor(net, 2 * l + kind, &n);
            sensitivity[2 * l + kind] = fmax(sum / (n_values * (double)n), 1e-12);
        }
    }
}

/* Mean squared difference of outputs. */
static double mean_square(const kd_feedback *feedback, const float *a, const float *b)
{
    const size_t n_values = feedback->n * (size_t)feedback->net->n_outputs;
    double sum = 0.0;

    for (size_t i = 0; i < n_values; i++) {
        const double difference = (double)a[i] - b[i];
        sum += difference * difference;
    }
    return sum / (double)n_values;
}

double kd_feedback_error(const kd_feedback *feedback, const float *targets)
{
    return mean_square(feedback, feedback->inputs[feedback->net->n_layers], targets);
}

double kd_feedback_round(kd_feedback *feedback, const float *units, float *params)
{
    const int n_layers = feedback->net->n_layers;
    layer_job job = {.feedback = feedback, .units = units, .params = params};

    for (int l = 0; l < n_layers; l++) {
        run_layer(&job, l, feedback->rounded);
        kd_threads_run(feedback->threads, pass_chunk, &job, count_chunks(feedback));
    }
    return mean_square(feedback, feedback->rounded[n_layers], feedback->inputs[n_layers]);
}

/* ---- memory ---- */

/* Deal out memory; returns how many floats that takes.
 *  memory  NULL: only count */
static size_t lay_out(kd_feedback *feedback, float *memory)
{
    const kd_net *net = feedback->net;
    size_t at = 0, most = 0;

    for (int l = 0; l <= net->n_layers; l++) {
        const bool last = l == net->n_layers;
        const size_t n_in = (size_t)(last ? net->n_outputs : net->layers[l].n_in);
        const size_t n_out = last ? 0 : (size_t)net->layers[l].n_out;
        float **rows[] = {&feedback->inputs[l], &feedback->rounded[l], &feedback->squares[l]};
        const size_t sizes[] = {n_in, l == 0 ? 0 : n_in, n_out};

        for (int i = 0; i < (last ? 2 : 3); i++) {
            if (memory != NULL) *rows[i] = memory + at;
            at += feedback->n * sizes[i];
        }
        most = n_in + 1 > most ? n_in + 1 : most;
    }
    if (memory != NULL) {
        feedback->rounded[0] = feedback->inputs[0];
        feedback->x = memory + at;
        feedback->lacks = feedback->x + feedback->n * most;
    }
    const size_t n_sample = (2 * (size_t)net->n_layers + 1) * MOST_NUMBERS;
    const size_t n_row = most * most + 2 * most + feedback->n;
    feedback->n_scratch = n_row > n_sample ? n_row : n_sample;
    return at + 2 * feedback->n * most;
}

kdinr_status kd_feedback_make(const kd_net *net, const float *params, const float *coords, size_t n,
                              int n_threads, kd_feedback **made, kdinr_error *error)
{
    kd_feedback *feedback = *made = calloc(1, sizeof *feedback);
    const int count = n_threads <= 0 ? kd_threads_available() : n_threads;
    const size_t threads = (size_t)(count < KD_THREADS_MAX ? count : KD_THREADS_MAX);

    if (feedback == NULL) return kd_fail_memory(error, sizeof *feedback, "rounding");
    feedback->net = net;
    feedback->n = n;
    const size_t n_floats = lay_out(feedback, NULL);
    feedback->memory = calloc(n_floats, sizeof *feedback->memory);
    feedback->params = malloc(net->n_params * sizeof *params);
    feedback->scratch = malloc(threads * feedback->n_scratch * sizeof *feedback->scratch);
    feedback->threads = kd_threads_start((int)threads);
    if (feedback->memory == NULL || feedback->params == NULL || feedback->scratch == NULL ||
        feedback->threads == NULL) {
        return kd_fail_memory(error, n_floats * sizeof(float), "rounding, at least");
    }
    (void)lay_out(feedback, feedback->memory);
    memcpy(feedback->params, params, net->n_params * sizeof *params);
    memcpy(feedback->memory /* inputs[0] */, coords, n * (size_t)net->n_inputs * sizeof *coords);
    kd_threads_run(feedback->threads, follow_chunk, feedback, count_chunks(feedback));
    return KDINR_OK;
}

void kd_feedback_free(kd_feedback *feedback)
{
    if (feedback == NULL) return;
    kd_threads_stop(feedback->threads);
    free(feedback->params);
    free(feedback->memory);
    free(feedback->scratch);
    free(feedback);
}
