/* The limits of the format and of memory: each number that is out of bounds has a message of its
 * own, which names what was found; nothing large is allocated to find that out. Files that change
 * or vanish while they are open are noticed. */
#include "kdm_samples.h"

#include <unistd.h>

#include "fuzz/repair.h"

#define PATH "test_limits.kdm"

enum { HEADER = 28, ENTRY = 16 };

/* ---- one number out of bounds ---- */

/* Where a number is: in the header (-1), or in a section. */
typedef struct damage {
    int section;
    size_t offset;
    int width;
    uint64_t value;
    kdinr_status status;
    const char *message;
} damage;

/* Offsets in META of sample_rich: flags, 3 arrays, provenance, all optional fields, 5 times. */
enum {
    META = 0,
    NETS = 1,
    MASK = 3,
    N_ARRAYS = 1,
    PROVENANCE_SIZE = 2,
    N_STEPS = 4,
    DIMS = 8,
    FIRST = 20,
    ORIGIN = 32,
    ARRAY = 20 + 12 + 24 + 24 + 72 + 10 + 40, /* the first one */
    WINDOWS = ARRAY + 6 + 14
};

static const damage cases[] = {
    {-1, 8, 2, 0xFFFF, KDINR_ERROR_VERSION, "format version 65535.0"},
    {-1, 12, 4, UINT32_MAX, KDINR_ERROR_FORMAT, "4294967295 sections, allowed are 1 to 64"},
    {-1, 12, 4, 0, KDINR_ERROR_FORMAT, "0 sections"},
    {-1, 16, 8, UINT64_MAX, KDINR_ERROR_FORMAT, "its header says 18446744073709551615"},
    {-1, HEADER + 8, 8, UINT64_MAX, KDINR_ERROR_FORMAT,
     "section \"META\": 18446744073709551615 bytes declared"},
    {-1, HEADER + ENTRY + 8, 8, (uint64_t)1 << 63, KDINR_ERROR_FORMAT,
     "section \"NETS\": 9223372036854775808 bytes declared"},
    {-1, HEADER + 3 * ENTRY + 8, 8, 3, KDINR_ERROR_FORMAT, "the sections end at byte"},
    {META, 0, 1, 0xFF, KDINR_ERROR_FORMAT, "flags 0xFF have unknown bits"},
    {META, N_ARRAYS, 1, 255, KDINR_ERROR_FORMAT, "arrays: 255, allowed are 1 to 64"},
    {META, N_ARRAYS, 1, 0, KDINR_ERROR_FORMAT, "arrays: 0, allowed"},
    {META, PROVENANCE_SIZE, 2, 0xFFFF, KDINR_ERROR_FORMAT, "65535 bytes needed"},
    {META, N_STEPS, 4, UINT32_MAX, KDINR_ERROR_FORMAT, "time steps: 2147483647, allowed"},
    {META, N_STEPS, 4, 1 << 20, KDINR_ERROR_FORMAT, "3145728 steps need at least 4 bytes each"},
    {META, DIMS, 8, (uint64_t)1 << 63, KDINR_ERROR_FORMAT, "points along an axis: 0, allowed"},
    {META, DIMS, 4, UINT32_MAX, KDINR_ERROR_FORMAT,
     "points along an axis: 2147483647, allowed are 1 to 1048576"},
    {META, FIRST, 4, INT32_MAX, KDINR_ERROR_FORMAT, "index of the first point: 2147483647"},
    {META, ORIGIN, 8, 0x7FF0000000000000, KDINR_ERROR_FORMAT, "origin: number 0 is inf"},
    {META, ARRAY + 1, 1, 0xF0, KDINR_ERROR_FORMAT, "16 components, allowed are 1 to 9"},
    {META, ARRAY + 1, 1, 0x0F, KDINR_ERROR_FORMAT, "array 0, type: 15"},
    {META, ARRAY + 2, 1, 255, KDINR_ERROR_FORMAT, "array 0, bricks along an axis: 255"},
    {META, ARRAY + 5, 1, 0, KDINR_ERROR_FORMAT, "array"},
    {META, ARRAY + 6, 1, 0x1B, KDINR_ERROR_FORMAT, "array name: byte 0x1B at 0"},
    {META, WINDOWS, 4, UINT32_MAX, KDINR_ERROR_FORMAT, "2147483647 windows, allowed are 1 to 5"},
    {META, WINDOWS + 4, 4, 0, KDINR_ERROR_FORMAT, "window 0 has steps 0 to -1"},
    {NETS, 0, 1, 9, KDINR_ERROR_FORMAT, "packing 9, allowed are 0 and 1"},
    {MASK, 0, 1, 3, KDINR_ERROR_FORMAT, "array 0 has form 3"},
    {MASK, 1, 4, 77, KDINR_ERROR_FORMAT, "missing-value map of a step: 77"},
    {MASK, 21, 4, UINT32_MAX, KDINR_ERROR_FORMAT, "4294967295 bytes needed"},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static size_t section_start(const uint8_t *bytes, int section)
{
    size_t start = HEADER + (size_t)repair_get(bytes + 12, 4) * ENTRY;

    for (int i = 0; i < section; i++) {
        start += (size_t)repair_get(bytes + HEADER + i * ENTRY + 8, 8);
    }
    return section < 0 ? 0 : start;
}

static kdinr_status load(kdinr_error *error)
{
    kd_model model;
    kdinr_status status = kd_kdm_load_info(PATH, &model, error);

    if (status == KDINR_OK) status = kd_kdm_load_networks(PATH, &model, error);
    kd_kdm_free(&model);
    return status;
}

static void limits_have_each_its_own_message(void **state)
{
    static kdinr_error errors[N_CASES];
    kd_model model;
    uint8_t *bytes;
    size_t size;
    kdinr_error error;

    (void)state;
    sample_rich(&model);
    check_ok(kd_kdm_pack(&model, &bytes, &size, &error), error);
    kd_kdm_free(&model);
    uint8_t *copy = sample_memory(size);
    for (size_t i = 0; i < N_CASES; i++) {
        const damage *one = &cases[i];

        memcpy(copy, bytes, size);
        repair_put(copy + section_start(bytes, one->section) + one->offset, one->value, one->width);
        repair(copy, size);
        sample_write(PATH, copy, size);
        check_fails(load(&errors[i]), one->status, one->message, errors[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(errors[i].message, errors[k].message);
        }
    }
    /* two sections that share five bytes: the table has no room to say so, lengths are all it has
     */
    memcpy(copy, bytes, size);
    for (int i = 0; i < 2; i++) {
        uint8_t *length = copy + HEADER + i * ENTRY + 8;
        repair_put(length, repair_get(length, 8) + (i == 0 ? 5 : (uint64_t)-5), 8);
    }
    repair(copy, size);
    sample_write(PATH, copy, size);
    check_fails(load(&error), KDINR_ERROR_FORMAT, "section META: it should end at byte", error);
    free(copy);
    free(bytes);
    unlink(PATH);
}

/* ---- memory ---- */

/* A file of a few bytes whose grid has 2^60 points; with a map if `masked`. */
static void write_huge(bool masked)
{
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    sample_small(&model, KD_NETWORK_CONSTANT);
    model.dims[0] = model.dims[1] = model.dims[2] = 1 << 20;
    if (masked) {
        model.arrays[0].n_masks = 1;
        model.arrays[0].masks = sample_memory(sizeof(kd_mask));
        model.arrays[0].masks[0].bytes = sample_memory(1);
        model.arrays[0].step_masks = sample_memory(3 * sizeof(int));
    }
    check_ok(kd_kdm_pack(&model, &bytes, &size, &error), error);
    assert_true(size < 400);
    sample_write(PATH, bytes, size);
    free(bytes);
    kd_kdm_free(&model);
}

static void limits_of_memory_are_checked_before_it_is_asked_for(void **state)
{
    float values[64];
    kdinr_decoder *decoder;
    kdinr_error error;
    size_t bytes = 7;

    (void)state;
    write_huge(false);
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    check_fails(kdinr_decoder_check(decoder, &request, &bytes, &error), KDINR_ERROR_MEMORY,
                "would take 4611686018427387904 bytes, the limit is", error);
    assert_int_equal(bytes, 7);
    check_fails(kdinr_decoder_read(decoder, &request, values, &error), KDINR_ERROR_MEMORY,
                "would take 4611686018427387904 bytes, the limit is", error);
    for (int i = 0; i < 6; i++) { /* a corner of it is no problem */
        request.extent[i] = (1 << 20) - (i % 2 == 0 ? 4 : 1);
    }
    check_ok(kdinr_decoder_check(decoder, &request, &bytes, &error), error);
    assert_int_equal(bytes, sizeof values);
    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    check_near(values[63], -1.5, 0.0);
    kdinr_decoder_close(decoder);

    write_huge(true); /* but its map is, for it must be unpacked from the start */
    check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
    check_fails(kdinr_decoder_read(decoder, &request, values, &error), KDINR_ERROR_MEMORY,
                "bytes with the map of missing values", error);
    kdinr_decoder_close(decoder);
    unlink(PATH);
}

static void limits_of_memory_can_be_lowered_and_raised(void **state)
{
    float values[64];
    kdinr_options options = kdinr_options_default();
    kdinr_error error;

    (void)state;
    write_huge(false);
    for (uint64_t limit = 255; limit <= 256; limit++) {
        kdinr_decoder *decoder;

        options.memory_limit = limit;
        check_ok(kdinr_decoder_open(PATH, &options, &decoder, &error), error);
        kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
        request.extent[1] = request.extent[3] = request.extent[5] = 3;
        if (limit == 255) {
            check_fails(kdinr_decoder_read(decoder, &request, values, &error), KDINR_ERROR_MEMORY,
                        "would take 256 bytes, the limit is 255", error);
        } else {
            check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
        }
        kdinr_decoder_close(decoder);
    }
    options.memory_limit = UINT64_MAX;
    kdinr_decoder *decoder;
    check_ok(kdinr_decoder_open(PATH, &options, &decoder, &error), error);
    const kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    size_t bytes;
    check_ok(kdinr_decoder_check(decoder, &request, &bytes, &error), error);
    assert_true(bytes == (size_t)1 << 62);
    kdinr_decoder_close(decoder);
    unlink(PATH);
}

/* ---- files that change ---- */

static void limits_of_patience_with_files_that_change(void **state)
{
    kd_model model;
    uint8_t *bytes;
    size_t size;
    kdinr_decoder *decoder;
    kdinr_error error;

    (void)state;
    sample_rich(&model);
    check_ok(kd_kdm_pack(&model, &bytes, &size, &error), error);
    kd_kdm_free(&model);
    for (int round = 0; round < 3; round++) {
        sample_write(PATH, bytes, size);
        check_ok(kdinr_decoder_open(PATH, NULL, &decoder, &error), error);
        if (round == 0) {
            assert_int_equal(unlink(PATH), 0);
            check_fails(kdinr_decoder_load(decoder, &error), KDINR_ERROR_IO,
                        "cannot open " PATH ": No such file", error);
        } else {
            assert_int_equal(truncate(PATH, round == 1 ? (off_t)size - 1 : 0), 0);
            check_fails(kdinr_decoder_load(decoder, &error), KDINR_ERROR_FORMAT, PATH " has",
                        error);
        }
        sample_write(PATH, bytes, size); /* it is back: the decoder may go on */
        check_ok(kdinr_decoder_load(decoder, &error), error);
        kdinr_decoder_close(decoder);
    }
    free(bytes);
    unlink(PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_have_each_its_own_message),
        cmocka_unit_test(limits_of_memory_are_checked_before_it_is_asked_for),
        cmocka_unit_test(limits_of_memory_can_be_lowered_and_raised),
        cmocka_unit_test(limits_of_patience_with_files_that_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
