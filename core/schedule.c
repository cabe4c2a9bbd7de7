/* How far the work is, and how fast a training learns; train.h. */
#include "train.h"

#include <math.h>

#include "part.h"

/* Matrices learn at a rate that falls as 1 / neurons; the options' is for so many. */
#define WIDE       64.0
#define MOST_SCALE 4.0

kdinr_status kd_run_advance(kd_run *run, double work, kdinr_error *error)
{
    const kdinr_options *options = run->options;

    run->work_done += work;
    double fraction = run->work_total > 0.0 ? run->work_done / run->work_total : 0.0;
    fraction = fraction > 1.0 ? 1.0 : fraction;
    if (options->progress == NULL || fraction < run->reported + 0.001) return KDINR_OK;
    run->reported = fraction;
    if (!options->progress(options->progress_user, fraction, run->stage)) {
        return kd_part_fail_cancelled(run->part, error);
    }
    return KDINR_OK;
}

double kd_train_decay(kdinr_decay decay, double x)
{
    const double pi = 3.14159265358979323846;

    if (decay == KDINR_DECAY_HALVING) return pow(0.5, floor(4.0 * fmin(x, 0.9999)));
    return (0.5 * (1.0 + cos(pi * x)) * 0.99 + 0.01) * fmin(1.0, x / 0.02 + 0.01);
}

double kd_train_width_scale(const kd_net *net, const kd_schedule *schedule)
{
    const double wide = net->layers[net->n_encoder - 1].n_out;

    return fmin(schedule->stands_for_wider ? 1.0 : MOST_SCALE, WIDE / wide);
}
