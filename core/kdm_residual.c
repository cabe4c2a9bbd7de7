/* The container, section RESI: bounds and the residuals that keep them. Before: encode.c has packed
 * one stream per step of each bounded array. After: decode.c unpacks them. Writing and reading
 * stand side by side; files without a bound have no such section and stay as they are in
 * version 1.0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "kdm_layout.h"

enum { FLAG_BOUND = 1, FLAG_ALONE = 2, RESERVED = 0xFC };

kdinr_status kd_check_bound(const kd_model *model, int a, kdinr_status status, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_bound *bound = &array->bound;

    for (int c = 0; c < array->n_components; c++) {
        if (!(bound->most[c] >= 0.0 && bound->unit[c] >= 0.0) || !isfinite(bound->most[c]) ||
            !isfinite(bound->unit[c]) || !isfinite(bound->base[c])) {
            return kd_fail(error, status,
                           "array %d, component %d: bound %g, unit %g, base %g; bound and unit "
                           "must not be negative, all must be finite",
                           a, c, bound->most[c], bound->unit[c], bound->base[c]);
        }
    }
    if (bound->group >= 1 && bound->group <= UINT8_MAX) return KDINR_OK;
    return kd_fail(error, status, "array %d: groups of %d steps, allowed are 1 to %d", a,
                   bound->group, UINT8_MAX);
}

/* ---- writing ---- */

static kdinr_status write_array(kd_writer *writer, const kd_model *model, int a, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_bound *bound = &array->bound;

    if (!array->has_bound) {
        kd_put_u8(writer, 0);
        return KDINR_OK;
    }
    KD_TRY(kd_check_bound(model, a, KDINR_ERROR_ARGUMENT, error));
    kd_put_u8(writer, (uint8_t)(FLAG_BOUND | (bound->alone ? FLAG_ALONE : 0)));
    kd_put_u8(writer, (uint8_t)bound->group);
    for (int c = 0; c < array->n_components; c++) {
        kd_put_f64(writer, bound->most[c]);
        kd_put_f64(writer, bound->unit[c]);
        if (bound->alone) kd_put_f64(writer, bound->base[c]);
    }
    for (int k = 0; k < model->n_steps; k++) {
        if (array->residuals[k].size > UINT32_MAX) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "array %d, step %d: a residual of %zu bytes, at most %lu can be stored",
                           a, k, array->residuals[k].size, (unsigned long)UINT32_MAX);
        }
        kd_put_u32(writer, (uint32_t)array->residuals[k].size);
    }
    for (int k = 0; k < model->n_steps; k++) {
        kd_put_bytes(writer, array->residuals[k].bytes, array->residuals[k].size);
    }
    return KDINR_OK;
}

kdinr_status kd_write_residuals(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    if (!kd_has_bound(model)) return KDINR_OK;
    for (int a = 0; a < model->n_arrays; a++) {
        KD_TRY(write_array(writer, model, a, error));
    }
    return kd_writer_check(writer, "residuals", error);
}

bool kd_has_bound(const kd_model *model)
{
    for (int a = 0; a < model->n_arrays; a++) {
        if (model->arrays[a].has_bound) return true;
    }
    return false;
}

/* ---- reading ---- */

static kdinr_status read_streams(kd_reader *reader, const kd_model *model, kd_model_array *array,
                                 kdinr_error *error)
{
    const size_t n = (size_t)model->n_steps;

    KD_TRY(kd_reader_room(reader, n, 4, "residuals", error));
    KD_TRY(kd_allocate(n, sizeof *array->residuals, "residuals", &array->residuals, error));
    for (size_t k = 0; k < n; k++) {
        array->residuals[k].size = kd_get_u32(reader);
    }
    KD_TRY(kd_reader_check(reader, error));
    for (size_t k = 0; k < n; k++) {
        kd_stream *stream = &array->residuals[k];
        const uint8_t *bytes = kd_get_bytes(reader, stream->size);

        KD_TRY(kd_reader_check(reader, error));
        KD_TRY(kd_allocate(stream->size, 1, "residual of a step", &stream->bytes, error));
        if (stream->size > 0) memcpy(stream->bytes, bytes, stream->size);
    }
    return KDINR_OK;
}

static kdinr_status read_array(kd_reader *reader, kd_model *model, int a, kdinr_error *error)
{
    kd_model_array *array = &model->arrays[a];
    kd_bound *bound = &array->bound;
    const unsigned flags = kd_get_u8(reader);

    KD_TRY(kd_reader_check(reader, error));
    if ((flags & RESERVED) != 0 || flags == FLAG_ALONE) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "section RESI: array %d has flags 0x%02X, allowed are 0, 1 and 3", a, flags);
    }
    if (flags == 0) return KDINR_OK;
    array->has_bound = true;
    bound->alone = (flags & FLAG_ALONE) != 0;
    bound->group = kd_get_u8(reader);
    for (int c = 0; c < array->n_components; c++) {
        bound->most[c] = kd_get_f64(reader);
        bound->unit[c] = kd_get_f64(reader);
        if (bound->alone) bound->base[c] = kd_get_f64(reader);
    }
    KD_TRY(kd_reader_check(reader, error));
    KD_TRY(kd_check_bound(model, a, KDINR_ERROR_FORMAT, error));
    return read_streams(reader, model, array, error);
}

kdinr_status kd_read_residuals(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY(kd_source_read(from, "RESI", &bytes, &size, error));
    kd_reader reader = kd_reader_open(bytes, size, "section RESI");
    for (int a = 0; size > 0 && a < model->n_arrays; a++) {
        KD_TRY_DONE(read_array(&reader, model, a, error));
    }
    status = kd_reader_finish(&reader, error);

done:
    free(bytes);
    return status;
}

void kd_free_residuals(kd_model_array *array)
{
    const int n_steps = array->window_starts != NULL ? array->window_starts[array->n_windows] : 0;

    for (int k = 0; array->residuals != NULL && k < n_steps; k++) {
        free(array->residuals[k].bytes);
    }
    free(array->residuals);
    array->residuals = NULL;
    array->has_bound = false;
}
