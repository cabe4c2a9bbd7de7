/* kdinr info: what a file says of itself, for people or as JSON; and which backends can compute
 * here. */
#include "main.h"

#include "status.h"

static const char *association_name(kdinr_association association)
{
    return association == KDINR_CELLS ? "cells" : "points";
}

/* A line for each backend, and which of them "auto" stands for: the first that runs here. */
static int print_backends(void)
{
    const char *reason, *name, *chosen = NULL;

    for (int i = 0; (name = kdinr_backend_name(i, &reason)) != NULL; i++) {
        if (reason == NULL) {
            printf("%-10s available\n", name);
            chosen = chosen == NULL ? name : chosen;
        } else {
            printf("%-10s not available: %s\n", name, reason);
        }
    }
    printf("%-10s chooses %s\n", "auto", chosen == NULL ? "none" : chosen);
    return KD_EXIT_OK;
}

static void print_array(const kdinr_info *info, const kdinr_array_info *array)
{
    printf("\narray %s: %s, %d component%s, on %s%s\n", array->name, kdinr_type_name(array->type),
           array->n_components, array->n_components > 1 ? "s" : "",
           association_name(array->association), array->has_missing ? ", some missing" : "");
    printf("  range     ");
    for (int c = 0; c < array->n_components; c++) {
        printf("%s%g ... %g", c > 0 ? ", " : "", array->range[c][0], array->range[c][1]);
    }
    printf("\n  networks  %llu with %llu parameters; %d x %d x %d bricks, %d window%s, omega %g\n",
           (unsigned long long)array->n_networks, (unsigned long long)array->n_parameters,
           array->bricks[0], array->bricks[1], array->bricks[2], array->n_windows,
           array->n_windows > 1 ? "s" : "", array->omega_first);
    for (int c = 0; array->has_bound && c < array->n_components; c++) {
        printf("%s%.9g", c == 0 ? "  bound     no stored sample is off by more than " : ", ",
               array->bound[c]);
    }
    if (array->has_bound) {
        printf(array->bound_alone ? " (residuals alone)\n" : " (residuals on the networks)\n");
    }
    printf("  quality   PSNR %.2f dB overall%s\n", array->psnr_overall,
           array->quality_exact ? "" : " (estimated from samples)");
    printf("  step         time  PSNR dB  max error\n");
    for (int i = 0; i < info->n_steps; i++) {
        printf("  %4d %12g  %7.2f  %9.4g\n", i, info->times[i], (double)array->psnr[i],
               (double)array->max_error[i]);
    }
}

static void print_info(const char *path, const kdinr_info *info)
{
    printf("%s: .kdm %d.%d, %llu bytes for %llu bytes of data, ratio %.1f\n", path,
           info->version_major, info->version_minor, (unsigned long long)info->file_size,
           (unsigned long long)info->data_size, (double)info->data_size / (double)info->file_size);
    printf("grid      %d x %d x %d points, origin %g %g %g, spacing %g %g %g\n", info->dims[0],
           info->dims[1], info->dims[2], info->origin[0], info->origin[1], info->origin[2],
           info->spacing[0], info->spacing[1], info->spacing[2]);
    printf("time      %d step%s, %g ... %g\n", info->n_steps, info->n_steps > 1 ? "s" : "",
           info->times[0], info->times[info->n_steps - 1]);
    printf("made by   %s\n", info->provenance);
    for (int i = 0; i < info->n_arrays; i++) {
        print_array(info, &info->arrays[i]);
    }
}

static void print_json_floats(const char *name, const float *values, int n)
{
    printf(", \"%s\": [", name);
    for (int i = 0; i < n; i++) {
        if (i > 0) printf(", ");
        kd_main_json_number((double)values[i]);
    }
    printf("]");
}

static void print_json_array(const kdinr_info *info, const kdinr_array_info *array)
{
    printf("{\"name\": ");
    kd_main_json_text(array->name);
    printf(", \"type\": \"%s\", \"components\": %d, \"association\": \"%s\", \"range\": [",
           kdinr_type_name(array->type), array->n_components, association_name(array->association));
    for (int c = 0; c < array->n_components; c++) {
        if (c > 0) printf(", ");
        kd_main_json_list(array->range[c], 2);
    }
    printf("], \"has_missing\": %s, \"bricks\": [%d, %d, %d], \"windows\": %d, \"networks\": %llu, "
           "\"parameters\": %llu, \"omega_first\": ",
           array->has_missing ? "true" : "false", array->bricks[0], array->bricks[1],
           array->bricks[2], array->n_windows, (unsigned long long)array->n_networks,
           (unsigned long long)array->n_parameters);
    kd_main_json_number(array->omega_first);
    if (array->has_bound) {
        printf(", \"bound\": ");
        kd_main_json_list(array->bound, array->n_components);
        printf(", \"bound_alone\": %s", array->bound_alone ? "true" : "false");
    }
    print_json_floats("psnr", array->psnr, info->n_steps);
    print_json_floats("max_error", array->max_error, info->n_steps);
    printf(", \"quality_exact\": %s, \"psnr_overall\": ", array->quality_exact ? "true" : "false");
    kd_main_json_number(array->psnr_overall);
    printf("}");
}

static void print_json(const char *path, const kdinr_info *info)
{
    printf("{\"file\": ");
    kd_main_json_text(path);
    printf(", \"version\": \"%d.%d\", \"dims\": [%d, %d, %d], \"first\": [%d, %d, %d]",
           info->version_major, info->version_minor, info->dims[0], info->dims[1], info->dims[2],
           info->first[0], info->first[1], info->first[2]);
    printf(", \"origin\": ");
    kd_main_json_list(info->origin, 3);
    printf(", \"spacing\": ");
    kd_main_json_list(info->spacing, 3);
    printf(", \"direction\": ");
    kd_main_json_list(info->direction, 9);
    printf(", \"times\": ");
    kd_main_json_list(info->times, info->n_steps);
    printf(", \"file_bytes\": %llu, \"data_bytes\": %llu, \"ratio\": ",
           (unsigned long long)info->file_size, (unsigned long long)info->data_size);
    kd_main_json_number((double)info->data_size / (double)info->file_size);
    printf(", \"provenance\": ");
    kd_main_json_text(info->provenance);
    printf(", \"arrays\": [");
    for (int i = 0; i < info->n_arrays; i++) {
        if (i > 0) printf(", ");
        print_json_array(info, &info->arrays[i]);
    }
    printf("]}\n");
}

int kd_main_info(const kd_settings *settings)
{
    const char *path = settings->files[0];
    kdinr_decoder *decoder = NULL;
    kdinr_error error = {0};
    kdinr_status status;

    if (settings->backends) return print_backends();
    KD_TRY_DONE(kdinr_decoder_open(path, NULL, &decoder, &error));
    KD_TRY_DONE(kdinr_decoder_load(decoder, &error));
    if (settings->json) {
        print_json(path, kdinr_decoder_info(decoder));
    } else {
        print_info(path, kdinr_decoder_info(decoder));
    }

done:
    kdinr_decoder_close(decoder);
    return status == KDINR_OK ? KD_EXIT_OK : kd_main_report(&error);
}
