/* Compressing a series: the public encoder functions as a table of contents.
 * push: volume.c checks, track.c trains teachers (stage 1) and, at the end of a window, the student
 * (stage 2, window.c). verify: settle.c gives the networks their final bits, measure.c compares.
 * finish: kdm.c writes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "encoder.h"
#include "judge.h"
#include "options.h"
#include "settle.h"
#include "status.h"
#include "survey.h"
#include "window.h"

/* Collective. */
static kdinr_status prepare(kdinr_encoder *encoder, kdinr_error *error)
{
    kd_run *run = &encoder->run;
    kdinr_status status =
        encoder->backend_name == NULL
            ? kd_fail_memory(error, strlen(encoder->options.backend), "backend name")
            : kd_backend_choose(&encoder->options, &run->backend, error);

    KD_TRY(kd_share_agree(run->share, status, error));
    status =
        kd_part_open_shared(&encoder->options, run->backend->name, run->share, &run->part, error);
    return kd_share_agree(run->share, status, error);
}

kdinr_status kdinr_encoder_open(const kdinr_options *options, kdinr_encoder **encoder,
                                kdinr_error *error)
{
    *encoder = NULL;
    KD_TRY(kd_options_check(options, error));
    kdinr_encoder *made = calloc(1, sizeof *made);
    if (made == NULL) return kd_fail_memory(error, sizeof *made, "encoder");
    made->options = *options;
    made->backend_name = strdup(options->backend);
    if (made->backend_name != NULL) made->options.backend = made->backend_name;
    made->run.options = &made->options;
    made->run.stage = "reading";
    kdinr_status status = kd_share_open(options->share, &made->run.share, error);
    if (status == KDINR_OK) status = prepare(made, error);
    if (status != KDINR_OK) {
        kdinr_encoder_close(made);
        return status;
    }
    *encoder = made;
    return KDINR_OK;
}

void kdinr_encoder_close(kdinr_encoder *encoder)
{
    if (encoder == NULL) return;
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        if (encoder->fields != NULL) kd_field_free(encoder->fields[a]);
        if (encoder->tracks != NULL) kd_track_free(&encoder->tracks[a]);
        if (encoder->keeps != NULL) kd_keep_close(&encoder->keeps[a]);
    }
    for (int a = 0; a < encoder->n_guesses; a++) {
        kd_guess_free(&encoder->guesses[a]);
    }
    free(encoder->guesses);
    free(encoder->keeps);
    free(encoder->fields);
    free(encoder->tracks);
    kd_kdm_free(&encoder->model);
    kd_part_close(encoder->run.part, false);
    kd_share_close(encoder->run.share);
    free(encoder->backend_name);
    free(encoder);
}

/* ---- push ---- */

static kdinr_status add_time(kdinr_encoder *encoder, double time, kdinr_error *error)
{
    kd_model *model = &encoder->model;

    if (!isfinite(time)) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "the time of a step is not finite");
    }
    if (model->n_steps > 0 && !(time > model->times[model->n_steps - 1])) {
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "a step at time %.17g was pushed after the one at %.17g; times must increase", time,
            model->times[model->n_steps - 1]);
    }
    if (model->n_steps == KD_KDM_MAX_STEPS) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "a file holds at most %d steps",
                       KD_KDM_MAX_STEPS);
    }
    if (model->n_steps == encoder->times_capacity) {
        const int capacity = 2 * encoder->times_capacity + 16;
        double *times = realloc(model->times, (size_t)capacity * sizeof *times);

        if (times == NULL) return kd_fail_memory(error, (size_t)capacity * sizeof *times, "times");
        model->times = times;
        encoder->times_capacity = capacity;
    }
    model->times[model->n_steps++] = time;
    return KDINR_OK;
}

/* Collective. What the step is like, and whether it is the one that the part was made from. */
static kdinr_status survey(kdinr_encoder *encoder, const kdinr_volume *volume, double time,
                           kdinr_error *error)
{
    kd_run *run = &encoder->run;
    uint64_t hash = kd_volume_hash(volume);

    for (int a = 0; a < encoder->model.n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);

        KD_TRY(kd_track_grow(&encoder->tracks[a], error));
        KD_TRY(kd_survey_step(&encoder->tracks[a], run, &view, error));
    }
    KD_TRY(kd_share_exchange(run->share, run->part, error));
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        hash = kd_survey_hash(&encoder->tracks[a], hash);
    }
    return kd_part_step(run->part, hash, time, error);
}

static kdinr_status push(kdinr_encoder *encoder, const kdinr_volume *volume, double time,
                         kdinr_error *error)
{
    KD_TRY(kd_volume_check(volume, error));
    if (!encoder->planned) KD_TRY(kd_start_plan(encoder, volume, error));
    KD_TRY(kd_volume_check_same(volume, &encoder->model, time, error));
    KD_TRY(add_time(encoder, time, error));
    KD_TRY(survey(encoder, volume, time, error));
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);

        KD_TRY(kd_track_push(&encoder->tracks[a], &encoder->run, &view, error));
    }
    KD_TRY(kd_window_close(encoder->tracks, encoder->model.n_arrays, false, &encoder->run, error));
    return kd_part_sync(encoder->run.part, error);
}

kdinr_status kdinr_encoder_push(kdinr_encoder *encoder, const kdinr_volume *volume, double time,
                                kdinr_error *error)
{
    if (encoder->stage != STAGE_PUSHING) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "%s",
                       encoder->stage == STAGE_FAILED
                           ? "an earlier call failed: this encoder can only be closed"
                           : "steps cannot be pushed after verify or finish");
    }
    const kdinr_status status =
        kd_share_agree(encoder->run.share, push(encoder, volume, time, error), error);
    if (status != KDINR_OK) encoder->stage = STAGE_FAILED;
    return status;
}

/* ---- settle: the networks get their final bits ---- */

static kdinr_status open_keeps(kdinr_encoder *encoder, kdinr_error *error)
{
    kd_model *model = &encoder->model;
    const size_t n = (size_t)model->n_arrays;

    encoder->keeps = calloc(n, sizeof *encoder->keeps);
    if (encoder->keeps == NULL) return kd_fail_memory(error, n * sizeof *encoder->keeps, "bounds");
    for (int a = 0; a < model->n_arrays; a++) {
        KD_TRY(kd_keep_open(model, a, &encoder->options, &encoder->keeps[a], error));
    }
    return KDINR_OK;
}

static kdinr_status settle(kdinr_encoder *encoder, kdinr_error *error)
{
    if (encoder->model.n_steps == 0) {
        return kd_fail(error, KDINR_ERROR_DATA,
                       "no time step was pushed: there is nothing to write");
    }
    KD_TRY(kd_window_close(encoder->tracks, encoder->model.n_arrays, true, &encoder->run, error));
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        kd_model_array *array = &encoder->model.arrays[a];
        const size_t n = (size_t)encoder->model.n_steps;

        array->psnr = calloc(n, sizeof *array->psnr);
        array->max_error = calloc(n, sizeof *array->max_error);
        if (array->psnr == NULL || array->max_error == NULL) {
            return kd_fail_memory(error, n * sizeof *array->psnr, "quality record");
        }
    }
    KD_TRY(kd_part_sync(encoder->run.part, error));
    const kd_settle final = {&encoder->options, &encoder->model, encoder->tracks};
    KD_TRY(kd_settle_networks(&final, error));
    if (encoder->options.max_error > 0.0) KD_TRY(open_keeps(encoder, error));
    encoder->stage = STAGE_SETTLED;
    return KDINR_OK;
}

/* ---- verify ---- */

static int find_step(const kd_model *model, double time)
{
    for (int t = 0; t < model->n_steps; t++) {
        if (model->times[t] == time) return t;
    }
    return -1;
}

/* With max_error, on the root alone: it codes the whole step. */
static kdinr_status keep_array(kdinr_encoder *encoder, int a, const kd_view *view,
                               kdinr_error *error)
{
    const kd_track *track = &encoder->tracks[a];
    const kd_box whole = kd_bricks_whole(track->samples);
    uint8_t *classes;

    KD_TRY(kd_volume_check_box(view, &whole, 0, error));
    classes = malloc(track->n_samples);
    if (classes == NULL) return kd_fail_memory(error, track->n_samples, "missing-value map");
    (void)kd_volume_classify(view, &whole, classes);
    const kdinr_status status = kd_keep_step(&encoder->keeps[a], view->array, classes,
                                             encoder->fields[a], &encoder->run, error);
    free(classes);
    return status;
}

static kdinr_status verify_array(kdinr_encoder *encoder, int a, const kd_view *view, int step,
                                 kdinr_error *error)
{
    kd_quality quality;

    if (encoder->fields[a] == NULL) {
        KD_TRY(kd_field_create(&encoder->model, NULL, a, encoder->run.backend, &encoder->options,
                               &encoder->fields[a], error));
    }
    if (encoder->keeps != NULL) return keep_array(encoder, a, view, error);
    KD_TRY(kd_measure_step(encoder->fields[a], view, step, &quality, &encoder->run, error));
    encoder->tracks[a].quality[step] = quality;
    return KDINR_OK;
}

static kdinr_status verify(kdinr_encoder *encoder, const kdinr_volume *volume, double time,
                           kdinr_error *error)
{
    if (encoder->stage == STAGE_PUSHING) KD_TRY(settle(encoder, error));
    KD_TRY(kd_volume_check(volume, error));
    KD_TRY(kd_volume_check_same(volume, &encoder->model, time, error));
    const int step = find_step(&encoder->model, time);
    if (step < 0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "no step at time %.17g was pushed", time);
    }
    if (encoder->keeps != NULL && !kd_share_is_root(encoder->run.share)) return KDINR_OK;
    if (encoder->keeps != NULL && step != encoder->keeps[0].n_done) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "with max_error, steps are verified once each and in their order; step %d "
                       "came where step %d was expected",
                       step, encoder->keeps[0].n_done);
    }
    if (!encoder->verifying) { /* a new count of progress */
        encoder->verifying = true;
        encoder->run.stage = "checking";
        encoder->run.work_done = encoder->run.work_total = encoder->run.reported = 0.0;
        for (int a = 0; a < encoder->model.n_arrays; a++) {
            encoder->run.work_total +=
                (double)encoder->tracks[a].n_samples * encoder->model.n_steps;
        }
    }
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        const kd_view view = kd_volume_view(volume, a);

        KD_TRY(verify_array(encoder, a, &view, step, error));
    }
    return KDINR_OK;
}

kdinr_status kdinr_encoder_verify(kdinr_encoder *encoder, const kdinr_volume *volume, double time,
                                  kdinr_error *error)
{
    if (encoder->stage == STAGE_FAILED || encoder->stage == STAGE_FINISHED) {
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "verify after finish or after a failed call: this encoder can only be closed");
    }
    const kdinr_status status =
        kd_share_agree(encoder->run.share, verify(encoder, volume, time, error), error);
    if (status != KDINR_OK) encoder->stage = STAGE_FAILED;
    return status;
}

/* ---- finish ---- */

/* PSNR and maximum error per step and the overall error, as the file records them. */
static void record_quality(kdinr_encoder *encoder, int a)
{
    const kd_track *track = &encoder->tracks[a];
    kd_model_array *array = &encoder->model.arrays[a];
    double sum = 0.0, n = 0.0;

    array->quality_exact = true;
    for (int t = 0; t < encoder->model.n_steps; t++) {
        const kd_quality *quality = &track->quality[t];
        const double relative =
            kd_measure_relative(quality, (const double(*)[2])array->range, array->n_components);

        array->psnr[t] = (float)kd_measure_psnr(relative);
        array->max_error[t] = (float)quality->max_error;
        array->quality_exact = array->quality_exact && quality->exact;
        sum += relative * quality->n_present;
        n += quality->n_present;
    }
    array->mse = n > 0.0 ? sum / n : 0.0;
}

/* Does the file, still under a temporary name, decode to what was checked? */
static kdinr_status check_file(void *user, const char *path, kdinr_error *error)
{
    const kdinr_encoder *encoder = user;

    for (int a = 0; encoder->keeps != NULL && a < encoder->model.n_arrays; a++) {
        KD_TRY(kd_keep_check(&encoder->keeps[a], path, &encoder->options, error));
    }
    return KDINR_OK;
}

/* A file says nothing of networks that were tried and dropped. */
static void describe_dropped(kdinr_encoder *encoder)
{
    kdinr_options options = encoder->options;

    options.ratio = 0.0;
    options.width = 0;
    kd_options_describe(&options, encoder->model.provenance, KD_KDM_MAX_PROVENANCE + 1);
}

/* With max_error: networks and residuals, or residuals alone. */
static kdinr_status choose_ways(kdinr_encoder *encoder, kdinr_error *error)
{
    bool all_alone = true;

    if (encoder->keeps[0].n_done < encoder->model.n_steps) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "with max_error every step must be verified before the end: %d of %d were",
                       encoder->keeps[0].n_done, encoder->model.n_steps);
    }
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        kd_field_free(encoder->fields[a]); /* its networks may be dropped */
        encoder->fields[a] = NULL;
        KD_TRY(kd_keep_choose(&encoder->keeps[a], encoder->tracks[a].quality, error));
        all_alone = all_alone && encoder->model.arrays[a].bound.alone;
    }
    if (all_alone) describe_dropped(encoder);
    return KDINR_OK;
}

static kdinr_status finish(kdinr_encoder *encoder, const char *path, kdinr_error *error)
{
    uint8_t *bytes;
    size_t size;

    if (encoder->stage == STAGE_PUSHING) KD_TRY(settle(encoder, error));
    if (!kd_share_is_root(encoder->run.share)) return KDINR_OK;
    if (encoder->keeps != NULL) KD_TRY(choose_ways(encoder, error));
    for (int a = 0; a < encoder->model.n_arrays; a++) {
        record_quality(encoder, a);
        if (!encoder->options.keep_bad && encoder->keeps == NULL) {
            KD_TRY(kd_judge_array(&encoder->tracks[a], error));
        }
    }
    KD_TRY(kd_kdm_pack(&encoder->model, &bytes, &size, error));
    const kdinr_status status = kd_kdm_save_checked(bytes, size, path, check_file, encoder, error);
    free(bytes);
    return status;
}

kdinr_status kdinr_encoder_finish(kdinr_encoder *encoder, const char *path, kdinr_error *error)
{
    if (encoder->stage == STAGE_FAILED || encoder->stage == STAGE_FINISHED) {
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "finish after finish or after a failed call: this encoder can only be closed");
    }
    const kdinr_status status =
        kd_share_agree(encoder->run.share, finish(encoder, path, error), error);
    encoder->stage = status == KDINR_OK ? STAGE_FINISHED : STAGE_FAILED;
    if (status == KDINR_OK) {
        kd_part_close(encoder->run.part, true);
        encoder->run.part = NULL;
    }
    return status;
}
