/* Before the first step is pushed: looks at others if a bound's networks are to be guessed,
 * describes the arrays, divides the bytes among them, plans each, and says which samples of the
 * steps each process needs. Before: encode.c has opened the encoder. After: encode.c pushes the
 * steps. */
#include <stdlib.h>
#include <string.h>

#include "deal.h"
#include "encoder.h"
#include "options.h"
#include "pieces.h"
#include "status.h"
#include "survey.h"
#include "window.h"

/* Bytes of a file besides networks, masks and the grid: header, section table and what tells how
 * networks are stored; then per array, besides its name and ranges, per component, and per array
 * and step. */
enum { FILE_BYTES = 93, ARRAY_BYTES = 19, COMPONENT_BYTES = 8, STEP_BYTES = 4 };

/* ---- planning ---- */

/* The description of the grid and the arrays, from the first step. */
static kdinr_status describe(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    kd_model *model = &encoder->model;

    memcpy(model->dims, volume->dims, sizeof model->dims);
    memcpy(model->first, volume->first, sizeof model->first);
    memcpy(model->origin, volume->origin, sizeof model->origin);
    memcpy(model->spacing, volume->spacing, sizeof model->spacing);
    memcpy(model->direction, volume->direction, sizeof model->direction);
    model->provenance = calloc(1, KD_KDM_MAX_PROVENANCE + 1);
    model->arrays = calloc((size_t)volume->n_arrays, sizeof *model->arrays);
    encoder->tracks = calloc((size_t)volume->n_arrays, sizeof *encoder->tracks);
    encoder->fields = calloc((size_t)volume->n_arrays, sizeof(kd_field *));
    if (model->provenance == NULL || model->arrays == NULL || encoder->tracks == NULL ||
        encoder->fields == NULL) {
        return kd_fail_memory(error, (size_t)volume->n_arrays * sizeof *model->arrays, "arrays");
    }
    KD_TRY(kd_copy_axes(volume->axes, model, error));
    KD_TRY(kd_check_axes(model, KDINR_ERROR_ARGUMENT, error));
    model->n_arrays = volume->n_arrays;
    kd_options_describe(&encoder->options, model->provenance, KD_KDM_MAX_PROVENANCE + 1);
    for (int a = 0; a < volume->n_arrays; a++) {
        const kdinr_array *array = &volume->arrays[a];
        kd_model_array *stored = &model->arrays[a];

        stored->name = strdup(array->name);
        if (stored->name == NULL) return kd_fail_memory(error, strlen(array->name), "array name");
        stored->type = array->type;
        stored->n_components = array->n_components;
        stored->association = array->association;
        stored->has_fill = array->has_fill;
        stored->fill_value = array->fill_value;
    }
    return KDINR_OK;
}

/* Collective. What the root has guessed, to all. */
static kdinr_status share_guess(kd_share *share, kd_guess *guess, kdinr_error *error)
{
    double sizes[4] = {guess->n_steps, guess->data, guess->first, guess->next};

    kd_share_of(share, 0);
    KD_TRY(kd_share_bytes(share, sizes, sizeof sizes, error));
    KD_TRY(kd_share_exchange(share, NULL, error));
    guess->n_steps = (int)sizes[0];
    guess->data = sizes[1];
    guess->first = sizes[2];
    guess->next = sizes[3];
    return KDINR_OK;
}

/* Collective. What all processes have of a step goes to the root, which guesses. */
static kdinr_status guess_step(const kdinr_encoder *encoder, const kd_view *view,
                               const int samples[3], kd_guess *guess, kdinr_error *error)
{
    const size_t size =
        (size_t)view->array->n_components * kdinr_type_size(view->array->type); /* of a sample */
    const size_t n = (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
    kd_share *share = encoder->run.share;
    kdinr_array array = *view->array;
    void *whole = NULL;
    kdinr_status status;

    if (share == NULL) return kd_guess_step(&encoder->options, &array, samples, guess, error);
    if (kd_share_is_root(share)) {
        whole = calloc(n, size);
        if (whole == NULL) return kd_fail_memory(error, n * size, "a step");
    }
    KD_TRY_DONE(kd_pieces_collect(share, &view->box, array.values, samples, size, whole, error));
    array.values = whole;
    if (whole != NULL) {
        KD_TRY_DONE(kd_guess_step(&encoder->options, &array, samples, guess, error));
    }
    status = share_guess(share, guess, error);

done:
    free(whole);
    return status;
}

/* Is the networks' size to be guessed? */
static bool guesses(const kdinr_options *options)
{
    return options->max_error > 0.0 && options->ratio == 0.0 && !options->residuals_alone;
}

/* Two of the middle, which follow each other. */
int kdinr_encoder_looks(const kdinr_encoder *encoder, int steps[2])
{
    const int middle = encoder->options.n_steps / 2;

    steps[0] = middle - 1;
    steps[1] = middle;
    return guesses(&encoder->options) && middle > 0 ? 2 : 0;
}

/* Collective. */
static kdinr_status look(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    if (!guesses(&encoder->options)) return KDINR_OK;
    if (encoder->guesses == NULL) {
        encoder->guesses = calloc((size_t)volume->n_arrays, sizeof *encoder->guesses);
        if (encoder->guesses == NULL) {
            return kd_fail_memory(error, sizeof *encoder->guesses, "guesses");
        }
        encoder->n_guesses = volume->n_arrays;
    }
    if (volume->n_arrays != encoder->n_guesses) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "a step has %d arrays, the one before had %d",
                       volume->n_arrays, encoder->n_guesses);
    }
    for (int a = 0; a < volume->n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);
        int samples[3];

        kd_kdm_samples(volume->dims, view.array->association, samples);
        KD_TRY(guess_step(encoder, &view, samples, &encoder->guesses[a], error));
    }
    return KDINR_OK;
}

/* With max_error alone: the ratio of the networks that should make the file smallest, or 0 for
 * none, by the steps that were looked at or else the first. */
static kdinr_status choose_ratio(kdinr_encoder *encoder, const kdinr_volume *volume,
                                 kdinr_error *error)
{
    double data = 0.0, alone = 0.0;

    if (encoder->guesses == NULL) KD_TRY(look(encoder, volume, error));
    for (int a = 0; a < encoder->n_guesses; a++) {
        data += encoder->guesses[a].data;
        alone += kd_guess_alone(&encoder->guesses[a], kd_plan_steps(&encoder->options));
        kd_guess_free(&encoder->guesses[a]);
    }
    encoder->options.ratio = encoder->n_guesses == 0 ? 0.0 : kd_guess_ratio(data, alone);
    encoder->chose_ratio = true;
    return KDINR_OK;
}

/* Networks that were not asked for and do not fit are left out. */
static kdinr_status start_track(kdinr_encoder *encoder, int a, const kd_view *view,
                                const kd_track_bytes *bytes, kdinr_error *error)
{
    const kdinr_options *options = &encoder->options;
    kd_track *track = &encoder->tracks[a];
    kd_model *model = &encoder->model;
    kd_first_look look;
    int samples[3];

    kd_kdm_samples(model->dims, view->array->association, samples);
    KD_TRY(kd_survey_first(encoder->run.share, view, samples, &look, error));
    kdinr_status status = kd_track_start(track, model, a, options, &look, bytes, error);

    if (status == KDINR_ERROR_DATA && encoder->chose_ratio) {
        const kd_track_bytes none = {0.0, 0.0, bytes->share};

        kd_track_free(track);
        status = kd_track_start(track, model, a, options, &look, &none, error);
    }
    return status;
}

/* What describes an array in the file. */
static double array_bytes(const kdinr_array *array)
{
    const bool wide = kdinr_type_size(array->type) == 8 || array->type == KDINR_INT32 ||
                      array->type == KDINR_UINT32; /* ranges may be no float32s */

    return ARRAY_BYTES + (double)strlen(array->name) +
           COMPONENT_BYTES * array->n_components * (wide ? 2 : 1) + (array->has_fill ? 8 : 0);
}

/* Divide the bytes among the arrays, plan each. */
static kdinr_status start(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    const double n_steps = kd_plan_steps(&encoder->options);
    double all = 0.0, fixed = FILE_BYTES;
    size_t axes_size, grid_size;

    if (encoder->options.ratio == 0.0) KD_TRY(choose_ratio(encoder, volume, error));
    KD_TRY(describe(encoder, volume, error));
    KD_TRY(kd_size_grid(&encoder->model, &grid_size, error));
    KD_TRY(kd_size_axes(&encoder->model, &axes_size, error));
    fixed += (double)grid_size + (double)axes_size;
    for (int a = 0; a < volume->n_arrays; a++) {
        all += (double)kd_volume_bytes(volume, &volume->arrays[a]);
        fixed += array_bytes(&volume->arrays[a]);
    }
    const double each = fixed / n_steps + STEP_BYTES * volume->n_arrays;
    const double step_bytes =
        encoder->options.ratio > 0.0 ? all / encoder->options.ratio - each : 0.0;
    for (int a = 0; a < volume->n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);
        const double share = (double)kd_volume_bytes(volume, view.array) / all;
        const kd_track_bytes bytes = {step_bytes * share, fixed * share, share};

        KD_TRY(start_track(encoder, a, &view, &bytes, error));
        encoder->run.work_total +=
            kd_track_work(&encoder->tracks[a], &encoder->options, kd_plan_steps(&encoder->options));
    }
    return KDINR_OK;
}

/* An encoder that is alone has nobody to get the rest of a step from. */
static kdinr_status check_whole(const kdinr_volume *volume, kdinr_error *error)
{
    for (int a = 0; a < volume->n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);
        int samples[3];

        kd_kdm_samples(volume->dims, view.array->association, samples);
        const kd_box whole = kd_bricks_whole(samples);
        KD_TRY(kd_volume_check_box(&view, &whole, 0, error));
    }
    return KDINR_OK;
}

kdinr_status kd_start_plan(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    if (encoder->run.share == NULL) KD_TRY(check_whole(volume, error));
    KD_TRY(start(encoder, volume, error));
    KD_TRY(kd_window_open(encoder->tracks, encoder->model.n_arrays, &encoder->run, error));
    encoder->planned = true;
    return KDINR_OK;
}

static kdinr_status plan(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    KD_TRY(kd_volume_check(volume, error));
    return kd_start_plan(encoder, volume, error);
}

kdinr_status kdinr_encoder_plan(kdinr_encoder *encoder, const kdinr_volume *volume,
                                kdinr_error *error)
{
    if (encoder->planned || encoder->stage != STAGE_PUSHING) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "plan comes before the first push, once, and not after a failed call");
    }
    const kdinr_status status =
        kd_share_agree(encoder->run.share, plan(encoder, volume, error), error);
    if (status != KDINR_OK) encoder->stage = STAGE_FAILED;
    return status;
}

static kdinr_status look_at(kdinr_encoder *encoder, const kdinr_volume *volume, kdinr_error *error)
{
    KD_TRY(kd_volume_check(volume, error));
    if (encoder->run.share == NULL) KD_TRY(check_whole(volume, error));
    return look(encoder, volume, error);
}

kdinr_status kdinr_encoder_look(kdinr_encoder *encoder, const kdinr_volume *volume,
                                kdinr_error *error)
{
    if (encoder->planned || encoder->stage != STAGE_PUSHING) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "look comes before plan and the first push, and not after a failed call");
    }
    const kdinr_status status =
        kd_share_agree(encoder->run.share, look_at(encoder, volume, error), error);
    if (status != KDINR_OK) encoder->stage = STAGE_FAILED;
    return status;
}

/* ---- what each process needs ---- */

static kdinr_status check_request(const kdinr_encoder *encoder, int array, int rank,
                                  kdinr_error *error)
{
    const int n_ranks = kd_share_n_ranks(encoder->run.share);

    if (!encoder->planned) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "what a process needs is not known before kdinr_encoder_plan");
    }
    if (array < 0 || array >= encoder->model.n_arrays || rank < 0 || rank >= n_ranks) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "array %d of %d, process %d of %d", array,
                       encoder->model.n_arrays, rank, n_ranks);
    }
    return KDINR_OK;
}

static void box_to_extent(const kd_box *box, int extent[6])
{
    for (int axis = 0; axis < 3; axis++) {
        extent[2 * axis] = box->first[axis];
        extent[2 * axis + 1] = box->last[axis];
    }
}

kdinr_status kdinr_encoder_push_extent(const kdinr_encoder *encoder, int array, int rank,
                                       int extent[6], kdinr_error *error)
{
    KD_TRY(check_request(encoder, array, rank, error));
    const kd_box box = kd_deal_box(&encoder->tracks[array], rank);
    box_to_extent(&box, extent);
    return KDINR_OK;
}

kdinr_status kdinr_encoder_verify_extent(const kdinr_encoder *encoder, int array, int rank,
                                         int extent[6], kdinr_error *error)
{
    KD_TRY(check_request(encoder, array, rank, error));
    const int *samples = encoder->tracks[array].samples;
    kd_box box = kd_measure_box(samples, rank, kd_share_n_ranks(encoder->run.share));

    if (encoder->options.max_error > 0.0) {
        box = rank == 0 ? kd_bricks_whole(samples) : kd_bricks_none;
    }
    box_to_extent(&box, extent);
    return KDINR_OK;
}
