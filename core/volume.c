/* One time step as the encoder sees it: typed values, missing samples, ranges, normalisation. */
#include "volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "status.h"

size_t kdinr_type_size(kdinr_type type)
{
    static const size_t sizes[] = {4, 8, 1, 1, 2, 2, 4, 4, 8, 8};

    return (unsigned)type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

const char *kdinr_type_name(kdinr_type type)
{
    static const char *const names[] = {"float32", "float64", "uint8", "int8",   "uint16",
                                        "int16",   "uint32",  "int32", "uint64", "int64"};

    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

kdinr_volume kdinr_volume_default(void)
{
    const kdinr_volume volume = {
        .dims = {1, 1, 1}, .spacing = {1, 1, 1}, .direction = {1, 0, 0, 0, 1, 0, 0, 0, 1}};
    return volume;
}

double kd_volume_fill(kdinr_type type, double fill)
{
    return type == KDINR_FLOAT32 ? (double)(float)fill : fill;
}

double kd_volume_value(const void *values, kdinr_type type, size_t i)
{
    switch (type) {
    case KDINR_FLOAT32:
        return ((const float *)values)[i];
    case KDINR_FLOAT64:
        return ((const double *)values)[i];
    case KDINR_UINT8:
        return ((const uint8_t *)values)[i];
    case KDINR_INT8:
        return ((const int8_t *)values)[i];
    case KDINR_UINT16:
        return ((const uint16_t *)values)[i];
    case KDINR_INT16:
        return ((const int16_t *)values)[i];
    case KDINR_UINT32:
        return ((const uint32_t *)values)[i];
    case KDINR_INT32:
        return ((const int32_t *)values)[i];
    case KDINR_UINT64:
        return (double)((const uint64_t *)values)[i];
    case KDINR_INT64:
        return (double)((const int64_t *)values)[i];
    }
    return 0.0;
}

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

void kd_volume_store(void *values, kdinr_type type, size_t i, double value)
{
    if (type == KDINR_FLOAT32) {
        ((float *)values)[i] = (float)value;
        return;
    }
    if (type == KDINR_FLOAT64) {
        ((double *)values)[i] = value;
        return;
    }
    value = isnan(value) ? 0.0 : nearbyint(value);
    switch (type) {
    case KDINR_UINT8:
        ((uint8_t *)values)[i] = (uint8_t)clamp(value, 0, UINT8_MAX);
        break;
    case KDINR_INT8:
        ((int8_t *)values)[i] = (int8_t)clamp(value, INT8_MIN, INT8_MAX);
        break;
    case KDINR_UINT16:
        ((uint16_t *)values)[i] = (uint16_t)clamp(value, 0, UINT16_MAX);
        break;
    case KDINR_INT16:
        ((int16_t *)values)[i] = (int16_t)clamp(value, INT16_MIN, INT16_MAX);
        break;
    case KDINR_UINT32:
        ((uint32_t *)values)[i] = (uint32_t)clamp(value, 0, UINT32_MAX);
        break;
    case KDINR_INT32:
        ((int32_t *)values)[i] = (int32_t)clamp(value, INT32_MIN, INT32_MAX);
        break;
    /* 2^64 and 2^63 do not fit; the largest doubles below them do. */
    case KDINR_UINT64:
        ((uint64_t *)values)[i] = (uint64_t)clamp(value, 0, 0x1.fffffffffffffp63);
        break;
    default:
        ((int64_t *)values)[i] = (int64_t)clamp(value, -0x1p63, 0x1.fffffffffffffp62);
        break;
    }
}

size_t kd_volume_n_samples(const kdinr_volume *volume, const kdinr_array *array)
{
    int samples[3];

    kd_kdm_samples(volume->dims, array->association, samples);
    return (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
}

size_t kd_volume_bytes(const kdinr_volume *volume, const kdinr_array *array)
{
    return kd_volume_n_samples(volume, array) * (size_t)array->n_components *
           kdinr_type_size(array->type);
}

/* Are the values those of samples that the array has? */
static kdinr_status check_extent(const kdinr_volume *volume, int a, kdinr_error *error)
{
    const kdinr_array *array = &volume->arrays[a];
    const kd_view view = kd_volume_view(volume, a);
    int samples[3];

    kd_kdm_samples(volume->dims, array->association, samples);
    const kd_box whole = kd_bricks_whole(samples);
    if (!kd_bricks_inside(&view.box, &whole)) {
        const int *e = &volume->extents[6 * a];
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "array \"%s\": values of samples %d to %d, %d to %d, %d to %d were given, "
                       "but it has %d x %d x %d",
                       array->name, e[0], e[1], e[2], e[3], e[4], e[5], samples[0], samples[1],
                       samples[2]);
    }
    if (array->values == NULL && kd_bricks_count(&view.box) > 0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "array \"%s\" has no values", array->name);
    }
    return KDINR_OK;
}

static kdinr_status check_array(const kdinr_volume *volume, int a, kdinr_error *error)
{
    const kdinr_array *array = &volume->arrays[a];
    const size_t length = array->name == NULL ? 0 : strlen(array->name);

    if (length < 1 || length > KD_KDM_MAX_NAME) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "array %d: its name has %zu bytes, allowed are 1 to %d", a, length,
                       KD_KDM_MAX_NAME);
    }
    if (kdinr_type_size(array->type) == 0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "array \"%s\": %d is not a value type",
                       array->name, (int)array->type);
    }
    if (array->n_components < 1 || array->n_components > KD_KDM_MAX_COMPONENTS) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "array \"%s\": %d components, allowed are 1 to %d", array->name,
                       array->n_components, KD_KDM_MAX_COMPONENTS);
    }
    if (array->association != KDINR_POINTS && array->association != KDINR_CELLS) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "array \"%s\": association %d is neither points nor cells", array->name,
                       (int)array->association);
    }
    KD_TRY(check_extent(volume, a, error));
    for (int b = 0; b < a; b++) {
        if (strcmp(volume->arrays[b].name, array->name) == 0 &&
            volume->arrays[b].association == array->association) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT, "two arrays are called \"%s\"",
                           array->name);
        }
    }
    return KDINR_OK;
}

static kdinr_status check_grid(const kdinr_volume *volume, kdinr_error *error)
{
    for (int axis = 0; axis < 3; axis++) {
        if (volume->dims[axis] < 1 || volume->dims[axis] > KD_KDM_MAX_DIM) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "the volume has %d points along %c, allowed are 1 to %d",
                           volume->dims[axis], 'x' + axis, KD_KDM_MAX_DIM);
        }
        if (!isfinite(volume->origin[axis]) || !isfinite(volume->spacing[axis]) ||
            !(volume->spacing[axis] > 0)) {
            return kd_fail(
                error, KDINR_ERROR_ARGUMENT,
                "along %c the origin is %g and the spacing %g; both must be finite and the "
                "spacing positive",
                'x' + axis, volume->origin[axis], volume->spacing[axis]);
        }
    }
    for (int i = 0; i < 9; i++) {
        if (!isfinite(volume->direction[i])) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT, "the direction matrix is not finite");
        }
    }
    return KDINR_OK;
}

kdinr_status kd_volume_check(const kdinr_volume *volume, kdinr_error *error)
{
    KD_TRY(check_grid(volume, error));
    for (int axis = 1; axis < 3; axis++) {
        if ((volume->axes[axis] == NULL) != (volume->axes[0] == NULL)) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "axis x has %s coordinates, axis %c has %s: all three must or none",
                           volume->axes[0] == NULL ? "no" : "its", 'x' + axis,
                           volume->axes[axis] == NULL ? "none" : "some");
        }
    }
    if (volume->n_arrays < 1 || volume->n_arrays > KD_KDM_MAX_ARRAYS) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "the step has %d arrays, allowed are 1 to %d",
                       volume->n_arrays, KD_KDM_MAX_ARRAYS);
    }
    for (int a = 0; a < volume->n_arrays; a++) {
        KD_TRY(check_array(volume, a, error));
    }
    return KDINR_OK;
}

static bool same_grid(const kd_model *model, const kdinr_volume *volume)
{
    return memcmp(model->dims, volume->dims, sizeof model->dims) == 0 &&
           memcmp(model->first, volume->first, sizeof model->first) == 0 &&
           memcmp(model->origin, volume->origin, sizeof model->origin) == 0 &&
           memcmp(model->spacing, volume->spacing, sizeof model->spacing) == 0 &&
           memcmp(model->direction, volume->direction, sizeof model->direction) == 0 &&
           kd_same_axes(volume->axes, model);
}

kdinr_status kd_volume_check_same(const kdinr_volume *volume, const kd_model *model, double time,
                                  kdinr_error *error)
{
    if (!same_grid(model, volume)) {
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "at time %g the grid has %d x %d x %d points and differs from the first step's "
            "%d x %d x %d in size or geometry; all steps must share one grid",
            time, volume->dims[0], volume->dims[1], volume->dims[2], model->dims[0], model->dims[1],
            model->dims[2]);
    }
    if (volume->n_arrays != model->n_arrays) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "at time %g there are %d arrays, the first step had %d", time,
                       volume->n_arrays, model->n_arrays);
    }
    for (int a = 0; a < model->n_arrays; a++) {
        const kdinr_array *array = &volume->arrays[a];
        const kd_model_array *stored = &model->arrays[a];

        if (strcmp(array->name, stored->name) != 0 || array->type != stored->type ||
            array->n_components != stored->n_components ||
            array->association != stored->association) {
            return kd_fail(
                error, KDINR_ERROR_ARGUMENT,
                "at time %g array %d is \"%s\" (%s, %d components), the first step had \"%s\" "
                "(%s, %d components)",
                time, a, array->name, kdinr_type_name(array->type), array->n_components,
                stored->name, kdinr_type_name(stored->type), stored->n_components);
        }
    }
    return KDINR_OK;
}

/* Index, in the view's values, of the first sample of row (y, z) of a box. */
static size_t row_start(const kd_view *view, const kd_box *box, int y, int z)
{
    return kd_bricks_row(&view->box, y, z) + (size_t)(box->first[0] - view->box.first[0]);
}

kd_view kd_volume_view(const kdinr_volume *volume, int a)
{
    const kdinr_array *array = &volume->arrays[a];
    int samples[3];

    if (volume->extents == NULL) {
        kd_kdm_samples(volume->dims, array->association, samples);
        return (kd_view){array, kd_bricks_whole(samples)};
    }
    const int *e = &volume->extents[6 * a];
    const kd_view view = {array, {{e[0], e[2], e[4]}, {e[1], e[3], e[5]}}};
    return kd_bricks_count(&view.box) > 0 ? view : (kd_view){array, kd_bricks_none};
}

kdinr_status kd_volume_check_box(const kd_view *view, const kd_box *box, int rank,
                                 kdinr_error *error)
{
    const kd_box *given = &view->box;

    if (kd_bricks_inside(box, given)) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_ARGUMENT,
                   "array \"%s\": process %d was given samples %d to %d, %d to %d, %d to %d of a "
                   "step, and needs %d to %d, %d to %d, %d to %d",
                   view->array->name, rank, given->first[0], given->last[0], given->first[1],
                   given->last[1], given->first[2], given->last[2], box->first[0], box->last[0],
                   box->first[1], box->last[1], box->first[2], box->last[2]);
}

uint64_t kd_volume_hash(const kdinr_volume *volume)
{
    uint64_t hash = XXH64(volume->dims, sizeof volume->dims, 0);

    hash = XXH64(volume->first, sizeof volume->first, hash);
    hash = XXH64(volume->origin, sizeof volume->origin, hash);
    hash = XXH64(volume->spacing, sizeof volume->spacing, hash);
    hash = XXH64(volume->direction, sizeof volume->direction, hash);
    for (int axis = 0; axis < 3 && volume->axes[0] != NULL; axis++) {
        hash = XXH64(volume->axes[axis], (size_t)volume->dims[axis] * sizeof(double), hash);
    }
    for (int a = 0; a < volume->n_arrays; a++) {
        const kdinr_array *array = &volume->arrays[a];
        const double about[5] = {array->type, array->n_components, array->association,
                                 array->has_fill, array->has_fill ? array->fill_value : 0.0};

        hash = XXH64(array->name, strlen(array->name) + 1, hash);
        hash = XXH64(about, sizeof about, hash);
    }
    return hash;
}

uint64_t kd_volume_hash_values(const kd_view *view, const kd_box *box)
{
    const size_t size =
        (size_t)view->array->n_components * kdinr_type_size(view->array->type); /* of a sample */
    const size_t length = (size_t)(box->last[0] - box->first[0] + 1) * size;
    uint64_t hash = 0;

    for (int z = box->first[2]; z <= box->last[2]; z++) {
        for (int y = box->first[1]; y <= box->last[1]; y++) {
            hash = XXH64((const char *)view->array->values + row_start(view, box, y, z) * size,
                         length, hash);
        }
    }
    return hash;
}

static kd_missing classify(const kdinr_array *array, size_t sample)
{
    const size_t n = (size_t)array->n_components;
    const double fill = kd_volume_fill(array->type, array->fill_value);
    kd_missing class = KD_MISSING_NONE;

    for (size_t c = 0; c < n; c++) {
        const double value = kd_volume_value(array->values, array->type, sample * n + c);

        if (isnan(value)) return KD_MISSING_NAN;
        if (array->has_fill && value == fill) {
            class = KD_MISSING_FILL;
        } else if (fabs(value) > (double)3.4028234663852886e38) {
            /* infinite, or beyond what the float32 that decoding returns can hold */
            class = value > 0 ? KD_MISSING_PLUS_INF : KD_MISSING_MINUS_INF;
        }
    }
    return class;
}

static void widen(double range[2], double value)
{
    if (value < range[0]) range[0] = value;
    if (value > range[1]) range[1] = value;
}

size_t kd_volume_classify(const kd_view *view, const kd_box *box, uint8_t *classes)
{
    const size_t length = (size_t)(box->last[0] - box->first[0] + 1);
    size_t present = 0;

    for (int z = box->first[2]; z <= box->last[2]; z++) {
        for (int y = box->first[1]; y <= box->last[1]; y++) {
            const size_t start = row_start(view, box, y, z);

            for (size_t i = 0; i < length; i++, classes++) {
                *classes = (uint8_t)classify(view->array, start + i);
                present += *classes == KD_MISSING_NONE;
            }
        }
    }
    return present;
}

void kd_map_release(kd_map *map)
{
    if (map != NULL && --map->n_users == 0) free(map);
}

size_t kd_volume_cut_classes(const kd_map *map, const kd_box *box, uint8_t *dst)
{
    const size_t length = (size_t)(box->last[0] - box->first[0] + 1);
    size_t present = 0;

    if (map == NULL) {
        memset(dst, KD_MISSING_NONE, kd_bricks_count(box));
        return kd_bricks_count(box);
    }
    for (int z = box->first[2]; z <= box->last[2]; z++) {
        for (int y = box->first[1]; y <= box->last[1]; y++) {
            const size_t start = kd_bricks_row(&map->box, y, z);

            memcpy(dst, map->classes + start + (box->first[0] - map->box.first[0]), length);
            for (size_t i = 0; i < length; i++) {
                present += dst[i] == KD_MISSING_NONE;
            }
            dst += length;
        }
    }
    return present;
}

void kd_volume_range(const kd_view *view, const kd_box *box, const uint8_t *classes,
                     double range[][2])
{
    const size_t length = (size_t)(box->last[0] - box->first[0] + 1);
    const kdinr_array *array = view->array;
    const size_t n = (size_t)array->n_components;
    bool first = true;

    for (int z = box->first[2]; z <= box->last[2]; z++) {
        for (int y = box->first[1]; y <= box->last[1]; y++) {
            const size_t start = row_start(view, box, y, z);

            for (size_t i = 0; i < length; i++, classes++) {
                if (*classes != KD_MISSING_NONE) continue;
                for (size_t c = 0; c < n; c++) {
                    const double value =
                        kd_volume_value(array->values, array->type, (start + i) * n + c);

                    if (first) range[c][0] = range[c][1] = value;
                    widen(range[c], value);
                }
                first = false;
            }
        }
    }
}

void kd_volume_normalise(const kd_view *view, const kd_box *box, const uint8_t *classes,
                         const double range[][2], float *dst)
{
    const size_t length = (size_t)(box->last[0] - box->first[0] + 1);
    const kdinr_array *array = view->array;
    const size_t n = (size_t)array->n_components;

    for (int z = box->first[2]; z <= box->last[2]; z++) {
        for (int y = box->first[1]; y <= box->last[1]; y++) {
            const size_t start = row_start(view, box, y, z);

            for (size_t i = 0; i < length; i++, classes++) {
                for (size_t c = 0; c < n; c++) {
                    const double low = range[c][0], high = range[c][1];
                    const double value =
                        kd_volume_value(array->values, array->type, (start + i) * n + c);
                    const bool skip = *classes != KD_MISSING_NONE || !(high > low);

                    *dst++ = skip ? 0.0f : (float)((value - low) / (high - low) * 2.0 - 1.0);
                }
            }
        }
    }
}
