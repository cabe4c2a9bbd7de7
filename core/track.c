/* One array through stage 1: planning at the first step, missing values, ranges. Before: encode.c.
 * Below: teachers.c. After: window.c, when a window is full. */
#include "track.h"

#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "rng.h"
#include "status.h"
#include "teachers.h"

/* ---- start ---- */

static kdinr_status allocate_window(const kd_track *track, kd_window *window, kdinr_error *error)
{
    const size_t n_steps = (size_t)track->plan.window, n = (size_t)track->n_bricks;

    window->teachers = calloc(n_steps * n, sizeof *window->teachers);
    window->cuts = calloc(n_steps * n, sizeof *window->cuts);
    window->values = calloc(n_steps * n, sizeof *window->values);
    window->maps = calloc(n_steps, sizeof *window->maps);
    window->kept = calloc(n_steps, sizeof *window->kept);
    window->entropy = calloc(n, sizeof *window->entropy);
    window->present = calloc(n, sizeof *window->present);
    if (window->teachers == NULL || window->cuts == NULL || window->values == NULL ||
        window->maps == NULL || window->kept == NULL || window->entropy == NULL ||
        window->present == NULL) {
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
    if (track->bricks == NULL) return kd_fail_memory(error, n * sizeof *track->bricks, "bricks");
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY(kd_bricks_make(track->samples, track->plan.bricks, b, &track->bricks[b], error));
    }
    track->windows = calloc(1, sizeof *track->windows);
    if (track->windows == NULL) return kd_fail_memory(error, sizeof *track->windows, "window");
    track->n_windows = 1;
    return allocate_window(track, track->windows, error);
}

kdinr_status kd_track_widen(kd_track *track, int n, int first_owner, kdinr_error *error)
{
    kd_window *windows = realloc(track->windows, (size_t)n * sizeof *windows);

    if (windows == NULL) return kd_fail_memory(error, (size_t)n * sizeof *windows, "windows");
    memset(windows + 1, 0, (size_t)(n - 1) * sizeof *windows);
    track->windows = windows;
    track->n_windows = n;
    track->first_owner = first_owner;
    for (int i = 1; i < n; i++) {
        KD_TRY(allocate_window(track, &windows[i], error));
    }
    return KDINR_OK;
}

/* Bytes that the first step's missing-value map will take in the file, and whether the present
 * samples are all the same. */
static kdinr_status inspect(const kd_track *track, const kdinr_array *array, double *mask_bytes,
                            bool *constant, kdinr_error *error)
{
    double range[KD_KDM_MAX_COMPONENTS][2] = {{0.0}};
    uint8_t *classes = malloc(track->n_samples), *packed = NULL;
    size_t size = 0;
    kdinr_status status = KDINR_OK;

    if (classes == NULL) return kd_fail_memory(error, track->n_samples, "missing-value map");
    if (kd_volume_classify(array, track->n_samples, classes, range) < track->n_samples) {
        status = kd_entropy_pack_mask(classes, track->samples, &packed, &size, error);
    }
    free(packed);
    free(classes);
    *mask_bytes = (double)size;
    *constant = true;
    for (int c = 0; c < array->n_components; c++) {
        if (range[c][1] > range[c][0]) *constant = false;
    }
    return status;
}

kdinr_status kd_track_start(kd_track *track, kd_model *model, int a, const kdinr_options *options,
                            const kdinr_array *array, const kd_track_bytes *bytes,
                            kdinr_error *error)
{
    double mask_bytes = 0.0;
    bool constant = false;

    memset(track, 0, sizeof *track);
    track->model = model;
    track->a = a;
    kd_kdm_samples(model->dims, array->association, track->samples);
    track->n_samples =
        (size_t)track->samples[0] * (size_t)track->samples[1] * (size_t)track->samples[2];
    track->block_edge = options->block_size;
    track->no_networks = options->max_error > 0.0 && bytes->step == 0.0;
    KD_TRY(inspect(track, array, &mask_bytes, &constant, error));
    const kd_plan_input input = {
        .samples = {track->samples[0], track->samples[1], track->samples[2]},
        .name = array->name,
        .n_components = array->n_components,
        .data_bytes =
            (double)track->n_samples * array->n_components * (double)kdinr_type_size(array->type),
        .step_bytes = bytes->step - mask_bytes / kd_plan_steps(options),
        .fixed_bytes = bytes->fixed + mask_bytes,
        .constant = constant || track->no_networks,
        .n_arrays = model->n_arrays};
    KD_TRY(kd_plan_make(options, &input, &track->plan, error));
    track->n_bricks = track->plan.bricks[0] * track->plan.bricks[1] * track->plan.bricks[2];
    memcpy(kd_track_array(track)->bricks, track->plan.bricks, sizeof track->plan.bricks);
    kd_track_array(track)->block_layers = track->plan.teacher.block_layers;
    kd_track_array(track)->form = track->plan.teacher.form;
    kd_track_array(track)->omega_hidden = track->plan.teacher.omega_hidden;
    kd_track_array(track)->omega_first = 1.0f; /* until the pilot has chosen it */
    return allocate(track, error);
}

double kd_track_work(const kd_track *track, const kdinr_options *options, int n_steps)
{
    const kd_plan *plan = &track->plan;
    const int windows = (n_steps + plan->window - 1) / plan->window;
    const int teachers = kd_plan_teachers(options, plan, n_steps);

    if (track->no_networks) return n_steps;
    return track->n_bricks * (plan->teacher_samples * teachers + plan->student_samples * windows);
}

/* ---- missing values ---- */

static void map_release(kd_map *map)
{
    if (map != NULL && --map->n_users == 0) free(map);
}

/* Append a map to the model's masks. */
static kdinr_status add_mask(kd_track *track, const kd_map *map, kdinr_error *error)
{
    kd_model_array *array = kd_track_array(track);
    kd_mask *masks = realloc(array->masks, ((size_t)array->n_masks + 1) * sizeof *masks);

    if (masks == NULL) return kd_fail_memory(error, sizeof *masks, "missing-value maps");
    array->masks = masks;
    kd_mask *mask = &masks[array->n_masks];
    KD_TRY(kd_entropy_pack_mask(map->classes, track->samples, &mask->bytes, &mask->size, error));
    array->n_masks++;
    return KDINR_OK;
}

/* Classify the step's samples; share the map with the step before if it is the same. */
static kdinr_status classify_step(kd_track *track, const kdinr_array *array, double range[][2],
                                  kd_map **map, kdinr_error *error)
{
    kd_model_array *stored = kd_track_array(track);
    const int step = track->model->n_steps - 1;
    kd_map *fresh = malloc(sizeof *fresh + track->n_samples);

    *map = NULL;
    if (fresh == NULL) return kd_fail_memory(error, track->n_samples, "missing-value map");
    fresh->n_users = 1;
    const size_t n_present = kd_volume_classify(array, track->n_samples, fresh->classes, range);
    track->quality[step].n_present = (double)n_present;
    if (n_present == track->n_samples) {
        free(fresh);
        stored->step_masks[step] = -1;
        return KDINR_OK;
    }
    if (n_present == 0) {
        free(fresh);
        return kd_fail(
            error, KDINR_ERROR_DATA,
            "array \"%s\" has no value at step %d: all %zu samples are NaN, infinite or fill",
            array->name, step, track->n_samples);
    }
    if (track->last_map != NULL &&
        memcmp(track->last_map->classes, fresh->classes, track->n_samples) == 0) {
        free(fresh);
        *map = track->last_map;
    } else {
        *map = fresh;
        const kdinr_status status = add_mask(track, fresh, error);
        if (status != KDINR_OK) {
            free(fresh);
            *map = NULL;
            return status;
        }
        map_release(track->last_map);
        track->last_map = fresh;
    }
    (*map)->n_users++; /* the window's */
    stored->step_masks[step] = stored->n_masks - 1;
    return KDINR_OK;
}

/* ---- stage 1 ---- */

/* Room for one more step in the arrays that have one entry per step. */
static kdinr_status grow_steps(kd_track *track, kdinr_error *error)
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

static void widen_series_range(kd_track *track, double range[][2])
{
    kd_model_array *array = kd_track_array(track);

    for (int c = 0; c < array->n_components; c++) {
        double *series = array->range[c];

        if (track->model->n_steps == 1 || range[c][0] < series[0]) series[0] = range[c][0];
        if (track->model->n_steps == 1 || range[c][1] > series[1]) series[1] = range[c][1];
    }
}

int kd_track_owner(const kd_track *track, const kd_window *window, int b)
{
    return track->first_owner + (int)(window - track->windows) * track->n_bricks + b;
}

kdinr_status kd_track_push(kd_track *track, kd_run *run, const kdinr_array *array,
                           kdinr_error *error)
{
    double range[KD_KDM_MAX_COMPONENTS][2];
    kd_map *map;

    KD_TRY(grow_steps(track, error));
    KD_TRY(classify_step(track, array, range, &map, error));
    kd_window *window = &track->windows[track->window];
    window->maps[window->n_steps] = map;
    widen_series_range(track, range);
    KD_TRY(kd_measure_keep(
        array, track->samples, map == NULL ? NULL : map->classes,
        kd_rng_key(run->options->seed, kd_track_stream(track, 0, track->model->n_steps, 0)),
        &window->kept[window->n_steps], error));
    if (track->no_networks) {
        KD_TRY(kd_run_advance(run, 1.0, error));
    } else {
        KD_TRY(kd_teachers_push(track, run, array, map, error));
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
    for (int t = 0; t < track->plan.window; t++) {
        map_release(window->maps[t]);
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
}

static void free_window(const kd_track *track, kd_window *window)
{
    if (window->teachers != NULL && window->cuts != NULL && window->values != NULL &&
        window->maps != NULL && window->kept != NULL) {
        release_steps(track, window);
    }
    for (int b = 0; b < track->n_bricks; b++) {
        if (window->entropy != NULL) free(window->entropy[b]);
        if (window->present != NULL) free(window->present[b]);
    }
    free(window->teachers);
    free(window->cuts);
    free(window->values);
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
    map_release(track->last_map);
    free(track->bricks);
    free(track->windows);
    free(track->quality);
    free(track->students);
    free(track->network_samples);
    memset(track, 0, sizeof *track);
}
