/* Unusual and wrong inputs through the public functions: each works, or gives one clear message and
 * leaves no file. */
#include "check.h"

#include <unistd.h>

#include "series.h"

enum { MOST = 16 * 16 * 16 };

static const char *const path = "test_inputs.kdm";

/* Compress the same arrays `n_steps` times (values scaled by nothing: the arrays say it all). */
static kdinr_status compress(const kdinr_options *options, const int dims[3], int n_arrays,
                             const kdinr_array *arrays, int n_steps, kdinr_error *error)
{
    kdinr_volume volume = series_volume(dims, arrays);
    kdinr_encoder *encoder;
    kdinr_status status;

    unlink(path);
    volume.n_arrays = n_arrays;
    status = kdinr_encoder_open(options, &encoder, error);
    for (int t = 0; t < n_steps && status == KDINR_OK; t++) {
        status = kdinr_encoder_push(encoder, &volume, t, error);
    }
    for (int t = 0; t < n_steps && status == KDINR_OK; t++) {
        status = kdinr_encoder_verify(encoder, &volume, t, error);
    }
    if (status == KDINR_OK) status = kdinr_encoder_finish(encoder, path, error);
    kdinr_encoder_close(encoder);
    assert_int_equal(access(path, F_OK) == 0, status == KDINR_OK);
    return status;
}

/* The whole of array `a` at time t, as `type`. */
static void read_back(int a, double t, kdinr_type type, void *values)
{
    kdinr_decoder *decoder;
    kdinr_error error;

    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), a);
    request.time = t;
    request.type = type;
    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    kdinr_decoder_close(decoder);
}

static float psnr_of(int a)
{
    kdinr_decoder *decoder;
    kdinr_error error;

    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    const float psnr = kdinr_decoder_info(decoder)->arrays[a].psnr[0];
    kdinr_decoder_close(decoder);
    return psnr;
}

static kdinr_array array_of(const void *values)
{
    const kdinr_array array = {"a", KDINR_FLOAT32, 1, KDINR_POINTS, values, false, 0.0};
    return array;
}

static void inputs_constant_field_is_exact(void **state)
{
    const int dims[3] = {16, 8, 4};
    const kdinr_options options = series_options();
    float values[16 * 8 * 4], decoded[16 * 8 * 4];
    const kdinr_array array = array_of(values);
    kdinr_error error;

    (void)state;
    for (int i = 0; i < 16 * 8 * 4; i++) {
        values[i] = 3.25f;
    }
    check_ok(compress(&options, dims, 1, &array, 3, &error), error);
    read_back(0, 1.0, KDINR_FLOAT32, decoded);
    assert_memory_equal(values, decoded, sizeof values);
    assert_true(isinf(psnr_of(0)));
}

static void inputs_thin_grids_and_one_step_work(void **state)
{
    static const int grids[][3] = {
        {64, 48, 1}, {1, 64, 64}, {600, 1, 1}, {16, 16, 16}, {2, 40, 40}};
    float values[MOST], decoded[MOST];
    kdinr_options options = series_options();
    kdinr_error error;

    (void)state;
    options.n_steps = 1;
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        const kdinr_array array = array_of(values);

        /* room for about a thousand parameters */
        options.ratio = grids[g][0] * grids[g][1] * grids[g][2] * 4 / 1500.0;
        series_fill(grids[g], 0, 1, values);
        check_ok(compress(&options, grids[g], 1, &array, 1, &error), error);
        read_back(0, 123.0, KDINR_FLOAT32, decoded); /* any time: there is one step */
        if (!(psnr_of(0) > 30.0f)) fail_msg("grid %zu: %.2f dB", g, (double)psnr_of(0));
    }
    /* a single point is a constant */
    const int point[3] = {1, 1, 1};
    const kdinr_array array = array_of(values);
    check_ok(compress(&options, point, 1, &array, 1, &error), error);
    read_back(0, 0.0, KDINR_FLOAT32, decoded);
    assert_memory_equal(values, decoded, sizeof *values);
}

static void inputs_every_type_comes_back_as_itself(void **state)
{
    const int dims[3] = {16, 16, 16};
    kdinr_options options = series_options();
    float source[MOST];
    double stored[MOST], back[MOST]; /* large enough for any type */
    kdinr_error error;

    (void)state;
    options.ratio = 4;
    series_fill(dims, 0, 1, source);
    for (int type = KDINR_FLOAT32; type <= KDINR_INT64; type++) {
        kdinr_array array = array_of(stored);

        array.type = (kdinr_type)type;
        for (size_t i = 0; i < MOST; i++) {
            const double v = (double)source[i] * 2.0;
            switch (type) {
            case KDINR_FLOAT32:
                ((float *)stored)[i] = (float)v;
                break;
            case KDINR_FLOAT64:
                stored[i] = v;
                break;
            case KDINR_UINT8:
                ((uint8_t *)stored)[i] = (uint8_t)v;
                break;
            case KDINR_INT8:
                ((int8_t *)stored)[i] = (int8_t)(v - 60);
                break;
            case KDINR_UINT16:
                ((uint16_t *)stored)[i] = (uint16_t)(v * 100);
                break;
            case KDINR_INT16:
                ((int16_t *)stored)[i] = (int16_t)(v * -100);
                break;
            case KDINR_UINT32:
                ((uint32_t *)stored)[i] = (uint32_t)(v * 1e7);
                break;
            case KDINR_INT32:
                ((int32_t *)stored)[i] = (int32_t)(v * -1e7);
                break;
            case KDINR_UINT64:
                ((uint64_t *)stored)[i] = (uint64_t)(v * 1e15);
                break;
            default:
                ((int64_t *)stored)[i] = (int64_t)(v * -1e15);
                break;
            }
        }
        options.ratio = 2.0 * (double)kdinr_type_size(array.type);
        check_ok(compress(&options, dims, 1, &array, 1, &error), error);
        if (!(psnr_of(0) > 30.0f))
            fail_msg("%s: %.2f dB", kdinr_type_name(array.type), (double)psnr_of(0));
        read_back(0, 0.0, array.type, back);
        read_back(0, 0.0, KDINR_FLOAT32, source + 0);
        if (type == KDINR_UINT8) {
            for (size_t i = 0; i < MOST; i++) {
                assert_true(abs((int)((uint8_t *)back)[i] - (int)nearbyintf(source[i])) == 0);
            }
        }
        series_fill(dims, 0, 1, source);
    }
}

static void inputs_vectors_cells_and_two_arrays(void **state)
{
    const int dims[3] = {17, 13, 9}, cells[3] = {16, 12, 8};
    enum { N_POINTS = 17 * 13 * 9, N_CELLS = 16 * 12 * 8 };
    static float vectors[N_POINTS * 3], densities[N_CELLS], decoded[N_POINTS * 3];
    kdinr_options options = series_options();
    const kdinr_array arrays[2] = {
        {"velocity", KDINR_FLOAT32, 3, KDINR_POINTS, vectors, false, 0.0},
        {"density", KDINR_FLOAT32, 1, KDINR_CELLS, densities, false, 0.0}};
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    options.ratio = 8;
    series_fill(cells, 1, 3, densities);
    for (int i = 0; i < N_POINTS; i++) {
        vectors[i * 3] = (float)(i % 17);
        vectors[i * 3 + 1] = 100.0f * sinf(0.3f * (float)(i / 17 % 13));
        vectors[i * 3 + 2] = 7.0f; /* a constant component */
    }
    check_ok(compress(&options, dims, 2, arrays, 2, &error), error);
    assert_true(psnr_of(0) > 30.0f);
    if (!(psnr_of(1) > 30.0f)) fail_msg("cells: %.2f dB", (double)psnr_of(1));
    read_back(0, 0.0, KDINR_FLOAT32, decoded);
    for (int i = 0; i < N_POINTS; i++) {
        check_near(decoded[i * 3], vectors[i * 3], 4.0);
        check_near(decoded[i * 3 + 1], vectors[i * 3 + 1], 40.0);
        check_near(decoded[i * 3 + 2], 7.0, 0.0);
    }
    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 1);
    assert_int_equal(request.extent[1], 15);
    assert_int_equal(request.extent[5], 7);
    request.extent[1] = 16;
    check_fails(kdinr_decoder_read(decoder, &request, decoded, &error), KDINR_ERROR_ARGUMENT,
                "allowed is within 0..15", error);
    kdinr_decoder_close(decoder);
}

static void inputs_wrong_data_is_refused(void **state)
{
    const int dims[3] = {16, 16, 16};
    kdinr_options options = series_options();
    float values[MOST];
    kdinr_array array = array_of(values);
    kdinr_error error;

    (void)state;
    for (int i = 0; i < MOST; i++) {
        values[i] = NAN;
    }
    check_fails(compress(&options, dims, 1, &array, 1, &error), KDINR_ERROR_DATA,
                "has no value at step 0", error);
    series_fill(dims, 0, 1, values);
    options.ratio = 5000;
    options.n_steps = 1;
    check_fails(compress(&options, dims, 1, &array, 1, &error), KDINR_ERROR_DATA,
                "the largest possible ratio is about", error);
    options.ratio = 5;
    check_fails(compress(&options, dims, 0, &array, 1, &error), KDINR_ERROR_ARGUMENT, "0 arrays",
                error);
    array.n_components = 10;
    check_fails(compress(&options, dims, 1, &array, 1, &error), KDINR_ERROR_ARGUMENT,
                "10 components", error);
    array = array_of(values);
    array.name = "";
    check_fails(compress(&options, dims, 1, &array, 1, &error), KDINR_ERROR_ARGUMENT, "0 bytes",
                error);
    array = array_of(NULL);
    check_fails(compress(&options, dims, 1, &array, 1, &error), KDINR_ERROR_ARGUMENT, "no values",
                error);
    check_fails(compress(&options, dims, 1, &array, 0, &error), KDINR_ERROR_DATA,
                "nothing to write", error);
}

static void inputs_steps_must_agree_and_follow(void **state)
{
    const int dims[3] = {16, 16, 16}, other[3] = {16, 16, 15};
    const kdinr_options options = series_options();
    float values[MOST];
    const kdinr_array array = array_of(values);
    kdinr_volume volume = series_volume(dims, &array);
    const kdinr_volume smaller = series_volume(other, &array);
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    series_fill(dims, 0, 1, values);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    check_ok(kdinr_encoder_push(encoder, &volume, 1.0, &error), error);
    check_fails(kdinr_encoder_push(encoder, &volume, 1.0, &error), KDINR_ERROR_ARGUMENT,
                "times must increase", error);
    check_fails(kdinr_encoder_push(encoder, &volume, 2.0, &error), KDINR_ERROR_ARGUMENT,
                "can only be closed", error);
    kdinr_encoder_close(encoder);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    check_ok(kdinr_encoder_push(encoder, &volume, 1.0, &error), error);
    check_fails(kdinr_encoder_push(encoder, &smaller, 2.0, &error), KDINR_ERROR_ARGUMENT,
                "all steps must share one grid", error);
    kdinr_encoder_close(encoder);
}

static void inputs_options_are_checked(void **state)
{
    kdinr_encoder *encoder;
    kdinr_error error;
    kdinr_options options = kdinr_options_default();

    (void)state;
    options.ratio = 0.5;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT,
                "ratio is 0.5, allowed are 1 to 1e+06", error);
    assert_null(encoder);
    options = kdinr_options_default();
    options.block_size = 6;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT,
                "2, 4, 8 and 16", error);
    options = kdinr_options_default();
    options.bricks[1] = 2;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "all three",
                error);
    options = kdinr_options_default();
    options.backend = "abacus";
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "abacus",
                error);
}

static void inputs_unwritable_places_are_reported(void **state)
{
    const int dims[3] = {16, 16, 16};
    const kdinr_options options = series_options();
    float values[MOST];
    const kdinr_array array = array_of(values);
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    series_fill(dims, 0, 1, values);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    for (int t = 0; t < 4; t++) {
        check_ok(kdinr_encoder_push(encoder, &volume, t, &error), error);
    }
    check_fails(kdinr_encoder_finish(encoder, "no/such/folder/x.kdm", &error), KDINR_ERROR_IO,
                "no/such/folder", error);
    kdinr_encoder_close(encoder);
    check_fails(kdinr_decoder_open("no/such/file.kdm", NULL, &decoder, &error), KDINR_ERROR_IO,
                "no/such/file.kdm", error);
    assert_null(decoder);
}

/* The paper's network with the paper's numbers (but fewer epochs: this is a test). */
static void inputs_paper_preset_trains_the_papers_network(void **state)
{
    const int dims[3] = {16, 16, 16};
    kdinr_options options = kdinr_options_paper();
    float values[MOST];
    const kdinr_array array = array_of(values);
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    assert_true(options.epochs == 400 && options.teacher_rate == 1e-4 &&
                options.student_rate == 1e-5);
    options.width = 5;
    options.depth = 4;
    options.epochs = 40;
    options.keep_bad = true; /* they teach it little */
    series_fill(dims, 0, 1, values);
    check_ok(compress(&options, dims, 1, &array, 3, &error), error);
    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    check_ok(kdinr_decoder_load(decoder, &error), error);
    const kdinr_info *info = kdinr_decoder_info(decoder);
    const uint64_t m = 5, d = 4;
    assert_int_equal(info->arrays[0].n_networks, 1);
    assert_int_equal(info->arrays[0].n_parameters, 5 * m + (2 * m * m + 2 * m) +
                                                       (8 * m * m + 4 * m) +
                                                       d * (9 * m * m + 6 * m) + 4 * m + 1);
    assert_true(info->file_size > 4 * info->arrays[0].n_parameters);
    assert_true(info->file_size < 4 * info->arrays[0].n_parameters + 400);
    assert_non_null(strstr(info->provenance, "preset=1"));
    kdinr_decoder_close(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_constant_field_is_exact),
        cmocka_unit_test(inputs_thin_grids_and_one_step_work),
        cmocka_unit_test(inputs_every_type_comes_back_as_itself),
        cmocka_unit_test(inputs_vectors_cells_and_two_arrays),
        cmocka_unit_test(inputs_wrong_data_is_refused),
        cmocka_unit_test(inputs_steps_must_agree_and_follow),
        cmocka_unit_test(inputs_options_are_checked),
        cmocka_unit_test(inputs_unwritable_places_are_reported),
        cmocka_unit_test(inputs_paper_preset_trains_the_papers_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
