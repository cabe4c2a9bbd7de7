/* The loss on gradients through encoder and decoder (core/distill.c makes the groups, a backend has
 * the loss): it lowers the error of slopes, and is refused where it cannot be. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "series.h"

#define PATH "test_gradient.kdm"

enum { NX = 24, NY = 20, NZ = 14, N = NX * NY * NZ, N_STEPS = 3 };

static const int dims[3] = {NX, NY, NZ};

/* The series with a hole. */
static void fill(int t, float *samples)
{
    series_fill(dims, t, N_STEPS, samples);
    for (int i = 0; i < N; i++) {
        if (i % NX < 3 && i / NX % NY < 4) samples[i] = NAN;
    }
}

static kdinr_options small_options(double gradient_weight)
{
    kdinr_options options = kdinr_options_for(KDINR_PRESET_DEFAULT, KDINR_NETWORK_NEURCOMP);

    options.width = 8;
    options.depth = 1;
    options.omega_first = 6;
    options.student_rate = 2e-3;
    options.student_samples = 2e5;
    options.weights = KDINR_WEIGHTS_FLOAT32;
    options.n_threads = 1;
    options.gradient_weight = gradient_weight;
    return options;
}

static void compress(const kdinr_options *options, float *samples)
{
    const kdinr_array array = {"t", KDINR_FLOAT32, 1, KDINR_POINTS, samples, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;
    kdinr_error error;

    check_ok(kdinr_encoder_open(options, &encoder, &error), error);
    for (int t = 0; t < 2 * N_STEPS; t++) {
        fill(t % N_STEPS, samples);
        check_ok(t < N_STEPS ? kdinr_encoder_push(encoder, &volume, t, &error)
                             : kdinr_encoder_verify(encoder, &volume, t - N_STEPS, &error),
                 error);
    }
    check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
    kdinr_encoder_close(encoder);
}

/* Mean squared difference of slopes along x, per sample. */
static double slope_error(const float *found, const float *expected)
{
    double sum = 0.0, n = 0.0;

    for (int i = 0; i + 1 < N; i++) {
        const double miss = ((double)found[i + 1] - (double)found[i]) -
                            ((double)expected[i + 1] - (double)expected[i]);

        if (i % NX == NX - 1 || isnan(miss)) continue;
        sum += miss * miss;
        n += 1.0;
    }
    return sum / n;
}

/* Errors of slopes, and of values in dB. */
static double errors_with(double gradient_weight, double *psnr)
{
    const kdinr_options options = small_options(gradient_weight);
    float *samples = malloc(N * sizeof *samples), *found = malloc(N * sizeof *found);
    double sum = 0.0;
    kdinr_decoder *decoder;
    kdinr_error error;

    if (samples == NULL || found == NULL) abort();
    compress(&options, samples);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    *psnr = (double)kdinr_decoder_info(decoder)->arrays[0].psnr_overall;
    for (int t = 0; t < N_STEPS; t++) {
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);

        request.time = t;
        fill(t, samples);
        check_ok(kdinr_decoder_read(decoder, &request, found, &error), error);
        sum += slope_error(found, samples) / N_STEPS;
    }
    kdinr_decoder_close(decoder);
    assert_int_equal(unlink(PATH), 0);
    free(samples);
    free(found);
    return sum;
}

static void gradient_weight_lowers_the_error_of_slopes(void **state)
{
    double without_psnr, with_psnr;
    const double without = errors_with(0.0, &without_psnr), with = errors_with(0.1, &with_psnr);

    (void)state;
    print_message("slopes %.4g and %.2f dB without, %.4g and %.2f dB with\n", without, without_psnr,
                  with, with_psnr);
    assert_true(with < 0.7 * without);
    assert_true(with_psnr > without_psnr - 1.0);
}

static void gradient_weight_gives_the_same_bytes_again(void **state)
{
    double first, again;

    (void)state;
    assert_true(errors_with(0.001, &first) == errors_with(0.001, &again));
    assert_true(first == again);
}

static void check_refused(const kdinr_options *options, const char *text)
{
    kdinr_encoder *encoder;
    kdinr_error error;

    check_fails(kdinr_encoder_open(options, &encoder, &error), KDINR_ERROR_ARGUMENT, text, error);
    assert_null(encoder);
}

static void gradient_weight_is_refused_where_it_cannot_be(void **state)
{
    kdinr_options options = small_options(0.01);

    (void)state;
    options.direct = false;
    check_refused(&options, "option gradient_weight is 0.01, which needs direct");
    options.direct = true;
    options.gradient_weight = -1.0;
    check_refused(&options, "option gradient_weight is -1, allowed are 1e-12 to 1e+06, or 0");
    options = kdinr_options_default();
    options.gradient_weight = 0.01;
    check_refused(&options, "which needs direct");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_weight_lowers_the_error_of_slopes),
        cmocka_unit_test(gradient_weight_gives_the_same_bytes_again),
        cmocka_unit_test(gradient_weight_is_refused_where_it_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
