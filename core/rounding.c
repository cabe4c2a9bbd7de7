/* Units by what rounding to them costs, then rounding; again if it took more than there is. */
#include "rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "feedback.h"
#include "quant.h"
#include "status.h"

enum { MOST_TRIES = 4 };

/* An error may be so much more than was asked for. */
#define MARGIN 1.1

/* Less than this, of outputs in [-1,1], no rounding has to cost. */
#define LEAST_MSE 1e-10

/* A network on its way to multiples, and what is aimed at: bytes, or what its mean squared error
 * may grow by. */
typedef struct task {
    const kd_net *net;
    const kd_run *run;
    const float *before;  /* [n_params] parameters as they were */
    const float *targets; /* of the outputs */
    kd_feedback *feedback;
    double sensitivity[KD_NET_MAX_TENSORS];
    float *params, *units; /* out, as kd_rounding_apply has them */
    double *mse;           /* likewise */
    bool sized;
    double error; /* before rounding */
    double wanted;
} task;

static void set_aim(task *t, const kd_rounding_places *places, const kd_rounding_aim *aim)
{
    const double share = pow(10.0, 0.1 * aim->drop) - 1.0;

    t->sized = aim->size > 0.0;
    t->error = kd_feedback_error(t->feedback, places->targets, false);
    t->wanted = t->sized ? aim->size : fmax(share * t->error, LEAST_MSE);
}

static bool fits(const task *t, double found)
{
    return found <= (t->sized ? 1.0 : MARGIN) * t->wanted;
}

/* What is aimed at next after `found`; 0: what was found will do. Steps are eighths of an octave,
 * so that an error is as near as a quarter. */
static double next_aim(const task *t, double at, double found)
{
    const double ratio = t->wanted / fmax(found, 1e-30);

    if (t->sized) return fits(t, found) ? 0.0 : at * 0.9995 * ratio;
    if (!fits(t, found)) return at * fmax(0.25, 0.85 * ratio);
    return ratio > 1.4 ? at * fmin(4.0, 0.95 * ratio) : 0.0;
}

/* Round to units that can be expected to take `at`.
 *  found  out what it took: bytes, or the error, which grows by more than the outputs change where
 *         they change to the wrong side */
static kdinr_status round_at(const task *t, double at, double *found, kdinr_error *error)
{
    const kd_net *net = t->net;

    KD_TRY(kd_run_poll(t->run, error));
    if (t->sized) {
        KD_TRY(kd_quant_units(net, t->before, t->sensitivity, at, t->units, error));
    } else {
        kd_quant_units_for(net, t->before, t->sensitivity, at, t->units);
    }
    *t->mse = kd_feedback_round(t->feedback, t->units, t->params);
    if (t->sized) return kd_quant_size(net, t->params, t->units, found, error);
    *found = fmax(*t->mse, kd_feedback_error(t->feedback, t->targets, true) - t->error);
    return KDINR_OK;
}

/* The coarsest of a few tries that fits, or the last. */
static kdinr_status search(const task *t, kdinr_error *error)
{
    double at = t->wanted, best_at = 0.0, best = 0.0, found = 0.0;

    for (int i = 0; i < MOST_TRIES && at > 0.0; i++) {
        KD_TRY(round_at(t, at, &found, error));
        if (fits(t, found) && found > best) {
            best = found;
            best_at = at;
        }
        at = next_aim(t, at, found);
    }
    return best_at > 0.0 && found != best ? round_at(t, best_at, &found, error) : KDINR_OK;
}

kdinr_status kd_rounding_apply(const kd_rounding_places *places, const kd_rounding_aim *aim,
                               float *params, float *units, double *mse, kdinr_error *error)
{
    const size_t size = places->net->n_params * sizeof *params;
    float *before = malloc(size);
    task t = {.net = places->net,
              .run = places->run,
              .before = before,
              .targets = places->targets,
              .params = params,
              .units = units,
              .mse = mse};
    kdinr_status status = KDINR_OK;

    if (before == NULL) return kd_fail_memory(error, size, "rounding");
    memcpy(before, params, size);
    KD_TRY_DONE(kd_run_poll(t.run, error));
    KD_TRY_DONE(kd_feedback_make(places->net, before, places->coords, places->n,
                                 places->run->options->n_threads, &t.feedback, error));
    set_aim(&t, places, aim);
    kd_feedback_measure(t.feedback, t.sensitivity);
    status = search(&t, error);

done:
    kd_feedback_free(t.feedback);
    free(before);
    return status;
}
