/* One array through stage 1: planning at the first step, missing values, teachers. Before:
 * encode.c. After: window.c, when a window is full. */
#include "track.h"

#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "rng.h"
#include "status.h"

/* ---- start ---- */

static kdinr_status allocate(kd_track *track, kdinr_error *error)
{
    const size_t window = (size_t)track->plan.window, n = (size_t)track->n_bricks;

    track->bricks = calloc(n, sizeof *track->bricks);
    track->teachers = calloc(window * n, sizeof *track->teachers);
    track->values = calloc(window * n, sizeof *track->values);
    track->maps = calloc(window, sizeof *track->maps);
    track->kept = calloc(window, sizeof *track->kept);
    track->entropy = calloc(n, sizeof *track->entropy);
    track->present = calloc(n, sizeof *track->present);
    if (track->bricks == NULL || track->teachers == NULL || track->values == NULL ||
        track->maps == NULL || track->kept == NULL || track->entropy == NULL ||
        track->present == NULL) {
        return kd_fail_memory(error, window * n * sizeof *track->teachers, "window");
    }
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY(kd_bricks_make(track->samples, track->plan.bricks, b, &track->bricks[b], error));
        const kd_blocks blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge);

        track->entropy[b] = calloc(blocks.n, sizeof **track->entropy);
        track->present[b] = calloc(blocks.n, sizeof **track->present);
        if (track->entropy[b] == NULL || track->present[b] == NULL) {
            return kd_fail_memory(error, blocks.n * sizeof **track->entropy, "block entropies");
        }
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
                            const kdinr_array *array, double step_bytes, kdinr_error *error)
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
    track->no_networks = options->max_error > 0.0 && step_bytes == 0.0;
    KD_TRY(inspect(track, array, &mask_bytes, &constant, error));
    const kd_plan_input input = {
        .samples = {track->samples[0], track->samples[1], track->samples[2]},
        .name = array->name,
        .n_components = array->n_components,
        .data_bytes =
            (double)track->n_samples * array->n_components * (double)kdinr_type_size(array->type),
        .step_bytes = step_bytes - mask_bytes / kd_plan_steps(options),
        .constant = constant || track->no_networks};
    KD_TRY(kd_plan_make(options, &input, &track->plan, error));
    track->n_bricks = track->plan.bricks[0] * track->plan.bricks[1] * track->plan.bricks[2];
    memcpy(kd_track_array(track)->bricks, track->plan.bricks, sizeof track->plan.bricks);
    kd_track_array(track)->block_layers = track->plan.teacher.block_layers;
    kd_track_array(track)->omega_hidden = track->plan.teacher.omega_hidden;
    kd_track_array(track)->omega_first = 1.0f; /* until the pilot has chosen it */
    return allocate(track, error);
}

double kd_track_work(const kd_track *track, int n_steps)
{
    const int windows = (n_steps + track->plan.window - 1) / track->plan.window;

    if (track->no_networks) return n_steps;
    return track->n_bricks *
           (track->plan.teacher_samples * n_steps + track->plan.student_samples * windows);
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

/* The first-layer frequency: given, or by a pilot on the brick with the richest first step. */
static kdinr_status choose_omega(kd_track *track, kd_run *run, const kd_cut *cuts,
                                 kdinr_error *error)
{
    double most = -1.0;
    int richest = 0;

    for (int b = 0; b < track->n_bricks; b++) {
        double sum = 0.0;

        for (size_t i = 0; i < cuts[b].blocks.n; i++) {
            sum += cuts[b].entropy[i];
        }
        if (sum > most) {
            most = sum;
            richest = b;
        }
    }
    if (run->options->omega_first == 0.0) {
        KD_TRY(kd_plan_pilot(run, &cuts[richest], &track->plan, error));
    }
    kd_track_array(track)->omega_first = track->plan.teacher.omega_first;
    return KDINR_OK;
}

static kdinr_status pilot(kd_track *track, kd_run *run, const kdinr_array *array, const kd_map *map,
                          kdinr_error *error)
{
    kd_cut *cuts = calloc((size_t)track->n_bricks, sizeof *cuts);
    kdinr_status status = KDINR_OK;

    if (cuts == NULL) return kd_fail_memory(error, sizeof *cuts, "pilot");
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY_DONE(kd_cut_make(array, track->samples, map == NULL ? NULL : map->classes,
                                &track->bricks[b], track->block_edge, &cuts[b], error));
    }
    KD_TRY_DONE(choose_omega(track, run, cuts, error));

done:
    for (int b = 0; b < track->n_bricks; b++) {
        kd_cut_free(&cuts[b]);
    }
    free(cuts);
    return status;
}

static kdinr_status train_teacher(kd_track *track, kd_run *run, const kd_cut *cut, int b,
                                  kd_teacher *teacher, kdinr_error *error)
{
    kd_teacher_plan plan = {.shape = track->plan.teacher,
                            .stream = kd_track_stream(track, 1, track->model->n_steps - 1, b),
                            .cold_samples = track->plan.cold_samples};

    plan.schedule = (kd_schedule){.samples = track->plan.teacher_samples,
                                  .batch = (size_t)run->options->batch,
                                  .rate = run->options->teacher_rate,
                                  .work = track->plan.teacher_samples};
    if (run->options->warm_start && track->n_open > 0) plan.previous = teacher - track->n_bricks;
    return kd_teacher_train(run, cut, &plan, teacher, error);
}

/* Teacher of one brick; with `direct`, only its data. */
static kdinr_status push_brick(kd_track *track, kd_run *run, kd_cut *cut, int b, kdinr_error *error)
{
    const size_t slot = (size_t)track->n_open * (size_t)track->n_bricks + (size_t)b;
    kd_teacher *teacher = &track->teachers[slot];

    for (size_t i = 0; i < cut->blocks.n; i++) {
        track->entropy[b][i] += cut->entropy[i];
        track->present[b][i] += cut->present[i];
    }
    if (!run->options->direct) return train_teacher(track, run, cut, b, teacher, error);
    memset(teacher, 0, sizeof *teacher);
    memcpy(teacher->range, cut->range, sizeof teacher->range);
    teacher->present = cut->n_present > 0;
    if (!cut->constant) {
        track->values[slot] = cut->values;
        cut->values = NULL;
    }
    return kd_run_advance(run, track->plan.teacher_samples, error);
}

/* All teachers of the step; before the first ones, the pilot. */
static kdinr_status train_teachers(kd_track *track, kd_run *run, const kdinr_array *array,
                                   const kd_map *map, kdinr_error *error)
{
    run->stage = "teachers";
    if (track->model->n_steps == 1) KD_TRY(pilot(track, run, array, map, error));
    for (int b = 0; b < track->n_bricks; b++) {
        kd_cut cut;
        kdinr_status status = kd_cut_make(array, track->samples, map == NULL ? NULL : map->classes,
                                          &track->bricks[b], track->block_edge, &cut, error);

        if (status == KDINR_OK) status = push_brick(track, run, &cut, b, error);
        kd_cut_free(&cut);
        KD_TRY(status);
    }
    return KDINR_OK;
}

kdinr_status kd_track_push(kd_track *track, kd_run *run, const kdinr_array *array,
                           kdinr_error *error)
{
    double range[KD_KDM_MAX_COMPONENTS][2];
    kd_map *map;

    KD_TRY(grow_steps(track, error));
    KD_TRY(classify_step(track, array, range, &map, error));
    track->maps[track->n_open] = map;
    widen_series_range(track, range);
    KD_TRY(kd_measure_keep(
        array, track->samples, map == NULL ? NULL : map->classes,
        kd_rng_key(run->options->seed, kd_track_stream(track, 0, track->model->n_steps, 0)),
        &track->kept[track->n_open], error));
    if (track->no_networks) {
        KD_TRY(kd_run_advance(run, 1.0, error));
    } else {
        KD_TRY(train_teachers(track, run, array, map, error));
    }
    track->n_open++;
    return KDINR_OK;
}

void kd_track_release_steps(kd_track *track)
{
    const size_t n_slots = (size_t)track->plan.window * (size_t)track->n_bricks;

    for (size_t slot = 0; slot < n_slots; slot++) {
        kd_teacher_free(&track->teachers[slot]);
        free(track->values[slot]);
        track->values[slot] = NULL;
    }
    for (int t = 0; t < track->plan.window; t++) {
        map_release(track->maps[t]);
        track->maps[t] = NULL;
        kd_measure_release(&track->kept[t]);
    }
}

void kd_track_free(kd_track *track)
{
    if (track->teachers != NULL && track->values != NULL && track->maps != NULL &&
        track->kept != NULL && track->entropy != NULL && track->present != NULL &&
        track->bricks != NULL) {
        kd_track_release_steps(track);
        for (int b = 0; b < track->n_bricks; b++) {
            free(track->entropy[b]);
            free(track->present[b]);
            kd_bricks_free(&track->bricks[b]);
        }
    }
    map_release(track->last_map);
    free(track->bricks);
    free(track->teachers);
    free(track->values);
    free(track->maps);
    free(track->kept);
    free(track->entropy);
    free(track->present);
    free(track->quality);
    free(track->students);
    free(track->network_samples);
    memset(track, 0, sizeof *track);
}
