/* The training loop of both stages (eq. 3 and 4: mean squared error either way; only the source of
 * the targets differs). */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "share.h"
#include "status.h"
#include "tally.h"

enum {
    MAX_RESTARTS = 2,
    MAX_ROLLBACKS = 6,
    WATCH_BATCHES = 64,
    PATIENCE_BATCHES = 512, /* even slow learners are below the variance by then */
    RAMP_STEPS = 128,
    N_VARIANCE_BATCHES = 64,
    RUN_STEPS = WATCH_BATCHES /* that a backend takes at once, at most */
};

kdinr_status kd_run_poll(const kd_run *run, kdinr_error *error)
{
    const kdinr_options *options = run->options;

    if (options->progress == NULL ||
        options->progress(options->progress_user, run->reported, run->stage)) {
        return KDINR_OK;
    }
    return kd_part_fail_cancelled(run->part, error);
}

kdinr_status kd_run_advance(kd_run *run, double work, kdinr_error *error)
{
    const kdinr_options *options = run->options;

    run->work_done += work;
    double fraction = run->work_total > 0.0 ? run->work_done / run->work_total : 0.0;
    fraction = fraction > 1.0 ? 1.0 : fraction;
    if (options->progress == NULL || fraction < run->reported + 0.001) return KDINR_OK;
    run->reported = fraction;
    return kd_run_poll(run, error);
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

/* Matrices learn at a rate that falls as 1 / neurons; the options' is for so many. */
#define WIDE       64.0
#define MOST_SCALE 4.0

/* One training: what it works on and how it fares. */
typedef struct session {
    kd_run *run;
    const kd_net *net;
    const kd_source *source;
    const kd_schedule *schedule;
    const kd_training *training;
    uint64_t key;        /* in the part */
    bool kept, mine;     /* did the part have it; or is it trained here? */
    int owner;           /* of the result, among the processes */
    double steps, done;  /* optimiser steps in all, and of the present attempt */
    double matrix_scale; /* Muon's rate / Adam's */
    bool ended;
    kd_step rates[RUN_STEPS]; /* of the steps that come next */
    double losses[RUN_STEPS];
    void *state;        /* of the backend */
    float *batch;       /* coordinates, then targets */
    float *best_params; /* [n_params] */
    double best;        /* mean loss of the best 64 batches; INFINITY: none yet */
    double slow;        /* moving mean of such means; INFINITY: none yet */
    double best_slow;   /* the lowest it was */
    double sum, n_sum;  /* of losses since the latest look, and their number */
    double n_last;      /* batches in outcome.loss */
    double ramp_from;   /* step of the latest rollback, for a new warm-up */
    bool supplied;      /* does the backend draw the batches? */
    kd_tally targets;
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
static kdinr_status watch(session *s, kdinr_error *error)
{
    const kd_backend *backend = s->run->backend;
    const double mean = s->sum / s->n_sum, step = s->done - 1.0;
    const bool rising = is_rising(s, mean, step / s->steps);

    s->sum = s->n_sum = 0.0;
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
    return backend->set_params(s->state, s->best_params, error);
}

double kd_train_width_scale(const kd_net *net, const kd_schedule *schedule)
{
    const double wide = net->layers[net->n_encoder - 1].n_out;

    return fmin(schedule->stands_for_wider ? 1.0 : MOST_SCALE, WIDE / wide);
}

static double learning_rate(const session *s, double step)
{
    const double ramp = fmin(1.0, (step - s->ramp_from + 1.0) / RAMP_STEPS);

    return s->schedule->rate * ldexp(1.0, -s->outcome.restarts - s->outcome.rollbacks) *
           kd_train_decay(s->run->options->decay, (step + 0.5) / s->steps) *
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
        kd_tally_add(&s->targets, targets, n, s->net->n_outputs);
        s->outcome.variance = kd_tally_variance(&s->targets, s->net->n_outputs);
    }
    return KDINR_OK;
}

/* Steps that can be taken at once: to where the training next has something to do between two. */
static size_t count_steps(const session *s)
{
    const double ends[] = {(floor(s->done / WATCH_BATCHES) + 1.0) * WATCH_BATCHES,
                           floor(s->steps / 4.0) + 1.0, s->steps};
    double end = s->done + RUN_STEPS;

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends[i] > s->done) end = fmin(end, ends[i]);
    }
    return (size_t)(end - s->done);
}

/* From the initial parameters. */
static kdinr_status begin(session *s, kdinr_error *error)
{
    const float *params = s->training->params;

    s->best = s->slow = s->best_slow = INFINITY;
    s->sum = s->n_sum = s->n_last = s->outcome.loss = s->ramp_from = s->done = 0.0;
    s->outcome.rollbacks = 0;
    memset(&s->targets, 0, sizeof s->targets);
    memcpy(s->best_params, params, s->net->n_params * sizeof *params);
    return s->run->backend->set_params(s->state, params, error);
}

static void choose_rates(session *s, size_t n_steps)
{
    for (size_t i = 0; i < n_steps; i++) {
        s->rates[i].rate_adam = learning_rate(s, s->done + (double)i);
        s->rates[i].rate_matrix = s->rates[i].rate_adam * s->matrix_scale;
    }
}

static kdinr_status check_loss(const session *s, kdinr_error *error)
{
    if (isfinite(s->outcome.loss)) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_TRAINING,
                   "training ended with a loss that is not finite; a lower learning rate may help");
}

/* After n_steps steps, whose losses are known. A training that has learnt nothing after a quarter
 * of its steps starts over. */
static kdinr_status look_back(session *s, size_t n_steps, kdinr_error *error)
{
    const double steps = s->steps;

    KD_TRY(kd_run_advance(s->run, s->schedule->work * (double)n_steps / steps, error));
    for (size_t i = 0; i < n_steps; i++) {
        s->sum += s->losses[i];
        s->n_sum += 1.0;
        if (s->done + (double)i < 0.9 * (steps - 1.0)) continue;
        s->outcome.loss = (s->outcome.loss * s->n_last + s->losses[i]) / (s->n_last + 1.0);
        s->n_last += 1.0;
    }
    s->done += (double)n_steps;
    if (fmod(s->done, WATCH_BATCHES) == 0.0) KD_TRY(watch(s, error));
    if (s->done == floor(steps / 4.0) + 1.0 && steps >= 4.0 * PATIENCE_BATCHES &&
        s->outcome.restarts < MAX_RESTARTS && !(s->best < 0.95 * s->outcome.variance)) {
        s->run->work_done -= s->schedule->work * s->done / steps;
        s->outcome.restarts++;
        return begin(s, error);
    }
    s->ended = s->done >= steps;
    return s->ended ? check_loss(s, error) : KDINR_OK;
}

/* ---- one training, or several ---- */

/* To the end, by batches that are drawn here. */
static kdinr_status train_drawn(session *s, kdinr_error *error)
{
    const size_t n = s->schedule->batch;
    const float *targets = s->batch + n * (size_t)s->net->n_inputs;

    while (!s->ended) {
        choose_rates(s, 1);
        KD_TRY(draw_batch(s, s->done, error));
        KD_TRY(s->run->backend->train_step(s->state, s->batch, targets, n, s->rates, s->losses,
                                           error));
        KD_TRY(look_back(s, 1, error));
    }
    return KDINR_OK;
}

/* Batches that nobody sees but the backend; their variance is taken ahead. */
static kdinr_status prepare_supplied(session *s, size_t n_steps, kd_turn *turn, kdinr_error *error)
{
    const size_t n = s->schedule->batch;

    choose_rates(s, n_steps);
    for (size_t i = 0; i < n_steps && s->done + (double)i < N_VARIANCE_BATCHES; i++) {
        KD_TRY(draw_batch(s, s->done + (double)i, error));
    }
    *turn = (kd_turn){s->state, (uint64_t)s->done * n, n, s->rates, s->losses};
    return KDINR_OK;
}

/* To the end of all n, by batches that the backend draws: as many steps at once as all can take.
 * What ends first leaves.
 *  turns  scratch [n] */
static kdinr_status train_supplied(session **sessions, size_t n, kd_turn *turns, kdinr_error *error)
{
    while (n > 0) {
        size_t n_steps = RUN_STEPS, n_left = 0;

        for (size_t i = 0; i < n; i++) {
            const size_t count = count_steps(sessions[i]);
            n_steps = count < n_steps ? count : n_steps;
        }
        for (size_t i = 0; i < n; i++) {
            KD_TRY(prepare_supplied(sessions[i], n_steps, &turns[i], error));
        }
        KD_TRY(sessions[0]->run->backend->train_supply(turns, n, n_steps, error));
        for (size_t i = 0; i < n; i++) {
            KD_TRY(look_back(sessions[i], n_steps, error));
            if (!sessions[i]->ended) sessions[n_left++] = sessions[i];
        }
        n = n_left;
    }
    return KDINR_OK;
}

size_t kd_train_count(const kd_run *run, const kd_net *net, size_t batch)
{
    const kd_backend_config config = kd_backend_training(run->options, batch);

    return run->backend->count_together == NULL ? 1 : run->backend->count_together(net, &config);
}

/* turn: place among those that train at the same time */
static kdinr_status open_session(session *s, unsigned turn, kdinr_error *error)
{
    kd_backend_config config = kd_backend_training(s->run->options, s->schedule->batch);
    const size_t n_values = s->schedule->batch * (size_t)(s->net->n_inputs + s->net->n_outputs);

    s->batch = malloc(n_values * sizeof *s->batch);
    s->best_params = malloc(s->net->n_params * sizeof *s->best_params);
    if (s->batch == NULL || s->best_params == NULL) {
        return kd_fail_memory(error, (n_values + s->net->n_params) * 4, "batch");
    }
    config.turn = turn;
    config.gradient_weight = s->source->gradient_weight;
    return s->run->backend->open(s->net, &config, &s->state, error);
}

static void close_session(session *s)
{
    s->run->backend->close(s->state);
    free(s->batch);
    free(s->best_params);
    s->state = NULL;
    s->batch = s->best_params = NULL;
}

static kdinr_status start_session(session *s, kdinr_error *error)
{
    const kd_backend *backend = s->run->backend;

    if (s->source->supply != NULL && backend->set_supply != NULL) {
        KD_TRY(backend->set_supply(s->state, s->source->supply, &s->supplied, error));
    }
    return begin(s, error);
}

static kdinr_status finish_session(session *s, kdinr_error *error)
{
    float *params = s->training->params;
    const kd_rounding *rounding = s->schedule->rounding;

    KD_TRY(s->run->backend->get_params(s->state, params, error));
    if (rounding != NULL) {
        KD_TRY(rounding->round(rounding->user, params, &s->outcome, error));
        KD_TRY(check_loss(s, error));
    }
    *s->training->outcome = s->outcome;
    return KDINR_OK;
}

/* Trainings for which there is room at once.
 *  together  scratch [n], as turns */
static kdinr_status train_group(session **group, size_t n, session **together, kd_turn *turns,
                                kdinr_error *error)
{
    size_t n_together = 0;
    kdinr_status status = KDINR_OK;

    for (size_t i = 0; i < n; i++) {
        KD_TRY_DONE(open_session(group[i], (unsigned)i, error));
    }
    for (size_t i = 0; i < n; i++) {
        KD_TRY_DONE(start_session(group[i], error));
        if (group[i]->supplied) {
            together[n_together++] = group[i];
        } else {
            KD_TRY_DONE(train_drawn(group[i], error));
        }
    }
    KD_TRY_DONE(train_supplied(together, n_together, turns, error));
    for (size_t i = 0; i < n; i++) {
        KD_TRY_DONE(finish_session(group[i], error));
    }

done:
    for (size_t i = 0; i < n; i++) {
        close_session(group[i]);
    }
    return status;
}

/* Whose is the training, or has the part its result already? */
static kdinr_status deal(session *s, kdinr_error *error)
{
    kd_run *run = s->run;
    float *params = s->training->params;
    kd_outcome *outcome = s->training->outcome;
    const size_t n = s->net->n_params;

    memset(outcome, 0, sizeof *outcome);
    outcome->n_units = s->outcome.n_units =
        s->schedule->rounding == NULL ? 0 : 2 * s->net->n_layers;
    s->steps = fmax(1.0, floor(s->schedule->samples / (double)s->schedule->batch));
    s->matrix_scale = run->options->matrix_rate_scale * kd_train_width_scale(s->net, s->schedule);
    s->key = kd_part_key(s->schedule, s->matrix_scale, params, n);
    KD_TRY(kd_part_take(run->part, s->key, params, n, outcome, &s->kept, error));
    if (s->kept) {
        kd_share_of(run->share, KD_SHARE_ALL);
    } else if (s->training->trainer != KD_TRAIN_ANYWHERE) {
        kd_share_of(run->share, s->training->trainer);
        s->mine = kd_share_has(run->share);
    } else {
        s->mine = kd_share_deal(run->share, s->schedule->samples * (double)n);
    }
    s->owner = kd_share_owner(run->share);
    return s->mine ? KDINR_OK : kd_run_advance(run, s->schedule->work, error);
}

/* The results of sessions first .. end - 1 are there, or will come from where they are made. */
static kdinr_status announce(const session *sessions, size_t first, size_t end, kdinr_error *error)
{
    for (const session *s = sessions + first; s < sessions + end; s++) {
        const kd_training *training = s->training;
        const kd_record record = {s->key, training->params, s->net->n_params, training->outcome};

        kd_share_of(s->run->share, s->owner);
        if (!s->kept) KD_TRY(kd_share_network(s->run->share, s->run->part, &record, error));
        if (training->finish != NULL) KD_TRY(training->finish(training->user, error));
    }
    return KDINR_OK;
}

/* Train what is this process's, as many at once as there is room for, and announce all.
 *  scratch  [2 n], as turns [n] */
static kdinr_status train_all(session *sessions, size_t n, session **scratch, kd_turn *turns,
                              kdinr_error *error)
{
    size_t n_mine = 0, announced = 0, count;

    for (size_t i = 0; i < n; i++) {
        if (sessions[i].mine) scratch[n_mine++] = &sessions[i];
    }
    for (size_t first = 0; first < n_mine; first += count) {
        const session *s = scratch[first];
        const size_t most = kd_train_count(s->run, s->net, s->schedule->batch);

        count = n_mine - first < most ? n_mine - first : most;
        KD_TRY(train_group(scratch + first, count, scratch + n, turns, error));
        const size_t end = (size_t)(scratch[first + count - 1] - sessions) + 1;
        KD_TRY(announce(sessions, announced, end, error));
        announced = end;
    }
    return announce(sessions, announced, n, error);
}

kdinr_status kd_train(kd_run *run, const kd_training *trainings, size_t n, kdinr_error *error)
{
    session *sessions = calloc(n, sizeof *sessions);
    session **scratch = calloc(2 * n, sizeof(session *));
    kd_turn *turns = calloc(n, sizeof *turns);
    kdinr_status status = KDINR_OK;

    if (sessions == NULL || scratch == NULL || turns == NULL) {
        status = kd_fail_memory(error, n * sizeof *sessions, "trainings");
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const kd_training *one = &trainings[i];

        sessions[i] = (session){.run = run, .training = one, .net = one->net};
        sessions[i].source = one->source;
        sessions[i].schedule = one->schedule;
        KD_TRY_DONE(deal(&sessions[i], error));
    }
    status = train_all(sessions, n, scratch, turns, error);

done:
    free(sessions);
    free(scratch);
    free(turns);
    return status;
}
