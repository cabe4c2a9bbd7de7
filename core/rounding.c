/* Units by what rounding to them costs, then rounding; again if it took more than there is. */
#include "rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "feedback.h"
#include "quant.h"
#include "status.h"

enum { MOST_TRIES = 4 };

/* What is aimed at next after `found`; 0: what was found will do. Steps are eighths of an octave,
 * so that an error is as near as a quarter. */
static double next_aim(const kd_rounding_aim *aim, double at, double found)
{
    if (aim->size > 0.0) return found <= aim->size ? 0.0 : at * 0.9995 * aim->size / found;
    if (found <= 1.1 * aim->mse && found >= 0.75 * aim->mse) return 0.0;
    return at * fmax(0.25, fmin(4.0, aim->mse / fmax(found, 1e-30)));
}

/* Units with which `at` bytes, or an error of `at`, can be expected. */
static kdinr_status choose_units(const kd_rounding_places *places, const kd_rounding_aim *aim,
                                 const float *params, const double *sensitivity, double at,
                                 float *units, kdinr_error *error)
{
    if (aim->size > 0.0) {
        return kd_quant_units(places->net, params, sensitivity, at, units, error);
    }
    kd_quant_units_for(places->net, params, sensitivity, at, units);
    return KDINR_OK;
}

/* before: [n_params], as params were */
static kdinr_status search(const kd_rounding_places *places, const kd_rounding_aim *aim,
                           kd_feedback *feedback, const float *before, float *params, float *units,
                           double *mse, kdinr_error *error)
{
    double sensitivity[KD_NET_MAX_TENSORS], found = 0.0;
    double at = aim->size > 0.0 ? aim->size : aim->mse;

    kd_feedback_measure(feedback, sensitivity);
    for (int i = 0; i < MOST_TRIES && at > 0.0; i++) {
        KD_TRY(choose_units(places, aim, before, sensitivity, at, units, error));
        *mse = found = kd_feedback_round(feedback, units, params);
        if (aim->size > 0.0) KD_TRY(kd_quant_size(places->net, params, units, &found, error));
        at = next_aim(aim, at, found);
    }
    return KDINR_OK;
}

kdinr_status kd_rounding_apply(const kd_rounding_places *places, const kd_rounding_aim *aim,
                               float *params, float *units, double *mse, kdinr_error *error)
{
    const size_t size = places->net->n_params * sizeof *params;
    float *before = malloc(size);
    kd_feedback *feedback = NULL;
    kdinr_status status = KDINR_OK;

    if (before == NULL) return kd_fail_memory(error, size, "rounding");
    memcpy(before, params, size);
    KD_TRY_DONE(kd_feedback_make(places->net, before, places->coords, places->n, places->n_threads,
                                 &feedback, error));
    status = search(places, aim, feedback, before, params, units, mse, error);

done:
    kd_feedback_free(feedback);
    free(before);
    return status;
}
