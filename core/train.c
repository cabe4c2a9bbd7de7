/* The training loop of both stages (eq. 3 and 4: mean squared error either way; only the source of
 * the targets differs). */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "share.h"
#include "status.h"

enum {
    MAX_RESTARTS = 2,
    MAX_ROLLBACKS = 6,
    WATCH_BATCHES = 64,
    PATIENCE_BATCHES = 512, /* even slow learners are below the variance by then */
    RAMP_STEPS = 128,
    N_VARIANCE_BATCHES = 64
};

kdinr_status kd_run_advance(kd_run *run, double work, kdinr_error *error)
{
    const kdinr_options *options = run->options;

    run->work_done += work;
    double fraction = run->work_total > 0.0 ? run->work_done / run->work_total : 0.0;
    fraction = fraction > 1.0 ? 1.0 : fraction;
    if (options->progress == NULL || fraction < run->reported + 0.001) return KDINR_OK;
    run->reported = fraction;
    if (!options->progress(options->progress_user, fraction, run->stage)) {
        return kd_part_fail_cancelled(run->part, error);
    }
    return KDINR_OK;
}

double kd_train_decay(kdinr_decay decay, double x)
{
    const double pi = 3.14159265358979323846;

    if (decay == KDINR_DECAY_HALVING) return pow(0.5, floor(4.0 * fmin(x, 0.9999)));
    return (0.5 * (1.0 + cos(pi * x)) * 0.99 + 0.01) * fmin(1.0, x / 0.02 + 0.01);
}

/* A rate that is too high shows as a loss that creeps up over thousands of steps, as the weights
 * and with them the frequencies grow, or that jumps. Sixty-four batches average out all else. */
#define COLLAPSE_FACTOR 2.0

/* The same for a mean over about sixteen times as many, in which less is chance; not before the
 * rate has reached its height, at which what was warm started may lose at first. */
#define CREEP_FACTOR 1.25
#define CREEP_SHARE  (1.0 / 16.0)
#define CREEP_FROM   0.05

#define WIDE 64.0 /* neurons; beyond, matrices learn more slowly */

/* Progress from which parameters are rounded, and at which the units are chosen once more because
 * sizes have changed since. */
#define ROUND_FROM  0.5
#define ROUND_AGAIN 0.9

/* Mean and variance of targets. */
typedef struct tally {
    double n, sum[KD_NET_MAX_OUTPUTS], squares;
} tally;

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

/* Steps that a backend takes at once, at most. */
enum { RUN_STEPS = WATCH_BATCHES };

/* One training: what it works on and how it fares. */
typedef struct session {
    kd_run *run;
    const kd_net *net;
    const kd_source *source;
    const kd_schedule *schedule;
    void *state;        /* of the backend */
    float *batch;       /* coordinates, then targets */
    float *best_params; /* [n_params] */
    double best;        /* mean loss of the best 64 batches; INFINITY: none yet */
    double slow;        /* moving mean of such means; INFINITY: none yet */
    double best_slow;   /* the lowest it was */
    double sum;         /* of the losses of the present 64 batches */
    double n_last;      /* batches in outcome.loss */
    double ramp_from;   /* step of the latest rollback, for a new warm-up */
    bool rounding;      /* has it begun? */
    bool supplied;      /* does the backend draw the batches? */
    tally targets;
    kd_outcome outcome;
} session;

/* Is the loss rising, all of a sudden or slowly?
 *  mean      of the latest 64 batches
 *  progress  0..1 */
static bool is_rising(session *s, double mean, double progress)
{
    if (progress >= CREEP_FROM) {
        s->slow = isfinite(s->slow) ? s->slow + CREEP_SHARE * (mean - s->slow) : mean;
        s->best_slow = fmin(s->best_slow, s->slow);
    }
    return !isfinite(mean) || mean > COLLAPSE_FACTOR * s->best ||
           s->slow > CREEP_FACTOR * s->best_slow;
}

/* Every 64 batches: remember good parameters, go back to them after a collapse. */
static kdinr_status watch(session *s, double step, double steps, kdinr_error *error)
{
    const kd_backend *backend = s->run->backend;
    const double mean = s->sum / WATCH_BATCHES;
    const bool rising = is_rising(s, mean, step / steps);

    s->sum = 0.0;
    if (mean < s->best) {
        s->best = mean;
        return backend->get_params(s->state, s->best_params, error);
    }
    if (!rising) return KDINR_OK;
    if (s->outcome.rollbacks == MAX_ROLLBACKS) {
        return isfinite(mean)
                   ? KDINR_OK
                   : kd_fail(error, KDINR_ERROR_TRAINING,
                             "training diverged %d times; a lower learning rate may help",
                             MAX_ROLLBACKS + 1);
    }
    s->outcome.rollbacks++;
    s->ramp_from = step;
    s->slow = s->best_slow = INFINITY;
    KD_TRY(backend->set_params(s->state, s->best_params, error));
    return s->rounding ? backend->set_units(s->state, s->outcome.units, error) : KDINR_OK;
}

/* Units from the parameters as they are. Rounding raises the loss, which is no collapse. */
static kdinr_status start_rounding(session *s, kdinr_error *error)
{
    const kd_backend *backend = s->run->backend;
    const kd_rounding *rounding = s->schedule->rounding;

    KD_TRY(backend->get_params(s->state, s->best_params, error));
    KD_TRY(rounding->choose(rounding->user, s->best_params, s->outcome.units, error));
    s->rounding = true;
    s->best = s->slow = s->best_slow = INFINITY;
    s->sum = 0.0;
    return backend->set_units(s->state, s->outcome.units, error);
}

/* Muon moves each weight by about as much, and a matrix therefore the more the wider it is: too
 * much in wide networks, whose loss then rises or stays where it is. */
static double matrix_scale(const session *s)
{
    const kd_net *net = s->net;
    const double wide = net->layers[net->n_encoder - 1].n_out;

    return s->run->options->matrix_rate_scale * fmin(1.0, WIDE / wide);
}

static double learning_rate(const session *s, double step, double steps)
{
    const double ramp = fmin(1.0, (step - s->ramp_from + 1.0) / RAMP_STEPS);

    return s->schedule->rate * ldexp(1.0, -s->outcome.restarts - s->outcome.rollbacks) *
           kd_train_decay(s->run->options->decay, (step + 0.5) / steps) *
           (s->outcome.rollbacks > 0 ? ramp : 1.0);
}

/* Batch number `step` in s->batch, which counts for the variance if it is an early one. */
static kdinr_status draw_batch(session *s, double step, kdinr_error *error)
{
    const size_t n = s->schedule->batch;
    const uint64_t first = (uint64_t)step * n;
    float *coords = s->batch, *targets = coords + n * (size_t)s->net->n_inputs;

    if (s->supplied) {
        KD_TRY(s->run->backend->read_supply(s->state, first, n, coords, targets, error));
    } else {
        KD_TRY(s->source->draw(s->source->user, first, n, coords, targets, error));
    }
    if (step < N_VARIANCE_BATCHES) {
        tally_targets(&s->targets, targets, n, s->net->n_outputs);
        s->outcome.variance = tally_variance(&s->targets, s->net->n_outputs);
    }
    return KDINR_OK;
}

/* Batches that nobody sees but the backend; their variance is taken ahead. */
static kdinr_status train_supplied(session *s, double step, const kd_step *rates, size_t n_steps,
                                   double *losses, kdinr_error *error)
{
    const size_t n = s->schedule->batch;

    for (size_t i = 0; i < n_steps && step + (double)i < N_VARIANCE_BATCHES; i++) {
        KD_TRY(draw_batch(s, step + (double)i, error));
    }
    return s->run->backend->train_supply(s->state, (uint64_t)step * n, n, rates, n_steps, losses,
                                         error);
}

static kdinr_status train_drawn(session *s, double step, const kd_step *rates, double *loss,
                                kdinr_error *error)
{
    const size_t n = s->schedule->batch;

    KD_TRY(draw_batch(s, step, error));
    return s->run->backend->train_step(s->state, s->batch, s->batch + n * (size_t)s->net->n_inputs,
                                       n, rates, loss, error);
}

/* n_steps batches, 1 unless the backend draws them. */
static kdinr_status train_steps(session *s, double step, size_t n_steps, double steps,
                                kdinr_error *error)
{
    kd_step rates[RUN_STEPS];
    double losses[RUN_STEPS];

    for (size_t i = 0; i < n_steps; i++) {
        rates[i].rate_adam = learning_rate(s, step + (double)i, steps);
        rates[i].rate_matrix = rates[i].rate_adam * matrix_scale(s);
    }
    KD_TRY(s->supplied ? train_supplied(s, step, rates, n_steps, losses, error)
                       : train_drawn(s, step, rates, losses, error));
    KD_TRY(kd_run_advance(s->run, s->schedule->work * (double)n_steps / steps, error));
    for (size_t i = 0; i < n_steps; i++) {
        s->sum += losses[i];
        if (step + (double)i < 0.9 * (steps - 1.0)) continue;
        s->outcome.loss = (s->outcome.loss * s->n_last + losses[i]) / (s->n_last + 1.0);
        s->n_last += 1.0;
    }
    return KDINR_OK;
}

/* Steps that can be taken at once: to where `attempt` next has something to do between two. */
static size_t count_steps(const session *s, double step, double steps)
{
    const double ends[] = {(floor(step / WATCH_BATCHES) + 1.0) * WATCH_BATCHES,
                           floor(steps / 4.0) + 1.0, floor(ROUND_FROM * steps),
                           floor(ROUND_AGAIN * steps), steps};
    double end = step + RUN_STEPS;

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends[i] > step) end = fmin(end, ends[i]);
    }
    return s->supplied ? (size_t)(end - step) : 1;
}

/* From the initial parameters to the end, or to where it is clear that nothing was learnt. */
static kdinr_status attempt(session *s, const float *params, bool *failed, kdinr_error *error)
{
    const double steps = fmax(1.0, floor(s->schedule->samples / (double)s->schedule->batch));

    *failed = false;
    s->best = s->slow = s->best_slow = INFINITY;
    s->sum = s->n_last = s->outcome.loss = s->ramp_from = 0.0;
    s->outcome.rollbacks = 0;
    s->rounding = false;
    memset(&s->targets, 0, sizeof s->targets);
    memcpy(s->best_params, params, s->net->n_params * sizeof *params);
    KD_TRY(s->run->backend->set_params(s->state, params, error));
    for (double done = 0.0; done < steps;) {
        if (s->schedule->rounding != NULL &&
            (done == floor(ROUND_FROM * steps) || done == floor(ROUND_AGAIN * steps))) {
            KD_TRY(start_rounding(s, error));
        }
        const size_t n_steps = count_steps(s, done, steps);
        KD_TRY(train_steps(s, done, n_steps, steps, error));
        done += (double)n_steps;
        if (fmod(done, WATCH_BATCHES) == 0.0) KD_TRY(watch(s, done - 1.0, steps, error));
        if (done == floor(steps / 4.0) + 1.0 && steps >= 4.0 * PATIENCE_BATCHES &&
            s->outcome.restarts < MAX_RESTARTS && !(s->best < 0.95 * s->outcome.variance)) {
            s->run->work_done -= s->schedule->work * done / steps;
            *failed = true;
            return KDINR_OK;
        }
    }
    return isfinite(s->outcome.loss)
               ? KDINR_OK
               : kd_fail(error, KDINR_ERROR_TRAINING,
                         "training ended with a loss that is not finite; a lower "
                         "learning rate may help");
}

/* The whole training, in this process. */
static kdinr_status train_here(session *s, float *params, kdinr_error *error)
{
    const kd_backend *backend = s->run->backend;
    const kd_backend_config config = {.n_threads = s->run->options->n_threads,
                                      .training = true,
                                      .optimizer = s->run->options->optimizer,
                                      .max_batch = s->schedule->batch,
                                      .precision = s->run->options->precision};
    const size_t n_values = s->schedule->batch * (size_t)(s->net->n_inputs + s->net->n_outputs);
    bool failed = true;
    kdinr_status status = KDINR_OK;

    s->batch = malloc(n_values * sizeof *s->batch);
    s->best_params = malloc(s->net->n_params * sizeof *s->best_params);
    if (s->batch == NULL || s->best_params == NULL) {
        status = kd_fail_memory(error, (n_values + s->net->n_params) * 4, "batch");
        goto done;
    }
    KD_TRY_DONE(backend->open(s->net, &config, &s->state, error));
    if (s->source->supply != NULL && backend->set_supply != NULL) {
        KD_TRY_DONE(backend->set_supply(s->state, s->source->supply, &s->supplied, error));
    }
    for (;;) {
        KD_TRY_DONE(attempt(s, params, &failed, error));
        if (!failed) break;
        s->outcome.restarts++;
    }
    KD_TRY_DONE(backend->get_params(s->state, params, error));
    if (s->rounding) kd_net_round(s->net, s->outcome.units, params);

done:
    backend->close(s->state);
    free(s->batch);
    free(s->best_params);
    return status;
}

kdinr_status kd_train(kd_run *run, const kd_net *net, const kd_source *source,
                      const kd_schedule *schedule, float *params, kd_outcome *outcome,
                      kdinr_error *error)
{
    session s = {.run = run, .net = net, .source = source, .schedule = schedule};
    const kd_record record = {kd_part_key(schedule, params, net->n_params), params, net->n_params,
                              outcome};
    bool kept;

    memset(outcome, 0, sizeof *outcome);
    outcome->n_units = s.outcome.n_units = schedule->rounding == NULL ? 0 : 2 * net->n_layers;
    KD_TRY(kd_part_take(run->part, record.key, params, net->n_params, outcome, &kept, error));
    if (kept) {
        kd_share_skip(run->share);
        return kd_run_advance(run, schedule->work, error);
    }
    if (kd_share_deal(run->share, schedule->samples * (double)net->n_params)) {
        KD_TRY(train_here(&s, params, error));
        *outcome = s.outcome;
    } else {
        KD_TRY(kd_run_advance(run, schedule->work, error));
    }
    return kd_share_network(run->share, run->part, &record, error);
}
