/* Backends that draw batches themselves: the samples are those of draw.h, the targets those of the
 * data or of networks, and training on them is training on the same batches from the host, alone or
 * together with others. */
#include "../check.h"

#include "draw.h"
#include "reference/reference.h"
#include "subject.h"

enum { NX = 9, NY = 5, NZ = 3, SAMPLES = NX * NY * NZ, EDGE = 4, BLOCKS = 3 * 2 * 1 };
enum { N_ANSWERS = 4, INPUTS = 6, OUTPUTS = 2, BATCH = 70, STEPS = 67 };

/* Four time steps: data with missing samples, two networks, and nothing. */
typedef struct series {
    float keep[BLOCKS], axes[3][NX], values[SAMPLES * OUTPUTS];
    uint32_t alias[BLOCKS];
    uint8_t classes[SAMPLES];
    kd_net net;
    float *params[2];
    kd_answer answers[N_ANSWERS];
    kd_supply supply;
} series;

/* Networks that answer, of either form that the cuda backend's fused path carries, and one that it
 * does not. */
static const net_case teachers[] = {
    {.width = 5, .depth = 1, .n_inputs = 3, .n_outputs = OUTPUTS, .block_layers = 2},
    {.width = 7,
     .depth = 2,
     .n_inputs = 3,
     .n_outputs = OUTPUTS,
     .block_layers = 2,
     .flat = true,
     .skip = KD_SKIP_SUM},
    {.width = 5,
     .depth = 1,
     .n_inputs = 3,
     .n_outputs = OUTPUTS,
     .block_layers = 3,
     .flat = true,
     .skip = KD_SKIP_SUM}};
enum { N_TEACHERS = sizeof teachers / sizeof *teachers };

static void make_series(series *s, const net_case *teacher)
{
    memset(s, 0, sizeof *s);
    net_make(teacher, &s->net);
    for (int i = 0; i < BLOCKS; i++) {
        s->keep[i] = (float)(i + 1) / (BLOCKS + 1);
        s->alias[i] = (uint32_t)((i + 2) % BLOCKS);
    }
    random_fill(1, (size_t)3 * NX, s->axes[0]);
    random_fill(2, (size_t)SAMPLES * OUTPUTS, s->values);
    for (int i = 0; i < SAMPLES; i++) {
        s->classes[i] = i % 16 != 5; /* blocks with few samples refuse some draws */
    }
    for (int i = 0; i < N_ANSWERS; i++) {
        s->answers[i] =
            (kd_answer){.times = {0.5f * (float)i - 1, 0.3f, -0.2f * (float)i, 0.7f, 0.1f},
                        .scale = {1.5, 1},
                        .offset = {0.1, -0.2}};
    }
    s->answers[0].values = s->values;
    s->answers[0].classes = s->classes;
    for (int i = 0; i < 2; i++) {
        s->params[i] = malloc(s->net.n_params * sizeof(float));
        assert_non_null(s->params[i]);
        net_random_params(&s->net, (unsigned)i + 1, s->params[i]);
        s->answers[1 + 2 * i].net = &s->net;
        s->answers[1 + 2 * i].params = s->params[i];
    }
    s->supply = (kd_supply){.chooser = {{NX, NY, NZ}, {3, 2, 1}, EDGE, BLOCKS, s->keep, s->alias},
                            .axes = {s->axes[0], s->axes[1], s->axes[2]},
                            .key = 77,
                            .n_answers = N_ANSWERS,
                            .answers = s->answers};
}

static void free_series(series *s)
{
    free(s->params[0]);
    free(s->params[1]);
}

/* What sample `number` must be, by the host; networks answer by the reference. */
static void expect_sample(const series *s, uint64_t number, float coords[INPUTS],
                          float targets[OUTPUTS])
{
    const subject reference = {.backend = &kd_reference_backend};
    const kd_answer *answer = &s->answers[number % N_ANSWERS];
    const kd_backend_config config = {.n_threads = 1};
    int index[3];
    kd_draw_sample(&s->supply.chooser, s->supply.key, number, answer->classes, index);
    const size_t at = kd_draw_at(&s->supply.chooser, index);
    for (int a = 0; a < 3; a++) {
        coords[a] = s->axes[a][index[a]];
    }
    memcpy(coords + 3, answer->times, (INPUTS - 3) * sizeof *coords);
    for (size_t c = 0; c < OUTPUTS; c++) {
        targets[c] = answer->values == NULL ? -1 : answer->values[at * OUTPUTS + c];
    }
    if (answer->net != NULL) {
        void *state = open_subject(&reference, answer->net, &config);
        kd_reference_backend.set_params(state, answer->params, NULL);
        assert_int_equal(kd_reference_backend.evaluate(state, coords, 1, targets, NULL), KDINR_OK);
        kd_reference_backend.close(state);
    }
    for (size_t c = 0; c < OUTPUTS; c++) {
        const double clamped = fmax(-1, fmin(1, (double)targets[c]));
        targets[c] = (float)(clamped * answer->scale[c] + answer->offset[c]);
    }
}

static void check_samples(const subject *on, const series *s, void *state, uint64_t first, size_t n)
{
    /* TF32 has 11 places; sines multiply what is lost by 30 in each layer */
    const double said_tolerance = on->precision == KDINR_PRECISION_TF32 ? 3e-2 : 2e-5;
    float coords[BATCH * INPUTS], targets[BATCH * OUTPUTS];
    assert_int_equal(on->backend->read_supply(state, first, n, coords, targets, NULL), KDINR_OK);
    for (size_t i = 0; i < n; i++) {
        float at[INPUTS], expected[OUTPUTS];
        expect_sample(s, first + i, at, expected);
        assert_memory_equal(at, coords + INPUTS * i, sizeof at);
        for (size_t c = 0; c < OUTPUTS; c++) {
            const bool said = s->answers[(first + i) % N_ANSWERS].net != NULL;
            check_near((double)targets[i * OUTPUTS + c], (double)expected[c],
                       said ? said_tolerance : 0);
        }
    }
}

static void *open_supplied(const subject *on, const kd_net *net, const float *params,
                           const series *s)
{
    const kd_backend_config config = {.n_threads = 1, .training = true, .max_batch = BATCH};
    bool taken = false;
    void *state = open_subject(on, net, &config);
    assert_int_equal(on->backend->set_params(state, params, NULL), KDINR_OK);
    assert_int_equal(on->backend->set_supply(state, &s->supply, &taken, NULL), KDINR_OK);
    assert_true(taken);
    return state;
}

/* A run that is longer than what is enqueued at once, and a short one elsewhere. */
static void check_training(const subject *on, const series *s, const net_case *shape, size_t n)
{
    float coords[BATCH * INPUTS], targets[BATCH * OUTPUTS];
    kd_step steps[STEPS];
    double losses[STEPS];
    experiment e;
    make_inputs(&e, shape, 1);
    const size_t size = e.net.n_params * sizeof(float);
    void *alone = open_supplied(on, &e.net, e.params, s);
    void *led = open_supplied(on, &e.net, e.params, s);
    float *found = guarded(e.net.n_params), *expected = guarded(e.net.n_params);
    for (int i = 0; i < STEPS; i++) {
        steps[i] = (kd_step){1e-3 / (i + 1), 1e-3};
    }
    for (size_t round = 0; round < 2; round++) {
        const size_t n_steps = round == 0 ? STEPS : 3;
        const uint64_t first = round * 12345;
        const kd_turn turn = {alone, first, n, steps, losses};
        assert_int_equal(on->backend->train_supply(&turn, 1, n_steps, NULL), KDINR_OK);
        for (size_t i = 0; i < n_steps; i++) {
            double loss = 0;
            on->backend->read_supply(led, first + i * n, n, coords, targets, NULL);
            assert_int_equal(
                on->backend->train_step(led, coords, targets, n, &steps[i], &loss, NULL), KDINR_OK);
            assert_true(loss == losses[i]);
        }
        on->backend->get_params(alone, found, NULL);
        on->backend->get_params(led, expected, NULL);
        assert_memory_equal(found, expected, size);
    }
    on->backend->close(alone);
    on->backend->close(led);
    free_guarded(found, e.net.n_params);
    free_guarded(expected, e.net.n_params);
    free_inputs(&e);
}

static void check_refusals(const subject *on, const series *s)
{
    const net_case shape = {
        .width = 2, .depth = 1, .n_inputs = INPUTS, .n_outputs = OUTPUTS, .block_layers = 3};
    const net_case larger = {
        .width = 6, .depth = 1, .n_inputs = 3, .n_outputs = OUTPUTS, .block_layers = 3};
    const kd_step step = {1e-3, 1e-3};
    series mixed = *s;
    kdinr_error error = {KDINR_OK, ""};
    kd_net other;
    bool taken = true;
    double loss;
    experiment e;
    make_inputs(&e, &shape, 1);
    void *state = open_supplied(on, &e.net, e.params, s);
    const kd_turn turn = {state, 0, BATCH + 1, &step, &loss};
    check_fails(on->backend->train_supply(&turn, 1, 1, &error), KDINR_ERROR_ARGUMENT,
                "batch of 71 samples", error);
    check_fails(on->backend->train_supply(&turn, KD_MOST_TURNS + 1, 1, &error),
                KDINR_ERROR_ARGUMENT, "257 instances at once, allowed are 256", error);
    net_make(&larger, &other);
    mixed.answers[3].net = &other; /* networks of two shapes */
    mixed.supply.answers = mixed.answers;
    assert_int_equal(on->backend->set_supply(state, &mixed.supply, &taken, NULL), KDINR_OK);
    assert_false(taken);
    on->backend->close(state);
    free_inputs(&e);
}

/* Four networks, one of another shape; what is learnt differs as well. */
enum { MEMBERS = 4, MEMBER_STEPS = 5 };

typedef struct member {
    experiment e;
    series s;
    kd_step steps[MEMBER_STEPS];
    void *alone, *together;
    uint64_t done; /* samples */
} member;

static void open_members(const subject *on, member *members)
{
    for (int i = 0; i < MEMBERS; i++) {
        const net_case shape = {.width = i == 2 ? 5 : 8,
                                .depth = 1,
                                .n_inputs = INPUTS,
                                .n_outputs = OUTPUTS,
                                .block_layers = 3};
        member *m = &members[i];
        make_series(&m->s, &teachers[i == 3 ? 2 : 0]); /* those of the last take path 1 */
        m->s.supply.key = (uint64_t)i;
        make_inputs(&m->e, &shape, 9);
        net_random_params(&m->e.net, (unsigned)i + 5, m->e.params);
        m->alone = open_supplied(on, &m->e.net, m->e.params, &m->s);
        m->together = open_supplied(on, &m->e.net, m->e.params, &m->s);
        m->done = 0;
        for (int k = 0; k < MEMBER_STEPS; k++) {
            m->steps[k] = (kd_step){1e-3 / (i + k + 1), 1e-3 / (i + 1)};
        }
    }
}

static void close_members(const subject *on, member *members)
{
    for (int i = 0; i < MEMBERS; i++) {
        on->backend->close(members[i].alone);
        on->backend->close(members[i].together);
        free_series(&members[i].s);
        free_inputs(&members[i].e);
    }
}

/* Losses, parameters and answers have the same bits. */
static void assert_like_alone(const subject *on, const member *m)
{
    float *alone = guarded(m->e.net.n_params), *together = guarded(m->e.net.n_params);
    float alone_values[9 * OUTPUTS], values[9 * OUTPUTS];
    on->backend->get_params(m->alone, alone, NULL);
    on->backend->get_params(m->together, together, NULL);
    assert_memory_equal(alone, together, m->e.net.n_params * sizeof *alone);
    on->backend->evaluate(m->alone, m->e.coords, 9, alone_values, NULL);
    on->backend->evaluate(m->together, m->e.coords, 9, values, NULL);
    assert_memory_equal(alone_values, values, sizeof values);
    free_guarded(alone, m->e.net.n_params);
    free_guarded(together, m->e.net.n_params);
}

/* The chosen members train together what each trains alone too. */
static void train_members(const subject *on, member *members, const bool chosen[MEMBERS],
                          size_t n_steps)
{
    double losses[MEMBERS][MEMBER_STEPS], alone[MEMBER_STEPS];
    kd_turn turns[MEMBERS];
    size_t n_turns = 0;
    for (int i = 0; i < MEMBERS; i++) {
        member *m = &members[i];
        if (!chosen[i]) continue;
        turns[n_turns++] = (kd_turn){m->together, m->done, 13, m->steps, losses[i]};
    }
    assert_int_equal(on->backend->train_supply(turns, n_turns, n_steps, NULL), KDINR_OK);
    for (int i = 0; i < MEMBERS; i++) {
        member *m = &members[i];
        if (!chosen[i]) continue;
        const kd_turn turn = {m->alone, m->done, 13, m->steps, alone};
        assert_int_equal(on->backend->train_supply(&turn, 1, n_steps, NULL), KDINR_OK);
        assert_memory_equal(alone, losses[i], n_steps * sizeof *alone);
        assert_like_alone(on, m);
        m->done += n_steps * 13;
    }
}

/* Members that go back or leave in between. */
static void check_together(const subject *on)
{
    static const bool all[MEMBERS] = {true, true, true, true};
    static const bool some[MEMBERS] = {true, false, false, true};
    member members[MEMBERS];
    open_members(on, members);
    train_members(on, members, all, MEMBER_STEPS);
    on->backend->set_params(members[3].alone, members[0].e.params, NULL);
    on->backend->set_params(members[3].together, members[0].e.params, NULL);
    train_members(on, members, all, 3);
    train_members(on, members, some, 2);
    train_members(on, members, all, 3);
    close_members(on, members);
}

/* Backends that draw, at each precision that they round to. */
static int list_suppliers(subject suppliers[MAX_SUBJECTS])
{
    subject subjects[MAX_SUBJECTS];
    int n_subjects = list_subjects(subjects), n = 0;
    n_subjects += list_rounding_subjects(subjects + n_subjects);
    for (int i = 0; i < n_subjects; i++) {
        if (subjects[i].backend->set_supply != NULL) suppliers[n++] = subjects[i];
    }
    return n;
}

void supply_gives_the_hosts_samples(void **unused)
{
    (void)unused;
    subject suppliers[MAX_SUBJECTS];
    const int n_suppliers = list_suppliers(suppliers);
    for (int i = 0; i < n_suppliers; i++) {
        for (int t = 0; t < N_TEACHERS; t++) {
            const net_case shape = {.width = 2,
                                    .depth = 1,
                                    .n_inputs = INPUTS,
                                    .n_outputs = OUTPUTS,
                                    .block_layers = 2};
            series s;
            experiment e;
            make_series(&s, &teachers[t]);
            make_inputs(&e, &shape, 1);
            void *state = open_supplied(&suppliers[i], &e.net, e.params, &s);
            check_samples(&suppliers[i], &s, state, 0, BATCH);
            check_samples(&suppliers[i], &s, state, 3, 1);
            check_samples(&suppliers[i], &s, state, 1000003, 33);
            suppliers[i].backend->close(state);
            free_inputs(&e);
            free_series(&s);
        }
    }
}

void supply_trains_as_its_batches_do(void **unused)
{
    (void)unused;
    static const net_case students[] = {
        {.width = 8, .depth = 1, .n_inputs = INPUTS, .n_outputs = OUTPUTS, .block_layers = 3},
        {.width = 9,
         .depth = 1,
         .n_inputs = INPUTS,
         .n_outputs = OUTPUTS,
         .block_layers = 2,
         .flat = true,
         .skip = KD_SKIP_SUM}};
    subject suppliers[MAX_SUBJECTS];
    const int n_suppliers = list_suppliers(suppliers);
    for (int i = 0; i < n_suppliers; i++) {
        for (int t = 0; t < 2; t++) {
            series s;
            make_series(&s, &teachers[t]);
            check_training(&suppliers[i], &s, &students[t], 13);
            check_refusals(&suppliers[i], &s);
            free_series(&s);
        }
    }
}

void supply_trains_together_as_alone(void **unused)
{
    (void)unused;
    subject suppliers[MAX_SUBJECTS];
    const int n_suppliers = list_suppliers(suppliers);
    for (int i = 0; i < n_suppliers; i++) {
        check_together(&suppliers[i]);
    }
}
