/* kdinr_estimate: sizes follow the ratio, times are positive, and what cannot be is refused
 * with the encoder's words. */
#include "check.h"
#include "rng.h"
#include "series.h"

#define PATH "test_estimate.kdm"

static const kdinr_array ARRAY = {.name = "wind", .n_components = 1};

static void estimate_follows_the_ratio(void **state)
{
    const kdinr_volume volume = series_volume((const int[3]){64, 48, 32}, &ARRAY);
    kdinr_options options = kdinr_options_default();
    double size, seconds;
    kdinr_error error;

    (void)state;
    options.n_steps = 10;
    options.n_threads = 1;
    options.ratio = 200.0;
    check_ok(kdinr_estimate(&options, &volume, &size, &seconds, &error), error);
    check_near(size, 64.0 * 48 * 32 * 4 * 10 / 200, 1e-6);
    assert_true(seconds > 0.0 && isfinite(seconds));
}

/* With a width the ratio is not looked at, here as in compressing. */
static void estimate_follows_the_width(void **state)
{
    enum { NX = 24, NY = 20, NZ = 16, N_STEPS = 3 };
    static float values[NX * NY * NZ];
    const int dims[3] = {NX, NY, NZ};
    kdinr_array array = ARRAY;
    array.values = values;
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_options options = series_options();
    kdinr_encoder *encoder;
    kdinr_decoder *decoder;
    double size, seconds;
    kdinr_error error;

    (void)state;
    options.n_steps = N_STEPS;
    options.width = 20;
    check_ok(kdinr_estimate(&options, &volume, &size, &seconds, &error), error);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    for (int t = 0; t < N_STEPS; t++) {
        series_fill(dims, t, N_STEPS, values);
        for (int i = 0; i < NX * NY * NZ; i++) { /* networks cannot be exact, as mostly */
            values[i] += 0.5f * kd_rng_unit(kd_rng_at((uint64_t)t, (uint64_t)i));
        }
        check_ok(kdinr_encoder_push(encoder, &volume, t, &error), error);
    }
    check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
    kdinr_encoder_close(encoder);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    const double ratio = size / (double)kdinr_decoder_info(decoder)->file_size;
    print_message("%.0f bytes expected, ratio %.3f\n", size, ratio);
    assert_true(ratio > 0.8 && ratio < 1.25);
    kdinr_decoder_close(decoder);
    remove(PATH);
}

static void estimate_refuses_what_the_encoder_refuses(void **state)
{
    const kdinr_volume volume = series_volume((const int[3]){8, 8, 8}, &ARRAY);
    kdinr_options options = kdinr_options_default();
    double size = -1.0, seconds = -1.0;
    kdinr_error error;

    (void)state;
    options.ratio = 1e6;
    check_fails(kdinr_estimate(&options, &volume, &size, &seconds, &error), KDINR_ERROR_DATA,
                "largest possible ratio", error);
    options.ratio = 0.5;
    check_fails(kdinr_estimate(&options, &volume, &size, &seconds, &error), KDINR_ERROR_ARGUMENT,
                "ratio", error);
    assert_true(size == -1.0 && seconds == -1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimate_follows_the_ratio),
        cmocka_unit_test(estimate_follows_the_width),
        cmocka_unit_test(estimate_refuses_what_the_encoder_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
