/* Evaluation on all threads, of single samples or of a grid of them: runs of samples are cut into
 * tiles, each goes through forward.c. Above: backend_cpu.c. Below: batch.c puts single samples into
 * a tile, grid.c the rows of a grid. */
#include <limits.h>
#include <string.h>

#include "cpu/instance.h"
#include "status.h"

enum { RUN_SAMPLES = 8 * KD_TILE };

/* What the threads of one evaluation share. */
typedef struct evaluation {
    const kd_cpu_instance *self;
    const float *coords; /* single samples, or NULL: */
    const kd_grid *grid;
    float *values;
    size_t n;
} evaluation;

static void evaluate_tile(const evaluation *shared, size_t first, float *tile)
{
    const kd_cpu_instance *self = shared->self;
    const kd_cpu_plan *plan = &self->plan;
    const size_t n_outputs = (size_t)plan->net.n_outputs, left = shared->n - first;
    const size_t count = left < KD_TILE ? left : KD_TILE;
    const float *answers = tile + plan->layers[plan->net.n_layers - 1].output;
    if (shared->grid != NULL) {
        self->kernels->grid_rows(plan, self->packed, shared->grid, first, count, tile);
        self->kernels->forward(plan, self->packed, 1, tile);
    } else {
        kd_cpu_batch_load(plan, shared->coords, first, count, tile);
        self->kernels->forward(plan, self->packed, 0, tile);
    }
    for (size_t s = 0; s < count; s++) {
        for (size_t c = 0; c < n_outputs; c++) {
            shared->values[(first + s) * n_outputs + c] = answers[c * KD_TILE + s];
        }
    }
}

/* Run number `item` of RUN_SAMPLES samples. */
static void evaluate_run(void *context, int item, int thread)
{
    const evaluation *shared = context;
    const size_t begin = (size_t)item * RUN_SAMPLES, left = shared->n - begin;
    const size_t end = left < RUN_SAMPLES ? shared->n : begin + RUN_SAMPLES;
    float *tile = shared->self->tiles + (size_t)thread * shared->self->plan.n_tile;
    for (size_t first = begin; first < end; first += KD_TILE) {
        evaluate_tile(shared, first, tile);
    }
}

static kdinr_status evaluate(evaluation *shared, kdinr_error *error)
{
    const size_t n_runs = shared->n / RUN_SAMPLES + (shared->n % RUN_SAMPLES != 0);
    if (n_runs > INT_MAX) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "%zu samples in one call; %d runs of %d allowed", shared->n, INT_MAX,
                       RUN_SAMPLES);
    }
    kd_threads_run(shared->self->threads, evaluate_run, shared, (int)n_runs);
    return KDINR_OK;
}

kdinr_status kd_cpu_evaluate(void *state, const float *coords, size_t n, float *values,
                             kdinr_error *error)
{
    evaluation shared = {.self = state, .coords = coords, .values = values, .n = n};
    return evaluate(&shared, error);
}

kdinr_status kd_cpu_evaluate_grid(void *state, const kd_grid *grid, float *values,
                                  kdinr_error *error)
{
    evaluation shared = {.self = state, .grid = grid, .values = values};
    if (!kd_size_mul(grid->n[0], grid->n[1], &shared.n) ||
        !kd_size_mul(shared.n, grid->n[2], &shared.n)) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "a grid of %zu x %zu x %zu samples is too large", grid->n[0], grid->n[1],
                       grid->n[2]);
    }
    return evaluate(&shared, error);
}
