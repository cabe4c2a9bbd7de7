/* Reading a .kdm: the public decoder functions as a table of contents.
 * open: kdm_read.c reads header and description. read: the networks are loaded once, field.c asks
 * them, the missing-value map is laid over the answer. */
#define _POSIX_C_SOURCE 200809L /* sysconf */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounded.h"
#include "bricks.h"
#include "entropy.h"
#include "field.h"
#include "kdm.h"
#include "status.h"
#include "volume.h"

#define DEFAULT_MEMORY_LIMIT 68719476736.0 /* 64 GiB */

enum { SLAB_SAMPLES = 1 << 20 };

struct kdinr_decoder {
    char *path;
    kdinr_options options;
    kd_run run;
    kd_model model;
    bool loaded;
    kdinr_info info;
    kdinr_array_info *array_infos; /* [n_arrays] */
    kd_field **fields;             /* [n_arrays], made when first asked */
    kd_bounded **bounded;          /* [n_arrays], likewise */
    uint8_t *classes;              /* unpacked mask `classes_mask` of array `classes_array` */
    int classes_array, classes_mask;
};

bool kdinr_can_read(const char *path)
{
    return path != NULL && kd_kdm_can_read(path);
}

/* ---- open ---- */

static void fill_array_info(const kd_model_array *array, kdinr_array_info *info)
{
    info->name = array->name;
    info->type = array->type;
    info->n_components = array->n_components;
    info->association = array->association;
    memcpy(info->range, array->range, sizeof info->range);
    info->has_missing = array->n_masks > 0;
    info->has_fill = array->has_fill;
    info->fill_value = array->fill_value;
    memcpy(info->bricks, array->bricks, sizeof info->bricks);
    info->n_windows = array->n_windows;
    info->omega_first = (double)array->omega_first;
    info->psnr = array->psnr;
    info->max_error = array->max_error;
    info->quality_exact = array->quality_exact;
    info->psnr_overall = array->mse > 0.0 ? -10.0 * log10(array->mse) : INFINITY;
}

static kdinr_status fill_info(kdinr_decoder *decoder, kdinr_error *error)
{
    const kd_model *model = &decoder->model;
    const size_t n = (size_t)model->n_arrays;
    kdinr_info *info = &decoder->info;

    decoder->array_infos = calloc(n, sizeof *decoder->array_infos);
    decoder->fields = calloc(n, sizeof(kd_field *));
    decoder->bounded = calloc(n, sizeof(kd_bounded *));
    if (decoder->array_infos == NULL || decoder->fields == NULL || decoder->bounded == NULL) {
        return kd_fail_memory(error, n * sizeof *decoder->array_infos, "array descriptions");
    }
    for (size_t a = 0; a < n; a++) {
        fill_array_info(&model->arrays[a], &decoder->array_infos[a]);
    }
    info->version_major = KD_KDM_MAJOR;
    info->version_minor = model->minor;
    memcpy(info->dims, model->dims, sizeof info->dims);
    memcpy(info->first, model->first, sizeof info->first);
    memcpy(info->origin, model->origin, sizeof info->origin);
    memcpy(info->spacing, model->spacing, sizeof info->spacing);
    memcpy(info->direction, model->direction, sizeof info->direction);
    for (int axis = 0; axis < 3; axis++) {
        info->axes[axis] = model->axes[axis];
    }
    info->n_steps = model->n_steps;
    info->times = model->times;
    info->n_arrays = model->n_arrays;
    info->arrays = decoder->array_infos;
    info->file_size = model->file_size;
    info->data_size = kd_kdm_data_size(model);
    info->provenance = model->provenance;
    return KDINR_OK;
}

kdinr_status kdinr_decoder_open(const char *path, const kdinr_options *options,
                                kdinr_decoder **decoder, kdinr_error *error)
{
    kdinr_decoder *made = calloc(1, sizeof *made);
    kdinr_status status = KDINR_OK;

    *decoder = NULL;
    if (made == NULL) return kd_fail_memory(error, sizeof *made, "decoder");
    made->options = options != NULL ? *options : kdinr_options_default();
    made->run.options = &made->options;
    made->run.stage = "decoding";
    made->classes_array = -1;
    made->path = strdup(path);
    if (made->path == NULL) {
        status = kd_fail_memory(error, strlen(path), "path");
        goto done;
    }
    KD_TRY_DONE(kd_backend_choose(&made->options, &made->run.backend, error));
    KD_TRY_DONE(kd_kdm_load_info(path, &made->model, error));
    KD_TRY_DONE(fill_info(made, error));

done:
    if (status != KDINR_OK) {
        kdinr_decoder_close(made);
    } else {
        *decoder = made;
    }
    return status;
}

void kdinr_decoder_close(kdinr_decoder *decoder)
{
    if (decoder == NULL) return;
    for (int a = 0; decoder->fields != NULL && a < decoder->model.n_arrays; a++) {
        kd_field_free(decoder->fields[a]);
    }
    for (int a = 0; decoder->bounded != NULL && a < decoder->model.n_arrays; a++) {
        kd_bounded_free(decoder->bounded[a]);
    }
    free(decoder->fields);
    free(decoder->bounded);
    free(decoder->array_infos);
    free(decoder->classes);
    kd_kdm_free(&decoder->model);
    free(decoder->path);
    free(decoder);
}

const kdinr_info *kdinr_decoder_info(const kdinr_decoder *decoder)
{
    return &decoder->info;
}

void kdinr_decoder_set_progress(kdinr_decoder *decoder, kdinr_progress progress, void *user)
{
    decoder->options.progress = progress;
    decoder->options.progress_user = user;
}

kdinr_status kdinr_decoder_load(kdinr_decoder *decoder, kdinr_error *error)
{
    if (decoder->loaded) return KDINR_OK;
    KD_TRY(kd_kdm_load_networks(decoder->path, &decoder->model, error));
    decoder->loaded = true;
    for (int a = 0; a < decoder->model.n_arrays; a++) {
        const kd_model_array *array = &decoder->model.arrays[a];
        kdinr_array_info *info = &decoder->array_infos[a];
        const size_t n = kd_network_count(array);

        info->has_bound = array->has_bound;
        info->bound_alone = array->has_bound && array->bound.alone;
        for (int c = 0; array->has_bound && c < array->n_components; c++) {
            info->bound[c] = array->bound.most[c];
        }
        for (size_t i = 0; i < n; i++) {
            kd_net net;

            if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
            kd_kdm_net(array, &array->networks[i], &net);
            info->n_networks++;
            info->n_parameters += net.n_params;
        }
    }
    return KDINR_OK;
}

static kdinr_status check_extent(const kdinr_decoder *decoder, const kdinr_request *request,
                                 int samples[3], kdinr_error *error)
{
    for (int axis = 0; axis < 3; axis++) {
        if (request->dims[axis] < 1 || request->dims[axis] > KD_KDM_MAX_DIM) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "%d points were asked for along %c, allowed are 1 to %d",
                           request->dims[axis], 'x' + axis, KD_KDM_MAX_DIM);
        }
    }
    kdinr_request_samples(&decoder->info, request, samples);
    for (int axis = 0; axis < 3; axis++) {
        const int low = request->extent[2 * axis], high = request->extent[2 * axis + 1];

        if (low < 0 || high < low || high >= samples[axis]) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "extent %d..%d was asked for along %c, allowed is within 0..%d", low,
                           high, 'x' + axis, samples[axis] - 1);
        }
    }
    return KDINR_OK;
}

static double memory_limit(const kdinr_decoder *decoder)
{
    const double pages = (double)sysconf(_SC_PHYS_PAGES), page = (double)sysconf(_SC_PAGESIZE);

    if (decoder->options.memory_limit > 0) return (double)decoder->options.memory_limit;
    return pages > 0.0 && page > 0.0 ? fmin(pages * page, DEFAULT_MEMORY_LIMIT)
                                     : DEFAULT_MEMORY_LIMIT;
}

/* Bytes of the answer, and of the missing-value map, which is unpacked as a whole. */
static kdinr_status check_memory(const kdinr_decoder *decoder, const kdinr_request *request,
                                 size_t *size, kdinr_error *error)
{
    const kdinr_array_info *array = &decoder->info.arrays[request->array];
    const double limit = memory_limit(decoder);
    const size_t sample_size = kdinr_type_size(request->type) * (size_t)array->n_components;
    const double bytes = (double)kd_bricks_volume(request->extent) * (double)sample_size;
    double map = 0.0;
    int stored[3];

    if (array->has_missing) {
        kd_kdm_samples(decoder->model.dims, array->association, stored);
        map = (double)stored[0] * stored[1] * stored[2];
    }
    if (bytes + map > limit) {
        return kd_fail(
            error, KDINR_ERROR_MEMORY,
            "decoding this extent would take %.0f bytes%s, the limit is %.0f; ask for fewer "
            "points or a smaller extent, or raise memory_limit",
            bytes + map, map > 0.0 ? " with the map of missing values" : "", limit);
    }
    if (size != NULL) *size = (size_t)bytes;
    return KDINR_OK;
}

kdinr_status kdinr_decoder_check(const kdinr_decoder *decoder, const kdinr_request *request,
                                 size_t *size, kdinr_error *error)
{
    int samples[3];

    if (request->array < 0 || request->array >= decoder->info.n_arrays) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "array %d was asked for, the file has %d",
                       request->array, decoder->info.n_arrays);
    }
    if (kdinr_type_size(request->type) == 0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "%d is not a value type", (int)request->type);
    }
    if (isnan(request->time)) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "the time is not a number");
    }
    KD_TRY(check_extent(decoder, request, samples, error));
    return check_memory(decoder, request, size, error);
}

/* ---- missing samples ---- */

/* decoder->classes = the map that holds at step position s; *any tells whether there is one. */
static kdinr_status load_classes(kdinr_decoder *decoder, int a, double s, bool *any,
                                 kdinr_error *error)
{
    const kd_model_array *array = &decoder->model.arrays[a];
    const int mask = array->n_masks == 0 ? -1 : array->step_masks[(int)floor(s + 0.5)];
    int samples[3];

    *any = mask >= 0;
    if (mask < 0 || (decoder->classes_array == a && decoder->classes_mask == mask)) return KDINR_OK;
    kd_kdm_samples(decoder->model.dims, array->association, samples);
    const size_t n = (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
    free(decoder->classes);
    decoder->classes_array = -1;
    decoder->classes = malloc(n);
    if (decoder->classes == NULL) return kd_fail_memory(error, n, "missing-value map");
    KD_TRY(kd_entropy_unpack_mask(array->masks[mask].bytes, array->masks[mask].size, samples,
                                  decoder->classes, error));
    decoder->classes_array = a;
    decoder->classes_mask = mask;
    return KDINR_OK;
}

static double missing_value(const kd_model_array *array, kd_missing class)
{
    switch (class) {
    case KD_MISSING_FILL:
        return array->fill_value;
    case KD_MISSING_PLUS_INF:
        return (double)INFINITY;
    case KD_MISSING_MINUS_INF:
        return -(double)INFINITY;
    default:
        return (double)NAN;
    }
}

/* The stored sample nearest to each sample of one axis of the extent. */
static void nearest_stored(const kd_model *model, const kd_model_array *array, int axis,
                           int n_samples, int from, int to, int *nearest)
{
    int stored[3];

    kd_kdm_samples(model->dims, array->association, stored);
    for (int i = from; i <= to; i++) {
        const double p = kd_bricks_position(array->association, stored[axis], n_samples, i);
        const double rounded = floor(p + 0.5);

        nearest[i - from] = rounded < 0.0                ? 0
                            : rounded > stored[axis] - 1 ? stored[axis] - 1
                                                         : (int)rounded;
    }
}

/* Walk over an extent whose map is loaded: put what missing samples stand for into `values`, or
 * mark them in `missing` (1, else 0); the other one is NULL. */
static kdinr_status restore_missing(kdinr_decoder *decoder, int a, const kd_bounded_part *part,
                                    void *values, uint8_t *missing, kdinr_error *error)
{
    const kd_model_array *array = &decoder->model.arrays[a];
    const int *extent = part->extent;
    size_t at = 0;
    int *nearest[3] = {NULL, NULL, NULL}, n[3], stored[3];
    kdinr_status status = KDINR_OK;

    kd_kdm_samples(decoder->model.dims, array->association, stored);
    for (int axis = 0; axis < 3; axis++) {
        n[axis] = extent[2 * axis + 1] - extent[2 * axis] + 1;
        nearest[axis] = malloc((size_t)n[axis] * sizeof *nearest[axis]);
        if (nearest[axis] == NULL) {
            status = kd_fail_memory(error, (size_t)n[axis] * sizeof(int), "axis of the extent");
            goto done;
        }
        nearest_stored(&decoder->model, array, axis, part->samples[axis], extent[2 * axis],
                       extent[2 * axis + 1], nearest[axis]);
    }
    for (int z = 0; z < n[2]; z++) {
        for (int y = 0; y < n[1]; y++) {
            const size_t row = ((size_t)nearest[2][z] * (size_t)stored[1] + (size_t)nearest[1][y]) *
                               (size_t)stored[0];

            for (int x = 0; x < n[0]; x++, at += (size_t)array->n_components) {
                const kd_missing class = decoder->classes[row + (size_t)nearest[0][x]];
                const int n_values =
                    values != NULL && class != KD_MISSING_NONE ? array->n_components : 0;

                if (missing != NULL) *missing++ = class != KD_MISSING_NONE;
                for (int c = 0; c < n_values; c++) {
                    kd_volume_store(values, part->type, at + (size_t)c,
                                    missing_value(array, class));
                }
            }
        }
    }

done:
    for (int axis = 0; axis < 3; axis++) {
        free(nearest[axis]);
    }
    return status;
}

/* ---- read ---- */

/* One part of the request as float32. */
static kdinr_status read_float(kdinr_decoder *decoder, int a, const kd_bounded_part *part,
                               float *values, kdinr_error *error)
{
    bool any;

    KD_TRY(kd_field_read(decoder->fields[a], part->samples, part->extent, part->s, values,
                         &decoder->run, error));
    KD_TRY(load_classes(decoder, a, part->s, &any, error));
    return any ? restore_missing(decoder, a, part, values, NULL, error) : KDINR_OK;
}

/* One part of an array with a bound.
 *  answers  room for what the networks say */
static kdinr_status read_bounded(kdinr_decoder *decoder, int a, const kd_bounded_part *part,
                                 float *answers, void *values, kdinr_error *error)
{
    bool any;

    if (!decoder->model.arrays[a].bound.alone) {
        KD_TRY(kd_field_read(decoder->fields[a], part->samples, part->extent, part->s, answers,
                             &decoder->run, error));
    }
    KD_TRY(kd_bounded_read(decoder->bounded[a], part, answers, values, error));
    KD_TRY(load_classes(decoder, a, part->s, &any, error));
    return any ? restore_missing(decoder, a, part, values, NULL, error) : KDINR_OK;
}

/* One part, through a buffer of float32. */
static kdinr_status read_part(kdinr_decoder *decoder, int a, const kd_bounded_part *part, size_t n,
                              float *buffer, void *values, kdinr_error *error)
{
    kd_bounded_part single = *part;

    if (decoder->bounded[a] != NULL) {
        return read_bounded(decoder, a, part, buffer, values, error);
    }
    single.type = KDINR_FLOAT32;
    KD_TRY(read_float(decoder, a, &single, buffer, error));
    for (size_t i = 0; i < n; i++) {
        kd_volume_store(values, part->type, i, (double)buffer[i]);
    }
    return KDINR_OK;
}

static int clamp(int n, int most)
{
    return n < 1 ? 1 : n < most ? n : most;
}

/* Another type, or residuals to add: some rows or planes at a time. */
static kdinr_status read_slabs(kdinr_decoder *decoder, int a, const kd_bounded_part *all,
                               char *values, kdinr_error *error)
{
    const size_t nc = (size_t)decoder->info.arrays[a].n_components;
    const int *e = all->extent;
    const int nx = e[1] - e[0] + 1, ny = e[3] - e[2] + 1;
    const int n_y = clamp(SLAB_SAMPLES / nx, ny);
    const int n_z = n_y < ny ? 1 : clamp(SLAB_SAMPLES / nx / ny, e[5] - e[4] + 1);
    const size_t most = (size_t)nx * (size_t)n_y * (size_t)n_z * nc;
    float *buffer = malloc(most * sizeof *buffer);
    kdinr_status status = KDINR_OK;

    if (buffer == NULL) return kd_fail_memory(error, most * sizeof *buffer, "decoded rows");
    for (int z = e[4]; z <= e[5]; z += n_z) {
        for (int y = e[2]; y <= e[3]; y += n_y) {
            const int slab[6] = {e[0], e[1],
                                 y,    y + clamp(e[3] + 1 - y, n_y) - 1,
                                 z,    z + clamp(e[5] + 1 - z, n_z) - 1};
            const size_t n = kd_bricks_volume(slab) * nc;
            kd_bounded_part part = *all;

            memcpy(part.extent, slab, sizeof slab);
            KD_TRY_DONE(read_part(decoder, a, &part, n, buffer, values, error));
            values += n * kdinr_type_size(all->type);
        }
    }

done:
    free(buffer);
    return status;
}

/* What reading an array needs, made at its first reading. */
static kdinr_status open_array(kdinr_decoder *decoder, int a, kdinr_error *error)
{
    KD_TRY(kdinr_decoder_load(decoder, error));
    if (decoder->fields[a] == NULL) {
        KD_TRY(kd_field_create(&decoder->model, decoder->path, a, decoder->run.backend,
                               &decoder->options, &decoder->fields[a], error));
    }
    if (decoder->bounded[a] != NULL || !decoder->model.arrays[a].has_bound) return KDINR_OK;
    return kd_bounded_create(&decoder->model, a, (uint64_t)memory_limit(decoder),
                             &decoder->bounded[a], error);
}

kdinr_status kdinr_decoder_read(kdinr_decoder *decoder, const kdinr_request *request, void *values,
                                kdinr_error *error)
{
    const int a = request->array;
    kd_bounded_part part = {.type = request->type};

    KD_TRY(kdinr_decoder_check(decoder, request, NULL, error));
    kdinr_request_samples(&decoder->info, request, part.samples);
    KD_TRY(open_array(decoder, a, error));
    decoder->run.work_done = decoder->run.reported = 0.0;
    decoder->run.work_total = (double)kd_bricks_volume(request->extent);
    memcpy(part.extent, request->extent, sizeof part.extent);
    part.s = kd_bricks_step(decoder->model.times, decoder->model.n_steps, request->time);
    if (request->type == KDINR_FLOAT32 && decoder->bounded[a] == NULL) {
        return read_float(decoder, a, &part, values, error);
    }
    return read_slabs(decoder, a, &part, values, error);
}

kdinr_status kdinr_decoder_missing(kdinr_decoder *decoder, const kdinr_request *request,
                                   uint8_t *missing, kdinr_error *error)
{
    kd_bounded_part part = {.type = request->type};
    bool any;

    KD_TRY(kdinr_decoder_check(decoder, request, NULL, error));
    kdinr_request_samples(&decoder->info, request, part.samples);
    KD_TRY(kdinr_decoder_load(decoder, error));
    memcpy(part.extent, request->extent, sizeof part.extent);
    part.s = kd_bricks_step(decoder->model.times, decoder->model.n_steps, request->time);
    KD_TRY(load_classes(decoder, request->array, part.s, &any, error));
    if (any) return restore_missing(decoder, request->array, &part, NULL, missing, error);
    memset(missing, 0, kd_bricks_volume(request->extent));
    return KDINR_OK;
}
