/* One array through stage 1: planning at the first step, the open windows. Before: encode.c,
 * survey.c. Below: teachers.c. After: window.c, when a window is full. */
#include "track.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "status.h"
#include "survey.h"
#include "teachers.h"

/* ---- start ---- */

static kdinr_status allocate_window(const kd_track *track, kd_window *window, kdinr_error *error)
{
    const size_t n_steps = (size_t)track->plan.window, n = (size_t)track->n_bricks;

    window->teachers = calloc(n_steps * n, sizeof *window->teachers);
    window->cuts = calloc(n_steps * n, sizeof *window->cuts);
    window->values = calloc(n_steps * n, sizeof *window->values);
    window->classes = calloc(n_steps * n, sizeof *window->classes);
    window->holders = calloc(n, sizeof *window->holders);
    window->trainers = calloc(n, sizeof *window->trainers);
    window->sizes = calloc(n, sizeof *window->sizes);
    window->maps = calloc(n_steps, sizeof *window->maps);
    window->kept = calloc(n_steps, sizeof *window->kept);
    window->entropy = calloc(n, sizeof *window->entropy);
    window->present = calloc(n, sizeof *window->present);
    if (window->teachers == NULL || window->cuts == NULL || window->values == NULL ||
        window->classes == NULL || window->holders == NULL || window->trainers == NULL ||
        window->sizes == NULL || window->maps == NULL || window->kept == NULL ||
        window->entropy == NULL || window->present == NULL) {
        return kd_fail_memory(error, n_steps * n * sizeof *window->teachers, "window");
    }
    for (size_t b = 0; b < n; b++) {
        const kd_blocks blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge);

        window->entropy[b] = calloc(blocks.n, sizeof **window->entropy);
        window->present[b] = calloc(blocks.n, sizeof **window->present);
        if (window->entropy[b] == NULL || window->present[b] == NULL) {
            return kd_fail_memory(error, blocks.n * sizeof **window->entropy, "block entropies");
        }
    }
    return KDINR_OK;
}

static kdinr_status allocate(kd_track *track, kdinr_error *error)
{
    const size_t n = (size_t)track->n_bricks;

    track->bricks = calloc(n, sizeof *track->bricks);
    track->surveys = calloc(n, sizeof *track->surveys);
    if (track->bricks == NULL || track->surveys == NULL) {
        return kd_fail_memory(error, n * sizeof *track->surveys, "bricks");
    }
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY(kd_bricks_make(track->samples, track->plan.bricks, b, &track->bricks[b], error));
    }
    track->windows = calloc(1, sizeof *track->windows);
    if (track->windows == NULL) return kd_fail_memory(error, sizeof *track->windows, "window");
    track->n_windows = 1;
    return allocate_window(track, track->windows, error);
}

kdinr_status kd_track_widen(kd_track *track, int n, kdinr_error *error)
{
    kd_window *windows = realloc(track->windows, (size_t)n * sizeof *windows);

    if (windows == NULL) return kd_fail_memory(error, (size_t)n * sizeof *windows, "windows");
    memset(windows + 1, 0, (size_t)(n - 1) * sizeof *windows);
    track->windows = windows;
    track->n_windows = n;
    for (int i = 1; i < n; i++) {
        KD_TRY(allocate_window(track, &windows[i], error));
    }
    return KDINR_OK;
}

kdinr_status kd_track_start(kd_track *track, kd_model *model, int a, const kdinr_options *options,
                            const kd_first_look *look, const kd_track_bytes *bytes,
                            kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];

    memset(track, 0, sizeof *track);
    track->model = model;
    track->a = a;
    kd_kdm_samples(model->dims, array->association, track->samples);
    track->n_samples =
        (size_t)track->samples[0] * (size_t)track->samples[1] * (size_t)track->samples[2];
    track->block_edge = options->block_size;
    track->share = bytes->share;
    track->no_networks = options->max_error > 0.0 && bytes->step == 0.0;
    const kd_plan_input input = {
        .samples = {track->samples[0], track->samples[1], track->samples[2]},
        .name = array->name,
        .n_components = array->n_components,
        .data_bytes =
            (double)track->n_samples * array->n_components * (double)kdinr_type_size(array->type),
        .step_bytes = bytes->step - look->mask_bytes / kd_plan_steps(options),
        .fixed_bytes = bytes->fixed + look->mask_bytes,
        .constant = look->constant || track->no_networks,
        .n_arrays = model->n_arrays};
    KD_TRY(kd_plan_make(options, &input, &track->plan, error));
    track->n_bricks = track->plan.bricks[0] * track->plan.bricks[1] * track->plan.bricks[2];
    memcpy(kd_track_array(track)->bricks, track->plan.bricks, sizeof track->plan.bricks);
    kd_track_array(track)->block_layers = track->plan.student.block_layers;
    kd_track_array(track)->form = track->plan.student.form;
    kd_track_array(track)->n_modes = track->plan.n_modes;
    kd_track_array(track)->omega_hidden = track->plan.student.omega_hidden;
    kd_track_array(track)->omega_first = 1.0f; /* until the pilot has chosen it */
    return allocate(track, error);
}

double kd_track_work(const kd_track *track, const kdinr_options *options, int n_steps)
{
    const kd_plan *plan = &track->plan;
    const int windows = (n_steps + plan->window - 1) / plan->window;
    const int teachers = kd_plan_teachers(options, plan, n_steps);

    if (track->no_networks) return n_steps;
    const double each = plan->teacher_samples * kd_plan_teacher_cost(plan);
    return track->n_bricks * (each * teachers + plan->student_samples * windows);
}

/* ---- stage 1 ---- */

kdinr_status kd_track_grow(kd_track *track, kdinr_error *error)
{
    const size_t n = (size_t)track->model->n_steps;
    kd_model_array *array = kd_track_array(track);
    kd_quality *quality = realloc(track->quality, n * sizeof *quality);
    if (quality != NULL) track->quality = quality;
    int *step_masks = realloc(array->step_masks, n * sizeof *step_masks);
    if (step_masks != NULL) array->step_masks = step_masks;

    if (quality == NULL || step_masks == NULL) {
        return kd_fail_memory(error, n * sizeof *quality, "steps");
    }
    memset(&quality[n - 1], 0, sizeof *quality);
    return KDINR_OK;
}

kdinr_status kd_track_push(kd_track *track, kd_run *run, const kd_view *view, kdinr_error *error)
{
    kd_window *window = &track->windows[track->window];
    const uint64_t stream = kd_track_stream(track, 0, track->model->n_steps, 0);

    KD_TRY(kd_survey_finish(track, run, error));
    KD_TRY(kd_measure_keep(view, track->samples, kd_rng_key(run->options->seed, stream), run->share,
                           &window->kept[window->n_steps], error));
    if (track->no_networks) {
        KD_TRY(kd_run_advance(run, 1.0, error));
    } else {
        KD_TRY(kd_teachers_push(track, run, view, error));
    }
    window->n_steps++;
    if (window->n_steps == track->plan.window && track->window + 1 < track->n_windows) {
        track->window++;
        track->windows[track->window].first = track->model->n_steps;
    }
    return KDINR_OK;
}

static void release_steps(const kd_track *track, const kd_window *window)
{
    const int n_slots = track->plan.window * track->n_bricks;

    for (int slot = 0; slot < n_slots; slot++) {
        kd_teacher_free(&window->teachers[slot]);
        kd_cut_free(&window->cuts[slot]);
        free(window->values[slot]);
        window->values[slot] = NULL;
    }
    for (int slot = n_slots - 1; slot >= 0; slot--) {
        const int before = slot - track->n_bricks;

        if (before < 0 || window->classes[slot] != window->classes[before]) {
            free(window->classes[slot]);
        }
        window->classes[slot] = NULL;
    }
    for (int t = 0; t < track->plan.window; t++) {
        kd_map_release(window->maps[t]);
        window->maps[t] = NULL;
        kd_measure_release(&window->kept[t]);
    }
}

void kd_track_restart(kd_track *track, kd_window *window, int first)
{
    release_steps(track, window);
    for (int b = 0; b < track->n_bricks; b++) {
        const size_t n = kd_sampler_blocks(track->bricks[b].dims, track->block_edge).n;

        memset(window->entropy[b], 0, n * sizeof **window->entropy);
        memset(window->present[b], 0, n * sizeof **window->present);
    }
    window->first = first;
    window->n_steps = 0;
    window->closing = false;
}

static void free_window(const kd_track *track, kd_window *window)
{
    if (window->teachers != NULL && window->cuts != NULL && window->values != NULL &&
        window->classes != NULL && window->maps != NULL && window->kept != NULL) {
        release_steps(track, window);
    }
    for (int b = 0; b < track->n_bricks; b++) {
        if (window->entropy != NULL) free(window->entropy[b]);
        if (window->present != NULL) free(window->present[b]);
    }
    free(window->teachers);
    free(window->cuts);
    free(window->values);
    free(window->classes);
    free(window->holders);
    free(window->trainers);
    free(window->sizes);
    free(window->maps);
    free(window->kept);
    free(window->entropy);
    free(window->present);
}

void kd_track_free(kd_track *track)
{
    for (int i = 0; i < track->n_windows; i++) {
        free_window(track, &track->windows[i]);
    }
    for (int b = 0; track->bricks != NULL && b < track->n_bricks; b++) {
        kd_bricks_free(&track->bricks[b]);
    }
    kd_map_release(track->last_map);
    kd_map_release(track->fresh);
    free(track->bricks);
    free(track->surveys);
    free(track->windows);
    free(track->quality);
    free(track->students);
    free(track->network_samples);
    memset(track, 0, sizeof *track);
}
