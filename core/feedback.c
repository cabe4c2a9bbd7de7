/* Rounding with error feedback; feedback.h has the reasoning. Rows are dealt to threads. */
#include <math.h>
#include <string.h>

#include "factor.h"
#include "feedback_layers.h"
#include "quant.h"

enum { MOST_CODE = KD_QUANT_MAX_CODE - 1 }; /* as a float one more can exceed the limit */

/* One layer, while its rows are rounded. */
typedef struct layer_job {
    kd_feedback *feedback;
    int l;
    const float *units; /* [2 * n_layers] */
    float *params;      /* out */
} layer_job;

/* ---- one row ---- */

/* Move w towards where w . x is what it was before x changed: one step of gradient descent on the
 * weighted squares of what w lacks, preconditioned by the H that x had before, and as long as is
 * best for the x that is.
 *  b      scratch [m]
 *  lacks  scratch [n] */
static void make_up(const kd_feedback *feedback, const double *factor, const float *weights, int m,
                    double *b, double *lacks, double *w)
{
    double gain = 0.0, curvature = 1e-300;

    memset(b, 0, (size_t)m * sizeof *b);
    for (size_t s = 0; s < feedback->n; s++) {
        const float *x = feedback->x + s * (size_t)m, *lack = feedback->lacks + s * (size_t)m;

        lacks[s] = 0.0;
        for (int i = 0; i < m; i++) {
            lacks[s] += w[i] * lack[i];
        }
        for (int i = 0; i < m; i++) {
            b[i] += weights[s] * lacks[s] * x[i];
        }
    }
    kd_factor_solve(factor, m, b);
    for (size_t s = 0; s < feedback->n; s++) {
        const float *x = feedback->x + s * (size_t)m;
        double step = 0.0;

        for (int i = 0; i < m; i++) {
            step += b[i] * x[i];
        }
        gain += weights[s] * step * lacks[s];
        curvature += weights[s] * step * step;
    }
    for (int i = 0; i < m; i++) {
        w[i] += fmin(gain / curvature, 1.0) * b[i];
    }
}

/* w to multiples of its units, the last number first.
 *  pulls  scratch [m] */
static void round_numbers(const layer_job *job, const double *factor, double *pulls, double *w)
{
    const kd_known_layer *known = &job->feedback->layers[job->l];
    const int m = known->m;

    memset(pulls, 0, (size_t)m * sizeof *pulls);
    for (int i = m - 1; i >= 0; i--) {
        const double *row = factor + (size_t)i * (size_t)m;
        const double unit = job->units[2 * job->l + (known->order[i] == m - 1)];
        const double wanted = nearbyint((w[i] + pulls[i] / row[i]) / unit);
        const double rounded = fmax(-MOST_CODE, fmin(MOST_CODE, wanted)) * unit;
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
    const int number = job->feedback->layers[job->l].order[i];

    return number == layer->n_in
               ? layer->biases + (size_t)o
               : layer->weights + (size_t)o * (size_t)layer->n_in + (size_t)number;
}

/* The last group whose first row is not behind row o. */
static int group_of(const kd_feedback *feedback, int l, int o)
{
    return ((o + 1) * feedback->layers[l].n_groups - 1) / feedback->net->layers[l].n_out;
}

static void round_row(void *context, int item, int thread)
{
    const layer_job *job = context;
    const kd_feedback *feedback = job->feedback;
    const kd_known_layer *known = &feedback->layers[job->l];
    const size_t m = (size_t)known->m;
    const size_t group = (size_t)group_of(feedback, job->l, item);
    const double *factor = known->factors + group * m * m;
    double *w = feedback->scratch + (size_t)thread * feedback->n_scratch, *b = w + m;

    for (int i = 0; i < known->m; i++) {
        w[i] = feedback->params[place_of(job, item, i)];
    }
    if (job->l > 0) {
        make_up(feedback, factor, known->weights + group * feedback->n, known->m, b, b + m, w);
    }
    round_numbers(job, factor, b, w);
    for (int i = 0; i < known->m; i++) {
        job->params[place_of(job, item, i)] = (float)w[i];
    }
}

/* Sum of L_ii^2 over a layer's weights or, with kind 1, biases. */
static double sum_costs(const kd_feedback *feedback, int l, int kind)
{
    const kd_known_layer *known = &feedback->layers[l];
    const size_t m = (size_t)known->m;
    double sum = 0.0;

    for (int group = 0; group < known->n_groups; group++) {
        const double *factor = known->factors + (size_t)group * m * m;
        const int n_rows = kd_feedback_first_row(feedback, l, group + 1) -
                           kd_feedback_first_row(feedback, l, group);

        for (size_t i = 0; i < m; i++) {
            if ((known->order[i] == known->m - 1) != (kind == 1)) continue;
            sum += n_rows * factor[i * m + i] * factor[i * m + i];
        }
    }
    return sum;
}

void kd_feedback_measure(const kd_feedback *feedback, double *sensitivity)
{
    const kd_net *net = feedback->net;
    const double n_values = (double)feedback->n * net->n_outputs;

    for (int tensor = 0; tensor < 2 * net->n_layers; tensor++) {
        size_t n;

        (void)kd_net_tensor(net, tensor, &n);
        const double sum = sum_costs(feedback, tensor / 2, tensor % 2);
        sensitivity[tensor] = fmax(sum / (n_values * (double)n), 1e-12);
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

double kd_feedback_error(const kd_feedback *feedback, const float *targets, bool rounded)
{
    const kd_known_layer *outputs = &feedback->layers[feedback->net->n_layers];

    return mean_square(feedback, rounded ? outputs->rounded : outputs->inputs, targets);
}

double kd_feedback_round(kd_feedback *feedback, const float *units, float *params)
{
    const int n_layers = feedback->net->n_layers;
    const kd_known_layer *outputs = &feedback->layers[n_layers];
    layer_job job = {.feedback = feedback, .units = units, .params = params};

    for (job.l = 0; job.l < n_layers; job.l++) {
        kd_feedback_gather(feedback, job.l, true);
        kd_threads_run(feedback->threads, round_row, &job, feedback->net->layers[job.l].n_out);
        kd_feedback_pass(feedback, job.l, params);
    }
    return mean_square(feedback, outputs->rounded, outputs->inputs);
}
