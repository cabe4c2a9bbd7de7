/* set_units of every backend (backend.h): rounded parameters are seen, the parameters move. A case
 * of test_backends.c. */
#include "../check.h"

#include "reference/reference.h"
#include "subject.h"

static void fill_units(const kd_net *net, float units[KD_NET_MAX_TENSORS])
{
    for (int i = 0; i < 2 * net->n_layers; i++) {
        units[i] = 0.02f + 0.003f * (float)(i % 7);
    }
}

/* What rounding by hand and evaluating gives. */
static void evaluate_rounded(const subject *s, void *state, const experiment *e, const float *units,
                             const float *params, float *values)
{
    float *rounded = malloc(e->net.n_params * sizeof *rounded);
    assert_non_null(rounded);
    for (int l = 0; l < e->net.n_layers; l++) {
        const kd_layer *layer = &e->net.layers[l];
        const size_t n_out = (size_t)layer->n_out, n = n_out * (size_t)layer->n_in;
        for (size_t i = 0; i < n; i++) {
            rounded[layer->weights + i] =
                nearbyintf(params[layer->weights + i] / units[2 * l]) * units[2 * l];
        }
        for (size_t i = 0; i < n_out; i++) {
            rounded[layer->biases + i] =
                nearbyintf(params[layer->biases + i] / units[2 * l + 1]) * units[2 * l + 1];
        }
    }
    assert_int_equal(s->backend->set_params(state, rounded, NULL), KDINR_OK);
    assert_int_equal(s->backend->evaluate(state, e->coords, e->n, values, NULL), KDINR_OK);
    free(rounded);
}

/* With units, answers are those of rounded parameters, steps move the parameters themselves, and
 * set_params ends it. */
static void check_units(const subject *s, const experiment *e)
{
    const kd_backend_config config = {.n_threads = 1, .training = true, .max_batch = e->n};
    const size_t n_values = value_count(e), size = e->net.n_params * sizeof(float);
    float *seen = guarded(n_values), *expected = guarded(n_values);
    float *params = guarded(e->net.n_params), units[KD_NET_MAX_TENSORS];
    void *state = open_subject(s, &e->net, &config);
    double loss = 0;
    fill_units(&e->net, units);
    s->backend->set_params(state, e->params, NULL);
    assert_int_equal(s->backend->set_units(state, units, NULL), KDINR_OK);
    for (int steps = 0; steps < 3; steps++) {
        s->backend->get_params(state, params, NULL);
        assert_int_equal(memcmp(params, e->params, size) == 0, steps == 0);
        s->backend->evaluate(state, e->coords, e->n, seen, NULL);
        void *other = open_subject(s, &e->net, &config);
        evaluate_rounded(s, other, e, units, params, expected);
        s->backend->close(other);
        assert_true(root_mean_square(seen, expected, n_values) <=
                    EXACT_TOLERANCE * root_mean_square(expected, NULL, n_values));
        train(s, state, e, 1, &loss);
    }
    s->backend->set_params(state, e->params, NULL);
    s->backend->evaluate(state, e->coords, e->n, expected, NULL);
    assert_true(root_mean_square(seen, expected, n_values) > 0);
    s->backend->close(state);
    free_guarded(seen, n_values);
    free_guarded(expected, n_values);
    free_guarded(params, e->net.n_params);
}

void units_round_what_is_seen(void **unused)
{
    (void)unused;
    const net_case shapes[] = {
        {.width = 5, .depth = 1, .n_inputs = 3, .n_outputs = 1, .block_layers = 3},
        {.width = 8, .depth = 1, .n_inputs = 4, .n_outputs = 1, .block_layers = 3},
        {.width = 9, .depth = 2, .n_inputs = 4, .n_outputs = 3, .block_layers = 2},
        {.width = 19,
         .depth = 2,
         .n_inputs = 4,
         .n_outputs = 1,
         .block_layers = 2,
         .flat = true,
         .skip = KD_SKIP_SUM}};
    subject subjects[MAX_SUBJECTS];
    int n_subjects = list_subjects(subjects);
    n_subjects += list_rounding_subjects(subjects + n_subjects);
    subjects[n_subjects++] = (subject){&kd_reference_backend, NULL, KDINR_PRECISION_32};
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
        experiment e;
        make_inputs(&e, &shapes[shape], 40);
        for (int i = 0; i < n_subjects; i++) {
            check_units(&subjects[i], &e);
        }
        free_inputs(&e);
    }
}
