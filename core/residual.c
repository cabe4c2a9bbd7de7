/* Residuals to bytes and back: one walk over lattices that get finer by halves, packing or
 * unpacking. Every pass of the walk has a predictor (residual_predict.c); every sample of it a
 * code, the rounded error of prediction in quanta, whose bits are range coded by how large the
 * codes around it were (residual_code.c). core/FORMAT.md section 5.1 has the exact rules. */
#include "residual.h"

#include <math.h>
#include <string.h>

#include "residual_code.h"
#include "residual_predict.h"
#include "volume.h"

enum {
    LIMIT = 255,
    SMALL_PASS = 64, /* a pass with fewer samples does not name its predictor */
    ACTIVITY_MOST = 255
};

static const double MOST_LEVEL = 0x1p30;

/* Units per quantum: finest lattice, next, next, all coarser ones. */
static const int quanta[4][4] = {{16, 16, 16, 16}, {16, 14, 12, 10}, {16, 11, 8, 6}, {16, 8, 5, 4}};

static const unsigned pass_order[7] = {1, 2, 4, 3, 5, 6, 7};

/* One component of one step on its way. */
typedef struct walk {
    kd_coder *coder;
    kd_residual_model *model;
    const uint8_t *classes;
    kdinr_type type;
    int c; /* component */
    int finer;
    kd_residual *residual; /* of the step */
    int32_t *levels;       /* of the component */
    uint8_t *activity;
    const int32_t *levels_before; /* NULL: no step before */
    const uint8_t *activity_before;
    const kd_residual_source *source; /* packing; else NULL */
    const float *wanted;              /* packing: [n] true levels */
    kdinr_status status;
    kdinr_error *error;
} walk;

/* ---- memory ---- */

kdinr_status kd_residual_create(const int samples[3], int n_components, kd_residual *residual,
                                kdinr_error *error)
{
    const double wanted = (double)samples[0] * samples[1] * samples[2] * n_components;

    memset(residual, 0, sizeof *residual);
    if (wanted > 0x1p60) return kd_fail_memory(error, SIZE_MAX, "residual of a step");
    const size_t n = (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
    residual->n_components = n_components;
    residual->n = n;
    residual->levels = calloc(n * (size_t)n_components, sizeof *residual->levels);
    residual->activity = calloc(n * (size_t)n_components, 1);
    if (residual->levels != NULL && residual->activity != NULL) return KDINR_OK;
    kd_residual_free(residual);
    return kd_fail_memory(error, 5 * n * (size_t)n_components, "residual of a step");
}

void kd_residual_free(kd_residual *residual)
{
    free(residual->levels);
    free(residual->activity);
    free(residual->exact);
    memset(residual, 0, sizeof *residual);
}

static kdinr_status add_exact(kd_residual *residual, size_t i, uint64_t bits, kdinr_error *error)
{
    if (residual->n_exact == residual->capacity) {
        const size_t capacity = 2 * residual->capacity + 64;
        kd_exact *exact = realloc(residual->exact, capacity * sizeof *exact);

        if (exact == NULL) return kd_fail_memory(error, capacity * sizeof *exact, "exact samples");
        residual->exact = exact;
        residual->capacity = capacity;
    }
    residual->exact[residual->n_exact++] = (kd_exact){i, bits};
    return KDINR_OK;
}

/* ---- one sample ---- */

double kd_residual_value(kdinr_type type, double answer, int32_t level, double unit)
{
    const double difference = level * unit;
    uint64_t stored = 0;

    kd_volume_store(&stored, type, 0, answer + difference);
    return kd_volume_value(&stored, type, 0);
}

/* Is a level within the bound, wherever in the room the answer lies? Rounding is monotone, so the
 * ends of the room stand for all of it. */
static bool holds(const kd_residual_source *source, int c, double answer, double original,
                  int32_t level)
{
    const kdinr_type type = source->array->type;
    const double unit = source->bound->unit[c], most = source->bound->most[c];
    const double low = kd_residual_value(type, answer - source->room, level, unit);
    const double high = kd_residual_value(type, answer + source->room, level, unit);

    if ((type == KDINR_UINT64 || type == KDINR_INT64) && fabs(original) > 0x1p53) return false;
    return fabs(low - original) <= most && fabs(high - original) <= most;
}

static uint64_t original_bits(const kdinr_array *array, size_t i)
{
    const size_t size = kdinr_type_size(array->type);
    uint64_t bits = 0;

    memcpy(&bits, (const char *)array->values + i * size, size);
    return bits;
}

/* The code of sample i; false: it must be stored as it is. */
static bool choose_code(const walk *w, size_t i, int32_t predicted, int quantum, int64_t *code)
{
    const kd_residual_source *source = w->source;
    const size_t at = i * (size_t)source->array->n_components + (size_t)w->c;
    const double original = kd_volume_value(source->array->values, w->type, at);
    const double answer =
        source->answers != NULL ? (double)source->answers[at] : source->bound->base[w->c];
    const double level = (original - answer) / source->bound->unit[w->c];
    static const int nudges[3] = {0, 1, -1};

    if (!(fabs(level) < MOST_LEVEL)) { /* or not a number: the unit is 0 */
        *code = 0;
        return holds(source, w->c, answer, original, predicted);
    }
    const double nearest = nearbyint((level - predicted) / quantum);
    for (int k = 0; k < 3; k++) {
        const double found = predicted + (nearest + nudges[k]) * quantum;

        *code = (int64_t)nearest + nudges[k];
        if (fabs(found) <= MOST_LEVEL && holds(source, w->c, answer, original, (int32_t)found)) {
            return true;
        }
    }
    return false;
}

/* ---- samples ---- */

/* Code one sample whose level is expected to be `predicted`. */
static void code_sample(walk *w, const kd_surroundings *around, size_t i, int32_t predicted,
                        int quantum)
{
    const int value_bits = 8 * (int)kdinr_type_size(w->type);
    int64_t code = 0;
    bool exact = false;

    if (w->source != NULL) exact = !choose_code(w, i, predicted, quantum, &code);
    code = kd_residual_number(w->coder, w->model, around, exact ? 0 : code, &exact);
    if (exact) {
        uint64_t bits = 0;

        if (w->source != NULL) {
            const size_t nc = (size_t)w->source->array->n_components;
            bits = original_bits(w->source->array, i * nc + (size_t)w->c);
        }
        bits = kd_residual_raw(w->coder, bits, value_bits);
        if (w->status == KDINR_OK) {
            w->status = add_exact(w->residual, (size_t)w->c * w->residual->n + i, bits, w->error);
        }
    }
    const int64_t level = predicted + code * quantum;
    if (level > (int64_t)MOST_LEVEL || level < -(int64_t)MOST_LEVEL) {
        w->status = kd_fail(w->error, KDINR_ERROR_FORMAT,
                            "residual of sample %zu: level %lld, allowed are -2^30 to 2^30", i,
                            (long long)level);
        return;
    }
    w->levels[i] = (int32_t)level;
    const int64_t size = ((code < 0 ? -code : code) * quantum + 15) / KD_RESIDUAL_QUANTUM;
    w->activity[i] = (uint8_t)(size < ACTIVITY_MOST ? size : ACTIVITY_MOST);
}

/* ---- passes ---- */

static kd_predictor default_predictor(const walk *w, const kd_pass *pass)
{
    return (kd_predictor){pass->odd, true, w->levels_before != NULL ? 8 : 0};
}

/* Passes of some size name their predictor. */
static kd_predictor code_predictor(walk *w, const kd_pass *pass, int quantum)
{
    kd_predictor predictor = default_predictor(w, pass);

    if (kd_pass_count(pass) < SMALL_PASS) return predictor;
    if (w->source != NULL) {
        predictor =
            kd_residual_choose(pass, w->levels, w->levels_before, w->wanted, w->classes, quantum);
    }
    const unsigned byte = (unsigned)kd_residual_raw(
        w->coder, predictor.axes | (predictor.curved ? 8u : 0u) | (unsigned)predictor.follow << 4,
        8);
    predictor = (kd_predictor){byte & 7, (byte & 8) != 0, (int)(byte >> 4)};
    if (predictor.axes == 0 || (predictor.axes & ~pass->odd) != 0 ||
        predictor.follow > (w->levels_before != NULL ? 8 : 0)) {
        w->status =
            kd_fail(w->error, KDINR_ERROR_FORMAT,
                    "residual: predictor 0x%02X does not exist for axes 0x%X", byte, pass->odd);
    }
    return predictor;
}

static void code_pass(walk *w, const kd_pass *pass, int group, int quantum)
{
    const kd_predictor predictor = code_predictor(w, pass, quantum);
    const int step = 2 * pass->h;
    int first[3], at[3];

    if (w->status != KDINR_OK) return;
    for (int axis = 0; axis < 3; axis++) {
        first[axis] = (pass->odd >> axis & 1) != 0 ? pass->h : 0;
    }
    for (at[2] = first[2]; at[2] < pass->dims[2]; at[2] += step) {
        for (at[1] = first[1]; at[1] < pass->dims[1]; at[1] += step) {
            size_t i = (size_t)at[2] * pass->strides[2] + (size_t)at[1] * pass->strides[1] +
                       (size_t)first[0];

            for (at[0] = first[0]; at[0] < pass->dims[0]; at[0] += step, i += (size_t)step) {
                const int32_t predicted =
                    kd_residual_predict(pass, &predictor, w->levels, w->levels_before, at, i);
                if (w->classes != NULL && w->classes[i] != KD_MISSING_NONE) {
                    w->levels[i] = predicted;
                    w->activity[i] = 0;
                    continue;
                }
                const kd_surroundings around = kd_residual_around(
                    w->model, pass, group, w->activity, w->activity_before, at, i);
                code_sample(w, &around, i, predicted, quantum);
            }
            if (w->status != KDINR_OK) return;
        }
    }
}

/* The sample that everything starts from. */
static void code_first(walk *w, int quantum)
{
    const int32_t predicted = w->levels_before != NULL ? w->levels_before[0] : 0;
    const kd_surroundings around = kd_residual_around_first(w->model);

    if (w->classes != NULL && w->classes[0] != KD_MISSING_NONE) {
        w->levels[0] = predicted;
        w->activity[0] = 0;
    } else {
        code_sample(w, &around, 0, predicted, quantum);
    }
}

/* All lattices of one component. */
static void code_component(walk *w, const int dims[3])
{
    kd_pass pass = {.dims = {dims[0], dims[1], dims[2]},
                    .strides = {1, (size_t)dims[0], (size_t)dims[0] * (size_t)dims[1]}};
    const int longest = dims[0] > dims[1] ? (dims[0] > dims[2] ? dims[0] : dims[2])
                                          : (dims[1] > dims[2] ? dims[1] : dims[2]);
    int lattice = 0;

    while (2 << lattice < longest) {
        lattice++;
    }
    code_first(w, quanta[w->finer][3]);
    for (; lattice >= 0 && longest > 1; lattice--) {
        pass.h = 1 << lattice;
        for (int k = 0; k < 7 && w->status == KDINR_OK; k++) {
            pass.odd = pass_order[k];
            if (kd_pass_count(&pass) == 0) continue;
            code_pass(w, &pass, lattice < 2 ? lattice : 2,
                      quanta[w->finer][lattice < 3 ? lattice : 3]);
        }
    }
}

/* ---- steps ---- */

static int compare_exact(const void *one, const void *other)
{
    const size_t a = ((const kd_exact *)one)->i, b = ((const kd_exact *)other)->i;

    return (a > b) - (a < b);
}

/* Lattices are walked in their order; readers look samples up by index. */
static void sort_exact(kd_residual *residual)
{
    if (residual->n_exact == 0) return;
    qsort(residual->exact, residual->n_exact, sizeof *residual->exact, compare_exact);
}

static void enter_component(walk *w, int c, kd_residual *residual, const kd_residual *before)
{
    const size_t start = (size_t)c * residual->n;

    w->c = c;
    w->levels = residual->levels + start;
    w->activity = residual->activity + start;
    w->levels_before = before != NULL ? before->levels + start : NULL;
    w->activity_before = before != NULL ? before->activity + start : NULL;
}

/* True levels of one component; what cannot be one is the nearest that can. */
static void list_wanted(const kd_residual_source *source, size_t n, int c, float *wanted)
{
    const size_t nc = (size_t)source->array->n_components;

    for (size_t i = 0; i < n; i++) {
        const size_t at = i * nc + (size_t)c;
        const double answer =
            source->answers != NULL ? (double)source->answers[at] : source->bound->base[c];
        const double level =
            (kd_volume_value(source->array->values, source->array->type, at) - answer) /
            source->bound->unit[c];

        wanted[i] = (float)fmax(-MOST_LEVEL, fmin(MOST_LEVEL, level));
    }
}

static size_t smallest_size(const kd_residual *residual)
{
    return residual->n * (size_t)residual->n_components / KD_RESIDUAL_SAMPLES_PER_BYTE;
}

kdinr_status kd_residual_pack(const kd_residual_source *source, const int samples[3], int finer,
                              const kd_residual *before, kd_residual *residual, kd_stream *stream,
                              kdinr_error *error)
{
    kd_coder coder = kd_coder_pack(LIMIT);
    walk w = {.coder = &coder,
              .model = malloc(sizeof(kd_residual_model)),
              .classes = source->classes,
              .type = source->array->type,
              .finer = finer,
              .residual = residual,
              .source = source,
              .error = error};
    float *wanted = malloc(residual->n * sizeof *wanted);

    *stream = (kd_stream){NULL, 0};
    residual->n_exact = 0;
    if (w.model == NULL || wanted == NULL) {
        w.status = kd_fail_memory(error, residual->n * sizeof *wanted, "residual of a step");
        goto done;
    }
    kd_residual_model_reset(w.model);
    (void)kd_residual_raw(&coder, (uint64_t)finer, 2);
    w.wanted = wanted;
    for (int c = 0; c < residual->n_components && w.status == KDINR_OK; c++) {
        list_wanted(source, residual->n, c, wanted);
        enter_component(&w, c, residual, before);
        code_component(&w, samples);
    }
    sort_exact(residual);
    kd_coder_finish(&coder);
    while (coder.out.size < smallest_size(residual) && !coder.out.failed) {
        kd_put_u8(&coder.out, 0);
    }
    if (w.status == KDINR_OK) {
        w.status =
            kd_coder_give(&coder, &stream->bytes, &stream->size, "residual of a step", error);
    } else {
        free(coder.out.bytes);
    }

done:
    free(w.model);
    free(wanted);
    return w.status;
}

kdinr_status kd_residual_unpack(const kd_stream *stream, kdinr_type type, const int samples[3],
                                const uint8_t *classes, const kd_residual *before,
                                kd_residual *residual, kdinr_error *error)
{
    kd_coder coder = kd_coder_unpack(stream->bytes, stream->size, LIMIT);
    walk w = {.coder = &coder,
              .model = malloc(sizeof(kd_residual_model)),
              .classes = classes,
              .type = type,
              .residual = residual,
              .error = error};

    if (stream->size < smallest_size(residual)) {
        free(w.model);
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "residual of a step: %zu bytes cannot hold %zu samples, which need at least "
                       "%zu",
                       stream->size, residual->n * (size_t)residual->n_components,
                       smallest_size(residual));
    }
    residual->n_exact = 0;
    if (w.model == NULL) {
        return kd_fail_memory(error, sizeof(kd_residual_model), "residual of a step");
    }
    kd_residual_model_reset(w.model);
    w.finer = (int)kd_residual_raw(&coder, 0, 2);
    for (int c = 0; c < residual->n_components && w.status == KDINR_OK; c++) {
        enter_component(&w, c, residual, before);
        code_component(&w, samples);
    }
    if (w.status == KDINR_OK) {
        sort_exact(residual);
        w.status = kd_coder_check(&coder, smallest_size(residual), "residual of a step", error);
    }
    free(w.model);
    return w.status;
}
