/* Networks of the methods that KD-INR is compared with: their settings, section FORM that tells
 * them from KD-INR's own, and a series through encoder and decoder with each. */
#include "kdm_samples.h"
#include "series.h"

#include "fuzz/repair.h"

#define PATH "test_networks.kdm"

enum { NX = 20, NY = 18, NZ = 16, N = NX * NY * NZ, N_STEPS = 4 };

/* ---- section FORM ---- */

static kdinr_status read_bytes(const uint8_t *bytes, size_t size, kdinr_error *error)
{
    kd_model model;

    sample_write(PATH, bytes, size);
    kdinr_status status = kd_kdm_load_info(PATH, &model, error);
    if (status == KDINR_OK) status = kd_kdm_load_networks(PATH, &model, error);
    kd_kdm_free(&model);
    return status;
}

static void forms_come_back(void **state)
{
    kd_model model, back;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_forms(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    assert_int_equal(bytes[10], 2);
    check_ok(kd_kdm_save(bytes, size, PATH, &error), error);
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    check_ok(kd_kdm_load_networks(PATH, &back, &error), error);
    for (int a = 0; a < 3; a++) {
        const kd_model_array *x = &model.arrays[a], *y = &back.arrays[a];
        float found[512], expected[512];
        kd_net net;

        assert_int_equal(y->form, x->form);
        assert_int_equal(y->block_layers, x->block_layers);
        kd_kdm_net(y, &y->networks[0], &net);
        assert_true(net.n_params <= 512);
        kd_kdm_params(x, &x->networks[0], expected);
        kd_kdm_params(y, &y->networks[0], found);
        assert_memory_equal(found, expected, net.n_params * sizeof *found);
    }
    kd_kdm_free(&back);
    free(bytes);
    kd_kdm_free(&model);
}

static void broken_forms_are_not_written(void **state)
{
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_forms(&model);
    model.arrays[1].form = (kd_form)3;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "array 1, form of the networks: 3, allowed are 0 to 2", error);
    model.arrays[1].form = KD_FORM_SIREN;
    model.arrays[1].block_layers = 2;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "array 1, layers of a block: 2, allowed are 1 to 1", error);
    model.arrays[1].block_layers = 1;
    kd_kdm_free(&model);
}

/* FORM is the last section, a byte for each array. */
static void broken_forms_are_not_read(void **state)
{
    kd_model model;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_forms(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    check_ok(read_bytes(bytes, size, &error), error);
    bytes[size - 1] = 3;
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT, "form of the networks: 3",
                error);
    bytes[size - 1] = KD_FORM_SIREN; /* of an array whose flag says two layers */
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT, "layers of a block: 2", error);
    bytes[size - 1] = KD_FORM_EVEN;
    bytes[size - 3] = KD_FORM_EVEN; /* of an array whose flag says another number */
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT, "layers of a block: 3", error);
    bytes[size - 3] = KD_FORM_KDINR;
    repair_put(bytes + 10, 1, 2);
    repair(bytes, size);
    check_fails(read_bytes(bytes, size, &error), KDINR_ERROR_FORMAT,
                "section \"FORM\" does not exist in format 1.1", error);
    free(bytes);
    kd_kdm_free(&model);
}

/* ---- settings ---- */

static void settings_are_the_authors_own(void **state)
{
    const double rates[] = {0.0, 1e-5, 1e-4, 5e-5};

    (void)state;
    for (int n = 1; n < 4; n++) {
        const kdinr_options own = kdinr_options_for(KDINR_PRESET_DEFAULT, (kdinr_network)n);
        const kdinr_options paper = kdinr_options_for(KDINR_PRESET_PAPER, (kdinr_network)n);

        assert_true(own.student_rate == rates[n] && paper.student_rate == 1e-4);
        assert_true(own.direct && paper.direct && !own.warm_start);
        assert_true(own.omega_first == 30.0 && own.omega_hidden == 30.0);
        assert_int_equal(own.optimizer, KDINR_OPTIMIZER_ADAM);
        assert_int_equal(own.sampling, KDINR_SAMPLING_UNIFORM);
        assert_int_equal(paper.weights, KDINR_WEIGHTS_FLOAT32);
        assert_int_equal(own.weights, n == KDINR_NETWORK_NEURCOMP ? KDINR_WEIGHTS_CLUSTERED
                                                                  : KDINR_WEIGHTS_QUANTISED);
        assert_int_equal(own.cluster_bits, 9);
        assert_true(own.gradient_weight == 0.0);
    }
    const kdinr_options usual = kdinr_options_for(KDINR_PRESET_PAPER, KDINR_NETWORK_KDINR);
    assert_true(usual.blocks == KDINR_BLOCKS_BOTTLENECK && !usual.direct && usual.epochs == 400);
}

static void settings_that_no_network_has_are_refused(void **state)
{
    kdinr_options options = kdinr_options_for(KDINR_PRESET_DEFAULT, KDINR_NETWORK_SIREN);
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    options.blocks = KDINR_BLOCKS_PLAIN;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT,
                "option blocks is 2, but network 2 has its own", error);
    options.network = (kdinr_network)4;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT,
                "option network is 4, allowed are 0 to 3", error);
    assert_null(encoder);
}

/* ---- a whole series ---- */

static void compress(const kdinr_options *options)
{
    const int dims[3] = {NX, NY, NZ};
    float *samples = malloc(N * sizeof *samples);
    const kdinr_array array = {"t", KDINR_FLOAT32, 1, KDINR_POINTS, samples, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;
    kdinr_error error;

    check_ok(kdinr_encoder_open(options, &encoder, &error), error);
    for (int t = 0; t < N_STEPS; t++) {
        series_fill(dims, t, N_STEPS, samples);
        check_ok(kdinr_encoder_push(encoder, &volume, t, &error), error);
    }
    for (int t = 0; t < N_STEPS; t++) {
        series_fill(dims, t, N_STEPS, samples);
        check_ok(kdinr_encoder_verify(encoder, &volume, t, &error), error);
    }
    check_ok(kdinr_encoder_finish(encoder, PATH, &error), error);
    kdinr_encoder_close(encoder);
    free(samples);
}

/* Parameters of a network with four inputs and one output. */
static uint64_t count(kdinr_network network, uint64_t m, uint64_t d)
{
    const uint64_t wide = 4 * m, encoder = 10 * m * m + 11 * m;

    switch (network) {
    case KDINR_NETWORK_COORDNET:
        return encoder + d * 2 * (wide * wide + wide) + wide + 1;
    case KDINR_NETWORK_SIREN:
        return 5 * m + d * (m * m + m) + m + 1;
    default:
        return 5 * m + d * 2 * (m * m + m) + m + 1;
    }
}

static kdinr_decoder *compress_and_open(const kdinr_options *options)
{
    kdinr_decoder *decoder;
    kdinr_error error;

    compress(options);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    check_ok(kdinr_decoder_load(decoder, &error), error);
    return decoder;
}

static void networks_have_their_authors_depth(void **state)
{
    const uint64_t depths[] = {0, 10, 3, 7};

    (void)state;
    for (int n = 1; n < 4; n++) {
        kdinr_options options = kdinr_options_for(KDINR_PRESET_DEFAULT, (kdinr_network)n);

        options.width = 3;
        options.student_samples = 1e4;
        options.keep_bad = true; /* it only matters how large they are */
        kdinr_decoder *decoder = compress_and_open(&options);
        assert_int_equal(kdinr_decoder_info(decoder)->arrays[0].n_parameters,
                         count((kdinr_network)n, 3, depths[n]));
        kdinr_decoder_close(decoder);
    }
}

/* Of KD-INR's own: one width and three blocks, or the paper's formula with two blocks or, of its
 * preset, five. */
static void blocks_are_those_asked_for(void **state)
{
    const kdinr_blocks blocks[] = {KDINR_BLOCKS_EVEN, KDINR_BLOCKS_BOTTLENECK, KDINR_BLOCKS_PLAIN,
                                   KDINR_BLOCKS_BOTTLENECK};
    const uint64_t m = 3, encoder = 10 * m * m + 11 * m, bottleneck = 9 * m * m + 6 * m;
    const uint64_t counts[] = {
        count(KDINR_NETWORK_NEURCOMP, m, 3), encoder + 2 * bottleneck + 4 * m + 1,
        count(KDINR_NETWORK_COORDNET, m, 2), encoder + 5 * bottleneck + 4 * m + 1};

    (void)state;
    for (int n = 0; n < 4; n++) {
        const kdinr_preset preset = n == 3 ? KDINR_PRESET_PAPER : KDINR_PRESET_DEFAULT;
        kdinr_options options = kdinr_options_for(preset, KDINR_NETWORK_KDINR);

        assert_int_equal(options.blocks, n == 3 ? KDINR_BLOCKS_BOTTLENECK : KDINR_BLOCKS_EVEN);
        options.blocks = blocks[n];
        options.width = (int)m;
        options.teacher_samples = options.student_samples = 1e4;
        options.keep_bad = true;
        kdinr_decoder *decoder = compress_and_open(&options);
        const kdinr_info *info = kdinr_decoder_info(decoder);
        /* and two modes of time, which the paper does not know */
        assert_int_equal(info->arrays[0].n_parameters, counts[n] + (n == 3 ? 0 : 2 * m));
        assert_int_equal(strstr(info->provenance, "blocks") != NULL, n == 1 || n == 2);
        kdinr_decoder_close(decoder);
    }
}

/* As wide as the bytes allow, and what the file says of itself. */
static void networks_learn_and_have_the_size_asked_for(void **state)
{
    const char *const provenance[] = {NULL, "network=1", "network=2", "network=3"};

    (void)state;
    for (int n = 1; n < 4; n++) {
        kdinr_options options = kdinr_options_for(KDINR_PRESET_DEFAULT, (kdinr_network)n);
        uint64_t m = 2;

        options.ratio = 25;
        options.weights = KDINR_WEIGHTS_QUANTISED;
        options.depth = 2;
        options.omega_first = 6;
        options.student_rate = 1e-3;
        options.student_samples = 8e5;
        options.n_steps = N_STEPS;
        kdinr_decoder *decoder = compress_and_open(&options);
        const kdinr_info *info = kdinr_decoder_info(decoder);
        while (count((kdinr_network)n, m, 2) < info->arrays[0].n_parameters) {
            m++;
        }
        assert_int_equal(info->arrays[0].n_parameters, count((kdinr_network)n, m, 2));
        assert_int_equal(info->version_minor, n == KDINR_NETWORK_COORDNET ? 0 : 2);
        assert_non_null(strstr(info->provenance, provenance[n]));
        assert_null(strstr(info->provenance, "direct"));
        assert_true(info->data_size >= 25 * info->file_size);
        assert_true(info->data_size <= 26 * info->file_size);
        assert_true(info->arrays[0].psnr_overall > 25.0);
        kdinr_decoder_close(decoder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_come_back),
        cmocka_unit_test(broken_forms_are_not_written),
        cmocka_unit_test(broken_forms_are_not_read),
        cmocka_unit_test(settings_are_the_authors_own),
        cmocka_unit_test(settings_that_no_network_has_are_refused),
        cmocka_unit_test(networks_have_their_authors_depth),
        cmocka_unit_test(blocks_are_those_asked_for),
        cmocka_unit_test(networks_learn_and_have_the_size_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
