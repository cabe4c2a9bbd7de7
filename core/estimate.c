/* What compressing a series would take, before it is done: plan.c plans it as the encoder would,
 * and a few training steps on this machine say how long a sample takes. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "net.h"
#include "options.h"
#include "plan.h"
#include "rng.h"
#include "status.h"
#include "volume.h"

enum { TRIAL_STEPS = 6 };

/* Evaluating costs a third of training: one pass over the parameters instead of three. */
#define EVALUATION 0.33

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The fastest of a few training steps, per sample.
 *  batch  in [n][3 + outputs] any numbers */
static kdinr_status time_steps(const kd_backend *backend, void *state, const float *batch, size_t n,
                               double *seconds, kdinr_error *error)
{
    const kd_step step = {.rate_adam = 1e-6, .rate_matrix = 1e-6};
    double loss;

    *seconds = INFINITY;
    for (int i = 0; i < TRIAL_STEPS; i++) {
        const double start = seconds_now();

        KD_TRY(backend->train_step(state, batch, batch + 3 * n, n, &step, &loss, error));
        *seconds = fmin(*seconds, (seconds_now() - start) / (double)n);
    }
    return KDINR_OK;
}

/* Seconds to train a network of three inputs with one sample. */
static kdinr_status time_sample(const kdinr_options *options, const kd_net_shape *shape,
                                double *seconds, kdinr_error *error)
{
    const size_t n = kd_plan_batch(options, 0.0);
    const kd_backend_config config = kd_backend_training(options, n);
    const kd_backend *backend;
    void *state = NULL;
    float *batch = NULL, *params = NULL;
    kd_net net;
    kdinr_status status;

    kd_net_layout(shape, &net);
    KD_TRY(kd_backend_choose(options, &backend, error));
    batch = malloc(n * (size_t)(3 + net.n_outputs) * sizeof *batch);
    params = malloc(net.n_params * sizeof *params);
    if (batch == NULL || params == NULL) {
        status = kd_fail_memory(error, net.n_params * sizeof *params, "trial");
        goto done;
    }
    for (size_t i = 0; i < n * (size_t)(3 + net.n_outputs); i++) {
        batch[i] = 2.0f * (float)kd_rng_unit(kd_rng_at(1, i)) - 1.0f;
    }
    kd_net_initialise(&net, shape->omega_hidden, 1, 1, params);
    KD_TRY_DONE(backend->open(&net, &config, &state, error));
    KD_TRY_DONE(backend->set_params(state, params, error));
    KD_TRY_DONE(time_steps(backend, state, batch, n, seconds, error));

done:
    if (state != NULL) backend->close(state);
    free(batch);
    free(params);
    return status;
}

/* Training of one array, in samples of a student; the parts as in track.c and window.c. */
static double work(const kdinr_options *options, const kd_plan *plan, double n_samples)
{
    const double n_steps = kd_plan_steps(options);
    const double n_bricks = (double)plan->bricks[0] * plan->bricks[1] * plan->bricks[2];
    const double n_windows = ceil(n_steps / plan->window);
    const double n_teachers = kd_plan_teachers(options, plan, kd_plan_steps(options));
    const double cold = options->warm_start ? fmin(n_windows, n_teachers) : n_teachers;
    const double teachers = cold * plan->cold_samples + (n_teachers - cold) * plan->teacher_samples;
    const double students = n_windows * plan->student_samples;
    const double cost = kd_plan_teacher_cost(plan);
    const double answers = plan->keeps ? 0.0 : EVALUATION * cost; /* for each sample */

    return n_bricks * (cost * teachers + students * (1.0 + answers)) +
           n_samples * n_steps * EVALUATION;
}

static kdinr_status add_array(const kdinr_options *options, const kdinr_volume *volume, int a,
                              double *file_size, double *seconds, kdinr_error *error)
{
    const kdinr_array *array = &volume->arrays[a];
    kd_plan_input input = {.name = array->name,
                           .n_components = array->n_components,
                           .data_bytes = (double)kd_volume_bytes(volume, array),
                           .n_arrays = volume->n_arrays};
    kd_plan plan;
    double per_sample;

    kd_kdm_samples(volume->dims, array->association, input.samples);
    input.step_bytes = input.data_bytes / options->ratio;
    KD_TRY(kd_plan_make(options, &input, &plan, error));
    kd_net_shape shape = plan.student;
    shape.n_inputs = 3;
    if (shape.omega_first == 0.0f) shape.omega_first = 10.0f;
    KD_TRY(time_sample(options, &shape, &per_sample, error));
    *seconds += per_sample * work(options, &plan, (double)kd_volume_n_samples(volume, array));
    *file_size += options->width > 0 ? kd_plan_bytes(options, &plan)
                                     : input.step_bytes * kd_plan_steps(options);
    return KDINR_OK;
}

kdinr_status kdinr_estimate(const kdinr_options *options, const kdinr_volume *volume,
                            double *file_size, double *seconds, kdinr_error *error)
{
    double size = 0.0, sum = 0.0;

    KD_TRY(kd_options_check(options, error));
    if (options->ratio == 0.0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option ratio is 0: what a bound takes only the data can tell");
    }
    for (int a = 0; a < volume->n_arrays; a++) {
        KD_TRY(add_array(options, volume, a, &size, &sum, error));
    }
    *file_size = size;
    *seconds = sum;
    return KDINR_OK;
}
