/* Bounds, second pass: code, check, choose. */
#include "keep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "entropy.h"
#include "status.h"
#include "volume.h"

/* By how much of a network's range two decoders may differ: core/FORMAT.md, section 6. */
#define DECODER_ROOM 1e-4

enum { N_FINER = 4 };

/* What a file without networks does not have to say of them. */
enum { DESCRIPTION_BYTES = 16 };

/* ---- bounds ---- */

void kd_keep_bound(const kdinr_options *options, int n_components, const double range[][2],
                   double *most)
{
    for (int c = 0; c < n_components; c++) {
        const double scale = options->max_error_relative ? range[c][1] - range[c][0] : 1.0;

        most[c] = fmin(options->max_error * scale, 1e300);
    }
}

/* Half a unit in the last place of a type at a magnitude; integers have none. */
static double rounding(kdinr_type type, double magnitude)
{
    return type == KDINR_FLOAT32   ? magnitude * 0x1p-24
           : type == KDINR_FLOAT64 ? magnitude * 0x1p-53
                                   : 0.0;
}

/* Integers are rounded to the nearest: that is half a step more. */
void kd_keep_units(kdinr_type type, int n_components, const double range[][2], double room,
                   kd_bound *bound)
{
    for (int c = 0; c < n_components; c++) {
        const double largest = fmax(fabs(range[c][0]), fabs(range[c][1]));
        double half = bound->most[c];

        if (type != KDINR_FLOAT32 && type != KDINR_FLOAT64) half = floor(half) + 0.5;
        const double wanted = half * (1.0 - 0x1p-10) - room - rounding(type, largest);
        bound->unit[c] = 2.0 * fmax(wanted, half / 4.0) / KD_RESIDUAL_QUANTUM;
        if (bound->alone) bound->base[c] = range[c][0]; /* exact for constants */
    }
}

/* ---- open ---- */

/* The widest range of the array's networks, and whether any has parameters. */
static double widest_network(const kd_model_array *array, bool *any)
{
    const size_t n = kd_network_count(array);
    double widest = 0.0;

    *any = false;
    for (size_t i = 0; i < n; i++) {
        const kd_network *network = &array->networks[i];

        if (network->kind == KD_NETWORK_CONSTANT) continue;
        *any = true;
        for (int c = 0; c < array->n_components; c++) {
            widest = fmax(widest, (double)network->range[c][1] - network->range[c][0]);
        }
    }
    return widest;
}

static kdinr_status open_way(kd_keep *keep, kd_way *way, kdinr_error *error)
{
    const size_t n = (size_t)keep->model->n_steps;
    const kd_model_array *array = &keep->model->arrays[keep->a];
    int samples[3];

    kd_kdm_samples(keep->model->dims, array->association, samples);
    way->tried = true;
    way->bound.group = KD_KEEP_GROUP;
    way->streams = calloc(n, sizeof *way->streams);
    way->quality = calloc(n, sizeof *way->quality);
    way->checksums = calloc(n, sizeof *way->checksums);
    if (way->streams == NULL || way->quality == NULL || way->checksums == NULL) {
        return kd_fail_memory(error, n * sizeof *way->quality, "residuals");
    }
    for (int i = 0; i < 3; i++) {
        KD_TRY(kd_residual_create(samples, array->n_components, &way->steps[i], error));
    }
    kd_keep_units(array->type, array->n_components, (const double(*)[2])array->range, way->room,
                  &way->bound);
    return KDINR_OK;
}

kdinr_status kd_keep_open(kd_model *model, int a, const kdinr_options *options, kd_keep *keep,
                          kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_way *alone = &keep->ways[KD_KEEP_ALONE], *hybrid = &keep->ways[KD_KEEP_HYBRID];
    bool any, worthwhile = true;

    memset(keep, 0, sizeof *keep);
    keep->model = model;
    keep->a = a;
    kd_keep_bound(options, array->n_components, (const double(*)[2])array->range,
                  alone->bound.most);
    memcpy(hybrid->bound.most, alone->bound.most, sizeof alone->bound.most);
    alone->bound.alone = true;
    hybrid->room = DECODER_ROOM * widest_network(array, &any);
    for (int c = 0; c < array->n_components; c++) {
        worthwhile = worthwhile && hybrid->room < alone->bound.most[c] / 2.0;
    }
    KD_TRY(open_way(keep, alone, error));
    return any && worthwhile ? open_way(keep, hybrid, error) : KDINR_OK;
}

static void close_way(kd_way *way, int n_steps)
{
    for (int k = 0; way->streams != NULL && k < n_steps; k++) {
        free(way->streams[k].bytes);
    }
    for (int i = 0; i < 3; i++) {
        kd_residual_free(&way->steps[i]);
    }
    free(way->streams);
    free(way->quality);
    free(way->checksums);
    memset(way, 0, sizeof *way);
}

void kd_keep_close(kd_keep *keep)
{
    if (keep->model == NULL) return;
    for (int i = 0; i < KD_KEEP_WAYS; i++) {
        close_way(&keep->ways[i], keep->model->n_steps);
    }
    memset(keep, 0, sizeof *keep);
}

/* ---- a step ---- */

static void swap(kd_residual *a, kd_residual *b)
{
    const kd_residual kept = *a;

    *a = *b;
    *b = kept;
}

/* Pack with one choice of `finer` into the spare place; keep it if it is smaller. */
static kdinr_status try_finer(kd_way *way, const kd_residual_source *source, const int samples[3],
                              int finer, const kd_residual *before, kd_stream *best,
                              kdinr_error *error)
{
    kd_stream stream;

    KD_TRY(kd_residual_pack(source, samples, finer, before, &way->steps[2], &stream, error));
    if (best->bytes != NULL && best->size <= stream.size) {
        free(stream.bytes);
        return KDINR_OK;
    }
    free(best->bytes);
    *best = stream;
    way->finer = finer;
    swap(&way->steps[0], &way->steps[2]);
    return KDINR_OK;
}

/* A decoded step, read component by component. */
typedef struct reading {
    const kd_way *way;
    const kd_residual *residual;
    const kd_residual_source *source;
    size_t next_exact;
} reading;

/* The value of a component as decoders give it; *bits: as the array's type stores it. */
static double decoded_value(reading *r, size_t i, int c, uint64_t *bits)
{
    const kdinr_array *array = r->source->array;
    const size_t at = (size_t)c * r->residual->n + i;
    const float *answers = r->source->answers;
    const double answer = answers != NULL
                              ? (double)answers[i * (size_t)array->n_components + (size_t)c]
                              : r->way->bound.base[c];

    *bits = 0;
    if (r->next_exact < r->residual->n_exact && r->residual->exact[r->next_exact].i == at) {
        *bits = r->residual->exact[r->next_exact++].bits;
        return kd_volume_value(bits, array->type, 0);
    }
    const double value =
        kd_residual_value(array->type, answer, r->residual->levels[at], r->way->bound.unit[c]);
    kd_volume_store(bits, array->type, 0, value);
    return value;
}

/* Compare a decoded step with the original: its quality, its checksum, and the bound itself. */
static kdinr_status compare(kd_way *way, const kd_residual *residual,
                            const kd_residual_source *source, int step, kdinr_error *error)
{
    const kdinr_array *array = source->array;
    const size_t nc = (size_t)array->n_components;
    kd_quality *quality = &way->quality[step];
    reading r = {way, residual, source, 0};
    uint32_t checksum = 0;

    quality->exact = true;
    for (int c = 0; c < array->n_components; c++) {
        double n = 0.0;

        for (size_t i = 0; i < residual->n; i++) {
            if (source->classes != NULL && source->classes[i] != KD_MISSING_NONE) continue;
            const size_t at = i * nc + (size_t)c;
            const double original = kd_volume_value(array->values, array->type, at);
            uint64_t bits;
            const double value = decoded_value(&r, i, c, &bits);
            const double error_size = fabs(value - original);

            if (!(error_size <= way->bound.most[c])) {
                return kd_fail(error, KDINR_ERROR_DATA,
                               "step %d, sample %zu: %.17g decodes to %.17g, off by more than %g",
                               step, i, original, value, way->bound.most[c]);
            }
            quality->squares[c] += error_size * error_size;
            quality->max_error = fmax(quality->max_error, error_size);
            checksum = XXH32(&bits, sizeof bits, checksum);
            n += 1.0;
        }
        if (n > 0.0) quality->squares[c] /= n;
        quality->n_present = n;
    }
    way->checksums[step] = checksum;
    return KDINR_OK;
}

/* Code one step in one way, decode it again, compare. */
static kdinr_status keep_step(kd_keep *keep, kd_way *way, const kd_residual_source *source,
                              kdinr_error *error)
{
    const int step = keep->n_done;
    const bool first = step % KD_KEEP_GROUP == 0;
    const kd_residual *before = first ? NULL : &way->steps[1];
    kd_stream *stream = &way->streams[step];
    const int chosen = way->finer;
    int samples[3];

    kd_kdm_samples(keep->model->dims, keep->model->arrays[keep->a].association, samples);
    swap(&way->steps[0], &way->steps[1]); /* the latest step is now the one before */
    for (int finer = first ? 0 : chosen; finer < (first ? N_FINER : chosen + 1); finer++) {
        KD_TRY(try_finer(way, source, samples, finer, before, stream, error));
    }
    KD_TRY(kd_residual_unpack(stream, source->array->type, samples, source->classes, before,
                              &way->steps[2], error));
    return compare(way, &way->steps[2], source, step, error);
}

kdinr_status kd_keep_step(kd_keep *keep, const kdinr_array *array, const uint8_t *classes,
                          kd_field *field, kd_run *run, kdinr_error *error)
{
    kd_residual_source source = {.array = array, .classes = classes};
    const int *samples = kd_field_stored(field);
    const int extent[6] = {0, samples[0] - 1, 0, samples[1] - 1, 0, samples[2] - 1};
    const size_t n = keep->ways[KD_KEEP_ALONE].steps[0].n * (size_t)array->n_components;
    kd_way *hybrid = &keep->ways[KD_KEEP_HYBRID];
    float *answers = NULL;
    kdinr_status status = KDINR_OK;

    source.bound = &keep->ways[KD_KEEP_ALONE].bound;
    KD_TRY(keep_step(keep, &keep->ways[KD_KEEP_ALONE], &source, error));
    if (hybrid->tried) {
        answers = malloc(n * sizeof *answers);
        if (answers == NULL) return kd_fail_memory(error, n * sizeof *answers, "decoded step");
        KD_TRY_DONE(kd_field_read(field, samples, extent, keep->n_done, answers, run, error));
        source.answers = answers;
        source.room = hybrid->room;
        source.bound = &hybrid->bound;
        KD_TRY_DONE(keep_step(keep, hybrid, &source, error));
    }
    keep->n_done++;

done:
    free(answers);
    return status;
}

/* ---- the choice ---- */

/* Bytes of the whole file with one way of this array. */
static kdinr_status measure_way(kd_keep *keep, const kd_way *way, size_t *size, kdinr_error *error)
{
    kd_model_array *array = &keep->model->arrays[keep->a];
    uint8_t *bytes = NULL;

    array->has_bound = true;
    array->bound = way->bound;
    array->residuals = way->streams;
    const kdinr_status status = kd_kdm_pack(keep->model, &bytes, size, error);
    array->residuals = NULL;
    array->has_bound = false;
    free(bytes);
    return status;
}

/* The array without networks: one constant for everything. */
static kdinr_status strip_networks(const kd_model *model, kd_model_array *array, kdinr_error *error)
{
    array->networks = calloc(1, sizeof *array->networks);
    array->window_starts = calloc(2, sizeof *array->window_starts);
    if (array->networks == NULL || array->window_starts == NULL) {
        free(array->networks);
        free(array->window_starts);
        (void)kd_fail_memory(error, sizeof *array->networks, "networks");
        return KDINR_ERROR_MEMORY;
    }
    kd_network_middle(array, &array->networks[0]);
    array->window_starts[1] = model->n_steps;
    array->cluster_bits = 0;
    array->n_windows = array->bricks[0] = array->bricks[1] = array->bricks[2] = 1;
    return KDINR_OK;
}

static void free_networks(kd_model_array *array)
{
    const size_t n = kd_network_count(array);

    for (size_t i = 0; i < n; i++) {
        kd_network_release(&array->networks[i]);
    }
    free(array->networks);
    free(array->window_starts);
}

kdinr_status kd_keep_choose(kd_keep *keep, kd_quality *quality, kdinr_error *error)
{
    kd_model_array *array = &keep->model->arrays[keep->a];
    const kd_model_array with = *array;
    kd_way *hybrid = &keep->ways[KD_KEEP_HYBRID], *chosen = &keep->ways[KD_KEEP_ALONE];
    size_t size_hybrid = SIZE_MAX, size_alone = 0;
    kd_model_array without = *array;

    if (hybrid->tried) KD_TRY(measure_way(keep, hybrid, &size_hybrid, error));
    KD_TRY(strip_networks(keep->model, &without, error));
    *array = without;
    const kdinr_status status = measure_way(keep, chosen, &size_alone, error);
    if (status == KDINR_OK &&
        (size_hybrid >= size_alone || size_alone - size_hybrid <= DESCRIPTION_BYTES)) {
        kd_model_array old = with;
        free_networks(&old);
    } else {
        free_networks(&without);
        *array = with;
        chosen = hybrid;
    }
    KD_TRY(status);
    array->has_bound = true;
    array->bound = chosen->bound;
    array->residuals = chosen->streams;
    chosen->streams = NULL;
    memcpy(quality, chosen->quality, (size_t)keep->model->n_steps * sizeof *quality);
    return KDINR_OK;
}

/* ---- the file ---- */

/* Which samples of a step are missing, by the model's own maps. */
static kdinr_status missing_samples(const kd_keep *keep, int step, uint8_t *classes,
                                    kdinr_error *error)
{
    const kd_model_array *array = &keep->model->arrays[keep->a];
    const int mask = array->n_masks > 0 ? array->step_masks[step] : -1;
    int samples[3];

    memset(classes, KD_MISSING_NONE, keep->ways[KD_KEEP_ALONE].steps[0].n);
    if (mask < 0) return KDINR_OK;
    kd_kdm_samples(keep->model->dims, array->association, samples);
    return kd_entropy_unpack_mask(array->masks[mask].bytes, array->masks[mask].size, samples,
                                  classes, error);
}

/* The checksum of a decoded step; samples that are missing do not count. */
static uint32_t hash_values(const kd_keep *keep, const char *values, const uint8_t *classes)
{
    const kd_model_array *array = &keep->model->arrays[keep->a];
    const size_t n = keep->ways[KD_KEEP_ALONE].steps[0].n, nc = (size_t)array->n_components;
    const size_t size = kdinr_type_size(array->type);
    uint32_t checksum = 0;

    for (size_t c = 0; c < nc; c++) {
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = 0;

            if (classes[i] != KD_MISSING_NONE) continue;
            memcpy(&bits, values + (i * nc + c) * size, size);
            checksum = XXH32(&bits, sizeof bits, checksum);
        }
    }
    return checksum;
}

static kdinr_status check_steps(const kd_keep *keep, kdinr_decoder *decoder, kdinr_error *error)
{
    const kd_model_array *array = &keep->model->arrays[keep->a];
    const kd_way *way = &keep->ways[array->bound.alone ? KD_KEEP_ALONE : KD_KEEP_HYBRID];
    const size_t size = way->steps[0].n * (size_t)array->n_components;
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), keep->a);
    char *values = malloc(size * kdinr_type_size(array->type));
    uint8_t *classes = malloc(way->steps[0].n);
    kdinr_status status = KDINR_OK;

    if (values == NULL || classes == NULL) {
        status = kd_fail_memory(error, size, "decoded step");
        goto done;
    }
    request.type = array->type;
    for (int k = 0; k < keep->model->n_steps; k++) {
        request.time = keep->model->times[k];
        KD_TRY_DONE(missing_samples(keep, k, classes, error));
        KD_TRY_DONE(kdinr_decoder_read(decoder, &request, values, error));
        if (hash_values(keep, values, classes) == way->checksums[k]) continue;
        status = kd_fail(error, KDINR_ERROR_DATA,
                         "array \"%s\", step %d: the file decodes to other values than were "
                         "checked; it was not kept",
                         array->name, k);
        goto done;
    }

done:
    free(values);
    free(classes);
    return status;
}

kdinr_status kd_keep_check(const kd_keep *keep, const char *path, const kdinr_options *options,
                           kdinr_error *error)
{
    kdinr_options quiet = *options;
    kdinr_decoder *decoder = NULL;

    quiet.progress = NULL;
    KD_TRY(kdinr_decoder_open(path, &quiet, &decoder, error));
    const kdinr_status status = check_steps(keep, decoder, error);
    kdinr_decoder_close(decoder);
    return status;
}
