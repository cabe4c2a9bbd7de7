/* The container, writer's side: a model to bytes. Before: encode.c has filled the model. After:
 * kdm_save.c puts the bytes on disk, kdm_read.c reads them back. core/FORMAT.md is the
 * specification: here is one part per section, in the order of the file. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bytes.h"
#include "kdm_layout.h"

/* ---- META ---- */

static bool all_equal(const double *values, size_t n, double value)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i] != value) return false;
    }
    return true;
}

static bool is_identity(const double direction[9])
{
    for (int i = 0; i < 9; i++) {
        if (direction[i] != (i % 4 == 0 ? 1.0 : 0.0)) return false;
    }
    return true;
}

/* Does start + k * step give every time exactly? */
static bool is_progression(const double *times, int n_steps, double start, double step)
{
    for (int k = 0; k < n_steps; k++) {
        const double advance = step * k;
        if (times[k] != start + advance) return false;
    }
    return true;
}

static kd_times_form choose_times(const double *times, int n_steps, double *step)
{
    *step = 1.0;
    if (is_progression(times, n_steps, 0.0, 1.0)) return KD_TIMES_INDEX;
    if (n_steps == 1) return KD_TIMES_UNIFORM;
    *step = times[1] - times[0];
    if (is_progression(times, n_steps, times[0], *step)) return KD_TIMES_UNIFORM;
    *step = (times[n_steps - 1] - times[0]) / (n_steps - 1);
    return is_progression(times, n_steps, times[0], *step) ? KD_TIMES_UNIFORM : KD_TIMES_LIST;
}

static void put_f64s(kd_writer *writer, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kd_put_f64(writer, values[i]);
    }
}

static void write_grid(kd_writer *writer, const kd_model *model)
{
    const size_t provenance_size = strlen(model->provenance);
    const bool first = model->first[0] != 0 || model->first[1] != 0 || model->first[2] != 0;
    const bool origin = !all_equal(model->origin, 3, 0.0);
    const bool spacing = !all_equal(model->spacing, 3, 1.0);
    const bool direction = !is_identity(model->direction);
    double step;
    const kd_times_form form = choose_times(model->times, model->n_steps, &step);

    kd_put_u8(writer,
              (uint8_t)((first ? KD_META_FIRST : 0) | (origin ? KD_META_ORIGIN : 0) |
                        (spacing ? KD_META_SPACING : 0) | (direction ? KD_META_DIRECTION : 0) |
                        (int)form << KD_META_TIMES_SHIFT));
    kd_put_u8(writer, (uint8_t)model->n_arrays);
    kd_put_u16(writer, (uint16_t)provenance_size);
    kd_put_u32(writer, (uint32_t)model->n_steps);
    for (int i = 0; i < 3; i++) {
        kd_put_u32(writer, (uint32_t)model->dims[i]);
    }
    for (int i = 0; first && i < 3; i++) {
        kd_put_u32(writer, (uint32_t)model->first[i]);
    }
    if (origin) put_f64s(writer, model->origin, 3);
    if (spacing) put_f64s(writer, model->spacing, 3);
    if (direction) put_f64s(writer, model->direction, 9);
    kd_put_bytes(writer, model->provenance, provenance_size);
    if (form == KD_TIMES_UNIFORM) put_f64s(writer, (const double[]){model->times[0], step}, 2);
    if (form == KD_TIMES_LIST) put_f64s(writer, model->times, (size_t)model->n_steps);
}

kdinr_status kd_size_grid(const kd_model *model, size_t *size, kdinr_error *error)
{
    kd_writer writer = {0};

    write_grid(&writer, model);
    *size = writer.size;
    const kdinr_status status = kd_writer_check(&writer, "description", error);
    free(writer.bytes);
    return status;
}

size_t kd_size_times(const double *times, int n_steps)
{
    double step;
    const kd_times_form form = choose_times(times, n_steps, &step);

    return form == KD_TIMES_INDEX     ? 0
           : form == KD_TIMES_UNIFORM ? 2 * sizeof(double)
                                      : (size_t)n_steps * sizeof(double);
}

/* Steps per window if all windows but the last, which may be shorter, have as many; else 0. */
static int uniform_window(const kd_model_array *array)
{
    const int *starts = array->window_starts;
    const int length = starts[1];

    for (int w = 1; w < array->n_windows; w++) {
        if (starts[w] != w * length) return 0;
    }
    return starts[array->n_windows] - starts[array->n_windows - 1] <= length ? length : 0;
}

static bool is_float32(const kd_model_array *array)
{
    for (int c = 0; c < array->n_components; c++) {
        for (int end = 0; end < 2; end++) {
            const double value = array->range[c][end];
            if (fabs(value) > (double)FLT_MAX || (double)(float)value != value) return false;
        }
    }
    return true;
}

static uint16_t psnr_code(float psnr)
{
    const double hundredths = nearbyint(100.0 * (double)psnr);

    if (psnr == INFINITY) return KD_PSNR_INFINITE;
    return (uint16_t)(int)fmax(KD_PSNR_NONE + 1, fmin(KD_PSNR_INFINITE - 1, hundredths));
}

/* The upper half of the float, rounded up: the stored bound is never below the error. */
static uint16_t max_error_code(float max_error)
{
    uint32_t bits;

    max_error = fabsf(max_error); /* -0 has the sign bit */
    memcpy(&bits, &max_error, sizeof bits);
    return (uint16_t)((bits + 0xFFFF) >> 16);
}

static void write_array(kd_writer *writer, const kd_model_array *array, int n_steps)
{
    const int window = uniform_window(array);
    const bool wide = !is_float32(array);
    const bool omega_hidden = array->omega_hidden != KD_OMEGA_HIDDEN;
    const size_t name_size = strlen(array->name);

    kd_put_u8(writer, (uint8_t)((array->association == KDINR_CELLS ? KD_ARRAY_CELLS : 0) |
                                (array->has_fill ? KD_ARRAY_FILL : 0) |
                                (wide ? KD_ARRAY_RANGE_FLOAT64 : 0) |
                                (array->block_layers == 2 ? KD_ARRAY_PLAIN_BLOCKS : 0) |
                                (omega_hidden ? KD_ARRAY_OMEGA_HIDDEN : 0) |
                                (window == 0 ? KD_ARRAY_WINDOW_LIST : 0) |
                                (array->n_masks > 0 ? KD_ARRAY_MASKS : 0) |
                                (array->quality_exact ? KD_ARRAY_QUALITY_EXACT : 0)));
    kd_put_u8(writer, (uint8_t)((int)array->type | (array->n_components - 1) << 4));
    for (int i = 0; i < 3; i++) {
        kd_put_u8(writer, (uint8_t)array->bricks[i]);
    }
    kd_put_u8(writer, (uint8_t)name_size);
    kd_put_bytes(writer, array->name, name_size);
    kd_put_u32(writer, (uint32_t)(window > 0 ? window : array->n_windows));
    for (int w = 1; window == 0 && w < array->n_windows; w++) {
        kd_put_u32(writer, (uint32_t)array->window_starts[w]);
    }
    kd_put_f32(writer, array->omega_first);
    if (omega_hidden) kd_put_f32(writer, array->omega_hidden);
    for (int i = 0; i < 2 * array->n_components; i++) {
        if (wide) {
            kd_put_f64(writer, array->range[i / 2][i % 2]);
        } else {
            kd_put_f32(writer, (float)array->range[i / 2][i % 2]);
        }
    }
    if (array->has_fill) kd_put_f64(writer, array->fill_value);
    if (array->n_masks > 0) kd_put_u32(writer, (uint32_t)array->n_masks);
    kd_put_f32(writer, (float)array->mse);
    for (int k = 0; k < n_steps; k++) {
        kd_put_u16(writer, psnr_code(array->psnr[k]));
    }
    for (int k = 0; k < n_steps; k++) {
        kd_put_u16(writer, max_error_code(array->max_error[k]));
    }
}

static kdinr_status write_meta(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    write_grid(writer, model);
    for (int a = 0; a < model->n_arrays; a++) {
        write_array(writer, &model->arrays[a], model->n_steps);
    }
    return kd_writer_check(writer, "description", error);
}

/* ---- NETS ---- */

/* n_steps: of its window */
static void write_network(kd_writer *writer, const kd_model_array *array, const kd_network *network,
                          int n_steps)
{
    const int n_ends = network->kind == KD_NETWORK_CONSTANT ? 1 : 2;

    kd_put_u8(writer, (uint8_t)network->kind);
    if (network->kind != KD_NETWORK_CONSTANT) {
        kd_put_u16(writer, (uint16_t)network->width);
        kd_put_u8(writer, (uint8_t)network->depth);
    }
    for (int c = 0; c < array->n_components; c++) {
        for (int end = 0; end < n_ends; end++) {
            kd_put_f32(writer, network->range[c][end]);
        }
    }
    if (network->kind == KD_NETWORK_QUANTISED) {
        kd_put_bytes(writer, network->steps, (size_t)kd_tensor_count(array, network));
    }
    if (network->kind != KD_NETWORK_CONSTANT && array->n_modes > 0) {
        kd_put_bytes(writer, network->modes, (size_t)n_steps * (size_t)array->n_modes);
    }
}

static kdinr_status write_nets(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    kd_writer records = {0};
    uint8_t *packed = NULL;
    size_t packed_size;
    kdinr_status status;

    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);

        for (size_t n = 0; n < n_networks; n++) {
            write_network(&records, array, &array->networks[n], kd_network_steps(array, n));
        }
    }
    KD_TRY_DONE(kd_writer_check(&records, "network records", error));
    KD_TRY_DONE(kd_entropy_pack_bytes(records.bytes, records.size, &packed, &packed_size, error));
    if (packed_size + 4 < records.size && records.size / KD_NETS_PER_BYTE < packed_size &&
        records.size <= UINT32_MAX) {
        kd_put_u8(writer, KD_NETS_ZSTD);
        kd_put_u32(writer, (uint32_t)records.size);
        kd_put_bytes(writer, packed, packed_size);
    } else {
        kd_put_u8(writer, KD_NETS_RAW);
        kd_put_bytes(writer, records.bytes, records.size);
    }
    status = kd_writer_check(writer, "network records", error);

done:
    free(records.bytes);
    free(packed);
    return status;
}

/* ---- CODE ---- */

static void write_floats(kd_writer *writer, const kd_model_array *array, const kd_network *network)
{
    const size_t n = kd_kdm_stored(array, network).n_floats;

    for (size_t i = 0; i < n; i++) {
        if (network->kind == KD_NETWORK_FLOAT16) {
            kd_put_u16(writer, kd_float16_bits(network->params[i]));
        } else {
            kd_put_f32(writer, network->params[i]);
        }
    }
}

static kdinr_status write_code(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    kd_entropy_tensor *tensors = NULL;
    uint8_t *packed = NULL;
    size_t n_tensors, packed_size;
    kdinr_status status;

    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);

        for (size_t n = 0; n < n_networks; n++) {
            write_floats(writer, array, &array->networks[n]);
        }
    }
    KD_TRY_DONE(kd_list_tensors(model, 0, SIZE_MAX, &tensors, &n_tensors, error));
    if (n_tensors > 0) {
        KD_TRY_DONE(kd_entropy_pack_codes(tensors, n_tensors, &packed, &packed_size, error));
        kd_put_bytes(writer, packed, packed_size);
    }
    status = kd_writer_check(writer, "parameters", error);

done:
    free(tensors);
    free(packed);
    return status;
}

/* ---- MASK ---- */

static kd_steps_form choose_steps(const kd_model_array *array, int n_steps)
{
    bool all_first = true, own = true;

    for (int k = 0; k < n_steps; k++) {
        all_first = all_first && array->step_masks[k] == 0;
        own = own && array->step_masks[k] == k;
    }
    return all_first ? KD_STEPS_ALL_FIRST : own ? KD_STEPS_OWN : KD_STEPS_LIST;
}

static void write_masks(kd_writer *writer, const kd_model_array *array, int n_steps)
{
    const kd_steps_form form = choose_steps(array, n_steps);

    kd_put_u8(writer, (uint8_t)form);
    for (int k = 0; form == KD_STEPS_LIST && k < n_steps; k++) {
        kd_put_u32(writer, (uint32_t)array->step_masks[k]);
    }
    for (int i = 0; i < array->n_masks; i++) {
        kd_put_u32(writer, (uint32_t)array->masks[i].size);
        kd_put_bytes(writer, array->masks[i].bytes, array->masks[i].size);
    }
}

static kdinr_status write_mask(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        if (array->n_masks > 0) write_masks(writer, array, model->n_steps);
    }
    return kd_writer_check(writer, "missing-value maps", error);
}

/* ---- the whole file ---- */

typedef struct section {
    const char *id;
    kd_writer content;
} section;

enum { META, NETS, CODE, MASK, RESI, AXES, FORM, PACK, MODE, CLUS, N_SECTIONS };

/* A file that the reader would refuse must not be written. */
static kdinr_status check_networks(const kd_model *model, int a, kdinr_error *error)
{
    const size_t n_networks = kd_network_count(&model->arrays[a]);

    for (size_t n = 0; n < n_networks; n++) {
        KD_TRY(kd_check_network(model, a, n, KDINR_ERROR_ARGUMENT, error));
        KD_TRY(kd_check_modes(model, a, n, KDINR_ERROR_ARGUMENT, error));
        KD_TRY(kd_check_params(model, a, n, KDINR_ERROR_ARGUMENT, error));
    }
    return KDINR_OK;
}

static kdinr_status check_all(const kd_model *model, kdinr_error *error)
{
    const kdinr_status status = KDINR_ERROR_ARGUMENT;

    KD_TRY(kd_check_model(model, status, error));
    KD_TRY(kd_check_axes(model, status, error));
    KD_TRY(kd_check_times(model, status, error));
    for (int a = 0; a < model->n_arrays; a++) {
        KD_TRY(kd_check_array(model, a, status, error));
        KD_TRY(kd_check_lists(model, a, status, error));
        if (model->arrays[a].n_masks > 0) KD_TRY(kd_check_step_masks(model, a, status, error));
        KD_TRY(kd_check_cluster_bits(model, a, status, error));
        KD_TRY(check_networks(model, a, error));
    }
    return kd_check_packs(model, status, error);
}

/* Header and section table, then the sections one after another. Empty sections are left out. */
static kdinr_status join_sections(const section *sections, uint8_t **bytes, size_t *size,
                                  kdinr_error *error)
{
    const bool is_1_1 = sections[RESI].content.size + sections[AXES].content.size > 0;
    const bool is_1_4 = sections[MODE].content.size + sections[CLUS].content.size > 0;
    const int minor = is_1_4                            ? 4
                      : sections[PACK].content.size > 0 ? 3
                      : sections[FORM].content.size > 0 ? 2
                                                        : is_1_1; /* the least that is needed */
    kd_writer file = {0};
    uint32_t n_sections = 0;
    uint64_t content_size = 0;

    for (int i = 0; i < N_SECTIONS; i++) {
        n_sections += sections[i].content.size > 0;
        content_size += sections[i].content.size;
    }
    const size_t head_size = KD_HEADER_SIZE + n_sections * (size_t)KD_SECTION_SIZE;
    kd_put_bytes(&file, KD_MAGIC, KD_MAGIC_SIZE);
    kd_put_u16(&file, KD_KDM_MAJOR);
    kd_put_u16(&file, (uint16_t)minor);
    kd_put_u32(&file, n_sections);
    kd_put_u64(&file, head_size + content_size);
    kd_put_u32(&file, 0);
    for (int i = 0; i < N_SECTIONS; i++) {
        const kd_writer *content = &sections[i].content;
        if (content->size == 0) continue;
        kd_put_bytes(&file, sections[i].id, 4);
        kd_put_u32(&file, XXH32(content->bytes, content->size, 0));
        kd_put_u64(&file, content->size);
    }
    for (int i = 0; i < N_SECTIONS; i++) {
        kd_put_bytes(&file, sections[i].content.bytes, sections[i].content.size);
    }
    if (file.failed) {
        free(file.bytes);
        return kd_fail_memory(error, head_size + content_size, "file");
    }
    kd_writer checksum = {.bytes = file.bytes + KD_CHECKSUM_AT, .capacity = 4};
    kd_put_u32(&checksum, XXH32(file.bytes, head_size, 0));
    *bytes = file.bytes;
    *size = file.size;
    return KDINR_OK;
}

kdinr_status kd_kdm_pack(const kd_model *model, uint8_t **bytes, size_t *size, kdinr_error *error)
{
    section sections[N_SECTIONS] = {{.id = "META"}, {.id = "NETS"}, {.id = "CODE"}, {.id = "MASK"},
                                    {.id = "RESI"}, {.id = "AXES"}, {.id = "FORM"}, {.id = "PACK"},
                                    {.id = "MODE"}, {.id = "CLUS"}};
    kdinr_status status;

    *bytes = NULL;
    KD_TRY(check_all(model, error));
    KD_TRY_DONE(write_meta(&sections[META].content, model, error));
    KD_TRY_DONE(write_nets(&sections[NETS].content, model, error));
    if (model->pack_networks == 0) KD_TRY_DONE(write_code(&sections[CODE].content, model, error));
    KD_TRY_DONE(kd_write_packs(&sections[CODE].content, &sections[PACK].content, model, error));
    KD_TRY_DONE(write_mask(&sections[MASK].content, model, error));
    KD_TRY_DONE(kd_write_residuals(&sections[RESI].content, model, error));
    KD_TRY_DONE(kd_write_axes(&sections[AXES].content, model, error));
    KD_TRY_DONE(kd_write_forms(&sections[FORM].content, model, error));
    KD_TRY_DONE(kd_write_modes(&sections[MODE].content, model, error));
    KD_TRY_DONE(kd_write_clusters(&sections[CLUS].content, model, error));
    KD_TRY_DONE(join_sections(sections, bytes, size, error));

done:
    for (int i = 0; i < N_SECTIONS; i++) {
        free(sections[i].content.bytes);
    }
    return status;
}
