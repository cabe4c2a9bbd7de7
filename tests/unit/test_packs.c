/* Codes in packs: the same values as from one stream, a file for a huge volume is opened without
 * touching its networks, and a place in it is decoded from one pack. The linker puts the function
 * below between the library and the file (CMakeLists.txt): what counts is bytes, not time. */
#include "kdm_samples.h"

#include <time.h>
#include <unistd.h>

#include "fuzz/repair.h"

#define PATH "test_packs.kdm"
#define ONE  "test_packs_one.kdm"

static size_t n_read; /* bytes of files */

ssize_t __real_pread(int file, void *bytes, size_t size, off_t start);
ssize_t __wrap_pread(int file, void *bytes, size_t size, off_t start);

ssize_t __wrap_pread(int file, void *bytes, size_t size, off_t start)
{
    const ssize_t n = __real_pread(file, bytes, size, start);

    n_read += n > 0 ? (size_t)n : 0;
    return n;
}

static double milliseconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static size_t save(const kd_model *model, const char *path)
{
    size_t size;
    uint8_t *bytes = sample_packed(model, &size);

    sample_write(path, bytes, size);
    free(bytes);
    return size;
}

static kdinr_decoder *open_file(const char *path)
{
    kdinr_options options = kdinr_options_default();
    kdinr_decoder *decoder;
    kdinr_error error;

    options.backend = "cpu";
    options.n_threads = 1;
    check_ok(kdinr_decoder_open(path, &options, &decoder, &error), error);
    return decoder;
}

/* ---- small files ---- */

static float *decode(const char *path, int array, double time)
{
    kdinr_decoder *decoder = open_file(path);
    const kdinr_request request = {.array = array,
                                   .dims = {17, 13, 9},
                                   .extent = {0, 16, 0, 12, 0, 8},
                                   .time = time,
                                   .type = KDINR_FLOAT32};
    float *values = sample_memory((size_t)17 * 13 * 9 * sizeof *values);
    kdinr_error error;

    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    kdinr_decoder_close(decoder);
    return values;
}

static void packs_of_any_size_decode_like_one_stream(void **state)
{
    kd_model model;

    (void)state;
    sample_packs(&model);
    model.pack_networks = 0;
    save(&model, ONE);
    for (model.pack_networks = 1; model.pack_networks <= 15; model.pack_networks++) {
        save(&model, PATH);
        for (int array = 0; array < 2; array++) {
            for (double time = 0.0; time <= 3.0; time += 0.75) {
                float *one = decode(ONE, array, time), *packs = decode(PATH, array, time);

                assert_memory_equal(one, packs, (size_t)17 * 13 * 9 * sizeof *one);
                free(one);
                free(packs);
            }
        }
    }
    kd_kdm_free(&model);
}

static void packs_file_says_1_3_and_others_do_not(void **state)
{
    kd_model model;

    (void)state;
    sample_packs(&model);
    for (int packs = 0; packs < 2; packs++) {
        model.pack_networks = 3 * packs;
        save(&model, PATH);
        kdinr_decoder *decoder = open_file(PATH);
        assert_int_equal(kdinr_decoder_info(decoder)->version_minor, 3 * packs);
        kdinr_decoder_close(decoder);
    }
    kd_kdm_free(&model);
}

static void packs_of_floats_are_refused(void **state)
{
    kd_model model;
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    (void)state;
    sample_rich(&model);
    model.pack_networks = 2;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "network 2 has kind 2, in packs are 0 and 1", error);
    model.pack_networks = KD_KDM_MAX_NETWORKS + 1;
    check_fails(kd_kdm_pack(&model, &bytes, &size, &error), KDINR_ERROR_ARGUMENT,
                "packs of 1048577 networks", error);
    kd_kdm_free(&model);
}

/* Where a section starts. */
static size_t find(const uint8_t *bytes, const char *id)
{
    const size_t n = (size_t)repair_get(bytes + 12, 4);
    size_t at = 28 + 16 * n;

    for (size_t i = 0; i < n && memcmp(bytes + 28 + 16 * i, id, 4) != 0; i++) {
        at += (size_t)repair_get(bytes + 28 + 16 * i + 8, 8);
    }
    return at;
}

static kdinr_status load(const uint8_t *bytes, size_t size, kdinr_error *error)
{
    kdinr_decoder *decoder;

    sample_write(PATH, bytes, size);
    decoder = open_file(PATH);
    const kdinr_status status = kdinr_decoder_load(decoder, error);
    kdinr_decoder_close(decoder);
    return status;
}

static void packs_table_that_is_wrong_is_refused(void **state)
{
    kd_model model;
    kdinr_error error;
    size_t size;

    (void)state;
    sample_packs(&model);
    uint8_t *bytes = sample_packed(&model, &size), *copy = sample_memory(size);
    const size_t table = find(bytes, "PACK");
    const struct {
        size_t at;
        uint64_t value;
        const char *text;
    } changes[] = {
        {0, 0, "packs of 0 networks"},
        {0, 2, "packs need at least 8 bytes each"},
        {0, 4, "it should end at byte"},
        {4, 1, "pack 0 has 1 bytes for"},
        {4, 4000, "bytes in all packs, section CODE has"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(copy, bytes, size);
        repair_put(copy + table + changes[i].at, changes[i].value, 4);
        repair(copy, size);
        check_fails(load(copy, size, &error), KDINR_ERROR_FORMAT, changes[i].text, error);
    }
    free(bytes);
    free(copy);
    kd_kdm_free(&model);
}

static void packs_damage_is_found_where_it_is_read(void **state)
{
    const kdinr_request first = {
        .dims = {17, 13, 9}, .extent = {0, 1, 0, 1, 0, 1}, .time = 0.0, .type = KDINR_FLOAT32};
    kdinr_request last = first;
    kd_model model;
    kdinr_error error;
    float values[8];
    size_t size;

    (void)state;
    sample_packs(&model);
    uint8_t *bytes = sample_packed(&model, &size);
    bytes[find(bytes, "CODE") + 3] ^= 1; /* in the first pack; its checksum is in PACK */
    repair(bytes, size);
    sample_write(PATH, bytes, size);
    kdinr_decoder *decoder = open_file(PATH);
    check_fails(kdinr_decoder_read(decoder, &first, values, &error), KDINR_ERROR_FORMAT,
                "section \"CODE, a pack\": checksum", error);
    last.time = 3.0;
    check_ok(kdinr_decoder_read(decoder, &last, values, &error), error);
    sample_write(PATH, bytes, size - 1);
    last.extent[0] = last.extent[1] = 16;
    check_fails(kdinr_decoder_read(decoder, &last, values, &error), KDINR_ERROR_FORMAT, "", error);
    kdinr_decoder_close(decoder);
    free(bytes);
    kd_kdm_free(&model);
}

/* ---- a huge one ---- */

enum { EDGE = 4096, N_STEPS = 100, WINDOW = 20, BRICKS = 16 };

static void make_huge(kd_model *model)
{
    sample_grid(model, EDGE, EDGE, EDGE, N_STEPS, 1);
    sample_array(&model->arrays[0], "huge", N_STEPS);
    sample_bricks(model, &model->arrays[0], (int[]){BRICKS, BRICKS, BRICKS}, WINDOW);
    kd_kdm_choose_packs(model);
}

static void packs_huge_volume_opens_and_decodes_in_parts(void **state)
{
    kdinr_request request = {.dims = {EDGE, EDGE, EDGE},
                             .extent = {4000, 4003, 4000, 4003, 4000, 4003},
                             .time = N_STEPS - 1.0,
                             .type = KDINR_FLOAT32};
    float values[4 * 4 * 4];
    kd_model model;
    kdinr_error error;

    (void)state;
    make_huge(&model);
    assert_true(model.pack_networks > 0);
    const size_t size = save(&model, PATH);

    n_read = 0;
    const double start = milliseconds();
    kdinr_decoder *decoder = open_file(PATH);
    const double opened = milliseconds();
    const size_t to_open = n_read;
    assert_true(kdinr_decoder_info(decoder)->data_size > UINT64_C(1) << 44);
    assert_true(to_open < 2048); /* the quality of 100 steps is the most of it */

    check_ok(kdinr_decoder_load(decoder, &error), error);
    const double loaded = milliseconds();
    const size_t to_load = n_read;
    assert_true(to_load < size / 4); /* the codes are left where they are */

    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    const double decoded = milliseconds();
    const size_t to_read = n_read - to_load;
    assert_true(to_read > 1000 && to_read < size / 10); /* one pack */
    print_message("%zu bytes, %d networks: open %.2f ms, %zu bytes; networks %.2f ms, %zu; a place "
                  "%.2f ms, %zu\n",
                  size, N_STEPS / WINDOW * BRICKS * BRICKS * BRICKS, opened - start, to_open,
                  loaded - opened, to_load - to_open, decoded - loaded, to_read);
    n_read = 0;
    request.extent[0] = request.extent[1] = 4001;
    check_ok(kdinr_decoder_read(decoder, &request, values, &error), error);
    assert_int_equal(n_read, 0); /* it is kept */
    kdinr_decoder_close(decoder);
    kd_kdm_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_of_any_size_decode_like_one_stream),
        cmocka_unit_test(packs_file_says_1_3_and_others_do_not),
        cmocka_unit_test(packs_of_floats_are_refused),
        cmocka_unit_test(packs_table_that_is_wrong_is_refused),
        cmocka_unit_test(packs_damage_is_found_where_it_is_read),
        cmocka_unit_test(packs_huge_volume_opens_and_decodes_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
