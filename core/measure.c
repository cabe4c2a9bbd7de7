/* Comparing original and decoded samples. */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "share.h"
#include "status.h"
#include "volume.h"

enum { KEPT_ROWS = 64, KEPT_LENGTH = 64, SLAB_SAMPLES = 1 << 20 };

kdinr_status kd_measure_keep(const kdinr_array *array, const int samples[3], const uint8_t *classes,
                             uint64_t key, kd_kept *kept, kdinr_error *error)
{
    const size_t nc = (size_t)array->n_components;

    kept->length = samples[0] < KEPT_LENGTH ? samples[0] : KEPT_LENGTH;
    kept->n_rows = KEPT_ROWS;
    const size_t n = (size_t)kept->n_rows * (size_t)kept->length;
    kept->starts = malloc((size_t)kept->n_rows * sizeof *kept->starts);
    kept->values = malloc(n * nc * sizeof *kept->values);
    kept->classes = malloc(n);
    if (kept->starts == NULL || kept->values == NULL || kept->classes == NULL) {
        kd_measure_release(kept);
        return kd_fail_memory(error, n * nc * sizeof(double), "kept samples");
    }
    for (int row = 0; row < kept->n_rows; row++) {
        int *start = kept->starts[row];

        for (int axis = 0; axis < 3; axis++) {
            const int places = axis == 0 ? samples[0] - kept->length + 1 : samples[axis];
            const uint64_t bits = kd_rng_at(key, (uint64_t)(row * 3 + axis));
            start[axis] = (int)kd_rng_below(bits, (uint32_t)places);
        }
        const size_t from =
            ((size_t)start[2] * (size_t)samples[1] + (size_t)start[1]) * (size_t)samples[0] +
            (size_t)start[0];
        for (size_t i = 0; i < (size_t)kept->length; i++) {
            const size_t to = (size_t)row * (size_t)kept->length + i;

            kept->classes[to] = classes == NULL ? KD_MISSING_NONE : classes[from + i];
            for (size_t c = 0; c < nc; c++) {
                kept->values[to * nc + c] =
                    kd_volume_value(array->values, array->type, (from + i) * nc + c);
            }
        }
    }
    return KDINR_OK;
}

void kd_measure_release(kd_kept *kept)
{
    free(kept->starts);
    free(kept->values);
    free(kept->classes);
    memset(kept, 0, sizeof *kept);
}

/* One component of a sample. */
static void add_error(kd_quality *quality, size_t c, double original, float decoded)
{
    const double difference = original - (double)decoded;

    const double offset = original - quality->first[c];
    quality->means[c] += offset;
    quality->spreads[c] += offset * offset;
    quality->squares[c] += difference * difference;
    quality->max_error = fmax(quality->max_error, fabs(difference));
}

static void finish_means(kd_quality *quality, size_t nc, double n)
{
    for (size_t c = 0; c < nc && n > 0.0; c++) {
        quality->squares[c] /= n;
        quality->means[c] /= n;
        quality->spreads[c] /= n;
    }
}

kdinr_status kd_measure_kept(kd_field *field, int n_components, const kd_kept *kept, double s,
                             kd_quality *quality, kdinr_error *error)
{
    const size_t nc = (size_t)n_components, length = (size_t)kept->length;
    float *values = malloc(length * nc * sizeof *values);
    double n = 0.0;
    kdinr_status status = KDINR_OK;

    if (values == NULL) {
        return kd_fail_memory(error, length * nc * sizeof *values, "row of samples");
    }
    *quality = (kd_quality){.n_present = quality->n_present};
    for (int row = 0; row < kept->n_rows; row++) {
        const int *start = kept->starts[row];
        const int extent[6] = {start[0], start[0] + kept->length - 1, start[1], start[1], start[2],
                               start[2]};

        KD_TRY_DONE(kd_field_read(field, kd_field_stored(field), extent, s, values, NULL, error));
        for (size_t i = 0; i < length; i++) {
            const size_t at = (size_t)row * length + i;

            if (kept->classes[at] != KD_MISSING_NONE) continue;
            n += 1.0;
            for (size_t c = 0; c < nc; c++) {
                const double original = kept->values[at * nc + c];

                if (n == 1.0) quality->first[c] = original;
                add_error(quality, c, original, values[i * nc + c]);
            }
        }
    }
    finish_means(quality, nc, n);

done:
    free(values);
    return status;
}

/* ---- a whole step ---- */

/* A step to be compared, a slab of rows in one xy plane at a time. */
typedef struct comparison {
    kd_field *field;
    const kdinr_array *array;
    const uint8_t *classes; /* NULL: nothing missing */
    double s;
    kd_run *run;
    int n_y;       /* rows of a slab, at most */
    float *values; /* [n_y][samples[0]][n_components] */
} comparison;

/* Sums over slab y.. of plane z; sums of several slabs can be added. */
static kdinr_status compare_slab(const comparison *work, int y, int z, kd_quality *sums,
                                 kdinr_error *error)
{
    const int *samples = kd_field_stored(work->field);
    const kdinr_array *array = work->array;
    const int last_y = y + work->n_y <= samples[1] ? y + work->n_y - 1 : samples[1] - 1;
    const int extent[6] = {0, samples[0] - 1, y, last_y, z, z};
    const size_t nc = (size_t)array->n_components, row = (size_t)samples[0];
    const size_t from = ((size_t)z * (size_t)samples[1] + (size_t)y) * row;
    const size_t n = row * (size_t)(last_y - y + 1);

    KD_TRY(kd_field_read(work->field, samples, extent, work->s, work->values, work->run, error));
    for (size_t i = 0; i < n; i++) {
        if (work->classes != NULL && work->classes[from + i] != KD_MISSING_NONE) continue;
        sums->n_present += 1.0;
        for (size_t c = 0; c < nc; c++) {
            add_error(sums, c, kd_volume_value(array->values, array->type, (from + i) * nc + c),
                      work->values[i * nc + c]);
        }
    }
    return KDINR_OK;
}

/* A value that all slabs take their means from: the first that is present. */
static void find_first(const comparison *work, size_t n_samples, kd_quality *quality)
{
    const size_t nc = (size_t)work->array->n_components;
    size_t i = 0;

    while (work->classes != NULL && i < n_samples && work->classes[i] != KD_MISSING_NONE) {
        i++;
    }
    for (size_t c = 0; c < nc && i < n_samples; c++) {
        quality->first[c] = kd_volume_value(work->array->values, work->array->type, i * nc + c);
    }
}

/* The sums of all slabs, in their order whoever made them. */
static void add_slabs(const kd_quality *slabs, size_t n_slabs, size_t nc, kd_quality *quality)
{
    for (size_t i = 0; i < n_slabs; i++) {
        quality->n_present += slabs[i].n_present;
        quality->max_error = fmax(quality->max_error, slabs[i].max_error);
        for (size_t c = 0; c < nc; c++) {
            quality->squares[c] += slabs[i].squares[c];
            quality->means[c] += slabs[i].means[c];
            quality->spreads[c] += slabs[i].spreads[c];
        }
    }
    finish_means(quality, nc, quality->n_present);
}

/* All slabs, dealt to the processes that share the work. */
static kdinr_status compare(const comparison *work, kd_quality *slabs, const kd_quality *start,
                            kdinr_error *error)
{
    const int *samples = kd_field_stored(work->field);
    const double plane = (double)samples[0] * samples[1];

    for (int z = 0; z < samples[2]; z++) {
        for (int y = 0; y < samples[1]; y += work->n_y, slabs++) {
            *slabs = *start;
            if (kd_share_deal(work->run->share, plane)) {
                KD_TRY(compare_slab(work, y, z, slabs, error));
            } else {
                const double rows = fmin(work->n_y, samples[1] - y);
                KD_TRY(kd_run_advance(work->run, samples[0] * rows, error));
            }
            KD_TRY(kd_share_bytes(work->run->share, slabs, sizeof *slabs, error));
        }
    }
    return kd_share_exchange(work->run->share, work->run->part, error);
}

kdinr_status kd_measure_step(kd_field *field, const kdinr_array *array, const uint8_t *classes,
                             double s, kd_quality *quality, kd_run *run, kdinr_error *error)
{
    const int *samples = kd_field_stored(field);
    const size_t row = (size_t)samples[0], nc = (size_t)array->n_components;
    const size_t plane = row * (size_t)samples[1];
    const int most = SLAB_SAMPLES / samples[0];
    comparison work = {.field = field, .array = array, .classes = classes, .s = s, .run = run};
    kdinr_status status = KDINR_OK;

    work.n_y = most > samples[1] ? samples[1] : most > 0 ? most : 1;
    const size_t n_slabs = (size_t)((samples[1] + work.n_y - 1) / work.n_y) * (size_t)samples[2];
    kd_quality *slabs = calloc(n_slabs, sizeof *slabs);
    work.values = malloc(row * (size_t)work.n_y * nc * sizeof *work.values);
    if (slabs == NULL || work.values == NULL) {
        status = kd_fail_memory(error, row * (size_t)work.n_y * nc * 4, "decoded slab");
        goto done;
    }
    memset(quality, 0, sizeof *quality);
    find_first(&work, plane * (size_t)samples[2], quality);
    KD_TRY_DONE(compare(&work, slabs, quality, error));
    quality->exact = true;
    add_slabs(slabs, n_slabs, nc, quality);

done:
    free(slabs);
    free(work.values);
    return status;
}

double kd_measure_psnr(double relative_mse)
{
    if (!(relative_mse > 0.0)) return INFINITY;
    return nearbyint(-1000.0 * log10(relative_mse)) / 100.0;
}

double kd_measure_relative(const kd_quality *quality, const double range[][2], int n_components)
{
    double sum = 0.0;

    for (int c = 0; c < n_components; c++) {
        const double peak = range[c][1] - range[c][0];

        sum += quality->squares[c] / (peak > 0.0 ? peak * peak : 1.0);
    }
    return sum / n_components;
}
