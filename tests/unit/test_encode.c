/* The main job through the public functions alone: push, verify, finish, open, read. */
#include "check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "series.h"

enum { NX = 20, NY = 18, NZ = 16, N = NX * NY * NZ, N_STEPS = 5 };

static const int dims[3] = {NX, NY, NZ};
static const char *const path = "test_encode.kdm";

static bool is_placed; /* the grid has an origin, a spacing and a direction, times are a list */

static void place(kdinr_volume *volume)
{
    for (int axis = 0; axis < 3; axis++) {
        volume->origin[axis] = 1.5 + axis;
        volume->spacing[axis] = 0.1;
        volume->direction[4 * axis] = axis == 0 ? 1.0 : -1.0;
    }
}

static double time_of(int t)
{
    return is_placed ? 0.5 * t + (t == 1 ? 0.1 : 0.0) : 0.5 * t;
}

/* Compress N_STEPS steps of the analytic series, changed by `change` if not NULL. */
static void compress(const kdinr_options *options, void (*change)(float *samples, int t),
                     const kdinr_array *description, bool verify, const char *to)
{
    float *samples = malloc(N * sizeof *samples);
    kdinr_array array = *description;
    kdinr_encoder *encoder;
    kdinr_error error;

    array.values = samples;
    check_ok(kdinr_encoder_open(options, &encoder, &error), error);
    for (int pass = 0; pass < (verify ? 2 : 1); pass++) {
        for (int t = 0; t < N_STEPS; t++) {
            kdinr_volume volume = series_volume(dims, &array);

            series_fill(dims, t, N_STEPS, samples);
            if (change != NULL) change(samples, t);
            if (is_placed) place(&volume);
            if (pass == 0) {
                check_ok(kdinr_encoder_push(encoder, &volume, time_of(t), &error), error);
            } else {
                check_ok(kdinr_encoder_verify(encoder, &volume, time_of(t), &error), error);
            }
        }
    }
    check_ok(kdinr_encoder_finish(encoder, to, &error), error);
    kdinr_encoder_close(encoder);
    free(samples);
}

static kdinr_array plain_array(void)
{
    const kdinr_array array = {"temperature", KDINR_FLOAT32, 1, KDINR_POINTS, NULL, false, 0.0};
    return array;
}

static kdinr_decoder *open_file(const char *from)
{
    kdinr_decoder *decoder;
    kdinr_error error;

    check_ok(kdinr_decoder_open(from, NULL, &decoder, &error), error);
    return decoder;
}

static long file_bytes(const char *of)
{
    struct stat status;

    assert_int_equal(stat(of, &status), 0);
    return (long)status.st_size;
}

static double psnr_of_step(kdinr_decoder *decoder, int t, const float *original)
{
    const kdinr_info *info = kdinr_decoder_info(decoder);
    kdinr_request request = kdinr_request_default(info, 0);
    float *decoded = malloc(N * sizeof *decoded);
    const double peak = info->arrays[0].range[0][1] - info->arrays[0].range[0][0];
    double sum = 0.0;
    kdinr_error error;

    request.time = info->times[t];
    check_ok(kdinr_decoder_read(decoder, &request, decoded, &error), error);
    for (int i = 0; i < N; i++) {
        const double difference = (double)original[i] - (double)decoded[i];
        sum += difference * difference;
    }
    free(decoded);
    return -10.0 * log10(sum / N / (peak * peak));
}

static void encode_meets_the_ratio_and_records_the_truth(void **state)
{
    const kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    float *samples = malloc(N * sizeof *samples);

    (void)state;
    compress(&options, NULL, &array, true, path);
    const double ratio = (double)N * 4 * N_STEPS / (double)file_bytes(path);
    assert_true(ratio >= options.ratio && ratio <= 1.03 * options.ratio);
    kdinr_decoder *decoder = open_file(path);
    const kdinr_info *info = kdinr_decoder_info(decoder);
    assert_int_equal(info->n_steps, N_STEPS);
    assert_int_equal((long)info->file_size, file_bytes(path));
    assert_string_equal(info->arrays[0].name, "temperature");
    assert_true(info->arrays[0].quality_exact);
    for (int t = 0; t < N_STEPS; t++) {
        series_fill(dims, t, N_STEPS, samples);
        const double psnr = psnr_of_step(decoder, t, samples);
        assert_true(psnr > 38.0); /* a smooth series: far above a failed training's 15 dB */
        check_near(info->arrays[0].psnr[t], psnr, 0.01);
        check_near(info->times[t], 0.5 * t, 0.0);
    }
    kdinr_decoder_close(decoder);
    free(samples);
}

/* Weights are rounded to what the bytes allow once: were the file too large by what describes the
 * grid, some would be rounded again, plainly, and the estimate would be too low. */
static void encode_estimates_when_not_verified(void **state)
{
    const kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    float *samples = malloc(N * sizeof *samples);

    (void)state;
    for (int placed = 0; placed < 2; placed++) {
        is_placed = placed == 1;
        compress(&options, NULL, &array, false, path);
        is_placed = false;
        kdinr_decoder *decoder = open_file(path);
        const kdinr_array_info *info = &kdinr_decoder_info(decoder)->arrays[0];
        assert_false(info->quality_exact);
        double estimated = 0.0, true_error = 0.0;
        for (int t = 0; t < N_STEPS; t++) {
            series_fill(dims, t, N_STEPS, samples);
            estimated += pow(10.0, -0.1 * (double)info->psnr[t]);
            true_error += pow(10.0, -0.1 * psnr_of_step(decoder, t, samples));
        }
        check_near(10.0 * log10(estimated / true_error), 0.0, 0.9);
        kdinr_decoder_close(decoder);
    }
    free(samples);
}

static void *read_all(const char *from, long *size)
{
    FILE *file = fopen(from, "rb");
    char *bytes;

    assert_non_null(file);
    *size = file_bytes(from);
    bytes = malloc((size_t)*size);
    assert_int_equal(fread(bytes, 1, (size_t)*size, file), *size);
    fclose(file);
    return bytes;
}

static void encode_same_bytes_for_any_number_of_threads(void **state)
{
    kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    long size[2];
    void *bytes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        options.n_threads = 1 + 2 * i;
        compress(&options, NULL, &array, false, path);
        bytes[i] = read_all(path, &size[i]);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], (size_t)size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void decode_same_bytes_for_any_extent_and_threads(void **state)
{
    kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    float *whole = malloc(N * 8 * sizeof *whole), part[7 * 5 * 3];
    kdinr_error error;

    (void)state;
    options.bricks[0] = options.bricks[1] = 2;
    options.bricks[2] = 1;
    options.window = 2; /* windows too: time 0.75 lies between two */
    compress(&options, NULL, &array, false, path);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        kdinr_decoder *decoder;

        options.n_threads = n_threads;
        check_ok(kdinr_decoder_open(path, &options, &decoder, &error), error);
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
        request.time = 0.75;
        request.dims[0] = 2 * NX;
        request.extent[1] = 2 * NX - 1;
        if (n_threads == 1) check_ok(kdinr_decoder_read(decoder, &request, whole, &error), error);
        for (int x = 0; x + 7 <= 2 * NX; x += 3) {
            const int extent[6] = {x, x + 6, 6, 10, 2, 4};

            memcpy(request.extent, extent, sizeof extent);
            check_ok(kdinr_decoder_read(decoder, &request, part, &error), error);
            for (int i = 0; i < 7 * 5 * 3; i++) {
                const int at = ((2 + i / 35) * NY + 6 + i / 7 % 5) * 2 * NX + x + i % 7;
                assert_memory_equal(&part[i], &whole[at], sizeof *part);
            }
        }
        kdinr_decoder_close(decoder);
    }
    free(whole);
}

/* A slab of NaN that stays, a fill value that moves, one infinity. */
static void punch_holes(float *samples, int t)
{
    for (int i = 0; i < N; i++) {
        if (i % NX < 4) samples[i] = NAN;
    }
    samples[100 + t] = -999.0f;
    samples[N - 1] = INFINITY;
}

static void encode_restores_missing_samples_exactly(void **state)
{
    const kdinr_options options = series_options();
    kdinr_array array = plain_array();
    float *samples = malloc(N * sizeof *samples), *decoded = malloc(N * sizeof *decoded);
    kdinr_error error;

    (void)state;
    array.has_fill = true;
    array.fill_value = -999.0;
    compress(&options, punch_holes, &array, true, path);
    kdinr_decoder *decoder = open_file(path);
    const kdinr_array_info *info = &kdinr_decoder_info(decoder)->arrays[0];
    assert_true(info->has_missing);
    assert_true(info->range[0][0] > 10.0 && info->range[0][1] < 50.0);
    for (int t = 0; t < N_STEPS; t++) {
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);

        request.time = 0.5 * t;
        series_fill(dims, t, N_STEPS, samples);
        punch_holes(samples, t);
        check_ok(kdinr_decoder_read(decoder, &request, decoded, &error), error);
        for (int i = 0; i < N; i++) {
            assert_int_equal(isnan(samples[i]), isnan(decoded[i]));
            assert_int_equal(samples[i] == -999.0f, decoded[i] == -999.0f);
            assert_int_equal(isinf(samples[i]), isinf(decoded[i]));
        }
        assert_true(info->psnr[t] > 30.0f);
    }
    kdinr_decoder_close(decoder);
    free(samples);
    free(decoded);
}

static void decode_at_any_resolution_and_time_is_close_to_the_formula(void **state)
{
    const kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    enum { FX = 39, FY = 35, FZ = 31 };
    float *decoded = malloc(FX * FY * FZ * sizeof *decoded);
    double sum = 0.0;
    kdinr_error error;

    (void)state;
    compress(&options, NULL, &array, false, path);
    kdinr_decoder *decoder = open_file(path);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    const int fine[3] = {FX, FY, FZ}, extent[6] = {0, FX - 1, 0, FY - 1, 0, FZ - 1};
    memcpy(request.dims, fine, sizeof fine);
    memcpy(request.extent, extent, sizeof extent);
    request.time = 0.75; /* between steps 1 and 2 of 0..4 */
    check_ok(kdinr_decoder_read(decoder, &request, decoded, &error), error);
    for (int i = 0; i < FX * FY * FZ; i++) {
        const double truth = series_value(i % FX / (FX - 1.0), i / FX % FY / (FY - 1.0),
                                          i / FX / FY / (FZ - 1.0), 1.5 / (N_STEPS - 1.0));
        sum += (truth - (double)decoded[i]) * (truth - (double)decoded[i]);
    }
    assert_true(sqrt(sum / (FX * FY * FZ)) < 0.02 * 15.0); /* 2 % of the range between samples */
    kdinr_decoder_close(decoder);
    free(decoded);
}

static void decode_across_brick_borders_has_no_jump(void **state)
{
    kdinr_options options = series_options();
    const kdinr_array array = plain_array();
    enum { FINE = 4 * (NX - 1) + 1 };
    float *decoded = malloc(FINE * NY * NZ * sizeof *decoded);
    double inner = 0.0, border = 0.0;
    kdinr_error error;

    (void)state;
    options.bricks[0] = 2;
    options.bricks[1] = options.bricks[2] = 1;
    compress(&options, NULL, &array, true, path);
    kdinr_decoder *decoder = open_file(path);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    request.dims[0] = FINE;
    request.extent[1] = FINE - 1;
    check_ok(kdinr_decoder_read(decoder, &request, decoded, &error), error);
    /* second differences along x: at the border no larger than elsewhere plus the error itself */
    for (int row = 0; row < NY * NZ; row++) {
        const float *v = decoded + row * FINE;

        for (int x = 1; x + 1 < FINE; x++) {
            const double bend = fabs((double)v[x - 1] - 2.0 * (double)v[x] + (double)v[x + 1]);

            if (abs(x - FINE / 2) <= 1) {
                border = fmax(border, bend);
            } else {
                inner = fmax(inner, bend);
            }
        }
    }
    const double peak = kdinr_decoder_info(decoder)->arrays[0].range[0][1] -
                        kdinr_decoder_info(decoder)->arrays[0].range[0][0];
    const double rms =
        peak * pow(10.0, -kdinr_decoder_info(decoder)->arrays[0].psnr_overall / 20.0);
    assert_true(border <= inner + rms);
    kdinr_decoder_close(decoder);
    free(decoded);
}

static bool stop_half_way(void *user, double fraction, const char *stage)
{
    (void)stage;
    *(double *)user = fraction;
    return fraction < 0.5;
}

static void encode_can_be_cancelled(void **state)
{
    kdinr_options options = series_options();
    kdinr_array array = plain_array();
    const kdinr_volume volume = series_volume(dims, &array);
    float *samples = malloc(N * sizeof *samples);
    kdinr_status status = KDINR_OK;
    double reached = 0.0;
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    array.values = samples;
    options.progress = stop_half_way;
    options.progress_user = &reached;
    options.n_steps = N_STEPS;
    unlink("cancelled.kdm");
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    for (int t = 0; t < N_STEPS && status == KDINR_OK; t++) {
        series_fill(dims, t, N_STEPS, samples);
        status = kdinr_encoder_push(encoder, &volume, t, &error);
    }
    if (status == KDINR_OK) status = kdinr_encoder_finish(encoder, "cancelled.kdm", &error);
    assert_int_equal(status, KDINR_CANCELLED);
    check_near(reached, 0.5, 0.1);
    check_fails(kdinr_encoder_finish(encoder, "cancelled.kdm", &error), KDINR_ERROR_ARGUMENT,
                "can only be closed", error);
    assert_int_not_equal(access("cancelled.kdm", F_OK), 0);
    kdinr_encoder_close(encoder);
    free(samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_meets_the_ratio_and_records_the_truth),
        cmocka_unit_test(encode_estimates_when_not_verified),
        cmocka_unit_test(encode_same_bytes_for_any_number_of_threads),
        cmocka_unit_test(decode_same_bytes_for_any_extent_and_threads),
        cmocka_unit_test(encode_restores_missing_samples_exactly),
        cmocka_unit_test(decode_at_any_resolution_and_time_is_close_to_the_formula),
        cmocka_unit_test(decode_across_brick_borders_has_no_jump),
        cmocka_unit_test(encode_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
