/* Comparing original and decoded samples. */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
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

/* One component of the n-th sample, n counted from 1. */
static void add_error(kd_quality *quality, double n, size_t c, double original, float decoded)
{
    const double difference = original - (double)decoded;

    if (n == 1.0) quality->first[c] = original;
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
                add_error(quality, n, c, kept->values[at * nc + c], values[i * nc + c]);
            }
        }
    }
    finish_means(quality, nc, n);

done:
    free(values);
    return status;
}

kdinr_status kd_measure_step(kd_field *field, const kdinr_array *array, const uint8_t *classes,
                             double s, kd_quality *quality, kd_run *run, kdinr_error *error)
{
    const int *samples = kd_field_stored(field);
    const size_t nc = (size_t)array->n_components;
    const size_t row = (size_t)samples[0], n_rows = (size_t)samples[1] * (size_t)samples[2];
    const int n_y = SLAB_SAMPLES / samples[0] > samples[1] ? samples[1]
                    : SLAB_SAMPLES / samples[0] > 0        ? SLAB_SAMPLES / samples[0]
                                                           : 1;
    float *values = malloc(row * (size_t)n_y * nc * sizeof *values);
    kdinr_status status = KDINR_OK;

    if (values == NULL) return kd_fail_memory(error, row * (size_t)n_y * nc * 4, "decoded slab");
    memset(quality, 0, sizeof *quality);
    quality->exact = true;
    for (size_t first = 0; first < n_rows;) {
        const int z = (int)(first / (size_t)samples[1]), y = (int)(first % (size_t)samples[1]);
        const int last_y = y + n_y <= samples[1] ? y + n_y - 1 : samples[1] - 1;
        const int extent[6] = {0, samples[0] - 1, y, last_y, z, z};
        const size_t n = row * (size_t)(last_y - y + 1), from = first * row;

        KD_TRY_DONE(kd_field_read(field, samples, extent, s, values, run, error));
        for (size_t i = 0; i < n; i++) {
            if (classes != NULL && classes[from + i] != KD_MISSING_NONE) continue;
            quality->n_present += 1.0;
            for (size_t c = 0; c < nc; c++) {
                add_error(quality, quality->n_present, c,
                          kd_volume_value(array->values, array->type, (from + i) * nc + c),
                          values[i * nc + c]);
            }
        }
        first += (size_t)(last_y - y + 1);
    }
    finish_means(quality, nc, quality->n_present);

done:
    free(values);
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
