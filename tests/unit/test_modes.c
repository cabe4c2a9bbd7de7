/* Modes of time (core/modes.c): what they are, how they are stored, and that they help. */
#include "check.h"

#include "kdm_samples.h"
#include "modes.h"
#include "series.h"

#define PATH "modes.kdm"

enum { STEPS = 9, PLACES = 40 };

static const double jump[STEPS] = {0, 0, 0, 1, 1, 1, 0, 0, 1};
static const double wave[STEPS] = {0, 1, 0, -1, 0, 1, 0, -1, 0};

/* Places of which each follows its own mixture of a constant, time, a jump and a smaller wave. */
static void fill_places(double wave_size, float values[STEPS][PLACES])
{
    for (int t = 0; t < STEPS; t++) {
        for (int i = 0; i < PLACES; i++) {
            const double a = sample_normal(1, (uint64_t)i), b = sample_normal(2, (uint64_t)i);
            const double c = sample_normal(3, (uint64_t)i), d = sample_normal(4, (uint64_t)i);

            values[t][i] = (float)(5.0 * a + b * t + c * jump[t] + wave_size * d * wave[t]);
        }
    }
}

static void find(const float *values, const uint8_t *missing, size_t n_modes, int8_t *modes)
{
    double sums[STEPS * STEPS] = {0};
    kdinr_error error;

    check_ok(kd_modes_add(values, missing, PLACES, STEPS, sums, &error), error);
    check_ok(kd_modes_find(sums, STEPS, n_modes, modes, &error), error);
}

/* The part of `of` that a constant, time and n modes leave, as a share of its length. */
static double unexplained(const double of[STEPS], const int8_t *modes, int n)
{
    double basis[4][STEPS], left[STEPS], length = 0.0, rest = 0.0;

    for (int t = 0; t < STEPS; t++) {
        basis[0][t] = 1.0;
        basis[1][t] = t;
        for (int k = 0; k < n; k++) {
            basis[2 + k][t] = modes[t * n + k];
        }
        left[t] = of[t];
        length += of[t] * of[t];
    }
    for (int sweep = 0; sweep < 200; sweep++) { /* least squares by turns */
        for (int k = 0; k < 2 + n; k++) {
            double dot = 0.0, square = 1e-300;
            for (int t = 0; t < STEPS; t++) {
                dot += basis[k][t] * left[t];
                square += basis[k][t] * basis[k][t];
            }
            for (int t = 0; t < STEPS; t++) {
                left[t] -= dot / square * basis[k][t];
            }
        }
    }
    for (int t = 0; t < STEPS; t++) {
        rest += left[t] * left[t];
    }
    return sqrt(rest / length);
}

static void modes_are_what_constant_and_time_leave(void **state)
{
    float values[STEPS][PLACES];
    int8_t one[STEPS], two[STEPS * 2];

    (void)state;
    fill_places(0.2, values);
    find(values[0], NULL, 1, one);
    assert_true(unexplained(jump, NULL, 0) > 0.3);
    assert_true(unexplained(jump, one, 1) < 0.1);
    assert_true(unexplained(wave, one, 1) > 0.5);
    find(values[0], NULL, 2, two);
    assert_true(unexplained(jump, two, 2) < 0.02); /* rounded to 1/127 */
    assert_true(unexplained(wave, two, 2) < 0.02);
}

static void mode_has_its_largest_element_positive(void **state)
{
    float values[STEPS][PLACES];
    int8_t modes[STEPS * 2];

    (void)state;
    fill_places(0.5, values);
    find(values[0], NULL, 2, modes);
    for (int k = 0; k < 2; k++) {
        int most = 0, sum = 0, moment = 0;

        for (int t = 0; t < STEPS; t++) {
            most = abs(modes[2 * t + k]) > abs(most) ? modes[2 * t + k] : most;
            sum += modes[2 * t + k];
            moment += t * modes[2 * t + k];
        }
        assert_int_equal(most, 127);
        assert_in_range(sum + 5, 0,
                        10); /* orthogonal to a constant and to time, but for rounding */
        assert_in_range(moment + 20, 0, 40);
    }
}

/* What moves evenly has no modes; neither has what does not move. */
static void even_motion_leaves_nothing(void **state)
{
    float values[STEPS][PLACES];
    int8_t modes[STEPS * 3];

    (void)state;
    for (int t = 0; t < STEPS; t++) {
        for (int i = 0; i < PLACES; i++) {
            values[t][i] = (float)(i - t * (i % 5));
        }
    }
    find(values[0], NULL, 3, modes);
    for (int i = 0; i < STEPS * 3; i++) {
        assert_int_equal(modes[i], 0);
    }
    memset(values, 0, sizeof values);
    find(values[0], NULL, 3, modes);
    for (int i = 0; i < STEPS * 3; i++) {
        assert_int_equal(modes[i], 0);
    }
}

/* A jump alone is one mode; there is no second. */
static void modes_that_are_not_there_are_zero(void **state)
{
    float values[STEPS][PLACES];
    int8_t modes[STEPS * 2];

    (void)state;
    fill_places(0.0, values);
    find(values[0], NULL, 2, modes);
    assert_true(unexplained(jump, modes, 2) < 0.02);
    for (int t = 0; t < STEPS; t++) {
        assert_in_range(modes[2 * t + 1] + 127, 126,
                        128); /* rounding of float32 may leave a trace */
    }
}

static void missing_samples_change_little(void **state)
{
    float values[STEPS][PLACES];
    uint8_t missing[STEPS * PLACES] = {0};
    int8_t modes[STEPS];

    (void)state;
    fill_places(0.0, values);
    for (int i = 0; i < PLACES; i++) {
        const int at = (i * 4 % STEPS) * PLACES + i;

        missing[at] = 1;
        values[at / PLACES][i] = NAN;
    }
    for (int t = 0; t < STEPS; t++) { /* a place that no step has */
        missing[t * PLACES + 7] = 1;
        values[t][7] = NAN;
    }
    find(values[0], missing, 1, modes);
    assert_true(unexplained(jump, modes, 1) < 0.4);
}

static void count_is_what_steps_allow(void **state)
{
    const int steps[] = {1, 2, 3, 4, 5, 6, 64}, counts[] = {0, 0, 1, 2, 3, 4, 4};

    (void)state;
    for (int i = 0; i < 7; i++) {
        assert_int_equal(kd_modes_count(4, steps[i]), counts[i]);
    }
    assert_int_equal(kd_modes_count(2, 64), 2);
    assert_int_equal(kd_modes_count(0, 64), 0);
}

static void inputs_are_linear_between_steps(void **state)
{
    const int8_t modes[] = {127, -127, 0, 127, 64, 0};
    float times[KD_NET_MAX_TIMES];

    (void)state;
    kd_modes_inputs(modes, 2, 3, 0.25, -0.75f, times);
    check_near((double)times[0], -0.75, 0);
    check_near((double)times[1], 0.75, 1e-7);
    check_near((double)times[2], -0.5, 1e-7);
    check_near((double)times[3], 0.0, 0);
    kd_modes_inputs(modes, 2, 3, 2.0, 1.0f, times);
    check_near((double)times[1], 64 / 127.0, 1e-7);
    kd_modes_inputs(NULL, 0, 1, 0.0, 0.0f, times);
    for (int i = 0; i < KD_NET_MAX_TIMES; i++) {
        check_near((double)times[i], 0.0, 0);
    }
}

/* ---- in files ---- */

static void modes_come_back(void **state)
{
    kd_model model, back;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_moving(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    sample_write(PATH, bytes, size);
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    assert_int_equal(back.minor, 4);
    assert_int_equal(back.arrays[0].n_modes, 0);
    assert_int_equal(back.arrays[1].n_modes, 2);
    check_ok(kd_kdm_load_networks(PATH, &back, &error), error);
    for (size_t i = 0; i < 4; i++) {
        const kd_network *one = &model.arrays[1].networks[i], *other = &back.arrays[1].networks[i];
        const int n_steps = kd_network_steps(&back.arrays[1], i);

        assert_int_equal(n_steps, i < 2 ? 3 : 2);
        assert_null(back.arrays[0].networks[i].modes);
        if (one->kind == KD_NETWORK_CONSTANT) {
            assert_null(other->modes);
        } else {
            assert_memory_equal(one->modes, other->modes, 2 * (size_t)n_steps);
        }
    }
    kd_kdm_free(&model);
    kd_kdm_free(&back);
    free(bytes);
}

/* Without networks nobody reads modes: the file is one that older readers know. */
static void constants_need_no_modes(void **state)
{
    kd_model model, back;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    model.arrays[0].n_modes = 2;
    uint8_t *bytes = sample_packed(&model, &size);
    sample_write(PATH, bytes, size);
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    assert_int_equal(back.minor, 0);
    assert_int_equal(back.arrays[0].n_modes, 0);
    kd_kdm_free(&model);
    kd_kdm_free(&back);
    free(bytes);
}

static void broken_modes_are_not_written(void **state)
{
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_moving(&model);
    kd_network *network = &model.arrays[1].networks[3];
    network->modes[3] = INT8_MIN;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "array 1, network 3: element 3 of its modes is -128", error);
    free(network->modes);
    network->modes = NULL;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "array 1, network 3: it has no modes, the array has 2", error);
    kd_kdm_free(&model);
}

/* ---- in use ---- */

enum { NX = 20, NY = 18, NZ = 16, N = NX * NY * NZ, N_STEPS = 10 };

/* A blob that flickers. */
static void fill_flicker(int t, float *values)
{
    const double strength[N_STEPS] = {1, 0.2, 0.9, 0.1, 0.8, 1, 0.3, 0, 0.7, 0.2};

    series_fill((const int[3]){NX, NY, NZ}, 3, N_STEPS, values);
    for (int i = 0; i < N; i++) {
        values[i] *= (float)strength[t];
    }
}

/* dB of the series in a file of the given options. */
static double compress_flicker(const kdinr_options *options)
{
    float *values = malloc(N * sizeof *values);
    const kdinr_array array = {
        .name = "light", .type = KDINR_FLOAT32, .n_components = 1, .values = values};
    const kdinr_volume volume = series_volume((const int[3]){NX, NY, NZ}, &array);
    kdinr_encoder *encoder;
    kdinr_decoder *decoder;
    kdinr_error error;

    check_ok(kdinr_encoder_open(options, &encoder, &error), error);
    for (int pass = 0; pass < 2; pass++) {
        for (int t = 0; t < N_STEPS; t++) {
            fill_flicker(t, values);
            check_ok(pass == 0 ? kdinr_encoder_push(encoder, &volume, t, &error)
                               : kdinr_encoder_verify(encoder, &volume, t, &error),
                     error);
        }
    }
    check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
    kdinr_encoder_close(encoder);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    const double psnr = kdinr_decoder_info(decoder)->arrays[0].psnr_overall;
    assert_true(kdinr_decoder_info(decoder)->arrays[0].quality_exact);
    kdinr_decoder_close(decoder);
    free(values);
    return psnr;
}

static kdinr_options flicker_options(int n_modes)
{
    kdinr_options options = series_options();

    options.n_steps = N_STEPS;
    options.ratio = 150;
    options.keep_bad = true;
    options.modes = n_modes;
    return options;
}

/* At equal bytes; five seeds: 1.9 to 5.2 dB more, and 48.4 at least. */
static void modes_help_where_steps_jump(void **state)
{
    const kdinr_options with_modes = flicker_options(2), without_modes = flicker_options(0);

    (void)state;
    const double with = compress_flicker(&with_modes), without = compress_flicker(&without_modes);
    print_message("with modes %.2f dB, without %.2f\n", with, without);
    assert_true(with > without + 1.0);
    assert_true(with > 47.0);
}

/* With one step in memory teachers limit both: five seeds, -0.8 to 1.6 dB more. */
static void modes_cost_little_where_teachers_limit(void **state)
{
    kdinr_options with_modes = flicker_options(2), without_modes = flicker_options(0);

    (void)state;
    with_modes.window_memory = without_modes.window_memory = 0.0;
    with_modes.teacher_samples = without_modes.teacher_samples = 4e5; /* 1e5 are too few */
    const double with = compress_flicker(&with_modes), without = compress_flicker(&without_modes);
    print_message("with modes %.2f dB, without %.2f\n", with, without);
    assert_true(with > without - 1.5);
    assert_true(with > 47.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_are_what_constant_and_time_leave),
        cmocka_unit_test(mode_has_its_largest_element_positive),
        cmocka_unit_test(even_motion_leaves_nothing),
        cmocka_unit_test(modes_that_are_not_there_are_zero),
        cmocka_unit_test(missing_samples_change_little),
        cmocka_unit_test(count_is_what_steps_allow),
        cmocka_unit_test(inputs_are_linear_between_steps),
        cmocka_unit_test(modes_come_back),
        cmocka_unit_test(constants_need_no_modes),
        cmocka_unit_test(broken_modes_are_not_written),
        cmocka_unit_test(modes_help_where_steps_jump),
        cmocka_unit_test(modes_cost_little_where_teachers_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
