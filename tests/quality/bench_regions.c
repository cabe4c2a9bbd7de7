/* bench_regions FILE.kdm...
 * What reading a part of a step takes against the whole, one thread: opening the file until its
 * description is there, a whole step of array 0 at the stored resolution, and a box in its midst
 * with a quarter of the samples along each axis, 1/64 of the volume. The best of several, by the
 * processor's time; opening, which waits for the file, by the clock. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kdinr.h"

enum { WHOLE_READS = 5, PART_READS = 50, OPENINGS = 50 };

static double milliseconds(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void check(kdinr_status status, const kdinr_error *error)
{
    if (status == KDINR_OK) return;
    (void)fprintf(stderr, "%s\n", error->message);
    exit(1);
}

static kdinr_decoder *open_file(const char *path)
{
    kdinr_options options = kdinr_options_default();
    kdinr_decoder *decoder = NULL;
    kdinr_error error;

    options.n_threads = 1;
    check(kdinr_decoder_open(path, &options, &decoder, &error), &error);
    return decoder;
}

static double time_opening(const char *path)
{
    double best = 1e9;

    for (int i = 0; i < OPENINGS; i++) {
        const double start = milliseconds(CLOCK_MONOTONIC);
        kdinr_decoder *decoder = open_file(path);
        const double spent = milliseconds(CLOCK_MONOTONIC) - start;

        kdinr_decoder_close(decoder);
        best = spent < best ? spent : best;
    }
    return best;
}

/* n  out: samples of the request */
static double time_reading(kdinr_decoder *decoder, const kdinr_request *request, int n_reads,
                           size_t *n)
{
    const kdinr_info *info = kdinr_decoder_info(decoder);
    double best = 1e9;
    kdinr_error error;

    *n = 1;
    for (int axis = 0; axis < 3; axis++) {
        *n *= (size_t)(request->extent[2 * axis + 1] - request->extent[2 * axis] + 1);
    }
    float *values = malloc(*n * (size_t)info->arrays[0].n_components * sizeof *values);
    if (values == NULL) exit(1);
    for (int i = 0; i < n_reads; i++) {
        const double start = milliseconds(CLOCK_PROCESS_CPUTIME_ID);

        check(kdinr_decoder_read(decoder, request, values, &error), &error);
        const double spent = milliseconds(CLOCK_PROCESS_CPUTIME_ID) - start;
        best = spent < best ? spent : best;
    }
    free(values);
    return best;
}

static void report(const char *path)
{
    const double opening = time_opening(path);
    kdinr_decoder *decoder = open_file(path);
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    size_t n, n_part;

    request.type = KDINR_FLOAT32;
    const double whole = time_reading(decoder, &request, WHOLE_READS, &n);
    for (int axis = 0; axis < 3; axis++) {
        const int length = request.extent[2 * axis + 1] + 1;
        const int quarter = length >= 4 ? length / 4 : 1;

        request.extent[2 * axis] = length / 3;
        request.extent[2 * axis + 1] = length / 3 + quarter - 1;
    }
    const double part = time_reading(decoder, &request, PART_READS, &n_part);
    printf("%s: opening %.3f ms; %zu samples %.2f ms; %zu of them (1/%.0f) %.3f ms, 1/%.1f\n", path,
           opening, n, whole, n_part, (double)n / (double)n_part, part, whole / part);
    kdinr_decoder_close(decoder);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        report(argv[i]);
    }
    return argc > 1 ? 0 : 2;
}
