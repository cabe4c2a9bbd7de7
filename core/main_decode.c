/* kdinr decode: one time step of one array, or a part of it, at any time and resolution, to a raw
 * file. */
#include "main.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

/* The time that --time or --step asks for; without either, that of the first step. */
static kdinr_status pick_time(const kd_settings *settings, const kdinr_info *info, double *time,
                              kdinr_error *error)
{
    if (!isnan(settings->time)) {
        *time = settings->time;
        return KDINR_OK;
    }
    if (settings->step >= info->n_steps) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT, "--step is %d, the file has steps 0 to %d",
                       settings->step, info->n_steps - 1);
    }
    *time = info->times[settings->step < 0 ? 0 : settings->step];
    return KDINR_OK;
}

/* The flags as a request. */
static kdinr_status make_request(const kd_settings *settings, const kdinr_info *info,
                                 kdinr_request *request, kdinr_error *error)
{
    int array, samples[3];

    KD_TRY(kd_main_find_array(info, settings->array, &array, error));
    *request = kdinr_request_default(info, array);
    request->type = settings->own_type ? info->arrays[array].type : KDINR_FLOAT32;
    KD_TRY(pick_time(settings, info, &request->time, error));
    if (settings->dims[0] != 0) memcpy(request->dims, settings->dims, sizeof request->dims);
    kdinr_request_samples(info, request, samples);
    for (int i = 0; i < 3; i++) {
        request->extent[2 * i] = 0;
        request->extent[2 * i + 1] = samples[i] - 1;
    }
    if (settings->extent[0] != -1) {
        memcpy(request->extent, settings->extent, sizeof request->extent);
    }
    return KDINR_OK;
}

static kdinr_status decode(const kd_settings *settings, kdinr_decoder *decoder, kdinr_error *error)
{
    const kdinr_info *info = kdinr_decoder_info(decoder);
    const double start = kd_main_seconds();
    kdinr_request request;
    size_t size;
    void *values;
    kdinr_status status;

    KD_TRY(make_request(settings, info, &request, error));
    KD_TRY(kdinr_decoder_check(decoder, &request, &size, error));
    values = malloc(size);
    if (values == NULL) return kd_fail_memory(error, size, "decoded values");
    KD_TRY_DONE(kdinr_decoder_read(decoder, &request, values, error));
    KD_TRY_DONE(kd_main_write_raw(settings->output, values, size, error));
    if (!settings->quiet) {
        printf("%s: %zu bytes, %s, time %g, samples %d..%d, %d..%d, %d..%d, %.2f s\n",
               settings->output, size, kdinr_type_name(request.type), request.time,
               request.extent[0], request.extent[1], request.extent[2], request.extent[3],
               request.extent[4], request.extent[5], kd_main_seconds() - start);
    }

done:
    free(values);
    return status;
}

int kd_main_decode(const kd_settings *settings)
{
    kdinr_decoder *decoder = NULL;
    kdinr_error error = {0};
    kdinr_status status =
        kdinr_decoder_open(settings->files[0], &settings->options, &decoder, &error);

    if (status == KDINR_OK) status = decode(settings, decoder, &error);
    kdinr_decoder_close(decoder);
    return status == KDINR_OK ? KD_EXIT_OK : kd_main_report(&error);
}
