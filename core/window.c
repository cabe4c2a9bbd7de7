/* The open windows of one array, mostly one, through stage 2: widths by what the teachers left
 * undone, a student per brick, as many at once as the backend trains together (train.h), estimates
 * of the quality, then new windows. */
#include "window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "deal.h"
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
    const kd_window *window;
    int brick;
    const kd_teacher **teachers; /* [n_steps], owned, as are */
    const float **values;
    const uint8_t **classes;
} seat;

static void leave_seat(seat *taken)
{
    free(taken->teachers);
    free(taken->values);
    free(taken->classes);
    memset(taken, 0, sizeof *taken);
}

static kdinr_status take_seat(const kd_track *track, const kd_window *window, int b, seat *taken,
                              kdinr_error *error)
{
    const size_t n_steps = (size_t)window->n_steps, n = (size_t)track->n_bricks;

    taken->window = window;
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
        taken->classes[t] = window->classes[t * n + (size_t)b];
    }
    return KDINR_OK;
}

/* The model's network of brick b. */
static size_t network_of(const kd_track *track, const kd_window *window, int b)
{
    return (size_t)window->number * (size_t)track->n_bricks + (size_t)b;
}

static kd_distill_task make_task(const kd_track *track, const kd_run *run, const seat *taken)
{
    const kd_window *window = taken->window;
    const int b = taken->brick;
    const kd_plan_student *size = &window->sizes[b];
    const double samples = track->plan.student_samples;
    kd_distill_task task = {
        .lesson = {.n_steps = window->n_steps,
                   .n_components = kd_track_array(track)->n_components,
                   .teachers = taken->teachers,
                   .classes = taken->classes,
                   .values = taken->values,
                   .brick = &track->bricks[b],
                   .blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge),
                   .entropy = window->entropy[b],
                   .present = window->present[b],
                   .trainer = window->trainers[b]},
        .plan = {.shape = kd_plan_student_shape(&track->plan, size->width),
                 .size = size->bytes,
                 .stream = kd_track_stream(track, 2, window->number + 1, b)},
        .student = &track->students[network_of(track, window, b)]};

    task.plan.schedule = (kd_schedule){.samples = samples,
                                       .batch = kd_plan_batch(run->options, samples),
                                       .rate = run->options->student_rate,
                                       .work = samples};
    return task;
}

/* A trained student, into the model. */
static void keep_student(const kd_track *track, const seat *taken, const kd_distill_task *task)
{
    const size_t i = network_of(track, taken->window, taken->brick);
    kd_network *network = &kd_track_array(track)->networks[i];
    kd_student *student = task->student;
    const bool constant = student->params == NULL;

    memcpy(network->range, student->range, sizeof network->range);
    network->kind = constant ? KD_NETWORK_CONSTANT : KD_NETWORK_FLOAT32;
    network->width = constant ? 0 : task->plan.shape.width;
    network->depth = constant ? 0 : task->plan.shape.depth;
    network->params = student->params; /* the model owns them now */
    network->modes = student->modes;
    student->params = NULL;
    student->modes = NULL;
    track->network_samples[i] = (double)track->bricks[taken->brick].n * taken->window->n_steps;
}

/* Errors of the window's steps, from the kept rows, of students as they are after training. */
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

/* Students that are trained together. */
typedef struct group {
    seat *seats;            /* [most], owned */
    kd_distill_task *tasks; /* [most], owned */
    size_t n, most;
} group;

static kdinr_status train_group(const kd_track *track, kd_run *run, group *g, kdinr_error *error)
{
    if (g->n == 0) return KDINR_OK;
    KD_TRY(kd_distill_train(run, g->tasks, g->n, error));
    for (size_t i = 0; i < g->n; i++) {
        keep_student(track, &g->seats[i], &g->tasks[i]);
        leave_seat(&g->seats[i]);
    }
    g->n = 0;
    return KDINR_OK;
}

/* Student of brick b, with others if there is a group. */
static kdinr_status distil_brick(kd_track *track, kd_run *run, const kd_window *window, int b,
                                 group *g, kdinr_error *error)
{
    const size_t i = g->n++;

    KD_TRY(take_seat(track, window, b, &g->seats[i], error));
    g->tasks[i] = make_task(track, run, &g->seats[i]);
    return g->n == g->most ? train_group(track, run, g, error) : KDINR_OK;
}

/* By width: networks of one shape are trained together best. */
static kdinr_status distil(kd_track *track, kd_run *run, const kd_window *window, group *g,
                           kdinr_error *error)
{
    const kd_plan_student *sizes = window->sizes;
    int width = KD_NET_MAX_WIDTH + 1, next;

    for (; width > 0; width = next) {
        next = 0;
        for (int b = 0; b < track->n_bricks; b++) {
            if (sizes[b].width < width && sizes[b].width > next) next = sizes[b].width;
            if (sizes[b].width != width) continue;
            KD_TRY(distil_brick(track, run, window, b, g, error));
        }
    }
    return KDINR_OK;
}

/* How large the students will be. */
static kdinr_status size_students(const kd_track *track, const kd_run *run, kd_window *window,
                                  kdinr_error *error)
{
    const size_t n = (size_t)track->n_bricks;
    double *weights = malloc(n * sizeof *weights);

    if (weights == NULL) return kd_fail_memory(error, n * sizeof *weights, "window");
    brick_weights(track, window, weights);
    const int n_pushed = window->first + window->n_steps;
    const double *times = track->model->times;
    const double more =
        (double)kd_size_times(times, n_pushed) - (double)kd_size_times(times, window->first);
    const kd_plan_window planned = {.n_steps = window->n_steps,
                                    .n_pushed = n_pushed,
                                    .aside = fmax(0.0, more) * track->share,
                                    .n_bricks = track->n_bricks};
    kd_plan_students(run->options, &track->plan, &planned, weights, window->sizes);
    free(weights);
    return KDINR_OK;
}

/* Students of one width that the backend trains together. */
static size_t count_of_width(const kd_track *track, const kd_run *run, int width)
{
    const kd_net_shape shape = kd_plan_student_shape(&track->plan, width);
    kd_net net;

    kd_net_layout(&shape, &net);
    return kd_train_count(run, &net, kd_plan_batch(run->options, track->plan.student_samples));
}

/* Students to train together: as many as the widest of n_windows windows allow. */
static size_t count_together(const kd_track *track, const kd_run *run, int n_windows)
{
    const size_t n = (size_t)n_windows * (size_t)track->n_bricks;
    int widest = 1;

    for (int i = 0; i < n_windows; i++) {
        for (int b = 0; b < track->n_bricks; b++) {
            const int width = track->windows[i].sizes[b].width;
            widest = width > widest ? width : widest;
        }
    }
    const size_t most = count_of_width(track, run, widest);
    const size_t fit = most < n ? most : n;
    return fit > 1 ? fit : 1;
}

/* The students of n_windows windows, which have room in the model. */
static kdinr_status distil_windows(kd_track *track, kd_run *run, int n_windows, group *g,
                                   kdinr_error *error)
{
    g->most = count_together(track, run, n_windows);
    g->seats = calloc(g->most, sizeof *g->seats);
    g->tasks = calloc(g->most, sizeof *g->tasks);
    if (g->seats == NULL || g->tasks == NULL) {
        return kd_fail_memory(error, g->most * sizeof *g->tasks, "students");
    }
    for (int i = 0; i < n_windows; i++) {
        KD_TRY(distil(track, run, &track->windows[i], g, error));
    }
    return train_group(track, run, g, error);
}

/* ---- opening ---- */

/* Windows that fill the backend, if their data fit into memory. */
static int count_filling(const kd_track *track, const kd_run *run, int n_bricks)
{
    const double step = (double)track->n_samples * kd_track_array(track)->n_components;
    const double bytes = step * sizeof(float) * track->plan.window * track->model->n_arrays;

    if (!track->plan.keeps) return 1;
    const size_t filling = count_of_width(track, run, track->plan.student.width) / (size_t)n_bricks;
    return (int)fmin((double)filling, run->options->window_memory / bytes);
}

kdinr_status kd_window_open(kd_track *tracks, int n, kd_run *run, kdinr_error *error)
{
    const int n_ranks = kd_share_n_ranks(run->share);
    int n_bricks = 0;

    for (int a = 0; a < n; a++) {
        if (!tracks[a].no_networks) n_bricks += tracks[a].n_bricks;
    }
    for (int a = 0; a < n; a++) {
        kd_track *track = &tracks[a];
        const int window = track->plan.window;
        const int most = (kd_plan_steps(run->options) + window - 1) / window;

        if (track->no_networks || most < 2) continue;
        const int wanted =
            n_ranks > 1 ? (n_ranks + n_bricks - 1) / n_bricks : count_filling(track, run, n_bricks);
        const int count = wanted < most ? wanted : most;
        if (count > 1) KD_TRY(kd_track_widen(track, count, error));
    }
    kd_deal_holders(tracks, n, n_ranks);
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
    const int n = count_windows(track);

    KD_TRY(kd_teachers_catch_up(track, run, n, error));
    for (int i = 0; i < n; i++) {
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
    group g = {0};

    run->stage = "student";
    if (track->no_networks) {
        fill_constant(track, track->windows);
        return KDINR_OK;
    }
    const kdinr_status status = distil_windows(track, run, count_windows(track), &g, error);
    for (size_t i = 0; g.seats != NULL && i < g.most; i++) {
        leave_seat(&g.seats[i]);
    }
    free(g.seats);
    free(g.tasks);
    return status;
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
