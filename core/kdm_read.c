/* The container, reader's side, first half: META, which says what is in the file. Before:
 * kdm_open.c has found the sections. After: a caller knows grid, steps and arrays; kdm_load.c reads
 * the networks. Every byte may be hostile: a count is compared with the bytes that are left before
 * memory is asked for, a number is checked (kdm_check.c) before it is used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "kdm_layout.h"

static kdinr_status get_text(kd_reader *reader, size_t size, const char *what, char **text,
                             kdinr_error *error)
{
    const uint8_t *bytes = kd_get_bytes(reader, size);

    KD_TRY(kd_reader_check(reader, error));
    for (size_t i = 0; i < size; i++) { /* messages may show the text before it is checked */
        if (bytes[i] >= 0x20 && bytes[i] != 0x7F) continue;
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s: byte 0x%02X at %zu is not UTF-8 text", what,
                       bytes[i], i);
    }
    KD_TRY(kd_allocate(size + 1, 1, what, text, error));
    if (size > 0) memcpy(*text, bytes, size);
    return KDINR_OK;
}

/* n numbers if they are stored; otherwise they stay as they are. */
static void get_f64s(kd_reader *reader, bool stored, double *values, size_t n)
{
    for (size_t i = 0; stored && i < n; i++) {
        values[i] = kd_get_f64(reader);
    }
}

static kdinr_status read_times(kd_reader *reader, int form, kd_model *model, kdinr_error *error)
{
    double start = 0.0, step = 1.0;

    KD_TRY(
        kd_allocate((size_t)model->n_steps, sizeof *model->times, "times", &model->times, error));
    if (form == KD_TIMES_LIST) {
        get_f64s(reader, true, model->times, (size_t)model->n_steps);
        return kd_reader_check(reader, error);
    }
    get_f64s(reader, form == KD_TIMES_UNIFORM, &start, 1);
    get_f64s(reader, form == KD_TIMES_UNIFORM, &step, 1);
    for (int k = 0; k < model->n_steps; k++) {
        const double advance = step * k;
        model->times[k] = start + advance;
    }
    return kd_reader_check(reader, error);
}

static kdinr_status read_grid(kd_reader *reader, kd_model *model, kdinr_error *error)
{
    const unsigned flags = kd_get_u8(reader);
    const int form = (int)(flags >> KD_META_TIMES_SHIFT & 3);

    model->n_arrays = kd_get_u8(reader);
    const size_t provenance_size = kd_get_u16(reader);
    model->n_steps = kd_get_count(reader);
    for (int i = 0; i < 3; i++) {
        model->dims[i] = kd_get_count(reader);
        model->spacing[i] = 1.0;
        model->direction[4 * i] = 1.0;
    }
    for (int i = 0; (flags & KD_META_FIRST) != 0 && i < 3; i++) {
        const uint32_t bits = kd_get_u32(reader);
        memcpy(&model->first[i], &bits, sizeof bits);
    }
    get_f64s(reader, (flags & KD_META_ORIGIN) != 0, model->origin, 3);
    get_f64s(reader, (flags & KD_META_SPACING) != 0, model->spacing, 3);
    get_f64s(reader, (flags & KD_META_DIRECTION) != 0, model->direction, 9);
    KD_TRY(kd_reader_check(reader, error));
    if ((flags & KD_META_RESERVED) != 0 || form > KD_TIMES_LIST) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section META: flags 0x%02X have unknown bits",
                       flags);
    }
    KD_TRY(get_text(reader, provenance_size, "provenance", &model->provenance, error));
    KD_TRY(kd_check_model(model, KDINR_ERROR_FORMAT, error));
    /* at the least, every array stores the quality of every step */
    KD_TRY(kd_reader_room(reader, (uint64_t)model->n_steps * (uint64_t)model->n_arrays, 4, "steps",
                          error));
    KD_TRY(read_times(reader, form, model, error));
    return kd_check_times(model, KDINR_ERROR_FORMAT, error);
}

/* Flags, type, bricks, name. */
static kdinr_status read_identity(kd_reader *reader, kd_model_array *array, unsigned *flags,
                                  kdinr_error *error)
{
    *flags = kd_get_u8(reader);
    const unsigned type = kd_get_u8(reader);

    for (int i = 0; i < 3; i++) {
        array->bricks[i] = kd_get_u8(reader);
    }
    array->type = (kdinr_type)(type & 0xF);
    array->n_components = (int)(type >> 4) + 1;
    array->association = (*flags & KD_ARRAY_CELLS) != 0 ? KDINR_CELLS : KDINR_POINTS;
    array->has_fill = (*flags & KD_ARRAY_FILL) != 0;
    array->block_layers = (*flags & KD_ARRAY_PLAIN_BLOCKS) != 0 ? 2 : 3;
    array->quality_exact = (*flags & KD_ARRAY_QUALITY_EXACT) != 0;
    KD_TRY(get_text(reader, kd_get_u8(reader), "array name", &array->name, error));
    if (array->n_components <= KD_KDM_MAX_COMPONENTS) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "array \"%s\": %d components, allowed are 1 to %d",
                   array->name, array->n_components, KD_KDM_MAX_COMPONENTS);
}

static kdinr_status read_windows(kd_reader *reader, bool listed, int n_steps, kd_model_array *array,
                                 kdinr_error *error)
{
    const int count = kd_get_count(reader); /* of windows, or of steps per window */

    KD_TRY(kd_reader_check(reader, error));
    if (count < 1 || count > n_steps) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "array \"%s\": %d %s, allowed are 1 to %d",
                       array->name, count, listed ? "windows" : "steps per window", n_steps);
    }
    array->n_windows = listed ? count : (n_steps - 1) / count + 1;
    KD_TRY(kd_allocate((size_t)array->n_windows + 1, sizeof *array->window_starts, "windows",
                       &array->window_starts, error));
    for (int w = 1; w < array->n_windows; w++) {
        array->window_starts[w] = listed ? kd_get_count(reader) : w * count;
    }
    array->window_starts[array->n_windows] = n_steps;
    return kd_reader_check(reader, error);
}

/* What follows the windows up to the quality of the steps. */
static kdinr_status read_numbers(kd_reader *reader, unsigned flags, kd_model_array *array,
                                 kdinr_error *error)
{
    array->omega_first = kd_get_f32(reader);
    array->omega_hidden =
        (flags & KD_ARRAY_OMEGA_HIDDEN) != 0 ? kd_get_f32(reader) : KD_OMEGA_HIDDEN;
    for (int i = 0; i < 2 * array->n_components; i++) {
        const bool wide = (flags & KD_ARRAY_RANGE_FLOAT64) != 0;
        array->range[i / 2][i % 2] = wide ? kd_get_f64(reader) : (double)kd_get_f32(reader);
    }
    if (array->has_fill) array->fill_value = kd_get_f64(reader);
    if ((flags & KD_ARRAY_MASKS) != 0) {
        array->n_masks = kd_get_count(reader);
        if (array->n_masks == 0 && reader->missing == 0) {
            return kd_fail(error, KDINR_ERROR_FORMAT,
                           "array \"%s\": 0 missing-value maps, at least 1 was announced",
                           array->name);
        }
    }
    array->mse = (double)kd_get_f32(reader);
    return kd_reader_check(reader, error);
}

static kdinr_status read_quality(kd_reader *reader, int n_steps, kd_model_array *array,
                                 kdinr_error *error)
{
    const size_t n = (size_t)n_steps;

    KD_TRY(kd_reader_room(reader, n, 4, "steps' quality", error));
    KD_TRY(kd_allocate(n, sizeof *array->psnr, "quality", &array->psnr, error));
    KD_TRY(kd_allocate(n, sizeof *array->max_error, "quality", &array->max_error, error));
    for (size_t k = 0; k < n; k++) {
        const unsigned code = kd_get_u16(reader);
        const int hundredths = (int)code - (code >= 0x8000 ? 0x10000 : 0);

        array->psnr[k] = hundredths == KD_PSNR_NONE       ? NAN
                         : hundredths == KD_PSNR_INFINITE ? INFINITY
                                                          : (float)(hundredths / 100.0);
    }
    for (size_t k = 0; k < n; k++) {
        const uint32_t bits = (uint32_t)kd_get_u16(reader) << 16;
        memcpy(&array->max_error[k], &bits, sizeof bits);
    }
    return kd_reader_check(reader, error);
}

static kdinr_status read_array(kd_reader *reader, kd_model *model, int a, kdinr_error *error)
{
    kd_model_array *array = &model->arrays[a];
    unsigned flags;

    KD_TRY(read_identity(reader, array, &flags, error));
    KD_TRY(read_windows(reader, (flags & KD_ARRAY_WINDOW_LIST) != 0, model->n_steps, array, error));
    KD_TRY(read_numbers(reader, flags, array, error));
    KD_TRY(kd_check_array(model, a, KDINR_ERROR_FORMAT, error));
    KD_TRY(read_quality(reader, model->n_steps, array, error));
    return kd_check_lists(model, a, KDINR_ERROR_FORMAT, error);
}

static kdinr_status read_meta(kd_reader *reader, kd_model *model, kdinr_error *error)
{
    KD_TRY(read_grid(reader, model, error));
    KD_TRY(kd_allocate((size_t)model->n_arrays, sizeof *model->arrays, "arrays", &model->arrays,
                       error));
    for (int a = 0; a < model->n_arrays; a++) {
        KD_TRY(read_array(reader, model, a, error));
    }
    return kd_reader_finish(reader, error);
}

kdinr_status kd_kdm_load_info(const char *path, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kd_source from;
    kdinr_status status;

    memset(model, 0, sizeof *model);
    KD_TRY(kd_source_open(path, &from, error));
    KD_TRY_DONE(kd_source_read(&from, "META", &bytes, &size, error));
    kd_reader reader = kd_reader_open(bytes, size, "section META");
    KD_TRY_DONE(read_meta(&reader, model, error));
    KD_TRY_DONE(kd_read_axes(&from, model, error));
    KD_TRY_DONE(kd_read_forms(&from, model, error));
    KD_TRY_DONE(kd_read_modes(&from, model, error));
    model->minor = (int)from.minor;
    model->file_size = from.size;
    model->checksum = from.checksum;
    model->minor = (int)from.minor;

done:
    free(bytes);
    kd_source_close(&from);
    return status;
}
