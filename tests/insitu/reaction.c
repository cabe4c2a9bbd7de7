/* A simulation that compresses itself while it runs: two reacting and diffusing substances
 * (Gray-Scott) on a cube, pushed to the encoder every now and then, so that no step ever goes to
 * disk. Prints what that adds in time and memory, then reads the file back.
 *   reaction FILE.kdm [STEPS]    exit code 0 if the last step came back */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kdinr.h"

enum { N = 40, CELLS = N * N * N, BETWEEN = 60 }; /* iterations between two pushed steps */

static float u[2][CELLS], v[2][CELLS];

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double peak_mebibytes(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024.0;
}

static void start(void)
{
    for (int i = 0; i < CELLS; i++) {
        const int x = i % N, y = i / N % N, z = i / N / N;
        const int r2 = (x - 17) * (x - 17) + (y - 20) * (y - 20) + (z - 22) * (z - 22);

        u[0][i] = r2 < 30 ? 0.5f : 1.0f;
        v[0][i] = r2 < 30 ? 0.25f : 0.0f;
    }
}

/* The six neighbours of cell i minus six times itself; the cube is periodic. */
static float laplace(const float *a, int x, int y, int z)
{
    const int i = (z * N + y) * N + x;
    const int left = i - x + (x + N - 1) % N, right = i - x + (x + 1) % N;
    const int front = i + ((y + N - 1) % N - y) * N, back = i + ((y + 1) % N - y) * N;
    const int below = i + ((z + N - 1) % N - z) * N * N, above = i + ((z + 1) % N - z) * N * N;

    return a[left] + a[right] + a[front] + a[back] + a[below] + a[above] - 6.0f * a[i];
}

static void iterate(const float *u0, const float *v0, float *u1, float *v1)
{
    for (int i = 0; i < CELLS; i++) {
        const int x = i % N, y = i / N % N, z = i / N / N;
        const float reaction = u0[i] * v0[i] * v0[i];

        u1[i] = u0[i] + 0.12f * laplace(u0, x, y, z) - reaction + 0.03f * (1.0f - u0[i]);
        v1[i] = v0[i] + 0.06f * laplace(v0, x, y, z) + reaction - 0.09f * v0[i];
    }
}

static int fail(const kdinr_error *error)
{
    fprintf(stderr, "reaction: %s\n", error->message);
    return 1;
}

/* PSNR of the decoded last step against the simulation's state. */
static kdinr_status compare(const char *path, double time, double *psnr, kdinr_error *error)
{
    static float decoded[CELLS];
    kdinr_decoder *decoder;
    double sum = 0.0;
    kdinr_status status = kdinr_decoder_open(path, NULL, &decoder, error);

    if (status != KDINR_OK) return status;
    const kdinr_info *info = kdinr_decoder_info(decoder);
    kdinr_request request = kdinr_request_default(info, 0);
    request.time = time;
    status = kdinr_decoder_read(decoder, &request, decoded, error);
    for (int i = 0; i < CELLS; i++) {
        sum += ((double)decoded[i] - (double)v[0][i]) * ((double)decoded[i] - (double)v[0][i]);
    }
    const double range = info->arrays[0].range[0][1] - info->arrays[0].range[0][0];
    *psnr = 10.0 * log10(range * range * CELLS / sum);
    printf("%llu bytes of data in a file of %llu\n", (unsigned long long)info->data_size,
           (unsigned long long)info->file_size);
    kdinr_decoder_close(decoder);
    return status;
}

int main(int argc, char **argv)
{
    const int n_steps = argc > 2 ? atoi(argv[2]) : 12;
    const kdinr_array array = {.name = "v", .n_components = 1, .values = v[0]};
    kdinr_volume volume = kdinr_volume_default();
    kdinr_options options = kdinr_options_default();
    kdinr_encoder *encoder;
    kdinr_error error;
    double simulating = 0.0, pushing = 0.0, psnr = 0.0;

    if (argc < 2) return fail(&(kdinr_error){.message = "a file name is needed"});
    for (int axis = 0; axis < 3; axis++) {
        volume.dims[axis] = N;
    }
    volume.n_arrays = 1;
    volume.arrays = &array;
    options.ratio = 100.0;
    options.effort = KDINR_EFFORT_LOW;
    options.n_steps = n_steps;
    options.n_threads = 1;
    if (kdinr_encoder_open(&options, &encoder, &error) != KDINR_OK) return fail(&error);
    start();
    const double memory = peak_mebibytes();
    for (int step = 0; step < n_steps; step++) {
        const double begin = seconds_now();
        for (int i = 0; i < BETWEEN; i++) { /* an even number: the state is back in u[0], v[0] */
            iterate(u[i % 2], v[i % 2], u[1 - i % 2], v[1 - i % 2]);
        }
        const double middle = seconds_now();
        if (kdinr_encoder_push(encoder, &volume, step, &error) != KDINR_OK) return fail(&error);
        simulating += middle - begin;
        pushing += seconds_now() - middle;
        printf("step %d: %.2f s so far for the simulation, %.2f s for compressing\n", step,
               simulating, pushing);
    }
    if (kdinr_encoder_finish(encoder, argv[1], &error) != KDINR_OK) return fail(&error);
    kdinr_encoder_close(encoder);
    printf("added: %.2f s a step, %.1f MiB of memory (a step has %.2f MiB)\n", pushing / n_steps,
           peak_mebibytes() - memory, CELLS * 4.0 / 1024 / 1024);
    if (compare(argv[1], n_steps - 1, &psnr, &error) != KDINR_OK) return fail(&error);
    printf("PSNR of the last step: %.2f dB\n", psnr);
    return psnr > 30.0 ? 0 : 1;
}
