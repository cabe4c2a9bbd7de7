/* Times every backend: samples per second of training (gradient and Muon, batch 2048) and of
 * evaluation, and GFLOP/s counted as 6 resp. 2 per weight and sample. Not a test: run by hand.
 *   bench_backends [backend [width [optimizer]]]     optimizer: muon (default) or adam */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nets.h"

enum { BATCH = 2048, REPEATS = 7 };

typedef struct bench {
    const kd_backend *backend;
    kd_net net;
    size_t n;
    int n_threads;
    kdinr_optimizer optimizer;
    float *params, *coords, *values;
} bench;

static double seconds_now(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_once(const bench *b, bool training, void *state)
{
    const kd_step step = {.rate_adam = 1e-4, .rate_matrix = 1e-4};
    double loss = 0;
    if (training) {
        b->backend->train_step(state, b->coords, b->values, b->n, &step, &loss, NULL);
    } else {
        b->backend->evaluate(state, b->coords, b->n, b->values, NULL);
    }
}

/* The best of REPEATS runs, each of about a quarter of a second; others may use the machine too. */
static double samples_per_second(const bench *b, bool training)
{
    const kd_backend_config config = {.n_threads = b->n_threads,
                                      .training = training,
                                      .optimizer = b->optimizer,
                                      .max_batch = b->n};
    void *state = NULL;
    double best = 0;
    if (b->backend->open(&b->net, &config, &state, NULL) != KDINR_OK) return 0;
    b->backend->set_params(state, b->params, NULL);
    run_once(b, training, state);
    for (int i = 0; i < REPEATS; i++) {
        const double start = seconds_now();
        double seconds = 0, samples = 0;
        while (seconds < 0.25) {
            run_once(b, training, state);
            samples += (double)b->n;
            seconds = seconds_now() - start;
        }
        if (samples / seconds > best) best = samples / seconds;
    }
    b->backend->close(state);
    return best;
}

static double count_weights(const kd_net *net)
{
    double n = 0;
    for (int l = 0; l < net->n_layers; l++) {
        n += (double)net->layers[l].n_in * (double)net->layers[l].n_out;
    }
    return n;
}

static void report(bench *b)
{
    const double weights = count_weights(&b->net);
    b->n = BATCH;
    const double trained = samples_per_second(b, true);
    b->n = strcmp(b->backend->name, "reference") == 0 ? BATCH : 64 * BATCH;
    const double evaluated = samples_per_second(b, false);
    printf("%-10s m=%-3d threads=%d  train %10.0f samples/s %7.1f GFLOP/s   evaluate %10.0f "
           "samples/s %7.1f GFLOP/s\n",
           b->backend->name, b->net.width, b->n_threads, trained, 6e-9 * weights * trained,
           evaluated, 2e-9 * weights * evaluated);
    fflush(stdout);
}

static int bench_width(bench *b, int width)
{
    const net_case shape = {
        .width = width, .depth = 3, .n_inputs = 4, .n_outputs = 1, .block_layers = 3};
    const size_t most = 64 * BATCH;
    net_make(&shape, &b->net);
    b->params = calloc(b->net.n_params, sizeof *b->params);
    b->coords = calloc(most * 4, sizeof *b->coords);
    b->values = calloc(most, sizeof *b->values);
    const bool ready = b->params != NULL && b->coords != NULL && b->values != NULL;
    if (ready) {
        net_random_params(&b->net, 1, b->params);
        random_fill(2, most * 4, b->coords);
        random_fill(3, most, b->values);
        const int most_threads = strcmp(b->backend->name, "reference") == 0 ? 1 : 2;
        for (b->n_threads = 1; b->n_threads <= most_threads; b->n_threads++) {
            report(b);
        }
    }
    free(b->params);
    free(b->coords);
    free(b->values);
    return ready ? 0 : 1;
}

int main(int argc, char **argv)
{
    bench b = {.optimizer = argc > 3 && strcmp(argv[3], "adam") == 0 ? KDINR_OPTIMIZER_ADAM
                                                                     : KDINR_OPTIMIZER_MUON};
    int failed = 0;
    for (const kd_backend *const *list = kd_backend_list(); *list != NULL; list++) {
        b.backend = *list;
        if (argc > 1 && strcmp(argv[1], b.backend->name) != 0) continue;
        if (!b.backend->available(NULL)) continue;
        for (int width = 8; width <= 64; width *= 2) {
            if (argc > 2 && atoi(argv[2]) != width) continue;
            failed |= bench_width(&b, width);
        }
    }
    return failed;
}
