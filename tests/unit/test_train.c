/* The training loop (core/train.c): schedules, learning, collapse, cancelling. */
#include "check.h"

#include "net.h"
#include "train.h"

static void train_decay_follows_both_schedules(void **state)
{
    (void)state;
    /* sec. IV: halved every 100 of 400 epochs */
    check_near(kd_train_decay(KDINR_DECAY_HALVING, 0.0), 1.0, 0.0);
    check_near(kd_train_decay(KDINR_DECAY_HALVING, 0.26), 0.5, 0.0);
    check_near(kd_train_decay(KDINR_DECAY_HALVING, 0.51), 0.25, 0.0);
    check_near(kd_train_decay(KDINR_DECAY_HALVING, 1.0), 0.125, 0.0);
    check_near(kd_train_decay(KDINR_DECAY_COSINE, 0.5), 0.505, 1e-9);
    check_near(kd_train_decay(KDINR_DECAY_COSINE, 1.0), 0.01, 1e-9);
    assert_true(kd_train_decay(KDINR_DECAY_COSINE, 0.005) < 0.3);
}

/* Muon's rate falls with the width, and a pilot's narrow network has that of a wide one. */
static void train_rates_follow_the_width(void **state)
{
    const int widths[] = {8, 16, 32, 64, 128};
    const double scales[] = {4.0, 4.0, 2.0, 1.0, 0.5};

    (void)state;
    for (int i = 0; i < 5; i++) {
        const kd_net_shape shape = {3, 1, widths[i], 1, 2, 5.0f, 30.0f, KD_FORM_EVEN};
        kd_schedule schedule = {.samples = 1.0, .batch = 1, .rate = 1e-3};
        kd_net net;

        kd_net_layout(&shape, &net);
        check_near(kd_train_width_scale(&net, &schedule), scales[i], 1e-12);
        schedule.stands_for_wider = true;
        check_near(kd_train_width_scale(&net, &schedule), fmin(scales[i], 1.0), 1e-12);
    }
}

enum { MOST_PARAMS = 1024, BATCH = 64 };

/* value = slope of the first coordinate, or not a number after some samples; off by an error whose
 * square grows from noise to twice of that at most */
typedef struct line {
    uint64_t bad_from;
    size_t n_batches; /* 0: 400 */
    float noise;      /* square of the error at the beginning */
    float growth;     /* part of it that is added by the end */
    float unit;       /* that rounding says, and makes of the first parameter; 0: not rounded */
    int asked;        /* how often for rounding */
    double loss;      /* that it was told */
    size_t n_params;
    float params[MOST_PARAMS]; /* the trained ones */
} line;

static size_t count_batches(const line *source)
{
    return source->n_batches > 0 ? source->n_batches : 400;
}

static kdinr_status round_line(void *user, float *params, kd_outcome *outcome, kdinr_error *error)
{
    line *source = user;

    (void)error;
    source->asked++;
    source->loss = outcome->loss;
    outcome->loss += 1.0;
    if (source->unit > 0.5f) outcome->loss = NAN;
    for (int i = 0; i < outcome->n_units; i++) {
        outcome->units[i] = source->unit;
    }
    params[0] = source->unit;
    return KDINR_OK;
}

static kdinr_status draw_line(void *user, uint64_t first, size_t n, float *coords, float *targets,
                              kdinr_error *error)
{
    const line *source = user;

    (void)error;
    for (size_t i = 0; i < n; i++) {
        const float x = (float)((first + i) * 37 % 1001) / 500.0f - 1.0f;
        const float progress = (float)(first + i) / (float)(count_batches(source) * BATCH);
        const float error_now = sqrtf(source->noise * (1.0f + source->growth * progress));

        coords[3 * i] = x;
        coords[3 * i + 1] = coords[3 * i + 2] = 0.0f;
        targets[i] =
            first + i >= source->bad_from ? NAN : 0.8f * x + (i % 2 == 0 ? error_now : -error_now);
    }
    return KDINR_OK;
}

static kdinr_status train_line(const kdinr_options *options, line *user, kd_outcome *outcome,
                               kdinr_error *error)
{
    const kd_net_shape shape = {3, 1, 4, 1, 3, 5.0f, 30.0f, KD_FORM_KDINR};
    const kd_rounding rounding = {round_line, user};
    const kd_schedule schedule = {.samples = (double)(BATCH * count_batches(user)),
                                  .batch = BATCH,
                                  .rate = 1e-3,
                                  .work = 1.0,
                                  .rounding = user->unit > 0.0f ? &rounding : NULL};
    const kd_source source = {.draw = draw_line, .user = user};
    kd_run run = {.options = options, .work_total = 1.0, .stage = "test"};
    float params[MOST_PARAMS];
    kd_net net;

    kd_net_layout(&shape, &net);
    assert_true(net.n_params <= MOST_PARAMS);
    kd_net_initialise(&net, 30.0f, 1, 1, params);
    check_ok(kd_backend_find("auto", &run.backend, error), *error);
    const kd_training training = {.net = &net,
                                  .source = &source,
                                  .schedule = &schedule,
                                  .params = params,
                                  .outcome = outcome};
    const kdinr_status status = kd_train(&run, &training, 1, error);
    user->n_params = net.n_params;
    memcpy(user->params, params, net.n_params * sizeof *params);
    return status;
}

static void train_learns_a_line(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    check_ok(train_line(&options, &user, &outcome, &error), error);
    check_near(outcome.variance, 0.8 * 0.8 / 3.0, 0.02);
    assert_true(outcome.loss < 1e-3 * outcome.variance);
    assert_int_equal(outcome.restarts, 0);
}

static void train_rounds_once_at_the_end(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX, .unit = 1.0f / 64.0f};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    check_ok(train_line(&options, &user, &outcome, &error), error);
    assert_int_equal(user.asked, 1);
    assert_true(user.loss < 1e-3 * outcome.variance); /* it had learnt */
    check_near(outcome.loss, user.loss + 1.0, 0.0);
    assert_int_equal(outcome.n_units, 2 * (3 + 3 + 1));
    check_near(outcome.units[3], 1.0 / 64.0, 0.0);
    check_near(user.params[0], 1.0 / 64.0, 0.0);
}

/* A network that rounding makes nonsense of is not kept. */
static void train_reports_rounding_that_fails(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX, .unit = 1.0f};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    check_fails(train_line(&options, &user, &outcome, &error), KDINR_ERROR_TRAINING,
                "a loss that is not finite", error);
}

static void train_reports_divergence(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = 64 * 50};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    check_fails(train_line(&options, &user, &outcome, &error), KDINR_ERROR_TRAINING,
                "a loss that is not finite", error);
}

/* The loss never is twice its best, but rises for good. */
static void train_goes_back_when_the_loss_creeps_up(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX, .n_batches = 64 * 60, .noise = 0.04f};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    check_ok(train_line(&options, &user, &outcome, &error), error);
    assert_int_equal(outcome.rollbacks, 0);
    user.growth = 0.8f;
    check_ok(train_line(&options, &user, &outcome, &error), error);
    assert_in_range(outcome.rollbacks, 1, 3);
}

/* Noise is no collapse, wherever the last look at the loss comes. */
static void train_takes_no_noise_for_a_collapse(void **state)
{
    const kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX, .noise = 0.04f, .unit = 1.0f / 64.0f};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    for (size_t n_more = 0; n_more < 64; n_more += 12) {
        user.n_batches = 64 * 20 + 2 * n_more;
        check_ok(train_line(&options, &user, &outcome, &error), error);
        assert_int_equal(outcome.rollbacks, 0);
    }
}

static bool refuse(void *user, double fraction, const char *stage)
{
    (void)user;
    (void)stage;
    return fraction < 0.25;
}

static void train_stops_when_told(void **state)
{
    kdinr_options options = kdinr_options_default();
    line user = {.bad_from = UINT64_MAX};
    kd_outcome outcome;
    kdinr_error error;

    (void)state;
    options.progress = refuse;
    assert_int_equal(train_line(&options, &user, &outcome, &error), KDINR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_decay_follows_both_schedules),
        cmocka_unit_test(train_rates_follow_the_width),
        cmocka_unit_test(train_learns_a_line),
        cmocka_unit_test(train_rounds_once_at_the_end),
        cmocka_unit_test(train_reports_rounding_that_fails),
        cmocka_unit_test(train_reports_divergence),
        cmocka_unit_test(train_goes_back_when_the_loss_creeps_up),
        cmocka_unit_test(train_takes_no_noise_for_a_collapse),
        cmocka_unit_test(train_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
