/* The container's reader against damage: files cut short, single bytes changed, numbers replaced,
 * with the checksums left as they were and with the checksums made right again so that the parser
 * behind them is reached. Every file must be read or refused with a message; sanitizers watch the
 * rest. */
#define _GNU_SOURCE /* memfd_create: ten thousands of files that no disk sees */

#include "kdm_samples.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/repair.h"

enum { HEADER = 28, ENTRY = 16 };

/* The file that is read, in memory. */
static int memory_file;
static char memory_path[64];

static int open_memory_file(void **state)
{
    (void)state;
    memory_file = memfd_create("damaged", 0);
    (void)snprintf(memory_path, sizeof memory_path, "/proc/self/fd/%d", memory_file);
    return memory_file < 0;
}

static int close_memory_file(void **state)
{
    (void)state;
    return close(memory_file);
}

static void put_bytes(const uint8_t *bytes, size_t size)
{
    assert_int_equal(ftruncate(memory_file, (off_t)size), 0);
    assert_int_equal(pwrite(memory_file, bytes, size, 0), size);
}

/* A packed model, and room to damage it. */
typedef struct file {
    uint8_t *bytes, *copy;
    size_t size;
} file;

static file packed(kd_model *model)
{
    kdinr_error error;
    file one;

    check_ok(kd_kdm_pack(model, &one.bytes, &one.size, &error), error);
    one.copy = sample_memory(one.size + 64);
    kd_kdm_free(model);
    return one;
}

static file packed_small(kd_network_kind kind)
{
    kd_model model;

    sample_small(&model, kind);
    return packed(&model);
}

static file packed_of(void (*sample)(kd_model *model))
{
    kd_model model;

    sample(&model);
    return packed(&model);
}

static void free_file(file *one)
{
    free(one->bytes);
    free(one->copy);
}

static void use_residuals(const kd_model *model, const kd_model_array *array)
{
    kdinr_error error;
    kd_residual steps[2];
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    for (int i = 0; i < 2; i++) {
        check_ok(kd_residual_create(samples, array->n_components, &steps[i], &error), error);
    }
    for (int k = 0; k < model->n_steps; k++) {
        const kd_residual *before = k % array->bound.group == 0 ? NULL : &steps[(k + 1) % 2];

        if (kd_residual_unpack(&array->residuals[k], array->type, samples, NULL, before,
                               &steps[k % 2], &error) != KDINR_OK) {
            assert_int_equal(error.status, KDINR_ERROR_FORMAT);
            break;
        }
    }
    kd_residual_free(&steps[0]);
    kd_residual_free(&steps[1]);
}

/* Read everything that a decoder would: parameters of all networks, all maps. */
static void use_model(const kd_model *model)
{
    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const int n = array->n_windows * array->bricks[0] * array->bricks[1] * array->bricks[2];
        int samples[3];

        for (int i = 0; i < n; i++) {
            kd_net net;
            if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
            kd_kdm_net(array, &array->networks[i], &net);
            float *params = sample_memory(net.n_params * sizeof(float));
            kd_kdm_params(array, &array->networks[i], params);
            free(params);
        }
        kd_kdm_samples(model->dims, array->association, samples);
        const double n_samples = (double)samples[0] * samples[1] * samples[2];
        for (int i = 0; n_samples < 1e4 && i < array->n_masks; i++) {
            uint8_t *classes = sample_memory((size_t)n_samples);
            (void)kd_entropy_unpack_mask(array->masks[i].bytes, array->masks[i].size, samples,
                                         classes, NULL);
            free(classes);
        }
        if (array->has_bound && n_samples < 1e4) use_residuals(model, array);
    }
}

static kdinr_status load_bytes(const uint8_t *bytes, size_t size, kdinr_error *error)
{
    kd_model model;
    kdinr_status status;

    memset(error, 0, sizeof *error);
    put_bytes(bytes, size);
    status = kd_kdm_load_info(memory_path, &model, error);
    if (status == KDINR_OK) status = kd_kdm_load_networks(memory_path, &model, error);
    if (status == KDINR_OK) {
        use_model(&model);
    } else {
        assert_int_equal(error->status, status);
        assert_in_range(strlen(error->message), 10, sizeof error->message - 1);
    }
    kd_kdm_free(&model);
    return status;
}

/* What a repaired file may be refused for. */
static bool is_refusal(kdinr_status status)
{
    return status == KDINR_ERROR_FORMAT || status == KDINR_ERROR_VERSION;
}

static void damage_truncation_is_refused(void **state)
{
    file one = packed_of(sample_rich);
    kdinr_error error;

    (void)state;
    for (size_t size = 0; size < one.size; size++) {
        assert_int_equal(load_bytes(one.bytes, size, &error), KDINR_ERROR_FORMAT);
        memcpy(one.copy, one.bytes, size); /* as before, but the header admits the size */
        if (size < HEADER) continue;
        repair_put(one.copy + 16, size, 8);
        repair(one.copy, size);
        assert_int_equal(load_bytes(one.copy, size, &error), KDINR_ERROR_FORMAT);
    }
    memcpy(one.copy, one.bytes, one.size);
    assert_int_equal(load_bytes(one.copy, one.size + 1, &error), KDINR_ERROR_FORMAT);
    free_file(&one);
}

static void damage_of_any_byte_is_noticed(void **state)
{
    file one = packed_of(sample_rich);
    kdinr_error error;

    (void)state;
    for (size_t i = 0; i < one.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(one.copy, one.bytes, one.size);
            one.copy[i] ^= (uint8_t)(1 << bit);
            assert_true(is_refusal(load_bytes(one.copy, one.size, &error)));
        }
    }
    free_file(&one);
}

/* Load with right checksums; returns 1 if it was accepted. */
static int load_repaired(file *one)
{
    kdinr_error error;

    repair(one->copy, one->size);
    const kdinr_status status = load_bytes(one->copy, one->size, &error);
    if (status != KDINR_OK) assert_true(is_refusal(status));
    return status == KDINR_OK;
}

/* The next place to damage. Any bytes are parameters: inside CODE a few places are enough. */
static size_t next_place(const file *one, size_t i)
{
    const size_t n = (size_t)repair_get(one->bytes + 12, 4);
    size_t start = HEADER + n * ENTRY;

    for (size_t k = 0; k < n; k++) {
        const uint8_t *entry = one->bytes + HEADER + k * ENTRY;
        const size_t size = (size_t)repair_get(entry + 8, 8);
        if (memcmp(entry, "CODE", 4) == 0 && i >= start && i + 97 < start + size) return i + 97;
        start += size;
    }
    return i + 1;
}

static void sweep_bits(file one)
{
    int n_accepted = 0, n_tried = 0;

    for (size_t i = 0; i < one.size; i = next_place(&one, i)) {
        for (int bit = 0; bit < 8; bit++, n_tried++) {
            memcpy(one.copy, one.bytes, one.size);
            one.copy[i] ^= (uint8_t)(1 << bit);
            n_accepted += load_repaired(&one);
        }
    }
    print_message("%d of %d changed bits accepted\n", n_accepted, n_tried);
    free_file(&one);
}

static void damage_behind_checksums_bits(void **state)
{
    (void)state;
    sweep_bits(packed_small(KD_NETWORK_CONSTANT));
    sweep_bits(packed_small(KD_NETWORK_QUANTISED));
    sweep_bits(packed_of(sample_rich));
    sweep_bits(packed_of(sample_bounded));
    sweep_bits(packed_of(sample_forms));
    sweep_bits(packed_of(sample_clusters));
    sweep_bits(packed_of(sample_moving));
}

/* Every place as if it held a number of 1, 2, 4 and 8 bytes, set to what breaks parsers. */
static void sweep_numbers(file one)
{
    const uint64_t values[] = {0, 1, 0x7F, 0x7FFF, 0x7FFFFFFF, INT64_MAX, 0x80000000u, UINT64_MAX};
    int n_accepted = 0, n_tried = 0;

    for (int width = 1; width <= 8; width *= 2) {
        for (size_t i = 0; i + (size_t)width <= one.size; i = next_place(&one, i)) {
            const uint64_t old = repair_get(one.bytes + i, width);
            for (size_t v = 0; v < 10; v++, n_tried++) {
                const uint64_t value = v < 8 ? values[v] : v == 8 ? old + 1 : old - 1;
                memcpy(one.copy, one.bytes, one.size);
                repair_put(one.copy + i, value, width);
                n_accepted += load_repaired(&one);
            }
        }
    }
    print_message("%d of %d changed numbers accepted\n", n_accepted, n_tried);
    free_file(&one);
}

static void damage_behind_checksums_numbers(void **state)
{
    (void)state;
    sweep_numbers(packed_small(KD_NETWORK_QUANTISED));
    sweep_numbers(packed_of(sample_rich));
    sweep_numbers(packed_of(sample_bounded));
    sweep_numbers(packed_of(sample_clusters));
    sweep_numbers(packed_of(sample_moving));
}

/* Random bytes in random places, many at once. */
static void damage_behind_checksums_random(void **state)
{
    file one = packed_of(sample_rich);
    int n_accepted = 0;

    (void)state;
    for (uint64_t round = 0; round < 2000; round++) {
        memcpy(one.copy, one.bytes, one.size);
        for (uint64_t k = 0; k < 1 + round % 16; k++) {
            const uint64_t random = kd_rng_at(round, k);
            one.copy[kd_rng_below(random, (uint32_t)one.size)] = (uint8_t)random;
        }
        n_accepted += load_repaired(&one);
    }
    print_message("%d of 2000 random changes accepted\n", n_accepted);
    free_file(&one);
}

/* ---- versions and sections ---- */

/* The small file with one more section, of 5 bytes, at the end of table and file. */
static size_t with_section(const file *one, const char *id, unsigned minor, uint8_t *bytes)
{
    const size_t n = (size_t)repair_get(one->bytes + 12, 4);
    const size_t head = HEADER + n * ENTRY, size = one->size + ENTRY + 5;

    memcpy(bytes, one->bytes, head);
    memcpy(bytes + head, id, 4);
    repair_put(bytes + head + 8, 5, 8);
    memcpy(bytes + head + ENTRY, one->bytes + head, one->size - head);
    memcpy(bytes + size - 5, "extra", 5);
    repair_put(bytes + 10, minor, 2);
    repair_put(bytes + 12, n + 1, 4);
    repair_put(bytes + 16, size, 8);
    repair(bytes, size);
    return size;
}

static void versions_newer_minor_may_add_optional_sections(void **state)
{
    file one = packed_small(KD_NETWORK_QUANTISED);
    kdinr_error error;
    size_t size;

    (void)state;
    size = with_section(&one, "xtra", KD_KDM_MINOR + 1, one.copy);
    check_ok(load_bytes(one.copy, size, &error), error);
    assert_true(kd_kdm_can_read(memory_path));
    size = with_section(&one, "XTRA", KD_KDM_MINOR + 1, one.copy);
    check_fails(load_bytes(one.copy, size, &error), KDINR_ERROR_VERSION,
                "version 1.5 and a section \"XTRA\"", error);
    size = with_section(&one, "xtra", KD_KDM_MINOR, one.copy);
    check_fails(load_bytes(one.copy, size, &error), KDINR_ERROR_FORMAT,
                "\"xtra\" does not exist in format 1.4", error);
    size = with_section(&one, "META", KD_KDM_MINOR, one.copy);
    check_fails(load_bytes(one.copy, size, &error), KDINR_ERROR_FORMAT, "twice", error);
    size = with_section(&one, "a\nb ", KD_KDM_MINOR + 1, one.copy);
    check_fails(load_bytes(one.copy, size, &error), KDINR_ERROR_FORMAT, "byte 0x0A in its name",
                error);
    size = with_section(&one, "MASK", KD_KDM_MINOR, one.copy);
    check_fails(load_bytes(one.copy, size, &error), KDINR_ERROR_FORMAT, "section MASK", error);
    free_file(&one);
}

static void versions_residuals_need_1_1(void **state)
{
    file plain = packed_small(KD_NETWORK_CONSTANT), bounded = packed_of(sample_bounded);
    kdinr_error error;

    (void)state;
    assert_int_equal(repair_get(plain.bytes + 10, 2), 0);
    assert_int_equal(repair_get(bounded.bytes + 10, 2), 1);
    memcpy(bounded.copy, bounded.bytes, bounded.size);
    repair_put(bounded.copy + 10, 0, 2);
    repair(bounded.copy, bounded.size);
    check_fails(load_bytes(bounded.copy, bounded.size, &error), KDINR_ERROR_FORMAT,
                "\"RESI\" does not exist in format 1.0", error);
    free_file(&plain);
    free_file(&bounded);
}

static void versions_newer_major_is_named(void **state)
{
    file one = packed_small(KD_NETWORK_CONSTANT);
    kdinr_error error;

    (void)state;
    memcpy(one.copy, one.bytes, one.size);
    repair_put(one.copy + 8, 7, 2);
    check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_VERSION,
                "version 7.0, this library reads up to 1.x", error);
    assert_false(kd_kdm_can_read(memory_path));
    repair_put(one.copy + 8, 0, 2);
    check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_FORMAT, "0.0", error);
    check_fails(load_bytes((const uint8_t *)"hello, this is not a file of ours", 33, &error),
                KDINR_ERROR_FORMAT, "is not a .kdm file: it starts 68 65 6C 6C", error);
    free_file(&one);
}

static void sections_missing_are_named(void **state)
{
    file one = packed_small(KD_NETWORK_QUANTISED);
    kdinr_error error;

    (void)state;
    memcpy(one.copy, one.bytes, one.size);
    repair_put(one.copy + 10, KD_KDM_MINOR + 1, 2);
    for (int i = 0; i < 3; i++) { /* META, NETS, CODE become something optional */
        memcpy(one.copy + HEADER + i * ENTRY, "skip", 4);
        repair(one.copy, one.size);
        check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_FORMAT,
                    i == 0   ? "\"META\" is missing"
                    : i == 1 ? "\"NETS\" is missing"
                             : "section CODE: 0 bytes for 0 bytes of floats and 119 codes",
                    error);
        memcpy(one.copy, one.bytes + 0, 8);
        memcpy(one.copy + HEADER, one.bytes + HEADER, 3 * ENTRY);
    }
    free_file(&one);
}

/* ---- promises that bound what a small file may cost ---- */

static void bombs_many_networks_in_few_bytes_are_refused(void **state)
{
    kd_model model;
    kdinr_error error;
    file one;

    (void)state;
    sample_small(&model, KD_NETWORK_CONSTANT);
    model.dims[0] = model.dims[1] = model.dims[2] = 1000;
    one = packed(&model);
    memcpy(one.copy, one.bytes, one.size);
    const size_t head = HEADER + 2 * ENTRY;
    uint8_t *bricks = one.copy + head + 1 + 1 + 2 + 4 + 12 + strlen("kdinr test") + 2;
    memset(bricks, 64, 3); /* 262144 networks */
    repair(one.copy, one.size);
    check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_FORMAT,
                "262144 networks need at least 5 bytes each, 5 are left", error);
    free_file(&one);
}

static void bombs_records_cannot_swell(void **state)
{
    file one = packed_small(KD_NETWORK_CONSTANT);
    kdinr_error error;

    (void)state;
    memcpy(one.copy, one.bytes, one.size);
    uint8_t *nets = one.copy + one.size - 6; /* packing, then a record of 5 bytes */
    nets[0] = 1;
    repair_put(nets + 1, 65, 4);
    repair(one.copy, one.size);
    check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_FORMAT, "section NETS: 1 bytes",
                error);
    repair_put(nets + 1, 0xFFFFFFFF, 4);
    repair(one.copy, one.size);
    check_fails(load_bytes(one.copy, one.size, &error), KDINR_ERROR_FORMAT,
                "1 bytes cannot stand for 4294967295", error);
    free_file(&one);
}

static void damage_between_the_two_readings_is_noticed(void **state)
{
    file one = packed_small(KD_NETWORK_QUANTISED), other = packed_small(KD_NETWORK_FLOAT16);
    kdinr_error error;
    kd_model model;

    (void)state;
    put_bytes(one.bytes, one.size);
    check_ok(kd_kdm_load_info(memory_path, &model, &error), error);
    put_bytes(other.bytes, other.size);
    check_fails(kd_kdm_load_networks(memory_path, &model, &error), KDINR_ERROR_FORMAT,
                "has changed", error);
    assert_null(model.arrays[0].networks);
    put_bytes(one.bytes, one.size);
    check_ok(kd_kdm_load_networks(memory_path, &model, &error), error);
    memcpy(one.copy, one.bytes, one.size);
    one.copy[one.size - 1] ^= 1;
    put_bytes(one.copy, one.size);
    check_fails(kd_kdm_load_networks(memory_path, &model, &error), KDINR_ERROR_FORMAT,
                "section \"CODE\": checksum", error);
    use_model(&model); /* what was loaded is still there */
    kd_kdm_free(&model);
    free_file(&one);
    free_file(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_truncation_is_refused),
        cmocka_unit_test(damage_of_any_byte_is_noticed),
        cmocka_unit_test(damage_behind_checksums_bits),
        cmocka_unit_test(damage_behind_checksums_numbers),
        cmocka_unit_test(damage_behind_checksums_random),
        cmocka_unit_test(versions_newer_minor_may_add_optional_sections),
        cmocka_unit_test(versions_residuals_need_1_1),
        cmocka_unit_test(versions_newer_major_is_named),
        cmocka_unit_test(sections_missing_are_named),
        cmocka_unit_test(bombs_many_networks_in_few_bytes_are_refused),
        cmocka_unit_test(bombs_records_cannot_swell),
        cmocka_unit_test(damage_between_the_two_readings_is_noticed),
    };

    return cmocka_run_group_tests(tests, open_memory_file, close_memory_file);
}
