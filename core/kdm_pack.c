/* Section PACK: codes in packs of networks, each a stream of its own, so that a part of a large
 * file can be read without unpacking the rest. Before: kdm.c writes, or kdm_load.c has read NETS.
 * After: field.c asks for the codes of the networks that answer. Every byte may be hostile, as in
 * kdm_load.c; a pack is checked when it is read. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bytes.h"
#include "kdm_layout.h"

/* Fewer codes than MOST_CODES are one stream: all are unpacked in some ten milliseconds. A pack of
 * about PACK_CODES takes a few, and pays half a percent for learning its statistics anew. */
enum { MOST_CODES = 1 << 19, PACK_CODES = 1 << 16, ENTRY_SIZE = 8 };

/* Networks of all arrays. */
static size_t count_networks(const kd_model *model)
{
    size_t n = 0;

    for (int a = 0; a < model->n_arrays; a++) {
        n += kd_network_count(&model->arrays[a]);
    }
    return n;
}

static size_t count_packs(const kd_model *model)
{
    const size_t n = count_networks(model), each = (size_t)model->pack_networks;

    return each == 0 ? 0 : (n + each - 1) / each;
}

void kd_kdm_choose_packs(kd_model *model)
{
    const size_t n_networks = count_networks(model);
    size_t n_codes = 0;

    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n = kd_network_count(array);

        for (size_t i = 0; i < n; i++) {
            kd_net net;

            if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
            kd_kdm_net(array, &array->networks[i], &net);
            n_codes += net.n_params;
        }
    }
    const double each = (double)PACK_CODES * (double)n_networks / (double)(n_codes + 1);
    model->pack_networks = n_codes < MOST_CODES ? 0 : each < 1.0 ? 1 : (int)each;
}

static kdinr_status check_count(int n, kdinr_status status, kdinr_error *error)
{
    if (n >= 1 && n <= KD_KDM_MAX_NETWORKS) return KDINR_OK;
    return kd_fail(error, status, "packs of %d networks, allowed are 1 to %d", n,
                   KD_KDM_MAX_NETWORKS);
}

kdinr_status kd_check_packs(const kd_model *model, kdinr_status status, kdinr_error *error)
{
    if (model->pack_networks == 0) return KDINR_OK;
    KD_TRY(check_count(model->pack_networks, status, error));
    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n = kd_network_count(array);

        for (size_t i = 0; i < n; i++) {
            const kd_network_kind kind = array->networks[i].kind;

            if (kind == KD_NETWORK_CONSTANT || kind == KD_NETWORK_QUANTISED) continue;
            return kd_fail(error, status, "array %d, network %zu has kind %d, in packs are 0 and 1",
                           a, i, (int)kind);
        }
    }
    return KDINR_OK;
}

/* ---- writing ---- */

static kdinr_status write_pack(kd_writer *code, kd_writer *table, const kd_model *model, size_t p,
                               kdinr_error *error)
{
    const size_t each = (size_t)model->pack_networks;
    kd_entropy_tensor *tensors = NULL;
    uint8_t *packed = NULL;
    size_t n_tensors, size = 0;
    kdinr_status status = kd_list_tensors(model, p * each, each, &tensors, &n_tensors, error);

    if (status == KDINR_OK && n_tensors > 0) {
        status = kd_entropy_pack_codes(tensors, n_tensors, &packed, &size, error);
    }
    if (status == KDINR_OK && size > UINT32_MAX) {
        status = kd_fail(error, KDINR_ERROR_ARGUMENT, "pack %zu has %zu bytes, allowed are %lu", p,
                         size, (unsigned long)UINT32_MAX);
    }
    if (status == KDINR_OK) {
        kd_put_bytes(code, packed, size);
        kd_put_u32(table, (uint32_t)size);
        kd_put_u32(table, XXH32(packed, size, 0));
    }
    free(tensors);
    free(packed);
    return status;
}

kdinr_status kd_write_packs(kd_writer *code, kd_writer *table, const kd_model *model,
                            kdinr_error *error)
{
    const size_t n_packs = count_packs(model);

    if (n_packs > 0) kd_put_u32(table, (uint32_t)model->pack_networks);
    for (size_t p = 0; p < n_packs; p++) {
        KD_TRY(write_pack(code, table, model, p, error));
    }
    KD_TRY(kd_writer_check(code, "parameters", error));
    return kd_writer_check(table, "packs", error);
}

/* ---- reading ---- */

/* Can the pack's bytes hold its codes? */
static kdinr_status check_pack(const kd_model *model, size_t p, kdinr_error *error)
{
    const size_t each = (size_t)model->pack_networks, size = model->packs[p].size;
    const size_t n = kd_count_codes(model, p * each, each);
    const size_t least = (n + KD_ENTROPY_CODES_PER_BYTE - 1) / KD_ENTROPY_CODES_PER_BYTE;

    if (size >= least && (n > 0 || size == 0)) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT,
                   "section PACK: pack %zu has %zu bytes for %zu codes, expected %s %zu", p, size,
                   n, n > 0 ? "at least" : "exactly", least);
}

static kdinr_status read_table(kd_reader *reader, const kd_source *from, kd_model *model,
                               kdinr_error *error)
{
    const kd_section *code = kd_source_find(from, "CODE");
    const uint64_t code_size = code == NULL ? 0 : code->size;
    uint64_t start = 0;

    model->pack_networks = kd_get_count(reader);
    KD_TRY(kd_reader_check(reader, error));
    KD_TRY(check_count(model->pack_networks, KDINR_ERROR_FORMAT, error));
    KD_TRY(kd_check_packs(model, KDINR_ERROR_FORMAT, error));
    const size_t n_packs = count_packs(model);
    KD_TRY(kd_reader_room(reader, n_packs, ENTRY_SIZE, "packs", error));
    KD_TRY(kd_allocate(n_packs, sizeof *model->packs, "packs", &model->packs, error));
    for (size_t p = 0; p < n_packs; p++) {
        model->packs[p].start = start;
        model->packs[p].size = kd_get_u32(reader);
        model->packs[p].checksum = kd_get_u32(reader);
        start += model->packs[p].size;
        KD_TRY(check_pack(model, p, error));
    }
    KD_TRY(kd_reader_finish(reader, error));
    if (start == code_size) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT,
                   "section PACK: %llu bytes in all packs, section CODE has %llu",
                   (unsigned long long)start, (unsigned long long)code_size);
}

kdinr_status kd_read_packs(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes;
    size_t size;

    KD_TRY(kd_source_read(from, "PACK", &bytes, &size, error));
    if (bytes == NULL) return KDINR_OK;
    kd_reader reader = kd_reader_open(bytes, size, "section PACK");
    const kdinr_status status = read_table(&reader, from, model, error);
    free(bytes);
    return status;
}

/* ---- codes of one pack ---- */

/* The network that has this number among those of all arrays. */
static kd_network *network_at(const kd_model *model, size_t number, const kd_model_array **array)
{
    int a = 0;

    while (number >= kd_network_count(&model->arrays[a])) {
        number -= kd_network_count(&model->arrays[a++]);
    }
    *array = &model->arrays[a];
    return &model->arrays[a].networks[number];
}

/* Room for the codes of the networks first..last, zeroed. */
static kdinr_status allocate_codes(const kd_model *model, size_t first, size_t last,
                                   kdinr_error *error)
{
    for (size_t i = first; i <= last; i++) {
        const kd_model_array *array;
        kd_network *network = network_at(model, i, &array);
        kd_net net;

        if (network->kind != KD_NETWORK_QUANTISED) continue;
        kd_kdm_net(array, network, &net);
        KD_TRY(kd_allocate(net.n_params, sizeof *network->codes, "codes", &network->codes, error));
    }
    return KDINR_OK;
}

static void free_codes(const kd_model *model, size_t first, size_t last)
{
    for (size_t i = first; i <= last; i++) {
        const kd_model_array *array;
        kd_network *network = network_at(model, i, &array);

        free(network->codes);
        network->codes = NULL;
    }
}

static kdinr_status unpack(const kd_model *model, size_t p, const uint8_t *bytes,
                           kdinr_error *error)
{
    const size_t each = (size_t)model->pack_networks, first = p * each;
    const size_t n = count_networks(model), last = n - first < each ? n - 1 : first + each - 1;
    kd_entropy_tensor *tensors = NULL;
    size_t n_tensors;
    kdinr_status status = allocate_codes(model, first, last, error);

    if (status == KDINR_OK) {
        status = kd_list_tensors(model, first, each, &tensors, &n_tensors, error);
    }
    if (status == KDINR_OK) {
        status = kd_entropy_unpack_codes(bytes, model->packs[p].size, tensors, n_tensors, error);
    }
    free(tensors);
    if (status != KDINR_OK) free_codes(model, first, last);
    return status;
}

kdinr_status kd_kdm_load_codes(const char *path, const kd_model *model, int a, size_t n,
                               kdinr_error *error)
{
    const kd_network *network = &model->arrays[a].networks[n];
    uint8_t *bytes = NULL;
    kd_source from;
    kdinr_status status;

    if (model->packs == NULL || network->kind != KD_NETWORK_QUANTISED || network->codes != NULL) {
        return KDINR_OK;
    }
    for (int i = 0; i < a; i++) {
        n += kd_network_count(&model->arrays[i]);
    }
    const size_t p = n / (size_t)model->pack_networks;
    KD_TRY(kd_source_open_again(path, model, &from, error));
    KD_TRY_DONE(kd_source_read_pack(&from, &model->packs[p], &bytes, error));
    status = unpack(model, p, bytes, error);

done:
    free(bytes);
    kd_source_close(&from);
    return status;
}
