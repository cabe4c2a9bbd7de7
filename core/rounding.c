/* Units by what rounding to them costs, then rounding; again if it took more than there is. */
#include "rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "feedback.h"
#include "quant.h"
#include "status.h"

enum { MOST_TRIES = 4 };

/* Less than this, of outputs in [-1,1], no rounding has to cost. */
#define LEAST_MSE 1e-10

/* A network on its way to multiples, and what is aimed at: bytes, or a mean squared change of the
 * outputs. */
typedef struct task {
    const kd_net *net;
    const float *before; /* [n_params] parameters as they were */
    kd_feedback *feedback;
    bool sized;
    double wanted;
} task;

static void set_aim(task *t, const kd_rounding_places *places, const kd_rounding_aim *aim)
{
    const double share = pow(10.0, 0.1 * aim->drop) - 1.0;

    t->sized = aim->size > 0.0;
    t->wanted = t->sized ? aim->size
                         : fmax(share * kd_feedback_error(t->feedback, places->targets), LEAST_MSE);
}

/* What is aimed at next after `found`; 0: what was found will do. Steps are eighths of an octave,
 * so that an error is as near as a quarter. */
static double next_aim(const task *t, double at, double found)
{
    const double ratio = t->wanted / fmax(found, 1e-30);

    if (t->sized) return ratio >= 1.0 ? 0.0 : at * 0.9995 * ratio;
    if (ratio < 1.0 / 1.1) return at * fmax(0.25, 0.85 * ratio);
    return ratio > 1.4 ? at * fmin(4.0, 0.95 * ratio) : 0.0;
}

static kdinr_status search(const task *t, float *params, float *units, double *mse,
                           kdinr_error *error)
{
    double sensitivity[KD_NET_MAX_TENSORS], at = t->wanted, found;

    kd_feedback_measure(t->feedback, sensitivity);
    for (int i = 0; i < MOST_TRIES && at > 0.0; i++) {
        if (t->sized) {
            KD_TRY(kd_quant_units(t->net, t->before, sensitivity, at, units, error));
        } else {
            kd_quant_units_for(t->net, t->before, sensitivity, at, units);
        }
        *mse = found = kd_feedback_round(t->feedback, units, params);
        if (t->sized) KD_TRY(kd_quant_size(t->net, params, units, &found, error));
        at = next_aim(t, at, found);
    }
    return KDINR_OK;
}

kdinr_status kd_rounding_apply(const kd_rounding_places *places, const kd_rounding_aim *aim,
                               float *params, float *units, double *mse, kdinr_error *error)
{
    const size_t size = places->net->n_params * sizeof *params;
    float *before = malloc(size);
    task t = {.net = places->net, .before = before};
    kdinr_status status = KDINR_OK;

    if (before == NULL) return kd_fail_memory(error, size, "rounding");
    memcpy(before, params, size);
    KD_TRY_DONE(kd_feedback_make(places->net, before, places->coords, places->n, places->n_threads,
                                 &t.feedback, error));
    set_aim(&t, places, aim);
    status = search(&t, params, units, mse, error);

done:
    kd_feedback_free(t.feedback);
    free(before);
    return status;
}
