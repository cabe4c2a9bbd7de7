/* The promise of max_error: no stored sample is off by more, whatever the data, by every backend.
 */
#include "random_volumes.h"

#include <sys/stat.h>
#include <unistd.h>

#include "residual.h"
#include "series.h"

enum { N_VOLUMES = 1000 };

static const char *const path = "test_bound.kdm";

/* ---- there and back ---- */

static void compress(sample *s, kdinr_error *error)
{
    kdinr_encoder *encoder;

    check_ok(kdinr_encoder_open(&s->options, &encoder, error), *error);
    for (int t = 0; t < s->n_steps; t++) {
        s->array.values = s->values[t];
        check_ok(kdinr_encoder_push(encoder, &s->volume, t, error), *error);
    }
    for (int t = 0; t < s->n_steps; t++) {
        s->array.values = s->values[t];
        check_ok(kdinr_encoder_verify(encoder, &s->volume, t, error), *error);
    }
    check_ok(kdinr_encoder_finish(encoder, path, error), *error);
    kdinr_encoder_close(encoder);
}

static void check_file(const sample *s, const char *backend)
{
    char decoded[MOST_SAMPLES * MOST_COMPONENTS * 8];
    kdinr_options options = kdinr_options_default();
    kdinr_decoder *decoder;
    kdinr_error error;

    options.backend = backend;
    options.n_threads = 1;
    check_ok(kdinr_decoder_open(path, &options, &decoder, &error), error);
    check_ok(kdinr_decoder_load(decoder, &error), error);
    const kdinr_array_info *info = &kdinr_decoder_info(decoder)->arrays[0];
    assert_true(info->has_bound);
    for (int c = 0; c < s->array.n_components; c++) {
        const double scale =
            s->options.max_error_relative ? info->range[c][1] - info->range[c][0] : 1.0;
        assert_true(info->bound[c] <= s->options.max_error * scale);
    }
    for (int t = s->n_steps - 1; t >= 0; t--) {
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);

        request.time = t;
        request.type = s->array.type;
        check_ok(kdinr_decoder_read(decoder, &request, decoded, &error), error);
        check_step(s, t, info->bound, decoded);
    }
    kdinr_decoder_close(decoder);
}

static void check_backends(const sample *s)
{
    const char *name, *reason;

    for (int i = 0; (name = kdinr_backend_name(i, &reason)) != NULL; i++) {
        if (reason == NULL) check_file(s, name);
    }
}

static void bound_holds_on_random_volumes(void **state)
{
    dice d = {.key = 2024};
    sample *s = malloc(sizeof *s);
    kdinr_error error;

    (void)state;
    assert_non_null(s);
    for (int i = 0; i < N_VOLUMES; i++) {
        make_sample(&d, s);
        compress(s, &error);
        check_backends(s);
    }
    free(s);
    unlink(path);
}

/* ---- on top of networks ---- */

static off_t file_size(void)
{
    struct stat file;

    assert_int_equal(stat(path, &file), 0);
    return file.st_size;
}

/* The file is no larger than one for which networks were never tried. */
static void check_no_larger_than_alone(const sample *s)
{
    const off_t size = file_size();
    sample *alone = malloc(sizeof *alone);
    kdinr_error error;

    assert_non_null(alone);
    *alone = *s;
    alone->options.ratio = 0.0;
    alone->options.width = 0;
    alone->options.residuals_alone = true;
    alone->volume.arrays = &alone->array;
    compress(alone, &error);
    assert_true(size <= file_size());
    free(alone);
}

/* The same, but with small networks that were hardly trained. */
static void bound_holds_on_top_of_networks(void **state)
{
    dice d = {.key = 7};
    sample *s = malloc(sizeof *s);
    kdinr_error error;

    (void)state;
    assert_non_null(s);
    for (int i = 0; i < 40; i++) {
        make_sample(&d, s);
        s->options.ratio = 12345.0;
        s->options.width = 2 + below(&d, 3);
        s->options.omega_first = 6.0;
        s->options.teacher_samples = s->options.student_samples = 5000.0;
        s->options.max_error = s->options.max_error_relative ? 0.02 + 0.1 * unit(&d) : 1.0;
        compress(s, &error);
        check_backends(s);
        check_no_larger_than_alone(s);
    }
    free(s);
    unlink(path);
}

/* Levels that were chosen for one decoder's answers serve any other within the room. */
static void bound_holds_for_all_answers_within_the_room(void **state)
{
    const int samples[3] = {17, 9, 5};
    enum { N = 17 * 9 * 5 };
    float values[N], answers[N];
    dice d = {.key = 3};
    kdinr_error error;

    (void)state;
    for (int round = 0; round < 50; round++) {
        kd_bound bound = {.most = {0.01 * (1 + round)}, .group = 1};
        const kdinr_array array = {.type = KDINR_FLOAT32, .n_components = 1, .values = values};
        const kd_residual_source source = {&array, NULL, answers, 0.3 * bound.most[0], &bound};
        kd_residual residual;
        kd_stream stream;

        bound.unit[0] = 2.0 * 0.69 * bound.most[0] / KD_RESIDUAL_QUANTUM;
        for (int i = 0; i < N; i++) {
            values[i] = (float)(sin(0.01 * i * round) + 0.1 * unit(&d));
            answers[i] = values[i] + (float)(0.5 * unit(&d) - 0.2);
        }
        check_ok(kd_residual_create(samples, 1, &residual, &error), error);
        check_ok(kd_residual_pack(&source, samples, round % 4, NULL, &residual, &stream, &error),
                 error);
        for (int i = 0; i < N; i++) {
            const double other = (double)answers[i] + source.room * (2.0 * unit(&d) - 1.0);
            const double value =
                kd_residual_value(KDINR_FLOAT32, other, residual.levels[i], bound.unit[0]);

            assert_true(fabs(value - (double)values[i]) <= bound.most[0]);
        }
        assert_int_equal(residual.n_exact, 0);
        free(stream.bytes);
        kd_residual_free(&residual);
    }
}

/* ---- streams ---- */

static void unpacking_gives_what_was_packed(void **state)
{
    const int samples[3] = {33, 1, 14};
    enum { N = 33 * 14 };
    double values[2][2 * N];
    uint8_t classes[N];
    kd_residual packed[2], unpacked[2];
    kd_bound bound = {.most = {1e-3, 1e-3}, .unit = {1e-4, 1e-4}, .alone = true, .group = 2};
    dice d = {.key = 11};
    kdinr_error error;

    (void)state;
    for (int i = 0; i < N; i++) {
        classes[i] = below(&d, 9) == 0 ? KD_MISSING_NAN : KD_MISSING_NONE;
        for (int c = 0; c < 2; c++) {
            values[0][2 * i + c] = sin(0.1 * i) + (below(&d, 50) == 0 ? 1e9 : 0.0);
            values[1][2 * i + c] = values[0][2 * i + c] + 0.01 * unit(&d);
        }
    }
    for (int t = 0; t < 2; t++) {
        const kdinr_array array = {.type = KDINR_FLOAT64, .n_components = 2, .values = values[t]};
        const kd_residual_source source = {&array, classes, NULL, 0.0, &bound};
        kd_stream stream;

        check_ok(kd_residual_create(samples, 2, &packed[t], &error), error);
        check_ok(kd_residual_create(samples, 2, &unpacked[t], &error), error);
        check_ok(kd_residual_pack(&source, samples, t, t > 0 ? &packed[0] : NULL, &packed[t],
                                  &stream, &error),
                 error);
        check_ok(kd_residual_unpack(&stream, KDINR_FLOAT64, samples, classes,
                                    t > 0 ? &unpacked[0] : NULL, &unpacked[t], &error),
                 error);
        assert_memory_equal(packed[t].levels, unpacked[t].levels, 2 * N * sizeof(int32_t));
        assert_true(packed[t].n_exact > 0);
        assert_int_equal(packed[t].n_exact, unpacked[t].n_exact);
        for (size_t i = 0; i < packed[t].n_exact; i++) {
            assert_int_equal(packed[t].exact[i].i, unpacked[t].exact[i].i);
            assert_int_equal(packed[t].exact[i].bits, unpacked[t].exact[i].bits);
        }
        free(stream.bytes);
    }
    for (int t = 0; t < 2; t++) {
        kd_residual_free(&packed[t]);
        kd_residual_free(&unpacked[t]);
    }
}

static void streams_with_bytes_left_over_are_refused(void **state)
{
    const int samples[3] = {200, 100, 1};
    uint8_t bytes[4000];
    kd_residual residual;
    kdinr_error error;

    (void)state;
    check_ok(kd_residual_create(samples, 1, &residual, &error), error);
    memset(bytes, 0xFF, sizeof bytes);
    check_fails(kd_residual_unpack(&(kd_stream){bytes, 0}, KDINR_FLOAT32, samples, NULL, NULL,
                                   &residual, &error),
                KDINR_ERROR_FORMAT, "at least 1", error);
    memset(bytes, 0, sizeof bytes); /* all codes are 0, and the one predictor does not exist */
    check_fails(kd_residual_unpack(&(kd_stream){bytes, sizeof bytes}, KDINR_FLOAT32, samples, NULL,
                                   NULL, &residual, &error),
                KDINR_ERROR_FORMAT, "residual", error);
    kd_residual_free(&residual);
}

/* ---- random access ---- */

enum { NX = 14, NY = 9, NZ = 6, STEPS_LONG = 19, N_LONG = NX * NY * NZ };

static void compress_long(float (*values)[N_LONG], kdinr_error *error)
{
    const int dims[3] = {NX, NY, NZ};
    kdinr_options options = kdinr_options_default();
    kdinr_array array = {"a", KDINR_FLOAT32, 1, KDINR_POINTS, NULL, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;

    options.ratio = 0.0;
    options.max_error = 0.05;
    check_ok(kdinr_encoder_open(&options, &encoder, error), *error);
    for (int pass = 0; pass < 2; pass++) {
        for (int t = 0; t < STEPS_LONG; t++) {
            series_fill(dims, t, STEPS_LONG, values[t]);
            array.values = values[t];
            check_ok(pass == 0 ? kdinr_encoder_push(encoder, &volume, t, error)
                               : kdinr_encoder_verify(encoder, &volume, t, error),
                     *error);
        }
    }
    check_ok(kdinr_encoder_finish(encoder, path, error), *error);
    kdinr_encoder_close(encoder);
}

static void bound_holds_in_any_order_and_extent(void **state)
{
    static float values[STEPS_LONG][N_LONG];
    float part[3 * 2 * 4];
    dice d = {.key = 5};
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    compress_long(values, &error);
    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    for (int i = 0; i < 100; i++) {
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
        const int x = below(&d, NX - 2), y = below(&d, NY - 1), z = below(&d, NZ - 3);
        const int t = below(&d, STEPS_LONG);

        request.time = t;
        memcpy(request.extent, (int[6]){x, x + 2, y, y + 1, z, z + 3}, sizeof request.extent);
        check_ok(kdinr_decoder_read(decoder, &request, part, &error), error);
        for (int k = 0; k < 3 * 2 * 4; k++) {
            const int at = ((z + k / 6) * NY + y + k / 3 % 2) * NX + x + k % 3;
            check_near(part[k], values[t][at], 0.05);
        }
    }
    kdinr_decoder_close(decoder);
    unlink(path);
}

/* Between two steps and between samples: the mean of what surrounds it. */
static void residuals_are_interpolated(void **state)
{
    static float values[STEPS_LONG][N_LONG], steps[2][N_LONG], between[N_LONG];
    static float fine[(2 * NX - 1) * NY * NZ];
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    compress_long(values, &error);
    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    for (int t = 0; t < 2; t++) {
        request.time = 7 + t;
        check_ok(kdinr_decoder_read(decoder, &request, steps[t], &error), error);
    }
    request.time = 7.5;
    check_ok(kdinr_decoder_read(decoder, &request, between, &error), error);
    for (int i = 0; i < N_LONG; i++) {
        check_near(between[i], 0.5 * ((double)steps[0][i] + (double)steps[1][i]), 1e-5);
    }
    request.time = 8.0;
    request.dims[0] = 2 * NX - 1;
    request.extent[1] = 2 * NX - 2;
    check_ok(kdinr_decoder_read(decoder, &request, fine, &error), error);
    for (int row = 0; row < NY * NZ; row++) {
        const float *stored = steps[1] + row * NX, *finer = fine + row * (2 * NX - 1);

        for (int x = 0; x < NX; x++) {
            assert_true(finer[2 * x] == stored[x]);
            if (x + 1 == NX) continue;
            check_near(finer[2 * x + 1], 0.5 * ((double)stored[x] + (double)stored[x + 1]), 1e-5);
        }
    }
    kdinr_decoder_close(decoder);
    unlink(path);
}

/* ---- rules ---- */

static void every_step_must_be_verified_in_order(void **state)
{
    const int dims[3] = {4, 4, 4};
    kdinr_options options = kdinr_options_default();
    float values[64] = {1.0f, 2.0f};
    const kdinr_array array = {"a", KDINR_FLOAT32, 1, KDINR_POINTS, values, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    options.ratio = 0.0;
    options.max_error = 0.1;
    for (int round = 0; round < 2; round++) {
        check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
        check_ok(kdinr_encoder_push(encoder, &volume, 0.0, &error), error);
        check_ok(kdinr_encoder_push(encoder, &volume, 1.0, &error), error);
        if (round == 0) {
            check_fails(kdinr_encoder_verify(encoder, &volume, 1.0, &error), KDINR_ERROR_ARGUMENT,
                        "step 1 came where step 0 was expected", error);
        } else {
            check_ok(kdinr_encoder_verify(encoder, &volume, 0.0, &error), error);
            check_fails(kdinr_encoder_finish(encoder, path, &error), KDINR_ERROR_ARGUMENT,
                        "1 of 2 were", error);
            assert_int_not_equal(access(path, F_OK), 0);
        }
        kdinr_encoder_close(encoder);
    }
}

static void wrong_bounds_are_refused(void **state)
{
    const double wrong[] = {-1.0, (double)INFINITY, (double)NAN};
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    for (int i = 0; i < 3; i++) {
        kdinr_options options = kdinr_options_default();

        options.max_error = wrong[i];
        check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT,
                    "max_error", error);
        assert_null(encoder);
    }
    kdinr_options options = kdinr_options_default();
    options.ratio = 0.0;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "ratio is 0",
                error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_holds_on_random_volumes),
        cmocka_unit_test(bound_holds_on_top_of_networks),
        cmocka_unit_test(bound_holds_for_all_answers_within_the_room),
        cmocka_unit_test(unpacking_gives_what_was_packed),
        cmocka_unit_test(streams_with_bytes_left_over_are_refused),
        cmocka_unit_test(bound_holds_in_any_order_and_extent),
        cmocka_unit_test(residuals_are_interpolated),
        cmocka_unit_test(every_step_must_be_verified_in_order),
        cmocka_unit_test(wrong_bounds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
