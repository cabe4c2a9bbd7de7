/* Section AXES: axes come back bit for bit in each form, broken ones are neither written nor read,
 * files without axes are as in version 1.0; and a rectilinear series through encoder and decoder,
 * with its missing samples. */
#include "kdm_samples.h"
#include "series.h"

#include "fuzz/repair.h"

static const char *const PATH = "test_kdm_axes.kdm";

/* Give the 9 x 8 x 7 points of sample_small axes of the three forms. */
static void sample_axes(kd_model *model)
{
    double x[9], y[8], z[7];
    kdinr_error error;

    for (int i = 0; i < 9; i++) {
        x[i] = -3.0 + 0.125 * i; /* start and step */
    }
    for (int i = 0; i < 8; i++) {
        y[i] = 100.0 - 0.25 * i * i; /* downwards, float32 */
    }
    for (int i = 0; i < 7; i++) {
        z[i] = exp(0.3 * i);
    }
    const double *const axes[3] = {x, y, z};
    check_ok(kd_copy_axes(axes, model, &error), error);
}

static kdinr_status read_bytes(const uint8_t *bytes, size_t size, kdinr_error *error)
{
    kd_model model;

    sample_write(PATH, bytes, size);
    const kdinr_status status = kd_kdm_load_info(PATH, &model, error);
    kd_kdm_free(&model);
    return status;
}

static void axes_come_back_exactly_in_every_form(void **state)
{
    kd_model model, back;
    kdinr_error error;
    size_t size, plain_size, axes_size;

    (void)state;
    sample_small(&model, KD_NETWORK_QUANTISED);
    uint8_t *plain = sample_packed(&model, &plain_size);
    assert_int_equal(plain[10], 0); /* without axes the version is 1.0 */
    sample_axes(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    assert_int_equal(bytes[10], 1);
    check_ok(kd_size_axes(&model, &axes_size, &error), error);
    assert_int_equal(size - plain_size, axes_size);
    assert_int_equal(axes_size, 16 + (1 + 16) + (1 + 8 * 4) + (1 + 7 * 8));
    check_ok(kd_kdm_save(bytes, size, PATH, &error), error);
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    assert_int_equal(back.minor, 1);
    assert_true(kd_same_axes((const double *const *)model.axes, &back));
    back.axes[2][6] += 1e-12;
    assert_false(kd_same_axes((const double *const *)model.axes, &back));
    kd_kdm_free(&back);
    free(bytes);
    free(plain);
    kd_kdm_free(&model);
}

static void broken_axes_are_not_written(void **state)
{
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    sample_axes(&model);
    model.axes[1][4] = model.axes[1][3];
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "axis y: 97.75 of point 4 does not follow 97.75", error);
    model.axes[1][4] = 96.0;
    model.axes[2][0] = NAN;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "axis z: point 0 is at nan, it must be finite", error);
    model.axes[2][0] = 1.0;
    model.origin[1] = 2.0;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "no origin, spacing or direction", error);
    kd_kdm_free(&model);
}

/* Every byte of the section takes some values: the file is read or refused with a message. */
static void damaged_axes_are_read_or_refused(void **state)
{
    kd_model model;
    kdinr_error error;
    size_t size, n_refused = 0;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    sample_axes(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    const size_t axes_size = 17 + 33 + 57, start = size - axes_size;
    for (size_t i = start; i < size; i++) {
        const uint8_t was = bytes[i];
        const uint8_t values[] = {0, 1, 2, 3, 0x7F, 0x80, 0xFF, (uint8_t)(was ^ 0x10)};
        for (size_t v = 0; v < sizeof values; v++) {
            bytes[i] = values[v];
            repair(bytes, size);
            error.message[0] = '\0';
            if (read_bytes(bytes, size, &error) == KDINR_OK) continue;
            assert_true(strlen(error.message) > 0);
            n_refused++;
        }
        bytes[i] = was;
    }
    assert_true(n_refused > 100);
    bytes[start] = 3;
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT,
                "section AXES: form 3 of an axis, allowed are 0 to 2", error);
    bytes[start] = 2; /* the rest is then too short */
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT, "section AXES", error);
    bytes[start] = 0;
    bytes[10] = 0;
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT,
                "section \"AXES\" does not exist in format 1.0", error);
    free(bytes);
    kd_kdm_free(&model);
}

/* ---- encoder and decoder ---- */

enum { NX = 14, NY = 12, NZ = 10, N = NX * NY * NZ };

static void make_axes(double x[NX], double y[NY], double z[NZ])
{
    for (int i = 0; i < NX; i++) {
        x[i] = i * i;
    }
    for (int i = 0; i < NY; i++) {
        y[i] = 90.0 - 3.0 * i;
    }
    for (int i = 0; i < NZ; i++) {
        z[i] = exp2(i);
    }
}

static kdinr_volume rectilinear(const kdinr_array *array, const double *x, const double *y,
                                const double *z)
{
    kdinr_volume volume = series_volume((const int[3]){NX, NY, NZ}, array);

    volume.axes[0] = x;
    volume.axes[1] = y;
    volume.axes[2] = z;
    return volume;
}

/* Two steps whose first sixth is missing. */
static void encode(const kdinr_volume *volume, float *values)
{
    kdinr_options options = series_options();
    kdinr_encoder *encoder;
    kdinr_error error;

    options.n_steps = 2;
    options.ratio = 20;
    options.keep_bad = true; /* barely trained */
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    for (int t = 0; t < 2; t++) {
        series_fill((const int[3]){NX, NY, NZ}, t, 2, values);
        for (int i = 0; i < N / 6; i++) {
            values[i] = NAN;
        }
        check_ok(kdinr_encoder_push(encoder, volume, t, &error), error);
    }
    check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
    kdinr_encoder_close(encoder);
}

static void series_on_axes_goes_round(void **state)
{
    static float values[N];
    static uint8_t missing[N];
    double x[NX], y[NY], z[NZ], found[2 * NX - 1];
    const kdinr_array array = {.name = "blob", .n_components = 1, .values = values};
    const kdinr_volume volume = rectilinear(&array, x, y, z);
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    make_axes(x, y, z);
    encode(&volume, values);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    const kdinr_info *info = kdinr_decoder_info(decoder);
    assert_int_equal(info->version_minor, 2);
    assert_memory_equal(info->axes[0], x, sizeof x);
    assert_memory_equal(info->axes[1], y, sizeof y);
    assert_memory_equal(info->axes[2], z, sizeof z);

    kdinr_request request = kdinr_request_default(info, 0);
    kdinr_request_axis(info, &request, 0, found);
    assert_memory_equal(found, x, sizeof x);
    request.dims[0] = 2 * NX - 1;
    kdinr_request_axis(info, &request, 0, found);
    for (int i = 0; i < NX; i++) {
        check_near(found[2 * i], x[i], 1e-12);
        if (i > 0) check_near(found[2 * i - 1], 0.5 * (x[i - 1] + x[i]), 1e-12);
    }

    request = kdinr_request_default(info, 0);
    check_ok(kdinr_decoder_missing(decoder, &request, missing, &error), error);
    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    for (int i = 0; i < N; i++) {
        assert_int_equal(missing[i], i < N / 6);
        assert_int_equal(isnan(values[i]) != 0, missing[i]);
    }
    kdinr_decoder_close(decoder);
}

static void steps_must_share_their_axes(void **state)
{
    static float values[N];
    double x[NX], y[NY], z[NZ];
    const kdinr_array array = {.name = "blob", .n_components = 1, .values = values};
    kdinr_volume volume = rectilinear(&array, x, y, z);
    const kdinr_options options = series_options();
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    make_axes(x, y, z);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    check_ok(kdinr_encoder_push(encoder, &volume, 0.0, &error), error); /* constant: no training */
    z[3] += 0.5;
    check_fails(kdinr_encoder_push(encoder, &volume, 1.0, &error), KDINR_ERROR_ARGUMENT,
                "differs from the first step's", error);
    kdinr_encoder_close(encoder);

    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    volume.axes[2] = NULL;
    check_fails(kdinr_encoder_push(encoder, &volume, 0.0, &error), KDINR_ERROR_ARGUMENT,
                "axis x has its coordinates, axis z has none", error);
    kdinr_encoder_close(encoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_come_back_exactly_in_every_form),
        cmocka_unit_test(broken_axes_are_not_written),
        cmocka_unit_test(damaged_axes_are_read_or_refused),
        cmocka_unit_test(series_on_axes_goes_round),
        cmocka_unit_test(steps_must_share_their_axes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
