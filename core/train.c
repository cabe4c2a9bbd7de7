/* The training loop of both stages (eq. 3 and 4: mean squared error either way; only the source of
 * the targets differs). */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

enum { MAX_RESTARTS = 2, N_VARIANCE_BATCHES = 64 };

kdinr_status kd_run_advance(kd_run *run, double work, kdinr_error *error)
{
    const kdinr_options *options = run->options;

    run->work_done += work;
    double fraction = run->work_total > 0.0 ? run->work_done / run->work_total : 0.0;
    fraction = fraction > 1.0 ? 1.0 : fraction;
    if (options->progress == NULL || fraction < run->reported + 0.001) return KDINR_OK;
    run->reported = fraction;
    if (!options->progress(options->progress_user, fraction, run->stage)) {
        return kd_fail(error, KDINR_CANCELLED, "cancelled");
    }
    return KDINR_OK;
}

double kd_train_decay(kdinr_decay decay, double x)
{
    const double pi = 3.14159265358979323846;

    if (decay == KDINR_DECAY_HALVING) return pow(0.5, floor(4.0 * fmin(x, 0.9999)));
    return (0.5 * (1.0 + cos(pi * x)) * 0.99 + 0.01) * fmin(1.0, x / 0.02 + 0.01);
}

/* Mean and variance of targets, and the loss of the latest batches. */
typedef struct tally {
    double n, sum[KD_NET_MAX_OUTPUTS], squares;
    double loss; /* exponential mean */
    double n_losses;
} tally;

/* What an attempt works on. */
typedef struct attempt_space {
    void *state;  /* of the backend */
    float *batch; /* coordinates, then targets */
    bool collapsed;
} attempt_space;

static void tally_targets(tally *t, const float *targets, size_t n, int n_outputs)
{
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < n_outputs; c++) {
            const double v = targets[i * (size_t)n_outputs + (size_t)c];

            t->sum[c] += v;
            t->squares += v * v;
        }
    }
    t->n += (double)n;
}

static double tally_variance(const tally *t, int n_outputs)
{
    double variance = t->squares / t->n;

    for (int c = 0; c < n_outputs; c++) {
        variance -= (t->sum[c] / t->n) * (t->sum[c] / t->n);
    }
    return variance / n_outputs;
}

/* Note the loss of one step; has the attempt collapsed? */
static bool tally_loss(tally *t, double loss, double step, double steps, kd_outcome *outcome)
{
    if (step >= 0.9 * (steps - 1.0)) {
        outcome->loss = (outcome->loss * t->n_losses + loss) / (t->n_losses + 1.0);
        t->n_losses += 1.0;
    }
    t->loss = step == 0.0 ? loss : t->loss + 0.05 * (loss - t->loss);
    return !isfinite(loss) ||
           (steps >= 200.0 && step == floor(steps / 4.0) && outcome->restarts < MAX_RESTARTS &&
            t->loss > 0.9 * outcome->variance);
}

/* One attempt from the backend's present parameters. *collapsed tells whether it failed. */
static kdinr_status attempt(kd_run *run, const kd_net *net, const kd_source *source,
                            const kd_schedule *schedule, attempt_space *space, kd_outcome *outcome,
                            kdinr_error *error)
{
    const kdinr_options *options = run->options;
    const size_t n = schedule->batch;
    float *coords = space->batch, *targets = coords + n * (size_t)net->n_inputs;
    const double steps = fmax(1.0, floor(schedule->samples / (double)n));
    const double top = schedule->rate * ldexp(1.0, -outcome->restarts);
    tally t = {0};

    space->collapsed = false;
    outcome->loss = 0.0;
    for (double step = 0.0; step < steps; step += 1.0) {
        const double rate = top * kd_train_decay(options->decay, (step + 0.5) / steps);
        const kd_step rates = {rate, rate * options->matrix_rate_scale};
        double loss;

        KD_TRY(source->draw(source->user, (uint64_t)step * n, n, coords, targets, error));
        KD_TRY(run->backend->train_step(space->state, coords, targets, n, &rates, &loss, error));
        KD_TRY(kd_run_advance(run, schedule->work / steps, error));
        if (step < N_VARIANCE_BATCHES) {
            tally_targets(&t, targets, n, net->n_outputs);
            outcome->variance = tally_variance(&t, net->n_outputs);
        }
        if (tally_loss(&t, loss, step, steps, outcome)) {
            run->work_done -= schedule->work * (step + 1.0) / steps;
            space->collapsed = true;
            return KDINR_OK;
        }
    }
    return KDINR_OK;
}

kdinr_status kd_train(kd_run *run, const kd_net *net, const kd_source *source,
                      const kd_schedule *schedule, float *params, kd_outcome *outcome,
                      kdinr_error *error)
{
    const kd_backend_config config = {.n_threads = run->options->n_threads,
                                      .training = true,
                                      .optimizer = run->options->optimizer,
                                      .max_batch = schedule->batch};
    const size_t row = (size_t)(net->n_inputs + net->n_outputs);
    attempt_space space = {.batch = malloc(schedule->batch * row * sizeof *space.batch)};
    kd_outcome result = {0};
    kdinr_status status = KDINR_OK;

    if (space.batch == NULL) {
        return kd_fail_memory(error, schedule->batch * row * sizeof *space.batch, "batch");
    }
    KD_TRY_DONE(run->backend->open(net, &config, &space.state, error));
    for (;; result.restarts++) {
        KD_TRY_DONE(run->backend->set_params(space.state, params, error));
        KD_TRY_DONE(attempt(run, net, source, schedule, &space, &result, error));
        if (!space.collapsed) break;
        if (result.restarts == MAX_RESTARTS) {
            status = kd_fail(error, KDINR_ERROR_TRAINING,
                             "training diverged %d times; a lower learning rate may help",
                             MAX_RESTARTS + 1);
            goto done;
        }
    }
    KD_TRY_DONE(run->backend->get_params(space.state, params, error));
    if (outcome != NULL) *outcome = result;

done:
    run->backend->close(space.state);
    free(space.batch);
    return status;
}
