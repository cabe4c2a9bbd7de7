/* Quantisation of a student's parameters (core/quant.c). */
#include "check.h"

#include "plain_rounding.h"
#include "quant.h"
#include "rng.h"

enum { WIDTH = 8, DEPTH = 2, N_COORDS = 512, MOST_PARAMS = 4096 };

typedef struct fixture {
    kd_net net;
    kd_model_array array;
    kd_network network;
    float params[MOST_PARAMS];
    float coords[N_COORDS * 4];
    double sensitivity[KD_KDM_MAX_TENSORS];
    float units[KD_KDM_MAX_TENSORS];
    kd_quant_item item;
} fixture;

static const kd_backend *find_backend(void)
{
    const kd_backend *backend;
    kdinr_error error;

    check_ok(kd_backend_find("auto", &backend, &error), error);
    return backend;
}

static int set_up(void **state)
{
    const kd_net_shape shape = {4, 1, WIDTH, DEPTH, 3, 8.0f, 30.0f, KD_FORM_KDINR};
    fixture *f = calloc(1, sizeof *f);
    const uint64_t key = kd_rng_key(7, 8);
    kdinr_error error;

    kd_net_layout(&shape, &f->net);
    kd_net_initialise(&f->net, 30.0f, 9, 10, f->params);
    for (size_t i = 0; i < N_COORDS * 4; i++) {
        f->coords[i] = 2.0f * kd_rng_unit(kd_rng_at(key, i)) - 1.0f;
    }
    const kdinr_options options = kdinr_options_default();
    f->array = (kd_model_array){.n_components = 1,
                                .bricks = {1, 1, 1},
                                .n_windows = 1,
                                .block_layers = 3,
                                .omega_first = 8.0f,
                                .omega_hidden = 30.0f};
    f->network = (kd_network){
        .kind = KD_NETWORK_FLOAT32, .width = WIDTH, .depth = DEPTH, .range = {{0.0f, 1.0f}}};
    const kd_quant_probe probe = {find_backend(), &options, &f->net, f->params,
                                  f->coords,      N_COORDS, key};
    check_ok(kd_quant_measure(&probe, f->sensitivity, &error), error);
    f->item = (kd_quant_item){&f->array, &f->network, f->params, f->sensitivity, f->units};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;

    free(f->network.codes);
    free(f->network.params);
    free(f);
    return 0;
}

/* Mean squared change of the outputs that the network's stored parameters make. */
static double output_error(const fixture *f)
{
    const kd_backend_config config = {.n_threads = 1};
    const kd_backend *backend = find_backend();
    float before[N_COORDS], after[N_COORDS], rounded[MOST_PARAMS];
    double sum = 0.0;
    void *instance;
    kdinr_error error;

    kd_kdm_params(&f->array, &f->network, rounded);
    check_ok(backend->open(&f->net, &config, &instance, &error), error);
    check_ok(backend->set_params(instance, f->params, &error), error);
    check_ok(backend->evaluate(instance, f->coords, N_COORDS, before, &error), error);
    check_ok(backend->set_params(instance, rounded, &error), error);
    check_ok(backend->evaluate(instance, f->coords, N_COORDS, after, &error), error);
    backend->close(instance);
    for (int i = 0; i < N_COORDS; i++) {
        sum += ((double)before[i] - (double)after[i]) * ((double)before[i] - (double)after[i]);
    }
    return sum / N_COORDS;
}

/* The prediction that steers the steps holds: asked for an error, it comes out. */
static void quant_adds_the_error_it_was_asked_for(void **state)
{
    fixture *f = *state;
    float units[KD_KDM_MAX_TENSORS];
    kdinr_error error;

    for (int tensor = 0; tensor < 2 * f->net.n_layers; tensor++) {
        f->units[tensor] = kd_kdm_step(255);
    }
    for (double mse = 1e-7; mse < 1e-3; mse *= 10.0) {
        kd_quant_units_for(&f->net, f->params, f->sensitivity, mse, units);
        f->item.units = units;
        check_ok(kd_quant_apply(&f->item, 1, 0.0, &error), error);
        const double expected = kd_quant_expected(&f->array, &f->network, f->sensitivity, f->units);
        const double found = output_error(f);
        /* steps are rounded down to eighths of an octave, and one draw of rounding errors varies */
        assert_true(expected <= 1.001 * mse && expected > 0.6 * mse);
        assert_true(found < 4.0 * mse && found > 0.25 * mse);
    }
}

static void quant_finer_steps_give_larger_files(void **state)
{
    fixture *f = *state;
    double last = 0.0;
    kdinr_error error;

    for (int tensor = 0; tensor < 2 * f->net.n_layers; tensor++) {
        f->units[tensor] = kd_kdm_step(80);
    }
    for (double coarser = 6.0; coarser >= 0.0; coarser -= 1.0) {
        check_ok(kd_quant_apply(&f->item, 1, coarser, &error), error);
        double bits = 0.0;
        for (size_t i = 0; i < f->net.n_params; i++) {
            bits += log2(1.0 + fabs((double)f->network.codes[i]));
        }
        assert_true(bits > last);
        last = bits;
    }
}

static void quant_units_keep_to_the_size(void **state)
{
    fixture *f = *state;
    float units[KD_KDM_MAX_TENSORS];
    double found;
    kdinr_error error;

    for (double bits = 3.0; bits <= 9.0; bits += 1.5) {
        const double size = bits * (double)f->net.n_params / 8.0;

        check_ok(kd_quant_units(&f->net, f->params, f->sensitivity, size, units, &error), error);
        check_ok(kd_quant_size(&f->net, f->params, units, &found, &error), error);
        assert_true(found <= size && found > 0.97 * size);
    }
}

/* Parameters that are multiples of units lose nothing; a little coarser moves some tensors. */
static void quant_rounded_parameters_are_exact(void **state)
{
    fixture *f = *state;
    const double size = 0.7 * (double)f->net.n_params;
    kdinr_error error;
    int n_moved = 0;

    check_ok(kd_quant_units(&f->net, f->params, f->sensitivity, size, f->units, &error), error);
    round_plainly(&f->net, f->units, f->params);
    check_ok(kd_quant_apply(&f->item, 1, 0.0, &error), error);
    check_near(output_error(f), 0.0, 0.0);
    check_near(kd_quant_expected(&f->array, &f->network, f->sensitivity, f->units), 0.0, 0.0);
    check_ok(kd_quant_apply(&f->item, 1, 0.06, &error), error);
    for (int tensor = 0; tensor < 2 * f->net.n_layers; tensor++) {
        const float step = kd_kdm_step(f->network.steps[tensor]);

        assert_true(step >= f->units[tensor] && step < 1.1f * f->units[tensor]);
        n_moved += step > f->units[tensor];
    }
    assert_true(n_moved > f->net.n_layers / 2 && n_moved < 2 * f->net.n_layers);
    assert_true(kd_quant_expected(&f->array, &f->network, f->sensitivity, f->units) > 0.0);
}

static void quant_float16_and_float32_keep_what_they_can(void **state)
{
    fixture *f = *state;
    kdinr_error error;

    check_ok(kd_quant_keep(&f->item, KD_NETWORK_FLOAT32, &error), error);
    check_near(output_error(f), 0.0, 0.0);
    check_ok(kd_quant_keep(&f->item, KD_NETWORK_FLOAT16, &error), error);
    assert_true(output_error(f) < 1e-5);
    for (size_t i = 0; i < f->net.n_params; i++) {
        check_near(f->network.params[i], f->params[i], 0.0005 * fabs((double)f->params[i]) + 1e-7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(quant_adds_the_error_it_was_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quant_finer_steps_give_larger_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quant_units_keep_to_the_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quant_rounded_parameters_are_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quant_float16_and_float32_keep_what_they_can, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
