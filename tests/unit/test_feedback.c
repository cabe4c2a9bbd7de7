/* Rounding with error feedback (core/feedback.c), and the choice of units (core/rounding.c). */
#include "check.h"

#include "feedback_layers.h"
#include "plain_rounding.h"
#include "quant.h"
#include "rng.h"
#include "rounding.h"

/* Of a training that nobody cancels. */
static const kdinr_options OPTIONS = {.n_threads = 1};
static const kd_run RUN = {.options = &OPTIONS};

enum { N = 2048, MOST_INPUTS = 6, MOST_OUTPUTS = 3, MOST_PARAMS = 400000 };

typedef struct fixture {
    kd_net net;
    float params[MOST_PARAMS], rounded[MOST_PARAMS];
    float coords[N * MOST_INPUTS], others[N * MOST_INPUTS], targets[N * MOST_OUTPUTS];
    double sensitivity[KD_NET_MAX_TENSORS];
    float units[KD_NET_MAX_TENSORS];
} fixture;

/* One of each form: with modes of time and several outputs, with one output, without blocks. */
static const kd_net_shape shapes[] = {{6, 3, 12, 2, 2, 5.0f, 30.0f, KD_FORM_EVEN},
                                      {4, 1, 6, 2, 3, 8.0f, 30.0f, KD_FORM_KDINR},
                                      {4, 1, 16, 3, 1, 8.0f, 30.0f, KD_FORM_SIREN}};

enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static fixture *make_fixture(const kd_net_shape *shape)
{
    fixture *f = calloc(1, sizeof *f);

    kd_net_layout(shape, &f->net);
    assert_true(f->net.n_params <= MOST_PARAMS);
    kd_net_initialise(&f->net, 30.0f, 9, 10, f->params);
    for (size_t i = 0; i < (size_t)N * (size_t)shape->n_inputs; i++) {
        f->coords[i] = 2.0f * kd_rng_unit(kd_rng_at(1, i)) - 1.0f;
        f->others[i] = 2.0f * kd_rng_unit(kd_rng_at(2, i)) - 1.0f;
    }
    return f;
}

/* The answers of a backend. */
static void evaluate(const fixture *f, const float *params, const float *coords, float *answers)
{
    const kd_backend_config config = {.n_threads = 1};
    const kd_backend *backend;
    void *instance;
    kdinr_error error;

    check_ok(kd_backend_find("reference", &backend, &error), error);
    check_ok(backend->open(&f->net, &config, &instance, &error), error);
    check_ok(backend->set_params(instance, params, &error), error);
    check_ok(backend->evaluate(instance, coords, N, answers, &error), error);
    backend->close(instance);
}

static double mean_square(const fixture *f, const float *a, const float *b)
{
    const size_t n_values = (size_t)N * (size_t)f->net.n_outputs;
    double sum = 0.0;

    for (size_t i = 0; i < n_values; i++) {
        const double change = (double)a[i] - (double)b[i];
        sum += change * change;
    }
    return sum / (double)n_values;
}

/* Mean squared change of the answers by other parameters. */
static double difference(const fixture *f, const float *params, const float *coords)
{
    static float before[N * MOST_OUTPUTS], after[N * MOST_OUTPUTS];

    evaluate(f, f->params, coords, before);
    evaluate(f, params, coords, after);
    return mean_square(f, after, before);
}

static double round_with_feedback(fixture *f, double mse, int n_threads)
{
    kd_feedback *feedback;
    kdinr_error error;

    check_ok(kd_feedback_make(&f->net, f->params, f->coords, N, n_threads, &feedback, &error),
             error);
    kd_feedback_measure(feedback, f->sensitivity);
    kd_quant_units_for(&f->net, f->params, f->sensitivity, mse, f->units);
    const double found = kd_feedback_round(feedback, f->units, f->rounded);
    kd_feedback_free(feedback);
    return found;
}

static void assert_multiples(const fixture *f)
{
    for (int tensor = 0; tensor < 2 * f->net.n_layers; tensor++) {
        size_t n;
        const size_t start = kd_net_tensor(&f->net, tensor, &n);

        for (size_t i = start; i < start + n; i++) {
            const float code = nearbyintf(f->rounded[i] / f->units[tensor]);
            check_near(f->rounded[i], code * f->units[tensor], 0.0);
            assert_true(fabsf(code) <= KD_QUANT_MAX_CODE);
        }
    }
}

/* What a row's sum does to the outputs, by moving the row's bias there and back. */
static void squares_are_of_derivatives(void **state)
{
    const float h = 1e-3f;

    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        static float more[N * MOST_OUTPUTS], less[N * MOST_OUTPUTS], moved[MOST_PARAMS];
        fixture *f = make_fixture(&shapes[i]);
        const size_t n_outputs = (size_t)f->net.n_outputs;
        kd_feedback *feedback;
        kdinr_error error;

        check_ok(kd_feedback_make(&f->net, f->params, f->coords, N, 2, &feedback, &error), error);
        for (int l = 0; l < f->net.n_layers; l++) {
            const kd_layer *layer = &f->net.layers[l];
            const size_t n_out = (size_t)layer->n_out, row = n_out / 2;
            double found = 0.0, missed = 0.0;

            memcpy(moved, f->params, f->net.n_params * sizeof *moved);
            moved[layer->biases + row] = f->params[layer->biases + row] + h;
            evaluate(f, moved, f->coords, more);
            moved[layer->biases + row] = f->params[layer->biases + row] - h;
            evaluate(f, moved, f->coords, less);
            for (size_t s = 0; s < N; s++) {
                double square = 0.0;

                for (size_t c = s * n_outputs; c < (s + 1) * n_outputs; c++) {
                    const double slope = ((double)more[c] - (double)less[c]) / (2.0 * (double)h);
                    square += slope * slope;
                }
                const double g2 = feedback->layers[l].squares[s * n_out + row];
                found += g2;
                missed += fabs(g2 - square);
            }
            assert_true(found > 0.0 && missed < 0.005 * found);
        }
        kd_feedback_free(feedback);
        free(f);
    }
}

/* Not more than the error that was predicted comes out, of which layers make up a part; the backend
 * agrees, also where nothing was fitted; and plain rounding to the same units is worse. */
static void feedback_costs_less_than_it_said_and_than_plain_rounding(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        fixture *f = make_fixture(&shapes[i]);

        for (double mse = 1e-6; mse < 2e-4; mse *= 10.0) {
            const double found = round_with_feedback(f, mse, 1);
            static float plain[MOST_PARAMS];

            assert_multiples(f);
            assert_true(found > 0.1 * mse && found < 0.55 * mse);
            check_near(difference(f, f->rounded, f->coords) / found, 1.0, 0.01);
            const double elsewhere = difference(f, f->rounded, f->others);
            assert_true(elsewhere < 1.5 * found);
            memcpy(plain, f->params, sizeof plain);
            round_plainly(&f->net, f->units, plain);
            assert_true(difference(f, plain, f->others) > 1.4 * elsewhere);
        }
        free(f);
    }
}

static void feedback_is_the_same_for_any_number_of_threads(void **state)
{
    fixture *f = make_fixture(&shapes[0]), *g = make_fixture(&shapes[0]);

    (void)state;
    const double found = round_with_feedback(f, 1e-5, 1);
    check_near(round_with_feedback(g, 1e-5, 3), found, 0.0);
    assert_memory_equal(f->rounded, g->rounded, f->net.n_params * sizeof *f->rounded);
    free(f);
    free(g);
}

/* Rows of wide layers share what is known of their inputs. */
static void feedback_rounds_wide_networks(void **state)
{
    const kd_net_shape shape = {4, 1, 64, 1, 3, 8.0f, 30.0f, KD_FORM_KDINR};
    fixture *f = make_fixture(&shape);

    (void)state;
    const double found = round_with_feedback(f, 1e-5, 2);
    assert_multiples(f);
    assert_true(found > 0.1e-5 && found < 0.3e-5);
    free(f);
}

/* Neurons that always are silent, and inputs that always are 0, have weights that do not matter. */
static void feedback_bears_what_is_never_read(void **state)
{
    fixture *f = make_fixture(&shapes[0]);
    const kd_layer *first = &f->net.layers[0], *second = &f->net.layers[1];

    (void)state;
    for (size_t i = 0; i < N; i++) {
        f->coords[6 * i + 4] = 0.0f;
    }
    for (int i = 0; i < first->n_in; i++) {
        f->params[first->weights + (size_t)i] = 0.0f;
    }
    f->params[first->biases] = 0.0f;
    for (int o = 0; o < second->n_out; o++) {
        f->params[second->weights + (size_t)(o * second->n_in)] = 0.0f;
    }
    const double found = round_with_feedback(f, 1e-5, 1);
    assert_multiples(f);
    assert_true(found > 0.1e-5 && found < 0.3e-5);
    free(f);
}

static void rounding_keeps_to_the_size(void **state)
{
    fixture *f = make_fixture(&shapes[0]);
    const kd_rounding_places places = {&f->net, f->coords, f->targets, N, &RUN};
    double last = 1.0;

    (void)state;
    for (double bits = 4.0; bits <= 8.0; bits += 2.0) {
        const kd_rounding_aim aim = {.size = bits * (double)f->net.n_params / 8.0};
        double mse, size;
        kdinr_error error;

        memcpy(f->rounded, f->params, sizeof f->rounded);
        check_ok(kd_rounding_apply(&places, &aim, f->rounded, f->units, &mse, &error), error);
        assert_multiples(f);
        check_ok(kd_quant_size(&f->net, f->rounded, f->units, &size, &error), error);
        assert_true(size <= aim.size && size > 0.97 * aim.size);
        check_near(difference(f, f->rounded, f->coords) / mse, 1.0, 0.01);
        assert_true(mse < 0.25 * last); /* two bits are a factor of 16, less chance */
        last = mse;
    }
    free(f);
}

/* Mean squared difference of the answers to the targets. */
static double error_of(const fixture *f, const float *params)
{
    static float answers[N * MOST_OUTPUTS];

    evaluate(f, params, f->coords, answers);
    return mean_square(f, answers, f->targets);
}

/* Mean squared change of the answers by rounding that may cost `drop` dB. */
static double round_to_drop(fixture *f, double drop)
{
    const kd_rounding_places places = {&f->net, f->coords, f->targets, N, &RUN};
    const kd_rounding_aim aim = {.drop = drop};
    double mse;
    kdinr_error error;

    memcpy(f->rounded, f->params, sizeof f->rounded);
    check_ok(kd_rounding_apply(&places, &aim, f->rounded, f->units, &mse, &error), error);
    assert_multiples(f);
    return mse;
}

static const double drops[] = {0.05, 0.2, 1.0, 3.0};

/* The network misses its targets by e, and by rounding a share of that is added to e^2. */
static void rounding_keeps_to_a_drop(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        fixture *f = make_fixture(&shapes[i]);
        const double e = 0.01;

        evaluate(f, f->params, f->coords, f->targets);
        for (int k = 0; k < N * f->net.n_outputs; k++) {
            f->targets[k] += (float)(k % 2 == 0 ? e : -e);
        }
        for (int d = 0; d < 4; d++) {
            const double mse = round_to_drop(f, drops[d]);
            const double dropped = 10.0 * log10((e * e + mse) / (e * e));
            assert_true(dropped > 0.6 * drops[d] && dropped < 1.2 * drops[d]);
        }
        free(f);
    }
}

/* Targets are those of the network before it was moved a little, so that rounding can move outputs
 * towards them or away. Then neither the error grows by more than was asked for nor what rounding
 * does to the outputs adds more to it; either can be less. */
static void rounding_keeps_to_a_drop_of_the_error_itself(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        fixture *f = make_fixture(&shapes[i]);

        evaluate(f, f->params, f->coords, f->targets);
        for (size_t k = 0; k < f->net.n_params; k++) {
            f->params[k] *= 1.0f + 0.01f * (kd_rng_unit(kd_rng_at(3, k)) - 0.5f);
        }
        const double before = error_of(f, f->params);
        for (int d = 0; d < 4; d++) {
            const double mse = round_to_drop(f, drops[d]);
            const double dropped = 10.0 * log10(error_of(f, f->rounded) / before);
            const double expected = 10.0 * log10(1.0 + mse / before);
            assert_true(fmax(dropped, expected) > 0.5 * drops[d]);
            assert_true(fmax(dropped, expected) < 1.12 * drops[d]);
        }
        free(f);
    }
}

static bool go_on(void *user, double fraction, const char *stage)
{
    int *n_left = user;

    (void)stage;
    assert_true(fraction == 0.5);
    return (*n_left)-- > 0;
}

/* Before anything is known of the network, and before the first try. */
static void rounding_can_be_cancelled(void **state)
{
    fixture *f = make_fixture(&shapes[1]);
    const kd_rounding_aim aim = {.size = 5.0 * (double)f->net.n_params / 8.0};

    (void)state;
    for (int n = 0; n < 2; n++) {
        int n_left = n;
        const kdinr_options options = {.n_threads = 1, .progress = go_on, .progress_user = &n_left};
        const kd_run run = {.options = &options, .reported = 0.5, .stage = "student"};
        const kd_rounding_places places = {&f->net, f->coords, f->targets, N, &run};
        double mse;
        kdinr_error error;

        memcpy(f->rounded, f->params, sizeof f->rounded);
        assert_int_equal(kd_rounding_apply(&places, &aim, f->rounded, f->units, &mse, &error),
                         KDINR_CANCELLED);
        assert_int_equal(n_left, -1);
    }
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_are_of_derivatives),
        cmocka_unit_test(feedback_costs_less_than_it_said_and_than_plain_rounding),
        cmocka_unit_test(feedback_is_the_same_for_any_number_of_threads),
        cmocka_unit_test(feedback_rounds_wide_networks),
        cmocka_unit_test(feedback_bears_what_is_never_read),
        cmocka_unit_test(rounding_keeps_to_the_size),
        cmocka_unit_test(rounding_keeps_to_a_drop),
        cmocka_unit_test(rounding_keeps_to_a_drop_of_the_error_itself),
        cmocka_unit_test(rounding_can_be_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
