/* From a PSNR that is asked for to the smallest file that has it. Before: the caller can give any
 * step as often as needed. After: encode.c makes each trial.
 *
 * First residuals alone, whose PSNR follows the error bound so closely that a few passes over the
 * data land on the target; then, if that file is small enough for networks to have a chance,
 * networks, whose ratio aim.c chooses: two or three trainings mostly, five at most, of small files
 * eight. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aim.h"
#include "file.h"
#include "share.h"
#include "status.h"

/* Below this ratio of residuals alone networks are not tried: they take very long. */
#define LEAST_NETWORK_RATIO 25.0

/* Infinite ones count as this. */
#define MOST_PSNR 1000.0

/* Passes over the data, and those of them that should hit the target exactly: it may jump there. */
enum { MOST_BOUNDS = 8, EXACT_BOUNDS = 3 };

/* Trainings; more only for files of up to so many bytes, which scatter and take seconds. */
enum { FEW_TRAININGS = 5, SMALL_BYTES = 4096 };

/* One file that was made. */
typedef struct trial {
    double psnr; /* of the worst array */
    double bytes, data_bytes;
} trial;

typedef struct search {
    const kdinr_options *options;
    const kdinr_series *series;
    kd_share *share;                    /* NULL: alone */
    char *residual, *network, *attempt; /* names of files */
    char *folder;                       /* room for its name */
    kdinr_search_report *report;
} search;

/* ---- one file ---- */

/* A step may fail in one process alone. */
static kdinr_status take_step(const search *s, int k, kdinr_volume *volume, double *time,
                              kdinr_error *error)
{
    const kdinr_status status = s->series->step(s->series->user, k, volume, time, error);

    return kd_share_agree(s->share, status, error);
}

static kdinr_status look_ahead(kdinr_encoder *encoder, const search *s, kdinr_error *error)
{
    int steps[2];
    const int n = kdinr_encoder_looks(encoder, steps);

    for (int i = 0; i < n; i++) {
        kdinr_volume volume = kdinr_volume_default();
        double time = steps[i];

        KD_TRY(take_step(s, steps[i], &volume, &time, error));
        KD_TRY(kdinr_encoder_look(encoder, &volume, error));
    }
    return KDINR_OK;
}

static kdinr_status run_passes(kdinr_encoder *encoder, const search *s, kdinr_error *error)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < s->series->n_steps; k++) {
            kdinr_volume volume = kdinr_volume_default();
            double time = k;

            KD_TRY(take_step(s, k, &volume, &time, error));
            KD_TRY(pass == 0 ? kdinr_encoder_push(encoder, &volume, time, error)
                             : kdinr_encoder_verify(encoder, &volume, time, error));
        }
    }
    return KDINR_OK;
}

static kdinr_status compress(const search *s, const kdinr_options *options, const char *path,
                             kdinr_error *error)
{
    kdinr_options exact = *options;
    kdinr_encoder *encoder = NULL;
    kdinr_status status;

    if (options->psnr > 0.0) exact.part = NULL; /* each trial has options of its own */
    exact.psnr = 0.0;
    exact.n_steps = s->series->n_steps;
    KD_TRY_DONE(kdinr_encoder_open(&exact, &encoder, error));
    KD_TRY_DONE(look_ahead(encoder, s, error));
    KD_TRY_DONE(run_passes(encoder, s, error));
    status = kdinr_encoder_finish(encoder, path, error);

done:
    kdinr_encoder_close(encoder);
    return status;
}

static kdinr_status measure_file(const char *path, trial *found, kdinr_error *error)
{
    kdinr_decoder *decoder = NULL;

    KD_TRY(kdinr_decoder_open(path, NULL, &decoder, error));
    const kdinr_info *info = kdinr_decoder_info(decoder);
    found->bytes = (double)info->file_size;
    found->data_bytes = (double)info->data_size;
    found->psnr = (double)INFINITY;
    for (int a = 0; a < info->n_arrays; a++) {
        found->psnr = fmin(found->psnr, info->arrays[a].psnr_overall);
    }
    kdinr_decoder_close(decoder);
    return KDINR_OK;
}

/* The root has the files and says what they are. */
static kdinr_status attempt(const search *s, const kdinr_options *options, trial *found,
                            kdinr_error *error)
{
    kdinr_status status = KDINR_OK;

    KD_TRY(compress(s, options, s->attempt, error));
    if (kd_share_is_root(s->share)) status = measure_file(s->attempt, found, error);
    KD_TRY(kd_share_agree(s->share, status, error));
    kd_share_of(s->share, 0);
    KD_TRY(kd_share_bytes(s->share, found, sizeof *found, error));
    return kd_share_exchange(s->share, NULL, error);
}

static kdinr_status move_file(const search *s, const char *from, const char *to, kdinr_error *error)
{
    kdinr_status status = KDINR_OK;

    if (kd_share_is_root(s->share) && rename(from, to) != 0) {
        status = kd_file_fail(error, "replace", to);
    }
    return kd_share_agree(s->share, status, error);
}

/* How good a trial is: of those that have the target, within the tolerance, the smallest file; if
 * none has it, the one nearest to it. */
static bool is_better(const trial *one, const trial *other, double target)
{
    const bool enough = one->psnr >= target - KDINR_PSNR_TOLERANCE;
    const bool other_enough = other->psnr >= target - KDINR_PSNR_TOLERANCE;

    if (enough != other_enough) return enough;
    return enough ? one->bytes < other->bytes : one->psnr > other->psnr;
}

enum { NEXT_TEXT = 64 };

/* "; of those that have less the best has 39.00 dB", if there is one.
 *  below  dB, -INFINITY: none */
static const char *name_next(char text[NEXT_TEXT], double below)
{
    text[0] = '\0';
    if (isfinite(below)) {
        (void)snprintf(text, NEXT_TEXT, "; of those that have less the best has %.2f dB", below);
    }
    return text;
}

/* ---- residuals ---- */

/* Halve or double bounds until the PSNR is right; rounding to quanta of 2 E gives about
 * -20 log10(E / range) + 4.8 dB, a little more where most errors are smaller. */
static kdinr_status search_bound(const search *s, trial *best, kdinr_error *error)
{
    const double target = s->options->psnr;
    kdinr_search_report *report = s->report;
    double below = -(double)INFINITY;
    char next[NEXT_TEXT];
    kdinr_options options = *s->options;
    double low = -INFINITY, high = INFINITY, log_bound = (7.0 - target) / 20.0;

    *best = (trial){.psnr = -(double)INFINITY, .bytes = (double)INFINITY};
    options.ratio = 0.0;
    options.max_error_relative = true;
    for (int i = 0; i < MOST_BOUNDS; i++) {
        trial found;

        options.max_error = pow(10.0, log_bound);
        options.residuals_alone = true;
        KD_TRY(attempt(s, &options, &found, error));
        report->n_bounds++;
        if (found.psnr < target) below = fmax(below, found.psnr);
        if (is_better(&found, best, target)) {
            *best = found;
            KD_TRY(move_file(s, s->attempt, s->residual, error));
        }
        const double near = KDINR_PSNR_TOLERANCE / (i < EXACT_BOUNDS ? 3.0 : 1.0);
        if (fabs(found.psnr - target) <= near) break;
        if (found.psnr > target) low = log_bound;
        if (found.psnr <= target) high = log_bound;
        const double change = fmax(-1.0, fmin(1.0, (found.psnr - target) / 20.0));
        log_bound += change;
        if (log_bound <= low || log_bound >= high) log_bound = 0.5 * (low + high);
    }
    if (fabs(best->psnr - target) <= KDINR_PSNR_TOLERANCE) return KDINR_OK;
    (void)snprintf(report->miss, sizeof report->miss,
                   "%.2f dB instead of %g: of %d error bounds none gives a smaller file that has "
                   "enough%s",
                   best->psnr, target, report->n_bounds, name_next(next, below));
    return KDINR_OK;
}

/* ---- networks ---- */

/* Networks of a ratio. If there can be none, or they learn nothing, they have -INFINITY dB. */
static kdinr_status attempt_networks(const search *s, double ratio, trial *found,
                                     kdinr_error *error)
{
    kdinr_options options = *s->options;

    options.max_error = 0.0;
    options.ratio = ratio;
    const kdinr_status status = attempt(s, &options, found, error);
    if (status != KDINR_ERROR_DATA && status != KDINR_ERROR_TRAINING) return status;
    *found = (trial){-(double)INFINITY, (double)INFINITY, 0.0};
    return KDINR_OK;
}

/* Networks from small to large or back, until they have the target: large ones take long.
 *  best  in: of residuals; out: of whichever is better
 *  won   out: that is the file of networks */
static kdinr_status search_network(const search *s, trial *best, bool *won, kdinr_error *error)
{
    const trial alone = *best;
    const double target = s->options->psnr;
    kdinr_search_report *report = s->report;
    kd_aim aim = {.target = target, .alone = alone.data_bytes / alone.bytes};
    double below = -(double)INFINITY;
    char next[NEXT_TEXT];
    double ratio;

    *won = false;
    while (kd_aim_next(&aim, &ratio)) {
        trial found;

        KD_TRY(attempt_networks(s, ratio, &found, error));
        const double got = isfinite(found.bytes) ? found.data_bytes / found.bytes : ratio;
        aim.trials[aim.n++] = (kd_aim_trial){ratio, got, fmin(found.psnr, MOST_PSNR)};
        report->n_networks++;
        if (found.psnr < target) below = fmax(below, found.psnr);
        if (is_better(&found, best, target)) {
            *best = found;
            *won = true;
            KD_TRY(move_file(s, s->attempt, s->network, error));
        }
        if (fabs(found.psnr - target) <= KDINR_PSNR_TOLERANCE) break;
        if (aim.n >= FEW_TRAININGS && found.bytes > SMALL_BYTES) break;
    }
    if (*won) report->miss[0] = '\0';
    if (!*won || fabs(best->psnr - target) <= KDINR_PSNR_TOLERANCE) return KDINR_OK;
    (void)snprintf(report->miss, sizeof report->miss,
                   "%.2f dB instead of %g: of %d trainings none gives a smaller file that has "
                   "enough%s; residuals alone have %.2f dB in %.3g times the bytes",
                   best->psnr, target, report->n_networks, name_next(next, below), alone.psnr,
                   alone.bytes / best->bytes);
    return KDINR_OK;
}

/* ---- all ---- */

static kdinr_status name_files(search *s, const char *path, kdinr_error *error)
{
    const size_t size = strlen(path) + 32;
    char **const names[3] = {&s->residual, &s->network, &s->attempt};
    static const char *const ends[3] = {"residuals", "networks", "attempt"};

    for (int i = 0; i < 3; i++) {
        *names[i] = malloc(size);
        if (*names[i] == NULL) return kd_fail_memory(error, size, "name of a temporary file");
        (void)snprintf(*names[i], size, "%s.tmp-%s", path, ends[i]);
    }
    s->folder = malloc(size);
    return s->folder != NULL ? KDINR_OK : kd_fail_memory(error, size, "name of a folder");
}

static void remove_files(search *s)
{
    char *const names[3] = {s->residual, s->network, s->attempt};
    const bool root = kd_share_is_root(s->share);

    for (int i = 0; i < 3; i++) {
        if (root && names[i] != NULL) (void)remove(names[i]);
        free(names[i]);
    }
    free(s->folder);
}

static kdinr_status search_file(search *s, const char *path, kdinr_error *error)
{
    bool networks = false;
    trial best;
    kdinr_status status;

    KD_TRY_DONE(kd_share_agree(s->share, name_files(s, path, error), error));
    KD_TRY_DONE(search_bound(s, &best, error));
    if (best.data_bytes / best.bytes >= LEAST_NETWORK_RATIO) {
        KD_TRY_DONE(search_network(s, &best, &networks, error));
    }
    KD_TRY_DONE(move_file(s, networks ? s->network : s->residual, path, error));
    if (kd_share_is_root(s->share)) kd_file_sync_folder(path, s->folder);

done:
    remove_files(s);
    return status;
}

kdinr_status kdinr_compress_series(const kdinr_options *options, const kdinr_series *series,
                                   const char *path, kdinr_error *error)
{
    kdinr_search_report own;
    search s = {.options = options, .series = series};
    kdinr_status status;

    s.report = series->report != NULL ? series->report : &own;
    *s.report = (kdinr_search_report){.miss = ""};
    if (series->n_steps < 1) {
        return kd_fail(error, KDINR_ERROR_DATA, "the series has %d steps, at least 1 is needed",
                       series->n_steps);
    }
    if (options->psnr != 0.0 && !(options->psnr >= 1.0 && options->psnr <= 200.0)) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "option psnr is %g, allowed are 1 to 200, or 0",
                       options->psnr);
    }
    KD_TRY(kd_share_open(options->share, &s.share, error));
    status =
        options->psnr == 0.0 ? compress(&s, options, path, error) : search_file(&s, path, error);
    kd_share_close(s.share);
    return status;
}
