/* How large networks below a bound should be; guess.h. */
#include "guess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"
#include "volume.h"

/* Measured (tests/quality/README.md): networks that take a fifth of what residuals do alone save
 * most, up to half of the file, but nothing where residuals alone take more than a twentieth of the
 * data; networks of so low a ratio take long. */
#define LEAST_RATIO_ALONE 20.0
#define NETWORK_PART      5.0

/* Bound and units, which all steps share, by the range of the first one. */
static void choose_bound(const kdinr_options *options, const kd_view *view, const uint8_t *classes,
                         kd_guess *guess)
{
    const kdinr_array *array = view->array;
    double range[KD_KDM_MAX_COMPONENTS][2] = {{0.0}};

    kd_volume_range(view, &view->box, classes, range);
    guess->bound.alone = true;
    guess->bound.group = KD_KEEP_GROUP;
    kd_keep_bound(options, array->n_components, (const double(*)[2])range, guess->bound.most);
    kd_keep_units(array->type, array->n_components, (const double(*)[2])range, 0.0, &guess->bound);
}

/* *residual becomes what comes before the next step. */
static kdinr_status code_step(const kdinr_array *array, const int samples[3],
                              const uint8_t *classes, kd_guess *guess, kd_residual *residual,
                              kdinr_error *error)
{
    const kd_residual_source source = {.array = array, .classes = classes, .bound = &guess->bound};
    const bool first = guess->n_steps == 0;
    kd_stream packed = {NULL, 0};

    KD_TRY(kd_residual_pack(&source, samples, 0, first ? NULL : &guess->before, residual, &packed,
                            error));
    free(packed.bytes);
    *(first ? &guess->first : &guess->next) = (double)packed.size;
    guess->n_steps++;
    kd_residual_free(&guess->before);
    guess->before = *residual;
    memset(residual, 0, sizeof *residual);
    return KDINR_OK;
}

kdinr_status kd_guess_step(const kdinr_options *options, const kdinr_array *array,
                           const int samples[3], kd_guess *guess, kdinr_error *error)
{
    const kd_view view = {array, kd_bricks_whole(samples)};
    kd_residual residual = {0};
    uint8_t *classes = NULL;
    kdinr_status status = KDINR_OK;

    KD_TRY_DONE(kd_residual_create(samples, array->n_components, &residual, error));
    if (guess->n_steps > 0 &&
        (residual.n != guess->before.n || residual.n_components != guess->before.n_components)) {
        status = kd_fail(error, KDINR_ERROR_ARGUMENT,
                         "array \"%s\" has %zu samples of %d components, in the step before it had "
                         "%zu of %d",
                         array->name, residual.n, residual.n_components, guess->before.n,
                         guess->before.n_components);
        goto done;
    }
    classes = malloc(residual.n);
    if (classes == NULL) {
        status = kd_fail_memory(error, residual.n, "missing-value map");
        goto done;
    }
    (void)kd_volume_classify(&view, &view.box, classes);
    if (guess->n_steps == 0) choose_bound(options, &view, classes, guess);
    guess->data = (double)residual.n * array->n_components * (double)kdinr_type_size(array->type);
    status = code_step(array, samples, classes, guess, &residual, error);

done:
    kd_residual_free(&residual);
    free(classes);
    return status;
}

double kd_guess_alone(const kd_guess *guess, int n_steps)
{
    const double group = fmin(KD_KEEP_GROUP, n_steps);

    if (guess->n_steps < 2) return guess->first;
    return (guess->first + (group - 1.0) * guess->next) / group;
}

double kd_guess_ratio(double data, double alone)
{
    const double ratio = data / fmax(alone, 1.0);

    return ratio < LEAST_RATIO_ALONE ? 0.0 : fmin(NETWORK_PART * ratio, 1e6);
}

void kd_guess_free(kd_guess *guess)
{
    kd_residual_free(&guess->before);
}
