/* One window of one array through stage 2: widths by what the teachers left undone, a student per
 * brick, estimates of the quality, then a new window. */
#include "window.h"

#include <stdlib.h>
#include <string.h>

#include "deal.h"
#include "share.h"
#include "status.h"

/* What the teachers of a brick leave undone: where students need parameters. */
static void brick_weights(const kd_track *track, const kd_window *window, double *weights)
{
    for (int b = 0; b < track->n_bricks; b++) {
        weights[b] = 0.0;
        for (int t = 0; t < window->n_steps; t++) {
            const kd_teacher *teacher = &window->teachers[t * track->n_bricks + b];

            for (int c = 0; c < teacher->net.n_outputs; c++) {
                const double half = 0.5 * (teacher->range[c][1] - teacher->range[c][0]);
                weights[b] += teacher->outcome.loss * half * half * (double)track->bricks[b].n;
            }
        }
    }
}

/* Room in the model for the networks of one more window. */
static kdinr_status grow_windows(kd_track *track, kd_window *window, kdinr_error *error)
{
    kd_model_array *array = kd_track_array(track);
    const size_t n = track->n_networks + (size_t)track->n_bricks;
    kd_network *networks = realloc(array->networks, n * sizeof *networks);
    if (networks != NULL) array->networks = networks;
    kd_student *students = realloc(track->students, n * sizeof *students);
    if (students != NULL) track->students = students;
    double *counts = realloc(track->network_samples, n * sizeof *counts);
    if (counts != NULL) track->network_samples = counts;
    int *starts = realloc(array->window_starts, ((size_t)array->n_windows + 2) * sizeof *starts);
    if (starts != NULL) array->window_starts = starts;

    if (networks == NULL || students == NULL || counts == NULL || starts == NULL) {
        return kd_fail_memory(error, n * sizeof *networks, "networks");
    }
    memset(networks + track->n_networks, 0, (size_t)track->n_bricks * sizeof *networks);
    memset(students + track->n_networks, 0, (size_t)track->n_bricks * sizeof *students);
    window->number = array->n_windows;
    starts[array->n_windows++] = window->first;
    starts[array->n_windows] = window->first + window->n_steps;
    track->n_networks = n;
    return KDINR_OK;
}

/* No student: one value for everything, in the middle of what the series was so far. */
static void fill_constant(kd_track *track, const kd_window *window)
{
    kd_model_array *array = kd_track_array(track);
    kd_network *network = &array->networks[track->n_networks - 1];

    kd_network_middle(array, network);
    track->network_samples[track->n_networks - 1] = (double)track->n_samples * window->n_steps;
}

/* Student of brick b, into the model. */
static kdinr_status distil_brick(kd_track *track, kd_run *run, const kd_window *window, int b,
                                 kdinr_error *error)
{
    const kd_plan_student *size = &window->sizes[b];
    const size_t n_steps = (size_t)window->n_steps, n = (size_t)track->n_bricks;
    const size_t i = (size_t)window->number * n + (size_t)b;
    kd_network *network = &kd_track_array(track)->networks[i];
    kd_student *student = &track->students[i];
    const kd_teacher **teachers = calloc(n_steps, sizeof(kd_teacher *));
    const float **values = calloc(n_steps, sizeof(float *));
    const uint8_t **classes = calloc(n_steps, sizeof *classes);
    kd_student_plan plan = {.shape = track->plan.teacher,
                            .size = size->bytes,
                            .stream = kd_track_stream(track, 2, window->number + 1, b)};
    kd_lesson lesson = {.n_steps = window->n_steps,
                        .n_components = kd_track_array(track)->n_components,
                        .brick = &track->bricks[b],
                        .entropy = window->entropy[b],
                        .present = window->present[b],
                        .trainer = window->trainers[b]};
    kdinr_status status = KDINR_OK;

    if (teachers == NULL || values == NULL || classes == NULL) {
        status = kd_fail_memory(error, n_steps * sizeof *teachers, "window");
        goto done;
    }
    for (size_t t = 0; t < n_steps; t++) {
        teachers[t] = &window->teachers[t * n + (size_t)b];
        values[t] = window->values[t * n + (size_t)b];
        classes[t] = window->classes[t * n + (size_t)b];
    }
    lesson.teachers = teachers;
    lesson.values = values;
    lesson.classes = classes;
    lesson.blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge);
    plan.shape.n_inputs = 4;
    plan.shape.width = size->width;
    plan.schedule = (kd_schedule){.samples = track->plan.student_samples,
                                  .batch = kd_plan_batch(run->options, track->plan.student_samples),
                                  .rate = run->options->student_rate,
                                  .work = track->plan.student_samples};
    KD_TRY_DONE(kd_distill_train(run, &lesson, &plan, student, error));
    memcpy(network->range, student->range, sizeof network->range);
    network->kind = student->params == NULL ? KD_NETWORK_CONSTANT : KD_NETWORK_FLOAT32;
    network->width = student->params == NULL ? 0 : size->width;
    network->depth = student->params == NULL ? 0 : plan.shape.depth;
    network->params = student->params; /* the model owns them now */
    student->params = NULL;
    track->network_samples[i] = (double)track->bricks[b].n * window->n_steps;

done:
    free(teachers);
    free(values);
    free(classes);
    return status;
}

/* Errors of the window's steps, from the kept rows: float32 students, before quantisation. */
static kdinr_status estimate_quality(kd_track *track, kd_run *run, const kd_window *window,
                                     kdinr_error *error)
{
    kd_field *field = NULL;
    kdinr_status status = KDINR_OK;

    KD_TRY(kd_field_create(track->model, NULL, track->a, run->backend, run->options->n_threads,
                           &field, error));
    for (int t = 0; t < window->n_steps; t++) {
        const int step = window->first + t;

        KD_TRY_DONE(kd_measure_kept(field, kd_track_array(track)->n_components, &window->kept[t],
                                    step, &track->quality[step], error));
    }

done:
    kd_field_free(field);
    return status;
}

/* How large the students will be. */
static kdinr_status size_students(const kd_track *track, const kd_run *run, kd_window *window,
                                  kdinr_error *error)
{
    const size_t n = (size_t)track->n_bricks;
    double *weights = malloc(n * sizeof *weights);

    if (weights == NULL) return kd_fail_memory(error, n * sizeof *weights, "window");
    brick_weights(track, window, weights);
    kd_plan_students(run->options, &track->plan, window->n_steps, window->first + window->n_steps,
                     track->n_bricks, weights, window->sizes);
    free(weights);
    return KDINR_OK;
}

static kdinr_status distil(kd_track *track, kd_run *run, const kd_window *window,
                           kdinr_error *error)
{
    run->stage = "student";
    if (track->no_networks) {
        fill_constant(track, window);
        return KDINR_OK;
    }
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY(distil_brick(track, run, window, b, error));
    }
    return KDINR_OK;
}

/* ---- closing ---- */

/* Open windows that have steps. */
static int count_windows(const kd_track *track)
{
    return track->window + (track->windows[track->window].n_steps > 0);
}

static bool is_due(const kd_track *track, bool all)
{
    const kd_window *last = &track->windows[track->n_windows - 1];

    return last->n_steps == track->plan.window || (all && count_windows(track) > 0);
}

/* Teachers whose turn is only now; and room in the model, which must not move any more once
 * students are announced to other processes. */
static kdinr_status prepare(kd_track *track, kd_run *run, kdinr_error *error)
{
    for (int i = 0; i < count_windows(track); i++) {
        KD_TRY(kd_track_catch_up(track, run, i, error));
        KD_TRY(grow_windows(track, &track->windows[i], error));
        track->windows[i].closing = true;
    }
    return KDINR_OK;
}

static kdinr_status size_all(kd_track *track, kd_run *run, kdinr_error *error)
{
    for (int i = 0; i < count_windows(track); i++) {
        KD_TRY(size_students(track, run, &track->windows[i], error));
    }
    return KDINR_OK;
}

/* Before the first training, so that none waits for another. */
static kdinr_status deal_all(kd_track *track, kd_run *run, kdinr_error *error)
{
    for (int i = 0; i < count_windows(track) && !track->no_networks; i++) {
        KD_TRY(kd_deal_data(track, &track->windows[i], run->share, error));
    }
    return KDINR_OK;
}

static kdinr_status distil_all(kd_track *track, kd_run *run, kdinr_error *error)
{
    for (int i = 0; i < count_windows(track); i++) {
        KD_TRY(distil(track, run, &track->windows[i], error));
    }
    return KDINR_OK;
}

static kdinr_status restart(kd_track *track, kd_run *run, kdinr_error *error)
{
    const int n = count_windows(track);

    for (int i = 0; i < n; i++) {
        KD_TRY(estimate_quality(track, run, &track->windows[i], error));
    }
    for (int i = 0; i < n; i++) {
        kd_track_restart(track, &track->windows[i], track->model->n_steps);
    }
    track->window = 0;
    return KDINR_OK;
}

kdinr_status kd_window_close(kd_track *tracks, int n, bool all, kd_run *run, kdinr_error *error)
{
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(prepare(&tracks[a], run, error));
    }
    KD_TRY(kd_share_exchange(run->share, run->part, error)); /* the teachers */
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(size_all(&tracks[a], run, error));
    }
    KD_TRY(kd_deal_students(tracks, n, run->share, error));
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(deal_all(&tracks[a], run, error));
    }
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(distil_all(&tracks[a], run, error));
    }
    KD_TRY(kd_share_exchange(run->share, run->part, error)); /* the students */
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(restart(&tracks[a], run, error));
    }
    return KDINR_OK;
}
