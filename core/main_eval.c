/* kdinr eval: a .kdm against the original raw files. One pass, one step in memory: errors and
 * ranges are summed up per step, and become PSNR at the end, when the range of the whole series is
 * known. */
#include "main.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"
#include "volume.h"

enum { MAX_COMPONENTS = 9 };

/* What one time step adds up to. */
typedef struct step_sums {
    double squares[MAX_COMPONENTS]; /* of the errors */
    double max_error;
    size_t n; /* samples that are not missing */
} step_sums;

/* A whole evaluation. */
typedef struct evaluation {
    const kdinr_info *info;
    const kdinr_array_info *array;
    size_t n_samples;                /* of one step */
    size_t n_wrong;                  /* samples missing on one side only */
    double range[MAX_COMPONENTS][2]; /* of the original series */
    step_sums *steps;                /* [n_steps] */
} evaluation;

/* A sample is missing if any component is not finite or is the declared fill value. */
static bool is_missing(const evaluation *e, const void *values, kdinr_type type, size_t sample)
{
    const kdinr_array_info *array = e->array;
    const size_t n = (size_t)array->n_components;
    const double fill = kd_volume_fill(type, array->fill_value);

    for (size_t c = 0; c < n; c++) {
        const double value = kd_volume_value(values, type, sample * n + c);

        if (!isfinite(value)) return true;
        if (array->has_fill && value == fill) return true;
    }
    return false;
}

static void add_sample(evaluation *e, step_sums *sums, const void *original, const float *decoded,
                       size_t sample)
{
    const size_t n = (size_t)e->array->n_components;

    sums->n++;
    for (size_t c = 0; c < n; c++) {
        const double value = kd_volume_value(original, e->array->type, sample * n + c);
        const double difference = fabs((double)decoded[sample * n + c] - value);

        sums->squares[c] += difference * difference;
        sums->max_error = fmax(sums->max_error, difference);
        e->range[c][0] = fmin(e->range[c][0], value);
        e->range[c][1] = fmax(e->range[c][1], value);
    }
}

/* Sum up one step. */
static void add_step(evaluation *e, step_sums *sums, const void *original, const float *decoded)
{
    for (size_t i = 0; i < e->n_samples; i++) {
        const bool missing = is_missing(e, original, e->array->type, i);

        if (missing != is_missing(e, decoded, KDINR_FLOAT32, i)) {
            e->n_wrong++;
        } else if (!missing) {
            add_sample(e, sums, original, decoded, i);
        }
    }
}

/* PSNR in dB of summed squares; with several components, of the mean of their errors, each relative
 * to the range of its component. */
static double psnr(const evaluation *e, const step_sums *sums)
{
    double relative = 0.0;

    for (int c = 0; c < e->array->n_components; c++) {
        const double range = e->range[c][1] - e->range[c][0];
        const double peak = range > 0.0 ? range : 1.0;

        relative += sums->squares[c] / (peak * peak);
    }
    return -10.0 * log10(relative / ((double)sums->n * e->array->n_components));
}

static double rmse(const evaluation *e, const step_sums *sums)
{
    double squares = 0.0;

    for (int c = 0; c < e->array->n_components; c++) {
        squares += sums->squares[c];
    }
    return sqrt(squares / ((double)sums->n * e->array->n_components));
}

/* All steps as one. */
static step_sums total(const evaluation *e)
{
    step_sums sum = {0};

    for (int i = 0; i < e->info->n_steps; i++) {
        for (int c = 0; c < e->array->n_components; c++) {
            sum.squares[c] += e->steps[i].squares[c];
        }
        sum.max_error = fmax(sum.max_error, e->steps[i].max_error);
        sum.n += e->steps[i].n;
    }
    return sum;
}

static void print_json_sums(const evaluation *e, const step_sums *sums)
{
    printf("\"psnr\": ");
    kd_main_json_number(psnr(e, sums));
    printf(", \"rmse\": ");
    kd_main_json_number(rmse(e, sums));
    printf(", \"max_error\": ");
    kd_main_json_number(sums->max_error);
    printf(", \"samples\": %zu", sums->n);
}

static void print_json(const char *path, const evaluation *e)
{
    const kdinr_info *info = e->info;
    const step_sums all = total(e);

    printf("{\"file\": ");
    kd_main_json_text(path);
    printf(", \"array\": ");
    kd_main_json_text(e->array->name);
    printf(", \"file_bytes\": %llu, \"data_bytes\": %llu, \"ratio\": ",
           (unsigned long long)info->file_size, (unsigned long long)info->data_size);
    kd_main_json_number((double)info->data_size / (double)info->file_size);
    printf(", \"missing_wrong\": %zu, \"overall\": {", e->n_wrong);
    print_json_sums(e, &all);
    printf("}, \"steps\": [");
    for (int i = 0; i < info->n_steps; i++) {
        printf("%s{\"time\": ", i > 0 ? ", " : "");
        kd_main_json_number(info->times[i]);
        printf(", ");
        print_json_sums(e, &e->steps[i]);
        printf("}");
    }
    printf("]}\n");
}

static void print_table(const evaluation *e)
{
    const step_sums all = total(e);

    printf("step         time  PSNR dB       RMSE  max error\n");
    for (int i = 0; i < e->info->n_steps; i++) {
        printf("%4d %12g  %7.2f  %9.4g  %9.4g\n", i, e->info->times[i], psnr(e, &e->steps[i]),
               rmse(e, &e->steps[i]), e->steps[i].max_error);
    }
    printf(" all               %7.2f  %9.4g  %9.4g\n", psnr(e, &all), rmse(e, &all), all.max_error);
    printf("%llu bytes for %llu bytes of data: ratio %.1f\n",
           (unsigned long long)e->info->file_size, (unsigned long long)e->info->data_size,
           (double)e->info->data_size / (double)e->info->file_size);
    if (e->array->has_missing || e->n_wrong > 0) {
        printf("missing samples restored wrongly: %zu\n", e->n_wrong);
    }
}

/* One step at a time: original from its file, decoded from the networks. */
static kdinr_status evaluate(const kd_settings *settings, kdinr_decoder *decoder,
                             kdinr_request request, evaluation *e, kdinr_error *error)
{
    KD_TRY(kdinr_decoder_check(decoder, &request, NULL, error)); /* so that no product overflows */
    const size_t n_values = e->n_samples * (size_t)e->array->n_components;
    const size_t size = n_values * kdinr_type_size(e->array->type);
    void *original = malloc(size);
    float *decoded = malloc(n_values * sizeof *decoded);
    kdinr_status status = KDINR_OK;

    if (original == NULL || decoded == NULL) {
        status = kd_fail_memory(error, size, "one time step");
        goto done;
    }
    for (int i = 0; i < e->info->n_steps; i++) {
        KD_TRY_DONE(
            kd_main_check_raw(settings->files[i + 1], size, "as the .kdm file says", error));
        KD_TRY_DONE(kd_main_read_raw(settings->files[i + 1], original, size, error));
        request.time = e->info->times[i];
        KD_TRY_DONE(kdinr_decoder_read(decoder, &request, decoded, error));
        add_step(e, &e->steps[i], original, decoded);
    }

done:
    free(original);
    free(decoded);
    return status;
}

static kdinr_status evaluate_file(const kd_settings *settings, kdinr_decoder *decoder,
                                  kdinr_error *error)
{
    const kdinr_info *info = kdinr_decoder_info(decoder);
    evaluation e = {.info = info};
    kdinr_request request;
    int array;
    kdinr_status status;

    KD_TRY(kd_main_find_array(info, settings->array, &array, error));
    if (settings->n_files - 1 != info->n_steps) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "%d original files given, the .kdm has %d steps; one file each is needed",
                       settings->n_files - 1, info->n_steps);
    }
    request = kdinr_request_default(info, array);
    e.array = &info->arrays[array];
    e.n_samples = kd_main_count(info, &request);
    for (int c = 0; c < MAX_COMPONENTS; c++) {
        e.range[c][0] = (double)INFINITY;
        e.range[c][1] = -(double)INFINITY;
    }
    e.steps = calloc((size_t)info->n_steps, sizeof *e.steps);
    if (e.steps == NULL) return kd_fail_memory(error, sizeof *e.steps, "sums");
    status = evaluate(settings, decoder, request, &e, error);
    if (status == KDINR_OK && settings->json) {
        print_json(settings->files[0], &e);
    } else if (status == KDINR_OK) {
        print_table(&e);
    }
    free(e.steps);
    return status;
}

int kd_main_eval(const kd_settings *settings)
{
    kdinr_decoder *decoder = NULL;
    kdinr_error error = {0};
    kdinr_status status =
        kdinr_decoder_open(settings->files[0], &settings->options, &decoder, &error);

    if (status == KDINR_OK) status = evaluate_file(settings, decoder, &error);
    kdinr_decoder_close(decoder);
    return status == KDINR_OK ? KD_EXIT_OK : kd_main_report(&error);
}
