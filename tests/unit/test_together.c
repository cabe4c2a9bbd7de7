/* Networks trained together (core/train.c), by a backend that draws batches itself: each becomes
 * what it becomes alone, and what it becomes where batches are drawn for it. The backend is the
 * cpu's, to which drawing is added here; it trains its instances one after the other. */
#include "check.h"

#include "cpu/backend_cpu.h"
#include "draw.h"
#include "net.h"
#include "train.h"

enum { NX = 9, NY = 8, NZ = 7, SAMPLES = NX * NY * NZ, EDGE = 4, BLOCKS = 3 * 2 * 2 };
enum { BATCH = 16, N_TRAININGS = 6, MOST_TOGETHER = 4, MOST_OPEN = 8, MOST_PARAMS = 1024 };

/* ---- the backend ---- */

/* An open instance that draws. */
typedef struct instance {
    void *state;
    const kd_supply *supply;
} instance;

static instance open_instances[MOST_OPEN];
static size_t most_turns; /* that one call had */

static const kd_supply *supply_of(const void *state)
{
    int i = 0;

    while (open_instances[i].state != state) {
        assert_true(++i < MOST_OPEN);
    }
    return open_instances[i].supply;
}

static void draw(const kd_supply *supply, uint64_t first, size_t n, float *coords, float *targets)
{
    for (size_t i = 0; i < n; i++) {
        int index[3];

        kd_draw_sample(&supply->chooser, supply->key, first + i, NULL, index);
        for (int a = 0; a < 3; a++) {
            coords[3 * i + (size_t)a] = supply->axes[a][index[a]];
        }
        targets[i] = supply->answers[0].values[kd_draw_at(&supply->chooser, index)];
    }
}

static kdinr_status set_supply(void *state, const kd_supply *supply, bool *taken,
                               kdinr_error *error)
{
    int i = 0;

    (void)error;
    while (open_instances[i].state != NULL) {
        assert_true(++i < MOST_OPEN);
    }
    open_instances[i] = (instance){state, supply};
    *taken = supply->n_answers == 1; /* two: there is no room */
    return KDINR_OK;
}

static kdinr_status read_supply(void *state, uint64_t first, size_t n, float *coords,
                                float *targets, kdinr_error *error)
{
    (void)error;
    draw(supply_of(state), first, n, coords, targets);
    return KDINR_OK;
}

static kdinr_status train_supply(const kd_turn *turns, size_t n_turns, size_t n_steps,
                                 kdinr_error *error)
{
    float coords[3 * BATCH], targets[BATCH];

    if (n_turns > most_turns) most_turns = n_turns;
    for (size_t i = 0; i < n_turns; i++) {
        const kd_turn *turn = &turns[i];

        for (size_t k = 0; k < n_steps; k++) {
            draw(supply_of(turn->state), turn->first + k * turn->n, turn->n, coords, targets);
            const kdinr_status status = kd_cpu_backend.train_step(
                turn->state, coords, targets, turn->n, &turn->steps[k], &turn->losses[k], error);
            if (status != KDINR_OK) return status;
        }
    }
    return KDINR_OK;
}

static size_t count_together(const kd_net *net, const kd_backend_config *config)
{
    (void)net;
    (void)config;
    return MOST_TOGETHER;
}

static void close_instance(void *state)
{
    for (int i = 0; i < MOST_OPEN; i++) {
        if (open_instances[i].state == state) open_instances[i] = (instance){0};
    }
    kd_cpu_backend.close(state);
}

static kd_backend drawing_backend(void)
{
    kd_backend backend = kd_cpu_backend;

    backend.set_supply = set_supply;
    backend.read_supply = read_supply;
    backend.train_supply = train_supply;
    backend.count_together = count_together;
    backend.close = close_instance;
    return backend;
}

/* ---- what is trained ---- */

/* One training, all that it needs, and what became of it. */
typedef struct pupil {
    float values[SAMPLES], keep[BLOCKS], axes[3][NX];
    uint32_t alias[BLOCKS];
    kd_answer answer;
    kd_supply supply;
    kd_source source;
    kd_rounding rounding;
    kd_schedule schedule;
    kd_net net;
    float params[MOST_PARAMS];
    kd_outcome outcome;
} pupil;

static kdinr_status draw_for(void *user, uint64_t first, size_t n, float *coords, float *targets,
                             kdinr_error *error)
{
    (void)error;
    draw(&((const pupil *)user)->supply, first, n, coords, targets);
    return KDINR_OK;
}

static kdinr_status round_pupil(void *user, float *params, kd_outcome *outcome, kdinr_error *error)
{
    const pupil *p = user;

    (void)error;
    for (size_t i = 0; i < p->net.n_params; i++) {
        params[i] = nearbyintf(64.0f * params[i]) / 64.0f;
    }
    for (int i = 0; i < outcome->n_units; i++) {
        outcome->units[i] = 1.0f / 64.0f;
    }
    return KDINR_OK;
}

/* A smooth field, or noise, of which nothing can be learnt. */
static void fill_values(pupil *p, bool noise)
{
    for (int i = 0; i < SAMPLES; i++) {
        const float x = p->axes[0][i % NX];

        p->values[i] = noise ? 2.0f * (float)((i * 7919 + 13) % 997) / 997.0f - 1.0f : 0.8f * x;
    }
}

/* Number 1 starts over, 2 goes back, 3 is rounded, 4 is longer, wider and has other batches, 5 is
 * drawn for by the host. */
static void make_pupil(pupil *p, int number)
{
    const kd_net_shape shape = {3, 1, number == 4 ? 5 : 4, 1, 3, 5.0f, 30.0f, KD_FORM_KDINR};
    const size_t batch = number == 4 ? 8 : BATCH;

    memset(p, 0, sizeof *p);
    for (int i = 0; i < BLOCKS; i++) {
        p->keep[i] = 1.0f;
        p->alias[i] = (uint32_t)i;
    }
    for (int i = 0; i < 3 * NX; i++) {
        p->axes[i / NX][i % NX] = (float)(i % NX) / 4.0f - 1.0f;
    }
    fill_values(p, number == 1);
    p->answer.values = p->values;
    p->supply = (kd_supply){.chooser = {{NX, NY, NZ}, {3, 2, 2}, EDGE, BLOCKS, p->keep, p->alias},
                            .axes = {p->axes[0], p->axes[1], p->axes[2]},
                            .key = (uint64_t)number,
                            .n_answers = number == 5 ? 2 : 1,
                            .answers = &p->answer};
    p->source = (kd_source){.draw = draw_for, .user = p, .supply = &p->supply};
    p->rounding = (kd_rounding){round_pupil, p};
    p->schedule = (kd_schedule){.samples = (double)batch * (number == 4 ? 2900 : 2100),
                                .batch = batch,
                                .rate = number == 2 ? 0.02 : 1e-3,
                                .work = 1.0,
                                .rounding = number == 3 ? &p->rounding : NULL,
                                .stands_for_wider = true};
    kd_net_layout(&shape, &p->net);
    assert_true(p->net.n_params <= MOST_PARAMS);
    kd_net_initialise(&p->net, 30.0f, 1, (uint64_t)number, p->params);
}

/* All of them, `together` at a time. */
static void train_pupils(const kd_backend *backend, pupil *pupils, size_t together)
{
    const kdinr_options options = kdinr_options_default();
    kd_run run = {.options = &options, .backend = backend, .stage = "test"};
    kd_training trainings[N_TRAININGS];
    kdinr_error error;

    for (int i = 0; i < N_TRAININGS; i++) {
        pupil *p = &pupils[i];

        make_pupil(p, i);
        trainings[i] = (kd_training){.net = &p->net,
                                     .source = &p->source,
                                     .schedule = &p->schedule,
                                     .params = p->params,
                                     .outcome = &p->outcome};
    }
    for (size_t i = 0; i < N_TRAININGS; i += together) {
        check_ok(kd_train(&run, trainings + i, together, &error), error);
    }
    for (int i = 0; i < MOST_OPEN; i++) {
        assert_null(open_instances[i].state);
    }
}

static void assert_same(const pupil *a, const pupil *b)
{
    for (int i = 0; i < N_TRAININGS; i++) {
        const size_t size = a[i].net.n_params * sizeof *a[i].params;

        assert_memory_equal(a[i].params, b[i].params, size);
        assert_memory_equal(&a[i].outcome, &b[i].outcome, sizeof a[i].outcome);
    }
}

static void networks_train_together_as_alone(void **unused)
{
    static pupil together[N_TRAININGS], alone[N_TRAININGS], drawn[N_TRAININGS];
    const kd_backend backend = drawing_backend();

    (void)unused;
    most_turns = 0;
    train_pupils(&backend, alone, 1);
    assert_int_equal(most_turns, 1);
    train_pupils(&backend, together, N_TRAININGS);
    assert_int_equal(most_turns, MOST_TOGETHER);
    train_pupils(&kd_cpu_backend, drawn, N_TRAININGS);
    assert_same(together, alone);
    assert_same(together, drawn);
    assert_int_equal(together[0].outcome.restarts, 0);
    assert_int_equal(together[0].outcome.rollbacks, 0);
    assert_int_equal(together[1].outcome.restarts, 2);
    assert_true(together[2].outcome.rollbacks > 0);
    assert_int_equal(together[3].outcome.n_units, 2 * together[3].net.n_layers);
}

/* What follows on the results comes in their order, once they are there. */
typedef struct roll {
    const pupil *pupils;
    int n;
} roll;

static kdinr_status call(void *user, kdinr_error *error)
{
    roll *called = user;

    (void)error;
    assert_true(called->pupils[called->n++].outcome.variance > 0.0);
    return KDINR_OK;
}

static void results_are_finished_in_order(void **unused)
{
    static pupil pupils[3];
    const kdinr_options options = kdinr_options_default();
    const kd_backend backend = drawing_backend();
    kd_run run = {.options = &options, .backend = &backend, .stage = "test"};
    roll called = {pupils, 0};
    kd_training trainings[3];
    kdinr_error error;

    (void)unused;
    for (int i = 0; i < 3; i++) {
        pupil *p = &pupils[i];

        make_pupil(p, 0);
        p->schedule.samples = BATCH * (i + 1);
        trainings[i] = (kd_training){&p->net,     &p->source,        &p->schedule, p->params,
                                     &p->outcome, KD_TRAIN_ANYWHERE, call,         &called};
    }
    check_ok(kd_train(&run, trainings, 3, &error), error);
    assert_int_equal(called.n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_train_together_as_alone),
        cmocka_unit_test(results_are_finished_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
