/* kdinr compress: raw files, one a time step, into a .kdm. Only one step is in memory. What is
 * trained is kept in OUT.kdm.part until the file is there, so that --resume can go on. */
#define _POSIX_C_SOURCE 200809L /* sigaction */

#include "main.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "status.h"

/* Ctrl-C and SIGTERM end the run in order, with a message; a second one ends it at once. */
static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static void catch_interrupts(void)
{
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* What the progress line shows. */
typedef struct progress_line {
    bool shown;         /* stderr is a terminal, and --quiet was not given */
    int step, n_steps;  /* step counts from 1 */
    double start, last; /* seconds */
} progress_line;

static bool show_progress(void *user, double fraction, const char *stage)
{
    progress_line *line = user;
    const double now = kd_main_seconds();
    const double left = fraction > 0.0 ? (now - line->start) * (1.0 - fraction) / fraction : 0.0;

    if (interrupted) return false;
    if (!line->shown || now < line->last + 0.2) return true;
    line->last = now;
    fprintf(stderr, "\r%3.0f %%  step %d of %d, %s", 100.0 * fraction, line->step, line->n_steps,
            stage);
    if (fraction >= 0.01) fprintf(stderr, ", %.0f:%02.0f left", floor(left / 60), fmod(left, 60));
    fprintf(stderr, "\033[K");
    fflush(stderr);
    return true;
}

static void clear_progress(const progress_line *line)
{
    if (line->shown) fprintf(stderr, "\r\033[K");
}

/* One array on one grid, values to follow. */
static kdinr_volume describe_volume(const kd_settings *settings, kdinr_array *array)
{
    kdinr_volume volume = kdinr_volume_default();

    memcpy(volume.dims, settings->dims, sizeof volume.dims);
    memcpy(volume.origin, settings->origin, sizeof volume.origin);
    memcpy(volume.spacing, settings->spacing, sizeof volume.spacing);
    volume.n_arrays = 1;
    volume.arrays = array;
    *array = (kdinr_array){.name = settings->name,
                           .type = (kdinr_type)settings->type,
                           .n_components = settings->components,
                           .association = settings->cells ? KDINR_CELLS : KDINR_POINTS,
                           .has_fill = !isnan(settings->fill),
                           .fill_value = isnan(settings->fill) ? 0.0 : settings->fill};
    return volume;
}

/* Bytes of one raw file, and how they come about. */
static kdinr_status raw_size(const kd_settings *settings, size_t *size, char *shape, size_t length,
                             kdinr_error *error)
{
    const kdinr_type type = (kdinr_type)settings->type;
    int samples[3];

    if (settings->components < 1) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "--components is %d, 1 to 9 are allowed",
                       settings->components);
    }
    *size = kdinr_type_size(type) * (size_t)settings->components;
    for (int i = 0; i < 3; i++) {
        if (settings->dims[i] < 1) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "--dims X,Y,Z must give the points along each axis, 1 or more");
        }
        samples[i] =
            settings->cells && settings->dims[i] > 1 ? settings->dims[i] - 1 : settings->dims[i];
        if (!kd_size_mul(*size, (size_t)samples[i], size)) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT, "--dims %d,%d,%d is too large",
                           settings->dims[0], settings->dims[1], settings->dims[2]);
        }
    }
    snprintf(shape, length, "%d x %d x %d %s, %d component%s, %s", samples[0], samples[1],
             samples[2], settings->cells ? "cells" : "points", settings->components,
             settings->components > 1 ? "s" : "", kdinr_type_name(type));
    return KDINR_OK;
}

/* Fail before hours of work, not after. */
static kdinr_status check_files(const kd_settings *settings, size_t *size, kdinr_error *error)
{
    char shape[128];

    KD_TRY(raw_size(settings, size, shape, sizeof shape, error));
    for (int i = 0; i < settings->n_files; i++) {
        KD_TRY(kd_main_check_raw(settings->files[i], *size, shape, error));
    }
    return kd_main_check_output(settings->output, error);
}

/* times[n_files], from --times or --time-step. */
static kdinr_status read_times(const kd_settings *settings, double *times, kdinr_error *error)
{
    const int n = settings->n_files;

    for (int i = 0; i < n; i++) {
        times[i] = i * settings->time_step;
    }
    if (settings->times != NULL && kd_options_numbers(settings->times, times, n) != n) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "--times must give %d numbers, one for each file, found '%s'", n,
                       settings->times);
    }
    return KDINR_OK;
}

/* One pass over all files: push, or verify, each. */
static kdinr_status run_pass(kdinr_encoder *encoder, const kd_settings *settings, bool verify,
                             const double *times, size_t size, progress_line *line,
                             kdinr_error *error)
{
    kdinr_array array;
    const kdinr_volume volume = describe_volume(settings, &array);
    void *values = malloc(size);
    kdinr_status status = KDINR_OK;

    if (values == NULL) return kd_fail_memory(error, size, "one time step");
    array.values = values;
    for (int i = 0; i < settings->n_files; i++) {
        line->step = i + 1;
        KD_TRY_DONE(kd_main_read_raw(settings->files[i], values, size, error));
        status = verify ? kdinr_encoder_verify(encoder, &volume, times[i], error)
                        : kdinr_encoder_push(encoder, &volume, times[i], error);
        if (status != KDINR_OK) goto done;
    }

done:
    free(values);
    return status;
}

static kdinr_status look_ahead(kdinr_encoder *encoder, const kd_settings *settings, size_t size,
                               kdinr_error *error)
{
    int steps[2];
    const int n = kdinr_encoder_looks(encoder, steps);
    kdinr_array array;
    const kdinr_volume volume = describe_volume(settings, &array);
    void *values;
    kdinr_status status = KDINR_OK;

    if (n == 0) return KDINR_OK;
    values = malloc(size);
    if (values == NULL) return kd_fail_memory(error, size, "one time step");
    array.values = values;
    for (int i = 0; i < n; i++) {
        KD_TRY_DONE(kd_main_read_raw(settings->files[steps[i]], values, size, error));
        KD_TRY_DONE(kdinr_encoder_look(encoder, &volume, error));
    }

done:
    free(values);
    return status;
}

/* The files as a series that can be read again and again. */
typedef struct file_series {
    const kd_settings *settings;
    const double *times;
    size_t size;
    kdinr_array array;
    void *values;
    progress_line *line;
} file_series;

static kdinr_status read_step(void *user, int k, kdinr_volume *volume, double *time,
                              kdinr_error *error)
{
    file_series *files = user;

    *volume = describe_volume(files->settings, &files->array);
    files->array.values = files->values;
    files->line->step = k + 1;
    *time = files->times[k];
    return kd_main_read_raw(files->settings->files[k], files->values, files->size, error);
}

static kdinr_status search_psnr(const kd_settings *settings, const kdinr_options *options,
                                const double *times, size_t size, progress_line *line,
                                kdinr_search_report *report, kdinr_error *error)
{
    file_series files = {.settings = settings, .times = times, .size = size, .line = line};
    const kdinr_series series = {settings->n_files, read_step, &files, report};

    files.values = malloc(size);
    if (files.values == NULL) return kd_fail_memory(error, size, "one time step");
    const kdinr_status status = kdinr_compress_series(options, &series, settings->output, error);
    free(files.values);
    return status;
}

static kdinr_status compress(const kd_settings *settings, const double *times, size_t size,
                             progress_line *line, kdinr_search_report *report, kdinr_error *error)
{
    kdinr_options options = settings->options;
    const size_t length = strlen(settings->output) + sizeof ".part";
    kdinr_encoder *encoder = NULL;
    kdinr_status status;

    catch_interrupts();
    options.n_steps = settings->n_files;
    options.progress = show_progress;
    options.progress_user = line;
    if (options.psnr != 0.0) {
        return search_psnr(settings, &options, times, size, line, report, error);
    }
    char *part = malloc(length);
    if (part == NULL) return kd_fail_memory(error, length, "name of the part");
    snprintf(part, length, "%s.part", settings->output);
    options.part = settings->no_part ? NULL : part;
    KD_TRY_DONE(kdinr_encoder_open(&options, &encoder, error));
    KD_TRY_DONE(look_ahead(encoder, settings, size, error));
    KD_TRY_DONE(run_pass(encoder, settings, false, times, size, line, error));
    if (!settings->no_verify) {
        KD_TRY_DONE(run_pass(encoder, settings, true, times, size, line, error));
    }
    status = kdinr_encoder_finish(encoder, settings->output, error);

done:
    kdinr_encoder_close(encoder);
    free(part);
    return status;
}

static kdinr_status print_summary(const kd_settings *settings, double seconds,
                                  const kdinr_search_report *report, kdinr_error *error)
{
    kdinr_decoder *decoder = NULL;

    KD_TRY(kdinr_decoder_open(settings->output, NULL, &decoder, error));
    const kdinr_info *info = kdinr_decoder_info(decoder);
    printf("%s: %llu bytes, ratio %.1f, PSNR %.2f dB%s, %.1f s\n", settings->output,
           (unsigned long long)info->file_size, (double)info->data_size / (double)info->file_size,
           info->arrays[0].psnr_overall, info->arrays[0].quality_exact ? "" : " (estimated)",
           seconds);
    if (report->miss[0] != '\0') printf("%s\n", report->miss);
    kdinr_decoder_close(decoder);
    return KDINR_OK;
}

int kd_main_compress(const kd_settings *settings)
{
    kdinr_error error = {0};
    progress_line line = {.shown = !settings->quiet && isatty(STDERR_FILENO),
                          .n_steps = settings->n_files,
                          .start = kd_main_seconds()};
    kdinr_search_report report = {.miss = ""};
    double *times = malloc((size_t)settings->n_files * sizeof *times);
    size_t size = 0;
    kdinr_status status;

    if (times == NULL) {
        status = kd_fail_memory(&error, (size_t)settings->n_files * sizeof *times, "times");
        goto done;
    }
    KD_TRY_DONE(read_times(settings, times, &error));
    KD_TRY_DONE(check_files(settings, &size, &error));
    status = compress(settings, times, size, &line, &report, &error);
    clear_progress(&line);
    if (status == KDINR_OK && !settings->quiet) {
        status = print_summary(settings, kd_main_seconds() - line.start, &report, &error);
    }

done:
    free(times);
    return status == KDINR_OK ? KD_EXIT_OK : kd_main_report(&error);
}
