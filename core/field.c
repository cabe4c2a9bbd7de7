/* Decoding: position -> brick and window -> local coordinates -> network -> value. A sample's bits
 * depend on its position alone: bricks are visited in a fixed order, and backends promise that a
 * row's result does not depend on its batch. */
#include "field.h"

#include <stdlib.h>
#include <string.h>

#include "bricks.h"
#include "status.h"
#include "volume.h"

enum { CHUNK_ROWS = 1 << 15 };

struct kd_field {
    const kd_model *model;
    const kd_model_array *array;
    const kd_backend *backend;
    int n_threads;
    int stored[3]; /* samples of the array at the stored resolution */
    size_t n_networks;
    void **states;   /* [n_networks] backend states, made when first asked */
    float *coords;   /* [CHUNK_ROWS][4] */
    float *outputs;  /* [CHUNK_ROWS][n_components] */
    float *weights;  /* [CHUNK_ROWS] */
    size_t *targets; /* [CHUNK_ROWS] sample in the caller's array */
};

kdinr_status kd_field_create(const kd_model *model, int a, const kd_backend *backend, int n_threads,
                             kd_field **field, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_field *made = calloc(1, sizeof *made);

    *field = NULL;
    if (made == NULL) return kd_fail_memory(error, sizeof *made, "field");
    made->model = model;
    made->array = array;
    made->backend = backend;
    made->n_threads = n_threads;
    kd_kdm_samples(model->dims, array->association, made->stored);
    made->n_networks = (size_t)array->n_windows * (size_t)array->bricks[0] *
                       (size_t)array->bricks[1] * (size_t)array->bricks[2];
    made->states = calloc(made->n_networks, sizeof *made->states);
    made->coords = malloc(CHUNK_ROWS * 4 * sizeof *made->coords);
    made->outputs = malloc(CHUNK_ROWS * (size_t)array->n_components * sizeof *made->outputs);
    made->weights = malloc(CHUNK_ROWS * sizeof *made->weights);
    made->targets = malloc(CHUNK_ROWS * sizeof *made->targets);
    if (made->states == NULL || made->coords == NULL || made->outputs == NULL ||
        made->weights == NULL || made->targets == NULL) {
        kd_field_free(made);
        return kd_fail_memory(error, CHUNK_ROWS * 64, "field");
    }
    *field = made;
    return KDINR_OK;
}

void kd_field_free(kd_field *field)
{
    if (field == NULL) return;
    for (size_t i = 0; field->states != NULL && i < field->n_networks; i++) {
        field->backend->close(field->states[i]);
    }
    free(field->states);
    free(field->coords);
    free(field->outputs);
    free(field->weights);
    free(field->targets);
    free(field);
}

const int *kd_field_stored(const kd_field *field)
{
    return field->stored;
}

/* The backend state of a network, made on first use. */
static kdinr_status open_network(kd_field *field, size_t i, kdinr_error *error)
{
    const kd_backend_config config = {.n_threads = field->n_threads};
    const kd_network *network = &field->array->networks[i];
    float *params = NULL;
    kd_net net;
    kdinr_status status = KDINR_OK;

    if (field->states[i] != NULL) return KDINR_OK;
    kd_kdm_net(field->array, network, &net);
    params = malloc(net.n_params * sizeof *params);
    if (params == NULL) return kd_fail_memory(error, net.n_params * sizeof *params, "network");
    kd_kdm_params(field->array, network, params);
    KD_TRY_DONE(field->backend->open(&net, &config, &field->states[i], error));
    KD_TRY_DONE(field->backend->set_params(field->states[i], params, error));

done:
    if (status != KDINR_OK) {
        field->backend->close(field->states[i]);
        field->states[i] = NULL;
    }
    free(params);
    return status;
}

/* The samples of one axis of the extent that one brick answers. */
typedef struct span {
    int first, n;  /* samples first..first+n-1, counted from the start of the extent */
    float *local;  /* [n] coordinates */
    float *weight; /* [n] */
} span;

static void span_fill(const kd_field *field, int axis, int j, int n_samples, int from, int to,
                      span *out)
{
    const kd_interval interval =
        kd_bricks_interval(field->stored[axis], field->array->bricks[axis], j);

    out->n = 0;
    for (int i = from; i <= to; i++) {
        const double position =
            kd_bricks_position(field->array->association, field->stored[axis], n_samples, i);
        const float weight = kd_bricks_weight(&interval, position);

        if (!(weight > 0.0f)) continue;
        if (out->n == 0) out->first = i - from;
        out->local[out->n] = kd_bricks_local(&interval, position);
        out->weight[out->n++] = weight;
    }
}

/* One reading of one brick: what flush needs. */
typedef struct brick_read {
    size_t network;
    size_t n;      /* rows gathered */
    float *values; /* the caller's */
    kd_run *run;
} brick_read;

/* Add `weight` times the brick's answer to the gathered samples. */
static kdinr_status flush(kd_field *field, brick_read *read, kdinr_error *error)
{
    const kd_network *network = &field->array->networks[read->network];
    const size_t nc = (size_t)field->array->n_components;

    if (network->kind != KD_NETWORK_CONSTANT) {
        KD_TRY(field->backend->evaluate(field->states[read->network], field->coords, read->n,
                                        field->outputs, error));
    }
    for (size_t i = 0; i < read->n; i++) {
        for (size_t c = 0; c < nc; c++) {
            const float *range = network->range[c];
            const float value = network->kind == KD_NETWORK_CONSTANT
                                    ? range[0]
                                    : kd_volume_denormalise(field->outputs[i * nc + c], range);

            read->values[field->targets[i] * nc + c] += field->weights[i] * value;
        }
    }
    const double n = (double)read->n;
    read->n = 0;
    return read->run == NULL ? KDINR_OK : kd_run_advance(read->run, n, error);
}

/* All samples of the extent that one brick answers at one window's time. */
static kdinr_status read_brick(kd_field *field, const span spans[3], const int extent[6],
                               const kd_window_part *part, brick_read *read, kdinr_error *error)
{
    const size_t nx = (size_t)(extent[1] - extent[0] + 1), ny = (size_t)(extent[3] - extent[2] + 1);

    for (int z = 0; z < spans[2].n; z++) {
        for (int y = 0; y < spans[1].n; y++) {
            const float weight = part->weight * spans[2].weight[z] * spans[1].weight[y];
            const size_t row =
                ((size_t)(spans[2].first + z) * ny + (size_t)(spans[1].first + y)) * nx +
                (size_t)spans[0].first;

            for (int x = 0; x < spans[0].n; x++) {
                float *coords = field->coords + read->n * 4;

                coords[0] = spans[0].local[x];
                coords[1] = spans[1].local[y];
                coords[2] = spans[2].local[z];
                coords[3] = part->local;
                field->weights[read->n] = weight * spans[0].weight[x];
                field->targets[read->n++] = row + (size_t)x;
                if (read->n == CHUNK_ROWS) KD_TRY(flush(field, read, error));
            }
        }
    }
    return flush(field, read, error);
}

/* All bricks of one window. */
static kdinr_status read_window(kd_field *field, const int samples[3], const int extent[6],
                                const kd_window_part *part, span spans[3], brick_read *read,
                                kdinr_error *error)
{
    const int *bricks = field->array->bricks;
    size_t network =
        (size_t)part->window * (size_t)bricks[0] * (size_t)bricks[1] * (size_t)bricks[2];

    for (int k = 0; k < bricks[2]; k++) {
        span_fill(field, 2, k, samples[2], extent[4], extent[5], &spans[2]);
        for (int j = 0; j < bricks[1]; j++) {
            span_fill(field, 1, j, samples[1], extent[2], extent[3], &spans[1]);
            for (int i = 0; i < bricks[0]; i++, network++) {
                span_fill(field, 0, i, samples[0], extent[0], extent[1], &spans[0]);
                if (spans[0].n == 0 || spans[1].n == 0 || spans[2].n == 0) continue;
                if (field->array->networks[network].kind != KD_NETWORK_CONSTANT) {
                    KD_TRY(open_network(field, network, error));
                }
                read->network = network;
                KD_TRY(read_brick(field, spans, extent, part, read, error));
            }
        }
    }
    return KDINR_OK;
}

kdinr_status kd_field_read(kd_field *field, const int samples[3], const int extent[6], double s,
                           float *values, kd_run *run, kdinr_error *error)
{
    kd_window_part parts[2];
    span spans[3] = {{0}};
    brick_read read = {.values = values, .run = run};
    size_t n_values = (size_t)field->array->n_components;
    kdinr_status status = KDINR_OK;

    for (int axis = 0; axis < 3; axis++) {
        const size_t n = (size_t)(extent[2 * axis + 1] - extent[2 * axis] + 1);

        n_values *= n;
        spans[axis].local = malloc(n * sizeof *spans[axis].local);
        spans[axis].weight = malloc(n * sizeof *spans[axis].weight);
        if (spans[axis].local == NULL || spans[axis].weight == NULL) {
            status = kd_fail_memory(error, n * sizeof(float), "axis of the extent");
            goto done;
        }
    }
    memset(values, 0, n_values * sizeof *values);
    const int n_parts =
        kd_bricks_windows(field->array->window_starts, field->array->n_windows, s, parts);
    for (int i = 0; i < n_parts; i++) {
        KD_TRY_DONE(read_window(field, samples, extent, &parts[i], spans, &read, error));
    }

done:
    for (int axis = 0; axis < 3; axis++) {
        free(spans[axis].local);
        free(spans[axis].weight);
    }
    return status;
}
