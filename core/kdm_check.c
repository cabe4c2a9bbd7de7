/* The rules that a model keeps, in the order of core/FORMAT.md. Before: encode.c fills a model, or
 * kdm_read.c reads one. After: kdm.c writes it, decode.c relies on it. One message per rule: what
 * was found, what is allowed, where. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "kdm_layout.h"
#include "status.h"

/* Does a sequence of 2..4 bytes at `s` spell one character that is not a control character? Returns
 * its length, or 0. */
static size_t long_character(const unsigned char *s, size_t left)
{
    const size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    const uint32_t smallest[] = {0xA0, 0x800, 0x10000}; /* U+0080..9F are controls */
    uint32_t code = s[0] & (0x7Fu >> length);

    if (s[0] < 0xC0 || s[0] > 0xF4 || length > left) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3Fu);
    }
    if (code < smallest[length - 2] || code > 0x10FFFF) return 0;
    return code >= 0xD800 && code <= 0xDFFF ? 0 : length;
}

/* What a message is about: a part of the model (array -1) or of an array. */
typedef struct place {
    char text[80];
} place;

static place place_of(int array, const char *part)
{
    place name;

    if (array < 0) {
        snprintf(name.text, sizeof name.text, "%s", part);
    } else {
        snprintf(name.text, sizeof name.text, "array %d, %s", array, part);
    }
    return name;
}

static kdinr_status check_text(const char *text, size_t shortest, size_t longest, int array,
                               const char *part, kdinr_status status, kdinr_error *error)
{
    const unsigned char *s = (const unsigned char *)text;
    const size_t size = strlen(text);

    if (size < shortest || size > longest) {
        return kd_fail(error, status, "%s: %zu bytes, allowed are %zu to %zu",
                       place_of(array, part).text, size, shortest, longest);
    }
    for (size_t i = 0; i < size;) {
        const bool plain = s[i] >= 0x20 && s[i] < 0x7F;
        const size_t length = plain ? 1 : s[i] < 0x80 ? 0 : long_character(s + i, size - i);

        if (length == 0) {
            return kd_fail(error, status, "%s: byte 0x%02X at %zu is not UTF-8 text",
                           place_of(array, part).text, s[i], i);
        }
        i += length;
    }
    return KDINR_OK;
}

static kdinr_status check_count(long long found, long long least, long long most, int array,
                                const char *part, kdinr_status status, kdinr_error *error)
{
    if (found >= least && found <= most) return KDINR_OK;
    return kd_fail(error, status, "%s: %lld, allowed are %lld to %lld", place_of(array, part).text,
                   found, least, most);
}

static kdinr_status check_finite(const double *values, size_t n, int array, const char *part,
                                 kdinr_status status, kdinr_error *error)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return kd_fail(error, status, "%s: number %zu is %g, only finite ones are allowed",
                           place_of(array, part).text, i, values[i]);
        }
    }
    return KDINR_OK;
}

kdinr_status kd_check_model(const kd_model *model, kdinr_status status, kdinr_error *error)
{
    for (int i = 0; i < 3; i++) {
        KD_TRY(check_count(model->dims[i], 1, KD_KDM_MAX_DIM, -1, "points along an axis", status,
                           error));
        KD_TRY(check_count((long long)model->first[i], INT_MIN, (long long)INT_MAX - model->dims[i],
                           -1, "index of the first point", status, error));
    }
    KD_TRY(check_finite(model->origin, 3, -1, "origin", status, error));
    KD_TRY(check_finite(model->spacing, 3, -1, "spacing", status, error));
    KD_TRY(check_finite(model->direction, 9, -1, "direction", status, error));
    KD_TRY(check_count(model->n_steps, 1, KD_KDM_MAX_STEPS, -1, "time steps", status, error));
    KD_TRY(check_count(model->n_arrays, 1, KD_KDM_MAX_ARRAYS, -1, "arrays", status, error));
    return check_text(model->provenance, 0, KD_KDM_MAX_PROVENANCE, -1, "provenance", status, error);
}

kdinr_status kd_check_times(const kd_model *model, kdinr_status status, kdinr_error *error)
{
    const double *times = model->times;

    KD_TRY(check_finite(times, (size_t)model->n_steps, -1, "times", status, error));
    for (int k = 1; k < model->n_steps; k++) {
        if (times[k] <= times[k - 1]) {
            return kd_fail(error, status, "times: %.17g of step %d does not follow %.17g", times[k],
                           k, times[k - 1]);
        }
    }
    return KDINR_OK;
}

static kdinr_status check_bricks(const kd_model *model, int a, kdinr_status status,
                                 kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    for (int i = 0; i < 3; i++) {
        const int intervals = samples[i] > 1 ? samples[i] - 1 : 1;
        const int most = intervals < KD_KDM_MAX_BRICKS ? intervals : KD_KDM_MAX_BRICKS;
        KD_TRY(check_count(array->bricks[i], 1, most, a, "bricks along an axis", status, error));
    }
    KD_TRY(check_count(array->n_windows, 1, model->n_steps, a, "windows", status, error));
    return check_count((long long)kd_network_count(array), 1, KD_KDM_MAX_NETWORKS, a, "networks",
                       status, error);
}

static kdinr_status check_frequency(float omega, int array, const char *part, kdinr_status status,
                                    kdinr_error *error)
{
    if (omega > 0.0f && isfinite(omega)) return KDINR_OK;
    return kd_fail(error, status, "%s: %g, it must be finite and above 0",
                   place_of(array, part).text, (double)omega);
}

static kdinr_status check_ranges(const kd_model_array *array, int a, kdinr_status status,
                                 kdinr_error *error)
{
    KD_TRY(check_finite(&array->range[0][0], 2 * (size_t)array->n_components, a, "range", status,
                        error));
    for (int c = 0; c < array->n_components; c++) {
        if (array->range[c][0] > array->range[c][1]) {
            return kd_fail(error, status, "array %d, range: component %d from %g down to %g", a, c,
                           array->range[c][0], array->range[c][1]);
        }
    }
    return KDINR_OK;
}

kdinr_status kd_check_form(const kd_model *model, int a, kdinr_status status, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const int least = array->form == KD_FORM_SIREN ? 1 : 2;
    const int most = array->form == KD_FORM_KDINR ? 3 : least;

    KD_TRY(check_count((long long)array->form, KD_FORM_KDINR, KD_FORM_EVEN, a,
                       "form of the networks", status, error));
    return check_count(array->block_layers, least, most, a, "layers of a block", status, error);
}

kdinr_status kd_check_array(const kd_model *model, int a, kdinr_status status, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];

    KD_TRY(check_text(array->name, 1, KD_KDM_MAX_NAME, a, "name", status, error));
    KD_TRY(
        check_count((long long)array->type, KDINR_FLOAT32, KDINR_INT64, a, "type", status, error));
    KD_TRY(
        check_count(array->n_components, 1, KD_KDM_MAX_COMPONENTS, a, "components", status, error));
    KD_TRY(check_count((long long)array->association, KDINR_POINTS, KDINR_CELLS, a, "association",
                       status, error));
    KD_TRY(check_bricks(model, a, status, error));
    KD_TRY(kd_check_form(model, a, status, error));
    KD_TRY(check_frequency(array->omega_first, a, "first frequency", status, error));
    KD_TRY(check_frequency(array->omega_hidden, a, "hidden frequency", status, error));
    KD_TRY(check_ranges(array, a, status, error));
    KD_TRY(check_count(array->n_masks, 0, model->n_steps, a, "missing-value maps", status, error));
    if (array->mse >= 0.0 && array->mse <= (double)FLT_MAX) return KDINR_OK; /* stored as float32 */
    return kd_fail(error, status,
                   "array %d, mean squared error: %g, it must be finite and at least 0", a,
                   array->mse);
}

static kdinr_status check_windows(const kd_model_array *array, int a, int n_steps,
                                  kdinr_status status, kdinr_error *error)
{
    const int *starts = array->window_starts;

    if (starts[0] != 0 || starts[array->n_windows] != n_steps) {
        return kd_fail(error, status, "array %d, windows: from step %d to %d, expected 0 to %d", a,
                       starts[0], starts[array->n_windows], n_steps);
    }
    for (int w = 0; w < array->n_windows; w++) {
        if (starts[w] >= starts[w + 1]) {
            return kd_fail(error, status, "array %d, windows: window %d has steps %d to %d", a, w,
                           starts[w], starts[w + 1] - 1);
        }
    }
    return KDINR_OK;
}

kdinr_status kd_check_lists(const kd_model *model, int a, kdinr_status status, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];

    KD_TRY(check_windows(array, a, model->n_steps, status, error));
    for (int k = 0; k < model->n_steps; k++) {
        if (isnan(array->psnr[k]) || !(array->max_error[k] >= 0.0f)) {
            return kd_fail(error, status, "array %d, quality: step %d has %g dB, largest error %g",
                           a, k, (double)array->psnr[k], (double)array->max_error[k]);
        }
    }
    return KDINR_OK;
}

kdinr_status kd_check_step_masks(const kd_model *model, int a, kdinr_status status,
                                 kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];

    for (int k = 0; k < model->n_steps; k++) {
        KD_TRY(check_count(array->step_masks[k], -1, array->n_masks - 1, a,
                           "missing-value map of a step", status, error));
    }
    return KDINR_OK;
}

kdinr_status kd_check_network(const kd_model *model, int a, size_t n, kdinr_status status,
                              kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_network *network = &array->networks[n];
    const int n_ends = network->kind == KD_NETWORK_CONSTANT ? 1 : 2;

    KD_TRY(check_count((long long)network->kind, KD_NETWORK_CONSTANT, KD_NETWORK_CLUSTERED, a,
                       "kind of a network", status, error));
    if (network->kind != KD_NETWORK_CONSTANT) {
        KD_TRY(check_count(network->width, 2, KD_NET_MAX_WIDTH, a, "width of a network", status,
                           error));
        KD_TRY(check_count(network->depth, 1, KD_NET_MAX_DEPTH, a, "depth of a network", status,
                           error));
    }
    for (int c = 0; c < array->n_components; c++) {
        for (int end = 0; end < n_ends; end++) {
            if (!isfinite(network->range[c][end])) {
                return kd_fail(error, status, "array %d, network %zu: component %d has range %g", a,
                               n, c, (double)network->range[c][end]);
            }
        }
    }
    return KDINR_OK;
}

kdinr_status kd_check_modes(const kd_model *model, int a, size_t n, kdinr_status status,
                            kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_network *network = &array->networks[n];
    const int n_elements = kd_network_steps(array, n) * array->n_modes;

    if (network->kind == KD_NETWORK_CONSTANT || n_elements == 0) return KDINR_OK;
    if (network->modes == NULL) {
        return kd_fail(error, status, "array %d, network %zu: it has no modes, the array has %d", a,
                       n, array->n_modes);
    }
    for (int i = 0; i < n_elements; i++) {
        if (network->modes[i] >= -INT8_MAX) continue;
        return kd_fail(error, status, "array %d, network %zu: element %d of its modes is %d", a, n,
                       i, network->modes[i]);
    }
    return KDINR_OK;
}

kdinr_status kd_check_params(const kd_model *model, int a, size_t n, kdinr_status status,
                             kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_network *network = &array->networks[n];
    const bool half = network->kind == KD_NETWORK_FLOAT16;
    kd_net net;

    if (network->kind == KD_NETWORK_CONSTANT) return KDINR_OK;
    if (network->kind == KD_NETWORK_CLUSTERED) return kd_check_clusters(model, a, n, status, error);
    kd_kdm_net(array, network, &net);
    for (size_t i = 0; i < net.n_params; i++) {
        double value;

        if (network->kind == KD_NETWORK_QUANTISED) {
            value = network->codes[i];
            if (value >= -KD_ENTROPY_MAX_MAGNITUDE) continue;
        } else {
            value = (double)(half ? kd_kdm_round_float16(network->params[i]) : network->params[i]);
            if (isfinite(value)) continue;
        }
        return kd_fail(error, status, "array %d, network %zu: parameter %zu is %g", a, n, i, value);
    }
    return KDINR_OK;
}
