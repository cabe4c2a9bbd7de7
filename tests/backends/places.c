/* Evaluation of every backend (backend.h): a sample's bits do not depend on its neighbours, a grid
 * has the values of its samples. Cases of test_backends.c. */
#include "../check.h"

#include "subject.h"

static void check_places(const subject *s, const experiment *e)
{
    const kd_backend_config config = {.n_threads = 2};
    const size_t n_inputs = (size_t)e->net.n_inputs, n_outputs = (size_t)e->net.n_outputs;
    void *state = open_subject(s, &e->net, &config);
    float *all = guarded(e->n * n_outputs), *alone = guarded(n_outputs);
    float *later = guarded((e->n - 5) * n_outputs);
    s->backend->set_params(state, e->params, NULL);
    assert_int_equal(s->backend->evaluate(state, e->coords, e->n, all, NULL), KDINR_OK);
    for (size_t i = 0; i < e->n; i++) {
        s->backend->evaluate(state, e->coords + i * n_inputs, 1, alone, NULL);
        assert_memory_equal(alone, all + i * n_outputs, n_outputs * sizeof *all);
    }
    s->backend->evaluate(state, e->coords + 5 * n_inputs, e->n - 5, later, NULL);
    assert_memory_equal(later, all + 5 * n_outputs, (e->n - 5) * n_outputs * sizeof *all);
    s->backend->evaluate(state, e->coords, 0, alone, NULL);
    free_guarded(all, e->n * n_outputs);
    free_guarded(alone, n_outputs);
    free_guarded(later, (e->n - 5) * n_outputs);
    s->backend->close(state);
}

/* The same samples one by one: coords [n][n_inputs]. */
static void list_grid(const kd_grid *grid, size_t n_inputs, float *coords)
{
    const size_t n = grid->n[0] * grid->n[1] * grid->n[2];
    for (size_t i = 0; i < n; i++) {
        float sample[KD_NET_MAX_INPUTS] = {grid->axes[0][i % grid->n[0]],
                                           grid->axes[1][i / grid->n[0] % grid->n[1]],
                                           grid->axes[2][i / grid->n[0] / grid->n[1]]};
        memcpy(sample + 3, grid->times, sizeof grid->times);
        memcpy(coords + i * n_inputs, sample, n_inputs * sizeof *coords);
    }
}

/* Each sample of the grid as a grid of its own has the same bits. */
static void check_grid_places(const subject *s, void *state, const kd_grid *grid, size_t n_outputs,
                              const float *values)
{
    const size_t nx = grid->n[0], ny = grid->n[1], n = nx * ny * grid->n[2];
    float *alone = guarded(n_outputs);
    for (size_t i = 0; i < n; i++) {
        kd_grid one = {.axes = {grid->axes[0] + i % nx, grid->axes[1] + i / nx % ny,
                                grid->axes[2] + i / nx / ny},
                       .n = {1, 1, 1}};
        memcpy(one.times, grid->times, sizeof one.times);
        assert_int_equal(s->backend->evaluate_grid(state, &one, alone, NULL), KDINR_OK);
        assert_memory_equal(alone, values + i * n_outputs, n_outputs * sizeof *alone);
    }
    free_guarded(alone, n_outputs);
}

static void check_grid(const subject *s, const net_case *shape, const kd_grid *grid)
{
    const kd_backend_config config = {.n_threads = 2};
    const size_t n = grid->n[0] * grid->n[1] * grid->n[2];
    experiment e;
    make_inputs(&e, shape, n);
    void *state = open_subject(s, &e.net, &config);
    const size_t n_outputs = (size_t)e.net.n_outputs;
    float *listed = guarded(n * n_outputs), *values = guarded(n * n_outputs);
    list_grid(grid, (size_t)e.net.n_inputs, e.coords);
    s->backend->set_params(state, e.params, NULL);
    assert_int_equal(s->backend->evaluate(state, e.coords, n, listed, NULL), KDINR_OK);
    assert_int_equal(s->backend->evaluate_grid(state, grid, values, NULL), KDINR_OK);
    for (size_t i = 0; i < n * n_outputs; i++) {
        assert_float_equal(values[i], listed[i], 2e-5);
    }
    check_grid_places(s, state, grid, n_outputs, values);
    free_guarded(listed, n * n_outputs);
    free_guarded(values, n * n_outputs);
    s->backend->close(state);
    free_inputs(&e);
}

void grid_has_the_values_of_its_samples(void **unused)
{
    (void)unused;
    static const size_t sizes[][3] = {{1, 1, 1},  {5, 7, 3},  {1, 60, 2},
                                      {47, 3, 1}, {50, 2, 2}, {131, 3, 2}};
    static const net_case shapes[] = {
        {.width = 2, .depth = 1, .n_inputs = 4, .n_outputs = 1, .block_layers = 2},
        {.width = 9, .depth = 2, .n_inputs = 3, .n_outputs = 3, .block_layers = 3},
        {.width = 24, .depth = 1, .n_inputs = 8, .n_outputs = 1, .block_layers = 3}};
    enum { N_SHAPES = sizeof shapes / sizeof *shapes };
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_subjects(subjects);
    float axes[3][256];
    random_fill(5, 3 * 256, axes[0]);
    for (int i = 0; i < n_subjects; i++) {
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            const kd_grid grid = {.axes = {axes[0], axes[1], axes[2]},
                                  .n = {sizes[k][0], sizes[k][1], sizes[k][2]},
                                  .times = {0.3f, -0.7f, 0.1f, 0.9f, -0.2f}};
            check_grid(&subjects[i], &shapes[k % N_SHAPES], &grid);
            check_grid(&subjects[i], &other_forms[k % N_OTHER_FORMS], &grid);
        }
    }
}

void sample_has_same_bits_alone_and_in_any_place(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_subjects(subjects);
    for (int block_layers = 2; block_layers <= 3; block_layers++) {
        const net_case shape = {
            .width = 7, .depth = 2, .n_inputs = 4, .n_outputs = 3, .block_layers = block_layers};
        experiment e;
        make_inputs(&e, &shape, 500);
        for (int i = 0; i < n_subjects; i++) {
            check_places(&subjects[i], &e);
        }
        free_inputs(&e);
    }
}

void rounded_sample_has_same_bits_alone_and_in_any_place(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_rounding_subjects(subjects);
    static const net_case shapes[] = {
        {.width = 8, .depth = 1, .n_inputs = 4, .n_outputs = 2, .block_layers = 3},
        {.width = 21,
         .depth = 1,
         .n_inputs = 4,
         .n_outputs = 1,
         .block_layers = 2,
         .flat = true,
         .skip = KD_SKIP_SUM}};
    float axes[64];
    random_fill(5, 64, axes);
    const kd_grid grid = {.axes = {axes, axes + 16, axes + 32},
                          .n = {13, 3, 2},
                          .times = {0.3f, -0.7f, 0.1f, 0.9f, -0.2f}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        experiment e;
        make_inputs(&e, &shapes[k], k == 0 ? 100 : 40);
        for (int i = 0; i < n_subjects; i++) {
            check_places(&subjects[i], &e);
            check_grid(&subjects[i], &shapes[k], &grid);
        }
        free_inputs(&e);
    }
}
