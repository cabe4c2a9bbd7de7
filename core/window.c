/* One window of one array through stage 2: widths by what the teachers left undone, a student per
 * brick, estimates of the quality, then a new window. */
#include "window.h"

#include <stdlib.h>
#include <string.h>

#include "share.h"
#include "status.h"
#include "teachers.h"

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

/* The brick's classes for each step of the window; steps that share a map share the cut. */
static kdinr_status cut_maps(const kd_track *track, const kd_window *window, int b,
                             uint8_t **classes, kdinr_error *error)
{
    for (int t = 0; t < window->n_steps; t++) {
        if (window->maps[t] == NULL) continue;
        if (t > 0 && window->maps[t] == window->maps[t - 1]) {
            classes[t] = classes[t - 1];
            continue;
        }
        classes[t] = malloc(track->bricks[b].n);
        if (classes[t] == NULL) return kd_fail_memory(error, track->bricks[b].n, "missing values");
        (void)kd_volume_cut_classes(window->maps[t]->classes, track->samples, &track->bricks[b].box,
                                    classes[t]);
    }
    return KDINR_OK;
}

static void free_maps(const kd_window *window, uint8_t **classes)
{
    for (int t = 0; t < window->n_steps; t++) {
        if (t == 0 || classes[t] != classes[t - 1]) free(classes[t]);
    }
}

/* No student: one value for everything, in the middle of what the series was so far. */
static void fill_constant(kd_track *track, const kd_window *window)
{
    kd_model_array *array = kd_track_array(track);
    kd_network *network = &array->networks[track->n_networks - 1];

    kd_network_middle(array, network);
    track->network_samples[track->n_networks - 1] = (double)track->n_samples * window->n_steps;
}

/* What a student learns from, as long as it does. */
typedef struct seat {
    int brick, width;
    const kd_teacher **teachers; /* [n_steps], owned, as are */
    const float **values;
    uint8_t **classes; /* owned, and what is in them */
} seat;

static void leave_seat(const kd_window *window, seat *taken)
{
    if (taken->classes != NULL) free_maps(window, taken->classes);
    free(taken->teachers);
    free(taken->values);
    free(taken->classes);
    memset(taken, 0, sizeof *taken);
}

static kdinr_status take_seat(const kd_track *track, const kd_window *window, int b, seat *taken,
                              kdinr_error *error)
{
    const size_t n_steps = (size_t)window->n_steps, n = (size_t)track->n_bricks;

    taken->brick = b;
    taken->teachers = calloc(n_steps, sizeof(kd_teacher *));
    taken->values = calloc(n_steps, sizeof(float *));
    taken->classes = calloc(n_steps, sizeof *taken->classes);
    if (taken->teachers == NULL || taken->values == NULL || taken->classes == NULL) {
        return kd_fail_memory(error, n_steps * sizeof *taken->teachers, "window");
    }
    for (size_t t = 0; t < n_steps; t++) {
        taken->teachers[t] = &window->teachers[t * n + (size_t)b];
        taken->values[t] = window->values[t * n + (size_t)b];
    }
    return cut_maps(track, window, b, taken->classes, error);
}

/* The model's network of brick b. */
static size_t network_of(const kd_track *track, const kd_window *window, int b)
{
    return (size_t)window->number * (size_t)track->n_bricks + (size_t)b;
}

static kd_distill_task make_task(const kd_track *track, const kd_run *run, const kd_window *window,
                                 const seat *taken, const kd_plan_student *size)
{
    const int b = taken->brick;
    const double samples = track->plan.student_samples;
    kd_distill_task task = {
        .lesson = {.n_steps = window->n_steps,
                   .n_components = kd_track_array(track)->n_components,
                   .teachers = taken->teachers,
                   .classes = (const uint8_t *const *)taken->classes,
                   .values = taken->values,
                   .brick = &track->bricks[b],
                   .blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge),
                   .entropy = window->entropy[b],
                   .present = window->present[b]},
        .plan = {.shape = track->plan.teacher,
                 .size = size->bytes,
                 .stream = kd_track_stream(track, 2, window->number + 1, b)},
        .student = &track->students[network_of(track, window, b)]};

    task.plan.shape.n_inputs = 4;
    task.plan.shape.width = size->width;
    task.plan.schedule = (kd_schedule){.samples = samples,
                                       .batch = kd_plan_batch(run->options, samples),
                                       .rate = run->options->student_rate,
                                       .work = samples};
    return task;
}

/* A trained student, into the model. */
static void keep_student(const kd_track *track, const kd_window *window, int b,
                         const kd_distill_task *task)
{
    const size_t i = network_of(track, window, b);
    kd_network *network = &kd_track_array(track)->networks[i];
    kd_student *student = task->student;
    const bool constant = student->params == NULL;

    memcpy(network->range, student->range, sizeof network->range);
    network->kind = constant ? KD_NETWORK_CONSTANT : KD_NETWORK_FLOAT32;
    network->width = constant ? 0 : task->plan.shape.width;
    network->depth = constant ? 0 : task->plan.shape.depth;
    network->params = student->params; /* the model owns them now */
    student->params = NULL;
    track->network_samples[i] = (double)track->bricks[b].n * window->n_steps;
}

/* Errors of the window's steps, from the kept rows: float32 students, before quantisation. */
static kdinr_status estimate_quality(kd_track *track, kd_run *run, const kd_window *window,
                                     kdinr_error *error)
{
    kd_field *field = NULL;
    kdinr_status status = KDINR_OK;

    KD_TRY(
        kd_field_create(track->model, NULL, track->a, run->backend, run->options, &field, error));
    for (int t = 0; t < window->n_steps; t++) {
        const int step = window->first + t;

        KD_TRY_DONE(kd_measure_kept(field, kd_track_array(track)->n_components, &window->kept[t],
                                    step, &track->quality[step], error));
    }

done:
    kd_field_free(field);
    return status;
}

/* Bricks whose students are trained together. */
typedef struct group {
    const kd_window *window;
    seat *seats;            /* [most], owned */
    kd_distill_task *tasks; /* [most], owned */
    size_t n, most;
} group;

static kdinr_status train_group(const kd_track *track, kd_run *run, group *g, kdinr_error *error)
{
    if (g->n == 0) return KDINR_OK;
    KD_TRY(kd_distill_train(run, g->tasks, g->n, error));
    for (size_t i = 0; i < g->n; i++) {
        keep_student(track, g->window, g->seats[i].brick, &g->tasks[i]);
        leave_seat(g->window, &g->seats[i]);
    }
    g->n = 0;
    return KDINR_OK;
}

/* Student of brick b, with others if there is a group. With several windows the data may be with
 * one process only. */
static kdinr_status distil_brick(kd_track *track, kd_run *run, group *g, int b,
                                 const kd_plan_student *size, kdinr_error *error)
{
    const size_t i = g->n++;

    KD_TRY(take_seat(track, g->window, b, &g->seats[i], error));
    g->tasks[i] = make_task(track, run, g->window, &g->seats[i], size);
    if (track->n_windows > 1) kd_share_assign(run->share, kd_track_owner(track, g->window, b));
    if (g->n == g->most) KD_TRY(train_group(track, run, g, error));
    kd_share_release(run->share);
    return KDINR_OK;
}

/* Widest first: processes that share the work then end at about the same time. */
static kdinr_status distil_widest_first(kd_track *track, kd_run *run, group *g, int widest,
                                        const kd_plan_student *sizes, kdinr_error *error)
{
    int next;

    for (int width = widest; width > 0; width = next) {
        next = 0;
        for (int b = 0; b < track->n_bricks; b++) {
            if (sizes[b].width < width && sizes[b].width > next) next = sizes[b].width;
            if (sizes[b].width != width) continue;
            KD_TRY(distil_brick(track, run, g, b, &sizes[b], error));
        }
    }
    return train_group(track, run, g, error);
}

/* How many students to train together: as many as the widest allow. */
static size_t count_together(const kd_track *track, const kd_run *run, int widest)
{
    kd_net_shape shape = track->plan.teacher;
    kd_net net;

    if (track->n_windows > 1) return 1;
    shape.n_inputs = 4;
    shape.width = widest;
    kd_net_layout(&shape, &net);
    const size_t most =
        kd_train_count(run, &net, kd_plan_batch(run->options, track->plan.student_samples));
    return most < (size_t)track->n_bricks ? most : (size_t)track->n_bricks;
}

static kdinr_status distil_bricks(kd_track *track, kd_run *run, const kd_window *window,
                                  const kd_plan_student *sizes, kdinr_error *error)
{
    group g = {.window = window};
    int widest = 0;
    kdinr_status status;

    for (int b = 0; b < track->n_bricks; b++) {
        widest = sizes[b].width > widest ? sizes[b].width : widest;
    }
    g.most = count_together(track, run, widest);
    g.seats = calloc(g.most, sizeof *g.seats);
    g.tasks = calloc(g.most, sizeof *g.tasks);
    if (g.seats == NULL || g.tasks == NULL) {
        status = kd_fail_memory(error, g.most * sizeof *g.tasks, "students");
        goto done;
    }
    status = distil_widest_first(track, run, &g, widest, sizes, error);

done:
    for (size_t i = 0; g.seats != NULL && i < g.most; i++) {
        leave_seat(window, &g.seats[i]);
    }
    free(g.seats);
    free(g.tasks);
    return status;
}

static kdinr_status distil(kd_track *track, kd_run *run, const kd_window *window,
                           kdinr_error *error)
{
    const size_t n = (size_t)track->n_bricks;
    double *weights = malloc(n * sizeof *weights);
    kd_plan_student *sizes = malloc(n * sizeof *sizes);
    kdinr_status status = KDINR_OK;

    if (weights == NULL || sizes == NULL) {
        status = kd_fail_memory(error, n * sizeof *weights, "window");
        goto done;
    }
    run->stage = "student";
    brick_weights(track, window, weights);
    kd_plan_students(run->options, &track->plan, window->n_steps, window->first + window->n_steps,
                     track->n_bricks, weights, sizes);
    if (track->no_networks) fill_constant(track, window);
    if (!track->no_networks) status = distil_bricks(track, run, window, sizes, error);

done:
    free(weights);
    free(sizes);
    return status;
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
        KD_TRY(kd_teachers_catch_up(track, run, i, error));
        KD_TRY(grow_windows(track, &track->windows[i], error));
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
        if (is_due(&tracks[a], all)) KD_TRY(distil_all(&tracks[a], run, error));
    }
    KD_TRY(kd_share_exchange(run->share, run->part, error)); /* the students */
    for (int a = 0; a < n; a++) {
        if (is_due(&tracks[a], all)) KD_TRY(restart(&tracks[a], run, error));
    }
    return KDINR_OK;
}
