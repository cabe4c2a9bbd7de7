/* Times one backend on one network; bench_cpu.py runs it beside other programs. Not a test.
 *   bench_backends BACKEND WIDTH DEPTH INPUTS THREADS BATCH OPTIMIZER SECONDS [PRECISION [BLOCKS]]
 * e.g.  bench_backends cpu 32 3 4 1 2048 muon 1
 * BLOCKS: bottleneck, unless "even", as in the default network, is given.
 * Prints one line: samples per second of training (gradient and optimiser) and of decoding a grid,
 * weights of the network, and the bytes that training took beside the batch. Each figure is the
 * best of many short runs, since other programs may use the machine too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nets.h"

enum { RUNS = 10, GRID = 64 };

typedef struct bench {
    const kd_backend *backend;
    kd_net net;
    kd_backend_config config;
    double seconds; /* for RUNS runs */
    float *params, *coords, *values, *targets;
} bench;

static double seconds_now(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Most memory that this program has held, from the kernel; 0 where it does not say. */
static double peak_bytes(void)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
    }
    fclose(file);
    return 1024 * kib;
}

/* Samples done. */
static double run_once(const bench *b, void *state)
{
    static float axis[GRID];
    if (b->config.training) {
        const kd_step step = {.rate_adam = 1e-4, .rate_matrix = 1e-4};
        double loss = 0;
        b->backend->train_step(state, b->coords, b->targets, b->config.max_batch, &step, &loss,
                               NULL);
        return (double)b->config.max_batch;
    }
    const kd_grid grid = {.axes = {axis, axis, axis}, .n = {GRID, GRID, GRID}};
    b->backend->evaluate_grid(state, &grid, b->values, NULL);
    return (double)GRID * GRID * GRID;
}

static double samples_per_second(const bench *b)
{
    void *state = NULL;
    double best = 0;
    if (b->backend->open(&b->net, &b->config, &state, NULL) != KDINR_OK) return 0;
    b->backend->set_params(state, b->params, NULL);
    run_once(b, state);
    for (int i = 0; i < RUNS; i++) {
        const double start = seconds_now();
        double seconds = 0, samples = 0;
        do {
            samples += run_once(b, state);
            seconds = seconds_now() - start;
        } while (seconds < b->seconds / RUNS);
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

static int allocate(bench *b)
{
    const size_t n = b->config.max_batch, n_grid = (size_t)GRID * GRID * GRID;
    b->params = malloc(b->net.n_params * sizeof *b->params);
    b->coords = malloc(n * (size_t)b->net.n_inputs * sizeof *b->coords);
    b->targets = malloc(n * sizeof *b->targets);
    b->values = malloc(n_grid * sizeof *b->values);
    if (!b->params || !b->coords || !b->targets || !b->values) return 1;
    net_random_params(&b->net, 1, b->params);
    random_fill(2, n * (size_t)b->net.n_inputs, b->coords);
    random_fill(3, n, b->targets);
    return 0;
}

static kdinr_precision read_precision(const char *text)
{
    if (strcmp(text, "16") == 0) return KDINR_PRECISION_16;
    if (strcmp(text, "mixed") == 0) return KDINR_PRECISION_MIXED;
    return strcmp(text, "tf32") == 0 ? KDINR_PRECISION_TF32 : KDINR_PRECISION_32;
}

static net_case read_shape(int argc, char **argv)
{
    const bool even = argc > 10 && strcmp(argv[10], "even") == 0;
    return (net_case){.width = atoi(argv[2]),
                      .depth = atoi(argv[3]),
                      .n_inputs = atoi(argv[4]),
                      .n_outputs = 1,
                      .block_layers = even ? 2 : 3,
                      .flat = even,
                      .skip = even ? KD_SKIP_SUM : KD_SKIP_MEAN};
}

int main(int argc, char **argv)
{
    kdinr_error error;
    if (argc < 9 || argc > 11) {
        fprintf(stderr, "usage: bench_backends BACKEND WIDTH DEPTH INPUTS THREADS BATCH "
                        "muon|adam SECONDS [32|tf32|mixed|16 [bottleneck|even]]\n");
        return 2;
    }
    bench b = {.config = {.n_threads = atoi(argv[5]),
                          .training = true,
                          .optimizer = strcmp(argv[7], "adam") == 0 ? KDINR_OPTIMIZER_ADAM
                                                                    : KDINR_OPTIMIZER_MUON,
                          .max_batch = (size_t)atol(argv[6]),
                          .precision = argc > 9 ? read_precision(argv[9]) : KDINR_PRECISION_AUTO},
               .seconds = atof(argv[8])};
    const net_case shape = read_shape(argc, argv);
    net_make(&shape, &b.net);
    if (kd_backend_find(argv[1], &b.backend, &error) != KDINR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (allocate(&b) != 0) return 1;
    const double before = peak_bytes();
    const double trained = samples_per_second(&b);
    const double bytes = peak_bytes() - before;
    b.config.training = false;
    const double decoded = samples_per_second(&b);
    printf("%.0f %.0f %.0f %.0f\n", trained, decoded, count_weights(&b.net), bytes);
    return 0;
}
