/* The container, reader's side, second half: NETS, CODE and MASK, and kdm_residual.c for RESI;
 * codes that are in packs wait until kdm_pack.c is asked for them.
 * Before: kdm_read.c has filled the model from META. After: decode.c evaluates the networks. Every
 * byte may be hostile: a count is compared with the bytes that are left before memory is asked for,
 * a number is checked (kdm_check.c) before it is used. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "kdm_layout.h"

/* ---- NETS ---- */

/* Unpack the network records if they are packed. *records is owned by the caller. */
static kdinr_status unpack_nets(kd_reader *section, uint8_t **records, size_t *size,
                                kdinr_error *error)
{
    const unsigned packing = kd_get_u8(section);
    const size_t left = kd_reader_left(section);

    KD_TRY(kd_reader_check(section, error));
    if (packing == KD_NETS_RAW) {
        *size = left;
        KD_TRY(kd_allocate(left, 1, "network records", records, error));
        if (left > 0) memcpy(*records, kd_get_bytes(section, left), left);
        return KDINR_OK;
    }
    if (packing != KD_NETS_ZSTD) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section NETS: packing %u, allowed are 0 and 1",
                       packing);
    }
    *size = kd_get_u32(section);
    KD_TRY(kd_reader_check(section, error));
    const size_t packed_size = kd_reader_left(section);
    if (*size / KD_NETS_PER_BYTE > packed_size) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "section NETS: %zu bytes cannot stand for %zu, at most for %d times as many",
                       packed_size, *size, KD_NETS_PER_BYTE);
    }
    KD_TRY(kd_allocate(*size, 1, "network records", records, error));
    return kd_entropy_unpack_bytes(kd_get_bytes(section, packed_size), packed_size, *records, *size,
                                   "section NETS", error);
}

static kdinr_status read_modes(kd_reader *reader, kd_model *model, int a, size_t n,
                               kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_network *network = &array->networks[n];
    const size_t size = (size_t)kd_network_steps(array, n) * (size_t)array->n_modes;

    if (network->kind == KD_NETWORK_CONSTANT || size == 0) return KDINR_OK;
    const uint8_t *bytes = kd_get_bytes(reader, size);
    KD_TRY(kd_reader_check(reader, error));
    KD_TRY(kd_allocate(size, 1, "modes", &network->modes, error));
    memcpy(network->modes, bytes, size);
    return kd_check_modes(model, a, n, KDINR_ERROR_FORMAT, error);
}

static kdinr_status read_network(kd_reader *reader, kd_model *model, int a, size_t n,
                                 kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_network *network = &array->networks[n];

    network->kind = (kd_network_kind)kd_get_u8(reader);
    if (network->kind != KD_NETWORK_CONSTANT) {
        network->width = kd_get_u16(reader);
        network->depth = kd_get_u8(reader);
    }
    for (int c = 0; c < array->n_components; c++) {
        network->range[c][0] = kd_get_f32(reader);
        network->range[c][1] =
            network->kind != KD_NETWORK_CONSTANT ? kd_get_f32(reader) : network->range[c][0];
    }
    KD_TRY(kd_reader_check(reader, error));
    KD_TRY(kd_check_network(model, a, n, KDINR_ERROR_FORMAT, error));
    if (network->kind == KD_NETWORK_QUANTISED) {
        const size_t n_tensors = (size_t)kd_tensor_count(array, network);
        const uint8_t *steps = kd_get_bytes(reader, n_tensors);
        if (steps != NULL) memcpy(network->steps, steps, n_tensors);
    }
    KD_TRY(kd_reader_check(reader, error));
    return read_modes(reader, model, a, n, error);
}

static kdinr_status read_records(kd_reader *reader, kd_model *model, kdinr_error *error)
{
    for (int a = 0; a < model->n_arrays; a++) {
        kd_model_array *array = &model->arrays[a];
        const size_t n = kd_network_count(array);

        KD_TRY(kd_reader_room(reader, n, 1 + 4 * (uint64_t)array->n_components, "networks", error));
        KD_TRY(kd_allocate(n, sizeof *array->networks, "networks", &array->networks, error));
        for (size_t i = 0; i < n; i++) {
            KD_TRY(read_network(reader, model, a, i, error));
        }
    }
    return kd_reader_finish(reader, error);
}

static kdinr_status read_nets(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL, *records = NULL;
    size_t size = 0, records_size = 0;
    kdinr_status status;

    KD_TRY_DONE(kd_source_read(from, "NETS", &bytes, &size, error));
    kd_reader section = kd_reader_open(bytes, size, "section NETS");
    KD_TRY_DONE(unpack_nets(&section, &records, &records_size, error));
    kd_reader reader = kd_reader_open(records, records_size, "section NETS, unpacked");
    KD_TRY_DONE(read_records(&reader, model, error));

done:
    free(bytes);
    free(records);
    return status;
}

/* ---- CODE ---- */

/* Parameters of one network as they are stored: as codes, and as bytes of floats. */
static void count_params(const kd_model_array *array, const kd_network *network, size_t *n_codes,
                         size_t *floats_size)
{
    const bool half = network->kind == KD_NETWORK_FLOAT16;
    const kd_stored stored = kd_kdm_stored(array, network);

    *n_codes = stored.n_codes;
    *floats_size = stored.n_floats * (half ? sizeof(uint16_t) : sizeof(float));
}

/* Can a section of `size` bytes hold the parameters of all networks? Then *floats_size of them are
 * floats. */
static kdinr_status check_code_size(const kd_model *model, size_t size, size_t *floats_size,
                                    kdinr_error *error)
{
    size_t n_codes = 0;

    *floats_size = 0;
    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);

        for (size_t n = 0; n < n_networks; n++) {
            size_t more_codes, more_floats; /* the sums stay below 2^52: 2^26 networks of 2^26 */
            count_params(array, &array->networks[n], &more_codes, &more_floats);
            n_codes += more_codes;
            *floats_size += more_floats;
        }
    }
    const size_t least =
        *floats_size + (n_codes + KD_ENTROPY_CODES_PER_BYTE - 1) / KD_ENTROPY_CODES_PER_BYTE;
    if (size >= least && (n_codes > 0 || size == least)) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT,
                   "section CODE: %zu bytes for %zu bytes of floats and %zu codes, expected %s %zu",
                   size, *floats_size, n_codes, n_codes > 0 ? "at least" : "exactly", least);
}

/* Make room for what one network has, and read its floats. */
static kdinr_status read_floats(kd_reader *reader, const kd_model_array *array, kd_network *network,
                                kdinr_error *error)
{
    size_t n_codes, floats_size;

    count_params(array, network, &n_codes, &floats_size);
    if (n_codes > 0) {
        KD_TRY(kd_allocate(n_codes, sizeof *network->codes, "codes", &network->codes, error));
    }
    if (floats_size == 0) return KDINR_OK;
    const bool half = network->kind == KD_NETWORK_FLOAT16;
    const size_t n = floats_size / (half ? sizeof(uint16_t) : sizeof(float));
    KD_TRY(kd_allocate(n, sizeof *network->params, "parameters", &network->params, error));
    for (size_t i = 0; i < n; i++) {
        network->params[i] = half ? kd_float16_value(kd_get_u16(reader)) : kd_get_f32(reader);
    }
    return kd_reader_check(reader, error);
}

/* Every code of QUANTISED networks is allowed; not so of CLUSTERED ones. */
static kdinr_status check_codes(const kd_model *model, kdinr_error *error)
{
    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);

        for (size_t n = 0; n < n_networks; n++) {
            if (array->networks[n].kind != KD_NETWORK_CLUSTERED) continue;
            KD_TRY(kd_check_clusters(model, a, n, KDINR_ERROR_FORMAT, error));
        }
    }
    return KDINR_OK;
}

static kdinr_status read_all_floats(kd_reader *reader, kd_model *model, kdinr_error *error)
{
    for (int a = 0; a < model->n_arrays; a++) {
        kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);

        for (size_t n = 0; n < n_networks; n++) {
            KD_TRY(read_floats(reader, array, &array->networks[n], error));
            if (array->networks[n].params == NULL) continue;
            KD_TRY(kd_check_params(model, a, n, KDINR_ERROR_FORMAT, error));
        }
    }
    return KDINR_OK;
}

static kdinr_status read_code(const kd_source *from, kd_model *model, kdinr_error *error)
{
    kd_entropy_tensor *tensors = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0, floats_size = 0, n_tensors = 0;
    kdinr_status status;

    KD_TRY_DONE(kd_source_read(from, "CODE", &bytes, &size, error));
    KD_TRY_DONE(check_code_size(model, size, &floats_size, error));
    kd_reader reader = kd_reader_open(bytes, floats_size, "section CODE");
    KD_TRY_DONE(read_all_floats(&reader, model, error));
    KD_TRY_DONE(kd_list_tensors(model, 0, SIZE_MAX, &tensors, &n_tensors, error));
    if (n_tensors > 0) {
        KD_TRY_DONE(kd_entropy_unpack_codes(bytes + floats_size, size - floats_size, tensors,
                                            n_tensors, error));
    }
    status = check_codes(model, error);

done:
    free(tensors);
    free(bytes);
    return status;
}

/* ---- MASK ---- */

static kdinr_status read_step_masks(kd_reader *reader, kd_model *model, int a, kdinr_error *error)
{
    kd_model_array *array = &model->arrays[a];
    const unsigned form = kd_get_u8(reader);

    KD_TRY(kd_reader_check(reader, error));
    if (form > KD_STEPS_LIST) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "section MASK: array %d has form %u, allowed are 0 to %d", a, form,
                       KD_STEPS_LIST);
    }
    KD_TRY(kd_allocate((size_t)model->n_steps, sizeof *array->step_masks, "missing-value maps",
                       &array->step_masks, error));
    for (int k = 0; k < model->n_steps; k++) {
        uint32_t bits = form == KD_STEPS_OWN ? (uint32_t)k : 0;
        if (form == KD_STEPS_LIST) bits = kd_get_u32(reader);
        memcpy(&array->step_masks[k], &bits, sizeof bits);
    }
    KD_TRY(kd_reader_check(reader, error));
    return kd_check_step_masks(model, a, KDINR_ERROR_FORMAT, error);
}

static kdinr_status read_masks(kd_reader *reader, kd_model *model, int a, kdinr_error *error)
{
    kd_model_array *array = &model->arrays[a];

    KD_TRY(read_step_masks(reader, model, a, error));
    KD_TRY(kd_reader_room(reader, (uint64_t)array->n_masks, 4, "missing-value maps", error));
    KD_TRY(kd_allocate((size_t)array->n_masks, sizeof *array->masks, "missing-value maps",
                       &array->masks, error));
    for (int i = 0; i < array->n_masks; i++) {
        kd_mask *mask = &array->masks[i];
        const size_t size = kd_get_u32(reader);
        const uint8_t *bytes = kd_get_bytes(reader, size);

        KD_TRY(kd_reader_check(reader, error));
        KD_TRY(kd_allocate(size, 1, "missing-value map", &mask->bytes, error));
        if (size > 0) memcpy(mask->bytes, bytes, size);
        mask->size = size;
    }
    return KDINR_OK;
}

static kdinr_status read_mask(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY_DONE(kd_source_read(from, "MASK", &bytes, &size, error));
    kd_reader reader = kd_reader_open(bytes, size, "section MASK");
    for (int a = 0; a < model->n_arrays; a++) {
        if (model->arrays[a].n_masks > 0) KD_TRY_DONE(read_masks(&reader, model, a, error));
    }
    status = kd_reader_finish(&reader, error);

done:
    free(bytes);
    return status;
}

/* ---- the rest of the file ---- */

static kdinr_status read_rest(const char *path, kd_model *model, kdinr_error *error)
{
    kd_source from;
    kdinr_status status;

    KD_TRY(kd_source_open_again(path, model, &from, error));
    KD_TRY_DONE(read_nets(&from, model, error));
    KD_TRY_DONE(kd_read_clusters(&from, model, error));
    KD_TRY_DONE(kd_read_packs(&from, model, error));
    if (model->packs == NULL) KD_TRY_DONE(read_code(&from, model, error));
    KD_TRY_DONE(read_mask(&from, model, error));
    KD_TRY_DONE(kd_read_residuals(&from, model, error));

done:
    kd_source_close(&from);
    return status;
}

kdinr_status kd_kdm_load_networks(const char *path, kd_model *model, kdinr_error *error)
{
    const size_t n_arrays = (size_t)model->n_arrays;
    kd_model loaded = *model; /* the same lists, but arrays of its own to load into */
    kdinr_status status;

    KD_TRY(kd_allocate(n_arrays, sizeof *loaded.arrays, "arrays", &loaded.arrays, error));
    for (size_t a = 0; a < n_arrays; a++) {
        loaded.arrays[a] = model->arrays[a];
        loaded.arrays[a].networks = NULL;
        loaded.arrays[a].cluster_bits = 0;
        loaded.arrays[a].masks = NULL;
        loaded.arrays[a].step_masks = NULL;
        loaded.arrays[a].residuals = NULL;
        loaded.arrays[a].has_bound = false;
    }
    loaded.packs = NULL;
    loaded.pack_networks = 0;
    status = read_rest(path, &loaded, error);
    free(status == KDINR_OK ? model->packs : loaded.packs);
    if (status == KDINR_OK) {
        model->packs = loaded.packs;
        model->pack_networks = loaded.pack_networks;
    }
    for (size_t a = 0; a < n_arrays; a++) {
        if (status == KDINR_OK) {
            kd_free_loaded(&model->arrays[a]);
            model->arrays[a] = loaded.arrays[a];
        } else {
            kd_free_loaded(&loaded.arrays[a]);
        }
    }
    free(loaded.arrays);
    return status;
}
