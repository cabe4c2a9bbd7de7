/* The container: what is packed, saved and loaded comes back; what breaks a rule is not packed. */
#include "kdm_samples.h"

#define PATH "test_kdm.kdm"

/* ---- comparing ---- */

static void check_same_network(const kd_model_array *array, const kd_network *a,
                               const kd_network *b)
{
    assert_int_equal(a->kind, b->kind);
    for (int c = 0; c < array->n_components; c++) {
        assert_true(a->range[c][0] == b->range[c][0] && a->range[c][1] == b->range[c][1]);
    }
    if (a->kind == KD_NETWORK_CONSTANT) return;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->depth, b->depth);
    assert_memory_equal(a->steps, b->steps, sizeof a->steps);
    const kd_stored stored = kd_kdm_stored(array, a);
    if (stored.n_codes > 0) {
        assert_memory_equal(a->codes, b->codes, stored.n_codes * sizeof(int16_t));
    } else {
        assert_null(b->codes);
    }
    if (stored.n_floats > 0) {
        assert_memory_equal(a->params, b->params, stored.n_floats * sizeof(float));
    } else {
        assert_null(b->params);
    }
}

/* Everything that kd_kdm_load_info fills. */
static void check_same_array_info(const kd_model *a, const kd_model *b, int i)
{
    const kd_model_array *x = &a->arrays[i], *y = &b->arrays[i];

    assert_string_equal(x->name, y->name);
    assert_int_equal(x->type, y->type);
    assert_int_equal(x->n_components, y->n_components);
    assert_int_equal(x->association, y->association);
    assert_int_equal(x->has_fill, y->has_fill);
    assert_true(x->fill_value == y->fill_value);
    assert_memory_equal(x->range, y->range, (size_t)x->n_components * 2 * sizeof(double));
    assert_memory_equal(x->bricks, y->bricks, sizeof x->bricks);
    assert_int_equal(x->n_windows, y->n_windows);
    assert_memory_equal(x->window_starts, y->window_starts,
                        ((size_t)x->n_windows + 1) * sizeof(int));
    assert_int_equal(x->block_layers, y->block_layers);
    assert_true(x->omega_first == y->omega_first && x->omega_hidden == y->omega_hidden);
    assert_int_equal(x->n_masks, y->n_masks);
    assert_memory_equal(x->psnr, y->psnr, (size_t)a->n_steps * sizeof(float));
    assert_memory_equal(x->max_error, y->max_error, (size_t)a->n_steps * sizeof(float));
    assert_true(x->mse == y->mse);
    assert_int_equal(x->quality_exact, y->quality_exact);
}

static void check_same_info(const kd_model *a, const kd_model *b)
{
    assert_memory_equal(a->dims, b->dims, sizeof a->dims);
    assert_memory_equal(a->first, b->first, sizeof a->first);
    assert_memory_equal(a->origin, b->origin, sizeof a->origin);
    assert_memory_equal(a->spacing, b->spacing, sizeof a->spacing);
    assert_memory_equal(a->direction, b->direction, sizeof a->direction);
    assert_int_equal(a->n_steps, b->n_steps);
    assert_memory_equal(a->times, b->times, (size_t)a->n_steps * sizeof(double));
    assert_int_equal(a->n_arrays, b->n_arrays);
    assert_string_equal(a->provenance, b->provenance);
    for (int i = 0; i < a->n_arrays; i++) {
        check_same_array_info(a, b, i);
    }
}

static void check_same_networks(const kd_model *a, const kd_model *b)
{
    for (int i = 0; i < a->n_arrays; i++) {
        const kd_model_array *x = &a->arrays[i], *y = &b->arrays[i];
        const int n = x->n_windows * x->bricks[0] * x->bricks[1] * x->bricks[2];

        for (int k = 0; k < n; k++) {
            check_same_network(x, &x->networks[k], &y->networks[k]);
        }
        if (x->n_masks == 0) continue;
        assert_memory_equal(x->step_masks, y->step_masks, (size_t)a->n_steps * sizeof(int));
        for (int k = 0; k < x->n_masks; k++) {
            assert_int_equal(x->masks[k].size, y->masks[k].size);
            assert_memory_equal(x->masks[k].bytes, y->masks[k].bytes, x->masks[k].size);
        }
    }
}

/* Pack, save, load, compare. Returns the size. */
static size_t round_trip(const kd_model *model)
{
    kdinr_error error;
    kd_model back;
    uint8_t *bytes;
    size_t size;

    check_ok(kd_kdm_pack(model, &bytes, &size, &error), error);
    check_ok(kd_kdm_save(bytes, size, PATH, &error), error);
    assert_true(kd_kdm_can_read(PATH));
    check_ok(kd_kdm_load_info(PATH, &back, &error), error);
    assert_int_equal(back.file_size, size);
    check_same_info(model, &back);
    assert_null(back.arrays[0].networks);
    assert_null(back.arrays[0].masks);
    check_ok(kd_kdm_load_networks(PATH, &back, &error), error);
    check_same_networks(model, &back);
    check_ok(kd_kdm_load_networks(PATH, &back, &error), error); /* again: replaces */
    check_same_networks(model, &back);
    kd_kdm_free(&back);
    kd_kdm_free(&back);
    free(bytes);
    return size;
}

/* ---- round trips ---- */

static void kdm_every_kind_round_trips(void **state)
{
    (void)state;
    for (int kind = KD_NETWORK_CONSTANT; kind <= KD_NETWORK_CLUSTERED; kind++) {
        kd_model model;
        sample_small(&model, (kd_network_kind)kind);
        (void)round_trip(&model);
        kd_kdm_free(&model);
    }
}

static void kdm_every_feature_round_trips(void **state)
{
    kd_model model;

    (void)state;
    sample_rich(&model);
    (void)round_trip(&model);
    kd_kdm_free(&model);
}

static void kdm_one_network_costs_little_more_than_its_parameters(void **state)
{
    kd_model model;
    size_t code_size;
    kdinr_error error;
    uint8_t *code;

    (void)state;
    sample_small(&model, KD_NETWORK_QUANTISED);
    const kd_entropy_tensor all = {0, model.arrays[0].networks[0].codes, 119, false};
    check_ok(kd_entropy_pack_codes(&all, 1, &code, &code_size, &error), error);
    free(code);
    const size_t size = round_trip(&model);
    print_message("fixed bytes of a file with 3 steps: about %zu of %zu\n", size - code_size, size);
    assert_in_range(size - code_size, 100, 250);
    kd_kdm_free(&model);
}

static size_t grid_size(const kd_model *model)
{
    size_t size;
    kdinr_error error;

    check_ok(kd_size_grid(model, &size, &error), error);
    return size;
}

/* Each grid field alone differs from its default; what is planned for it is what it takes. */
static void kdm_grid_fields_are_stored_when_needed(void **state)
{
    kd_model model;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    const size_t plain = round_trip(&model), plain_grid = grid_size(&model);
    model.first[2] = -2000000000;
    assert_int_equal(round_trip(&model), plain + 12);
    assert_int_equal(grid_size(&model), plain_grid + 12);
    model.first[2] = 0;
    model.origin[1] = 1e-300;
    assert_int_equal(round_trip(&model), plain + 24);
    assert_int_equal(grid_size(&model), plain_grid + 24);
    model.origin[1] = 0.0;
    model.spacing[0] = 0.1;
    assert_int_equal(round_trip(&model), plain + 24);
    model.spacing[0] = 1.0;
    model.direction[8] = -1.0;
    assert_int_equal(round_trip(&model), plain + 72);
    assert_int_equal(grid_size(&model), plain_grid + 72);
    kd_kdm_free(&model);
}

static void kdm_times_come_back_exactly(void **state)
{
    kd_model model;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    const size_t plain = round_trip(&model);
    assert_int_equal(kd_size_times(model.times, 3), 0);
    for (int k = 0; k < 3; k++) {
        model.times[k] = 0.3 + 0.1 * k;
    }
    assert_int_equal(round_trip(&model), plain + 16);
    assert_int_equal(kd_size_times(model.times, 3), 16);
    for (int k = 0; k < 3; k++) {
        model.times[k] = -1e6 + k / 3.0;
    }
    (void)round_trip(&model);
    model.times[1] = nextafter(model.times[0], 1e9);
    assert_int_equal(round_trip(&model), plain + 24);
    assert_int_equal(kd_size_times(model.times, 3), 24);
    kd_kdm_free(&model);

    sample_grid(&model, 1, 1, 1, 1, 1);
    sample_array(&model.arrays[0], "a", 1);
    model.arrays[0].networks = sample_memory(sizeof(kd_network));
    sample_network(&model.arrays[0], model.arrays[0].networks, KD_NETWORK_CONSTANT, 0, 0, 0);
    (void)round_trip(&model);
    model.times[0] = 1e9;
    (void)round_trip(&model);
    kd_kdm_free(&model);
}

static void kdm_quality_is_never_understated(void **state)
{
    const float errors[] = {0.0f, 1e-45f, 1e-20f, 0.1f, 1.0f, 1.0000001f, 3.4028234e38f, INFINITY};
    const float psnrs[] = {-400.0f, -0.004f, 0.0f, 12.345f, 99.99f, 400.0f, INFINITY};
    const float stored[] = {-327.67f, 0.0f, 0.0f, 12.35f, 99.99f, 327.66f, INFINITY};
    kdinr_error error;
    kd_model model, back;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    for (size_t i = 0; i < 8; i++) {
        model.arrays[0].max_error[1] = errors[i];
        model.arrays[0].psnr[1] = psnrs[i % 7];
        check_ok(kd_kdm_pack(&model, &bytes, &size, &error), error);
        check_ok(kd_kdm_save(bytes, size, PATH, &error), error);
        check_ok(kd_kdm_load_info(PATH, &back, &error), error);
        const float found = back.arrays[0].max_error[1];
        assert_true(found >= errors[i]);
        if (errors[i] < 1e38f) assert_true((double)found <= 1.0079 * (double)errors[i] + 1e-40);
        assert_true(back.arrays[0].psnr[1] == stored[i % 7] ||
                    fabsf(back.arrays[0].psnr[1] - stored[i % 7]) < 0.011f);
        kd_kdm_free(&back);
        free(bytes);
    }
    kd_kdm_free(&model);
}

static void kdm_many_networks_are_packed(void **state)
{
    kd_model model;
    kd_model_array *array;

    (void)state;
    sample_grid(&model, 200, 9, 9, 1, 1);
    array = &model.arrays[0];
    sample_array(array, "many", 1);
    array->bricks[0] = 64;
    array->networks = sample_memory(64 * sizeof(kd_network));
    for (int i = 0; i < 64; i++) { /* 12 bytes of range, shape and kind, 14 step codes */
        sample_network(array, &array->networks[i], KD_NETWORK_QUANTISED, 2, 1, (uint64_t)i);
        memset(array->networks[i].codes, 0, 119 * sizeof(int16_t));
    }
    const size_t packed = round_trip(&model);
    assert_in_range(packed, 200, 64 * 32);
    for (uint64_t i = 0; i < 64; i++) {
        for (uint64_t t = 0; t < 14; t++) {
            array->networks[i].steps[t] = (uint8_t)kd_rng_below(kd_rng_at(i, t), 256);
        }
        array->networks[i].range[0][1] = kd_rng_unit(kd_rng_at(i, 99)) + 3.0f;
    }
    assert_in_range(round_trip(&model), packed + 64 * 14, packed + 64 * 26);
    kd_kdm_free(&model);
}

/* ---- derived values ---- */

static void kdm_float16_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_true(kd_kdm_round_float16(1.0f + 0x1p-11f) == 1.0f);
    assert_true(kd_kdm_round_float16(1.0f + 0x1.8p-10f) == 1.0f + 0x1p-9f);
    assert_true(kd_kdm_round_float16(1.0f + 0x1.002p-11f) == 1.0f + 0x1p-10f);
    assert_true(kd_kdm_round_float16(65519.0f) == 65504.0f);
    assert_true(isinf(kd_kdm_round_float16(65520.0f)));
    assert_true(kd_kdm_round_float16(-1e9f) == -INFINITY);
    assert_true(isnan(kd_kdm_round_float16(NAN)));
    assert_true(kd_kdm_round_float16(0x1p-24f) == 0x1p-24f);
    assert_true(kd_kdm_round_float16(0x1p-25f) == 0.0f);
    assert_true(kd_kdm_round_float16(0x1.002p-25f) == 0x1p-24f);
    assert_true(kd_kdm_round_float16(0x1.ffcp-15f) == 0x1.ffcp-15f + 0x1p-25f ||
                kd_kdm_round_float16(0x1.ffcp-15f) == 0x1.ff8p-15f);
    for (int exponent = -24; exponent < 16; exponent++) { /* every float16 is itself */
        for (int fraction = 0; fraction < 1024; fraction++) {
            const float value = exponent < -14 ? ldexpf((float)fraction, -24)
                                               : ldexpf((float)(1024 + fraction), exponent - 10);
            assert_true(kd_kdm_round_float16(value) == value);
            assert_true(kd_kdm_round_float16(-value) == -value);
        }
    }
}

static void kdm_params_are_codes_times_steps(void **state)
{
    kd_model model;
    float params[119];

    (void)state;
    assert_true(kd_kdm_step(0) == 1.0f && kd_kdm_step(8) == 0.5f && kd_kdm_step(248) == 0x1p-31f);
    sample_small(&model, KD_NETWORK_QUANTISED);
    const kd_network *network = &model.arrays[0].networks[0];
    kd_kdm_params(&model.arrays[0], network, params);
    assert_true(params[0] == (float)network->codes[0] * kd_kdm_step(network->steps[0]));
    assert_true(params[9] == (float)network->codes[9] * kd_kdm_step(network->steps[1]));
    assert_true(params[118] == (float)network->codes[118] * kd_kdm_step(network->steps[13]));
    kd_kdm_free(&model);
}

static void kdm_data_size_counts_all_arrays(void **state)
{
    kd_model model;

    (void)state;
    sample_rich(&model);
    assert_int_equal(kd_kdm_data_size(&model),
                     5 * (9 * 8 * 7 * 4 + 8 * 7 * 6 * 3 * 2 + 9 * 8 * 7 * 8));
    for (int i = 0; i < 3; i++) {
        model.dims[i] = KD_KDM_MAX_DIM;
    }
    assert_true(kd_kdm_data_size(&model) == UINT64_MAX);
    kd_kdm_free(&model);
}

/* ---- rules ---- */

/* One broken rule at a time; `field` is set to `bad` and back. */
#define check_refused(model, field, bad, text)                                                     \
    do {                                                                                           \
        uint8_t *refused_bytes;                                                                    \
        size_t refused_size;                                                                       \
        kdinr_error refused_error;                                                                 \
        const __typeof__(field) good = (field);                                                    \
        (field) = (bad);                                                                           \
        check_fails(kd_kdm_pack((model), &refused_bytes, &refused_size, &refused_error),           \
                    KDINR_ERROR_ARGUMENT, (text), refused_error);                                  \
        assert_null(refused_bytes);                                                                \
        (field) = good;                                                                            \
    } while (0)

static void kdm_broken_rules_are_not_packed(void **state)
{
    kd_model model;
    kd_model_array *a;

    (void)state;
    sample_rich(&model);
    a = &model.arrays[0];
    check_refused(&model, model.dims[1], 0, "points along an axis: 0");
    check_refused(&model, model.first[0], INT32_MAX, "index of the first point");
    check_refused(&model, model.origin[0], (double)NAN, "origin");
    check_refused(&model, model.spacing[2], (double)INFINITY, "spacing");
    check_refused(&model, model.direction[3], (double)NAN, "direction");
    check_refused(&model, model.times[2], 1.0, "times");
    check_refused(&model, model.provenance[1], '\n', "provenance: byte 0x0A at 1");
    check_refused(&model, a->name[0], '\x80', "array 0, name");
    check_refused(&model, a->type, (kdinr_type)10, "array 0, type: 10");
    check_refused(&model, a->n_components, 10, "components: 10");
    check_refused(&model, a->range[0][0], 5.0, "range");
    check_refused(&model, a->bricks[2], 7, "bricks along an axis: 7, allowed are 1 to 6");
    check_refused(&model, a->n_windows, 6, "windows: 6");
    check_refused(&model, a->window_starts[1], 5, "window 1 has steps 5 to 4");
    check_refused(&model, a->block_layers, 4, "layers of a block");
    check_refused(&model, a->omega_first, 0.0f, "first frequency");
    check_refused(&model, a->omega_hidden, (float)NAN, "hidden frequency");
    check_refused(&model, a->n_masks, 6, "missing-value maps: 6");
    check_refused(&model, a->step_masks[0], 2, "map of a step: 2, allowed are -1 to 1");
    check_refused(&model, a->psnr[0], (float)NAN, "quality");
    check_refused(&model, a->max_error[3], -1.0f, "quality");
    check_refused(&model, a->mse, -1.0, "mean squared error");
    check_refused(&model, a->networks[0].kind, (kd_network_kind)5, "kind of a network: 5");
    check_refused(&model, a->networks[0].width, 257, "width of a network: 257");
    check_refused(&model, a->networks[2].depth, 0, "depth of a network: 0");
    check_refused(&model, a->networks[1].range[0][0], (float)INFINITY, "network 1");
    check_refused(&model, a->networks[0].codes[5], INT16_MIN, "parameter 5 is -32768");
    check_refused(&model, a->networks[2].params[6], 70000.0f, "parameter 6 is inf");
    check_refused(&model, a->networks[3].params[7], (float)NAN, "parameter 7");
    (void)round_trip(&model);
    kd_kdm_free(&model);
}

static void kdm_names_must_be_text(void **state)
{
    const char *bad[] = {"",         "\x7F",         "\xC2\x80",         "\xC0\xAF",
                         "\xE0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "a\xE2\x82"};
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        free(model.arrays[0].name);
        model.arrays[0].name = sample_text(bad[i]);
        check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT, "name",
                    error);
    }
    kd_kdm_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kdm_every_kind_round_trips),
        cmocka_unit_test(kdm_every_feature_round_trips),
        cmocka_unit_test(kdm_one_network_costs_little_more_than_its_parameters),
        cmocka_unit_test(kdm_grid_fields_are_stored_when_needed),
        cmocka_unit_test(kdm_times_come_back_exactly),
        cmocka_unit_test(kdm_quality_is_never_understated),
        cmocka_unit_test(kdm_many_networks_are_packed),
        cmocka_unit_test(kdm_float16_rounds_to_nearest_even),
        cmocka_unit_test(kdm_params_are_codes_times_steps),
        cmocka_unit_test(kdm_data_size_counts_all_arrays),
        cmocka_unit_test(kdm_broken_rules_are_not_packed),
        cmocka_unit_test(kdm_names_must_be_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
