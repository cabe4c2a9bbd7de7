/* One array through stage 1 and stage 2. */
#include "track.h"

#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "quant.h"
#include "rng.h"
#include "status.h"

static kd_model_array *track_array(const kd_track *track)
{
    return &track->model->arrays[track->a];
}

/* A number that no other random stream of this encoder has. */
static uint64_t stream(const kd_track *track, int stage, int window_or_step, int brick)
{
    return kd_rng_mix(((uint64_t)(track->a * 8 + stage) << 48) ^ ((uint64_t)window_or_step << 24) ^
                      (uint64_t)brick);
}

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
    KD_TRY(inspect(track, array, &mask_bytes, &constant, error));
    const kd_plan_input input = {
        .samples = {track->samples[0], track->samples[1], track->samples[2]},
        .name = array->name,
        .n_components = array->n_components,
        .data_bytes =
            (double)track->n_samples * array->n_components * (double)kdinr_type_size(array->type),
        .step_bytes = step_bytes - mask_bytes / kd_plan_steps(options),
        .constant = constant};
    KD_TRY(kd_plan_make(options, &input, &track->plan, error));
    track->n_bricks = track->plan.bricks[0] * track->plan.bricks[1] * track->plan.bricks[2];
    memcpy(track_array(track)->bricks, track->plan.bricks, sizeof track->plan.bricks);
    track_array(track)->block_layers = track->plan.teacher.block_layers;
    track_array(track)->omega_hidden = track->plan.teacher.omega_hidden;
    return allocate(track, error);
}

double kd_track_work(const kd_track *track, int n_steps)
{
    const double windows = (n_steps + track->plan.window - 1) / track->plan.window;

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
    kd_model_array *array = track_array(track);
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
    kd_model_array *stored = track_array(track);
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
    kd_model_array *array = track_array(track);
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
    kd_model_array *array = track_array(track);

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
    track_array(track)->omega_first = track->plan.teacher.omega_first;
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
                            .stream = stream(track, 1, track->model->n_steps - 1, b),
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

kdinr_status kd_track_push(kd_track *track, kd_run *run, const kdinr_array *array,
                           kdinr_error *error)
{
    double range[KD_KDM_MAX_COMPONENTS][2];
    kd_map *map;

    KD_TRY(grow_steps(track, error));
    KD_TRY(classify_step(track, array, range, &map, error));
    track->maps[track->n_open] = map;
    widen_series_range(track, range);
    KD_TRY(
        kd_measure_keep(array, track->samples, map == NULL ? NULL : map->classes,
                        kd_rng_key(run->options->seed, stream(track, 0, track->model->n_steps, 0)),
                        &track->kept[track->n_open], error));
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
    track->n_open++;
    return track->n_open == track->plan.window ? kd_track_close_window(track, run, error)
                                               : KDINR_OK;
}

/* ---- stage 2 ---- */

/* What the teachers of a brick leave undone: where students need parameters. */
static void brick_weights(const kd_track *track, double *weights)
{
    for (int b = 0; b < track->n_bricks; b++) {
        weights[b] = 0.0;
        for (int t = 0; t < track->n_open; t++) {
            const kd_teacher *teacher = &track->teachers[t * track->n_bricks + b];

            for (int c = 0; c < teacher->net.n_outputs; c++) {
                const double half = 0.5 * (teacher->range[c][1] - teacher->range[c][0]);
                weights[b] += teacher->outcome.loss * half * half * (double)track->bricks[b].n;
            }
        }
    }
}

/* Room in the model for the networks of one more window. */
static kdinr_status grow_windows(kd_track *track, kdinr_error *error)
{
    kd_model_array *array = track_array(track);
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
    starts[array->n_windows++] = track->window_first;
    starts[array->n_windows] = track->model->n_steps;
    track->n_networks = n;
    return KDINR_OK;
}

/* The brick's classes for each step of the window; steps that share a map share the cut. */
static kdinr_status cut_maps(const kd_track *track, int b, uint8_t **classes, kdinr_error *error)
{
    for (int t = 0; t < track->n_open; t++) {
        if (track->maps[t] == NULL) continue;
        if (t > 0 && track->maps[t] == track->maps[t - 1]) {
            classes[t] = classes[t - 1];
            continue;
        }
        classes[t] = malloc(track->bricks[b].n);
        if (classes[t] == NULL) return kd_fail_memory(error, track->bricks[b].n, "missing values");
        (void)kd_volume_cut_classes(track->maps[t]->classes, track->samples, &track->bricks[b].box,
                                    classes[t]);
    }
    return KDINR_OK;
}

static void free_maps(const kd_track *track, uint8_t **classes)
{
    for (int t = 0; t < track->n_open; t++) {
        if (t == 0 || classes[t] != classes[t - 1]) free(classes[t]);
    }
}

/* Student of brick b, into the model. */
static kdinr_status distil_brick(kd_track *track, kd_run *run, int b, int width, kdinr_error *error)
{
    const size_t n_open = (size_t)track->n_open, n = (size_t)track->n_bricks;
    const size_t i = track->n_networks - n + (size_t)b;
    kd_network *network = &track_array(track)->networks[i];
    kd_student *student = &track->students[i];
    const kd_teacher **teachers = calloc(n_open, sizeof(kd_teacher *));
    const float **values = calloc(n_open, sizeof(float *));
    uint8_t **classes = calloc(n_open, sizeof *classes);
    kd_student_plan plan = {.shape = track->plan.teacher,
                            .stream = stream(track, 2, track_array(track)->n_windows, b)};
    kd_lesson lesson = {.n_steps = track->n_open,
                        .n_components = track_array(track)->n_components,
                        .brick = &track->bricks[b],
                        .entropy = track->entropy[b],
                        .present = track->present[b]};
    kdinr_status status = KDINR_OK;

    if (teachers == NULL || values == NULL || classes == NULL) {
        status = kd_fail_memory(error, n_open * sizeof *teachers, "window");
        goto done;
    }
    for (size_t t = 0; t < n_open; t++) {
        teachers[t] = &track->teachers[t * n + (size_t)b];
        values[t] = track->values[t * n + (size_t)b];
    }
    KD_TRY_DONE(cut_maps(track, b, classes, error));
    lesson.teachers = teachers;
    lesson.values = run->options->direct ? values : NULL;
    lesson.classes = (const uint8_t *const *)classes;
    lesson.blocks = kd_sampler_blocks(track->bricks[b].dims, track->block_edge);
    plan.shape.n_inputs = 4;
    plan.shape.width = width;
    plan.schedule = (kd_schedule){.samples = track->plan.student_samples,
                                  .batch = (size_t)run->options->batch,
                                  .rate = run->options->student_rate,
                                  .work = track->plan.student_samples};
    KD_TRY_DONE(kd_distill_train(run, &lesson, &plan, student, error));
    memcpy(network->range, student->range, sizeof network->range);
    network->kind = student->params == NULL ? KD_NETWORK_CONSTANT : KD_NETWORK_FLOAT32;
    network->width = student->params == NULL ? 0 : width;
    network->depth = student->params == NULL ? 0 : plan.shape.depth;
    network->params = student->params; /* the model owns them now */
    student->params = NULL;
    track->network_samples[i] = (double)track->bricks[b].n * track->n_open;

done:
    if (classes != NULL) free_maps(track, classes);
    free(teachers);
    free(values);
    free(classes);
    return status;
}

/* Errors of the window's steps, from the kept rows: float32 students, before quantisation. */
static kdinr_status estimate_quality(kd_track *track, kd_run *run, kdinr_error *error)
{
    kd_field *field = NULL;
    kdinr_status status = KDINR_OK;

    KD_TRY(kd_field_create(track->model, track->a, run->backend, run->options->n_threads, &field,
                           error));
    for (int t = 0; t < track->n_open; t++) {
        const int step = track->window_first + t;

        KD_TRY_DONE(kd_measure_kept(field, track->samples, track_array(track)->n_components,
                                    &track->kept[t], step, &track->quality[step], error));
    }

done:
    kd_field_free(field);
    return status;
}

/* Free what belongs to the steps of the open window. */
static void release_steps(kd_track *track)
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

static void clear_window(kd_track *track)
{
    release_steps(track);
    for (int b = 0; b < track->n_bricks; b++) {
        const size_t n = kd_sampler_blocks(track->bricks[b].dims, track->block_edge).n;

        memset(track->entropy[b], 0, n * sizeof **track->entropy);
        memset(track->present[b], 0, n * sizeof **track->present);
    }
    track->window_first += track->n_open;
    track->n_open = 0;
}

kdinr_status kd_track_close_window(kd_track *track, kd_run *run, kdinr_error *error)
{
    const size_t n = (size_t)track->n_bricks;
    double *weights = malloc(n * sizeof *weights);
    int *widths = malloc(n * sizeof *widths);
    kdinr_status status = KDINR_OK;

    if (track->n_open == 0) goto done;
    if (weights == NULL || widths == NULL) {
        status = kd_fail_memory(error, n * sizeof *weights, "window");
        goto done;
    }
    run->stage = "student";
    brick_weights(track, weights);
    kd_plan_widths(run->options, &track->plan, track->n_open, track->n_bricks, weights, widths);
    KD_TRY_DONE(grow_windows(track, error));
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY_DONE(distil_brick(track, run, b, widths[b], error));
    }
    KD_TRY_DONE(estimate_quality(track, run, error));
    clear_window(track);

done:
    free(weights);
    free(widths);
    return status;
}

void kd_track_free(kd_track *track)
{
    if (track->teachers != NULL && track->values != NULL && track->maps != NULL &&
        track->kept != NULL && track->entropy != NULL && track->present != NULL &&
        track->bricks != NULL) {
        release_steps(track);
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
