/* Networks that collapsed answer with the mean of what they should have learned. */
#include "judge.h"

#include <math.h>
#include <string.h>

#include "status.h"

#define LEAST_GAIN   0.9 /* of the constant's squared error */
#define QUIET_WINDOW 0.1 /* of the series' variance */

/* Squared error, and what the best constant would leave, over some steps; both relative to the
 * squared range and averaged over the components that vary. */
typedef struct verdict {
    double error, constant;
} verdict;

static verdict judge_component(const kd_track *track, int first, int last, int c)
{
    const double from = track->quality[first].first[c];
    double n = 0.0, error = 0.0, mean = 0.0, square = 0.0;

    for (int t = first; t <= last; t++) {
        const kd_quality *quality = &track->quality[t];
        const double shift = quality->first[c] - from, weight = quality->n_present;

        n += weight;
        error += weight * quality->squares[c];
        mean += weight * (shift + quality->means[c]);
        square += weight * (quality->spreads[c] + 2.0 * shift * quality->means[c] + shift * shift);
    }
    mean /= n;
    return (verdict){error / n, fmax(square / n - mean * mean, 0.0)};
}

static verdict judge_steps(const kd_track *track, int first, int last)
{
    const kd_model_array *array = &track->model->arrays[track->a];
    verdict sum = {0.0, 0.0};

    for (int c = 0; c < array->n_components; c++) {
        const double peak = array->range[c][1] - array->range[c][0];

        if (!(peak > 0.0)) continue;
        const verdict one = judge_component(track, first, last, c);
        sum.error += one.error / (peak * peak) / array->n_components;
        sum.constant += one.constant / (peak * peak) / array->n_components;
    }
    return sum;
}

kdinr_status kd_judge_array(const kd_track *track, kdinr_error *error)
{
    const kd_model_array *array = &track->model->arrays[track->a];
    const verdict series = judge_steps(track, 0, track->model->n_steps - 1);

    for (int w = 0; w < array->n_windows; w++) {
        const int first = array->window_starts[w], last = array->window_starts[w + 1] - 1;
        const verdict window = judge_steps(track, first, last);
        const double constant = fmax(window.constant, QUIET_WINDOW * series.constant);

        if (!(window.error > LEAST_GAIN * constant)) continue;
        return kd_fail(error, KDINR_ERROR_TRAINING,
                       "array \"%s\": at steps %d to %d the networks reach %.1f dB, a constant "
                       "value %.1f dB: they did not learn the data, and no file is written. A "
                       "lower ratio or more effort may help; keep_bad writes it all the same",
                       array->name, first, last, kd_measure_psnr(window.error),
                       kd_measure_psnr(window.constant));
    }
    return KDINR_OK;
}
