/* Decoding: position -> brick and window -> local coordinates -> network -> value. A sample's bits
 * depend on its position alone: bricks are visited in a fixed order, and backends promise that a
 * row's result does not depend on its batch. */
#include "field.h"

#include <stdlib.h>
#include <string.h>

#include "bricks.h"
#include "modes.h"
#include "status.h"
#include "volume.h"

enum { CHUNK_SAMPLES = 1 << 15, MOST_OPEN = 256 };

struct kd_field {
    const kd_model *model;
    const char *path; /* where missing codes are, or NULL */
    int a;
    const kd_model_array *array;
    const kd_backend *backend;
    kd_backend_config config;
    int stored[3]; /* samples of the array at the stored resolution */
    size_t n_networks;
    void **states;   /* [n_networks] backend states, made when asked, the latest MOST_OPEN kept */
    size_t n_opened; /* so far */
    size_t opened[MOST_OPEN]; /* the network that was the n-th opened at n % MOST_OPEN */
    float *outputs;           /* [CHUNK_SAMPLES][n_components] */
};

kdinr_status kd_field_create(const kd_model *model, const char *path, int a,
                             const kd_backend *backend, const kdinr_options *options,
                             kd_field **field, kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_field *made = calloc(1, sizeof *made);

    *field = NULL;
    if (made == NULL) return kd_fail_memory(error, sizeof *made, "field");
    made->model = model;
    made->path = path;
    made->a = a;
    made->array = array;
    made->backend = backend;
    made->config = kd_backend_evaluation(options);
    kd_kdm_samples(model->dims, array->association, made->stored);
    made->n_networks = kd_network_count(array);
    made->states = calloc(made->n_networks, sizeof *made->states);
    made->outputs = malloc(CHUNK_SAMPLES * (size_t)array->n_components * sizeof *made->outputs);
    if (made->states == NULL || made->outputs == NULL) {
        kd_field_free(made);
        return kd_fail_memory(error, CHUNK_SAMPLES * sizeof(float), "field");
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
    free(field->outputs);
    free(field);
}

const int *kd_field_stored(const kd_field *field)
{
    return field->stored;
}

/* Remember that a network is open, and close the one that has been for longest. */
static void keep_open(kd_field *field, size_t i)
{
    size_t *place = &field->opened[field->n_opened % MOST_OPEN];

    if (field->n_opened++ >= MOST_OPEN) {
        field->backend->close(field->states[*place]);
        field->states[*place] = NULL;
    }
    *place = i;
}

/* The backend state of a network, made on first use. */
static kdinr_status open_network(kd_field *field, size_t i, kdinr_error *error)
{
    const kd_network *network = &field->array->networks[i];
    float *params = NULL;
    kd_net net;
    kdinr_status status = KDINR_OK;

    if (field->states[i] != NULL) return KDINR_OK;
    if (field->path != NULL) {
        KD_TRY(kd_kdm_load_codes(field->path, field->model, field->a, i, error));
    }
    kd_kdm_net(field->array, network, &net);
    params = malloc(net.n_params * sizeof *params);
    if (params == NULL) return kd_fail_memory(error, net.n_params * sizeof *params, "network");
    kd_kdm_params(field->array, network, params);
    KD_TRY_DONE(field->backend->open(&net, &field->config, &field->states[i], error));
    KD_TRY_DONE(field->backend->set_params(field->states[i], params, error));
    keep_open(field, i);

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

/* One reading of one brick: the samples its spans hold, at the time of `part`. */
typedef struct brick_read {
    size_t network;
    span spans[3]; /* x, y, z */
    const kd_window_part *part;
    size_t nx, ny; /* samples of the whole extent */
    float *values; /* the caller's, of the whole extent */
    kd_run *run;
} brick_read;

/* Add weight times value to n samples of a row. outputs [n][n_components], NULL for a constant. */
static void add_row(const kd_field *field, const kd_network *network, const float *outputs,
                    const float *weights, float row_weight, size_t n, float *values)
{
    const size_t nc = (size_t)field->array->n_components;

    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < nc; c++) {
            const float *range = network->range[c];
            const float value =
                outputs == NULL ? range[0] : kd_volume_denormalise(outputs[i * nc + c], range);

            values[i * nc + c] += row_weight * weights[i] * value;
        }
    }
}

/* A piece of the brick, at most CHUNK_SAMPLES samples: from[] to from[] + n[] of the spans. */
static kdinr_status read_piece(kd_field *field, const brick_read *read, const size_t from[3],
                               const size_t n[3], kdinr_error *error)
{
    const kd_network *network = &field->array->networks[read->network];
    const bool constant = network->kind == KD_NETWORK_CONSTANT;
    const size_t nc = (size_t)field->array->n_components;
    const span *x = &read->spans[0], *y = &read->spans[1], *z = &read->spans[2];

    if (!constant) {
        kd_grid grid = {.axes = {x->local + from[0], y->local + from[1], z->local + from[2]},
                        .n = {n[0], n[1], n[2]}};
        kd_modes_inputs(network->modes, field->array->n_modes,
                        kd_network_steps(field->array, read->network), read->part->at,
                        read->part->local, grid.times);
        KD_TRY(field->backend->evaluate_grid(field->states[read->network], &grid, field->outputs,
                                             error));
    }
    for (size_t row = 0; row < n[1] * n[2]; row++) {
        const size_t j = from[1] + row % n[1], k = from[2] + row / n[1];
        const size_t at = (((size_t)z->first + k) * read->ny + (size_t)y->first + j) * read->nx +
                          (size_t)x->first + from[0];

        add_row(field, network, constant ? NULL : field->outputs + row * n[0] * nc,
                x->weight + from[0], read->part->weight * z->weight[k] * y->weight[j], n[0],
                read->values + at * nc);
    }
    return read->run == NULL ? KDINR_OK
                             : kd_run_advance(read->run, (double)(n[0] * n[1] * n[2]), error);
}

static size_t clamp_count(size_t wanted, size_t most)
{
    return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

/* All samples of the extent that one brick answers at one window's time, piece by piece. */
static kdinr_status read_brick(kd_field *field, const brick_read *read, kdinr_error *error)
{
    const size_t all[3] = {(size_t)read->spans[0].n, (size_t)read->spans[1].n,
                           (size_t)read->spans[2].n};
    const size_t nx = clamp_count(CHUNK_SAMPLES, all[0]);
    const size_t ny = clamp_count(CHUNK_SAMPLES / nx, all[1]);
    const size_t nz = clamp_count(CHUNK_SAMPLES / (nx * ny), all[2]);

    for (size_t z = 0; z < all[2]; z += nz) {
        for (size_t y = 0; y < all[1]; y += ny) {
            for (size_t x = 0; x < all[0]; x += nx) {
                const size_t from[3] = {x, y, z};
                const size_t n[3] = {clamp_count(nx, all[0] - x), clamp_count(ny, all[1] - y),
                                     clamp_count(nz, all[2] - z)};
                KD_TRY(read_piece(field, read, from, n, error));
            }
        }
    }
    return KDINR_OK;
}

/* All bricks of one window. */
static kdinr_status read_window(kd_field *field, const int samples[3], const int extent[6],
                                brick_read *read, kdinr_error *error)
{
    const int *bricks = field->array->bricks;
    span *spans = read->spans;

    const size_t window = (size_t)read->part->window * (size_t)bricks[2];
    for (int k = 0; k < bricks[2]; k++) {
        span_fill(field, 2, k, samples[2], extent[4], extent[5], &spans[2]);
        for (int j = 0; spans[2].n > 0 && j < bricks[1]; j++) {
            span_fill(field, 1, j, samples[1], extent[2], extent[3], &spans[1]);
            read->network =
                ((window + (size_t)k) * (size_t)bricks[1] + (size_t)j) * (size_t)bricks[0];
            for (int i = 0; spans[1].n > 0 && i < bricks[0]; i++, read->network++) {
                span_fill(field, 0, i, samples[0], extent[0], extent[1], &spans[0]);
                if (spans[0].n == 0) continue;
                if (field->array->networks[read->network].kind != KD_NETWORK_CONSTANT) {
                    KD_TRY(open_network(field, read->network, error));
                }
                KD_TRY(read_brick(field, read, error));
            }
        }
    }
    return KDINR_OK;
}

kdinr_status kd_field_read(kd_field *field, const int samples[3], const int extent[6], double s,
                           float *values, kd_run *run, kdinr_error *error)
{
    kd_window_part parts[2];
    brick_read read = {.nx = (size_t)(extent[1] - extent[0] + 1),
                       .ny = (size_t)(extent[3] - extent[2] + 1),
                       .values = values,
                       .run = run};
    size_t n_values = (size_t)field->array->n_components;
    kdinr_status status = KDINR_OK;

    for (int axis = 0; axis < 3; axis++) {
        const size_t n = (size_t)(extent[2 * axis + 1] - extent[2 * axis] + 1);

        n_values *= n;
        read.spans[axis].local = malloc(n * sizeof(float));
        read.spans[axis].weight = malloc(n * sizeof(float));
        if (read.spans[axis].local == NULL || read.spans[axis].weight == NULL) {
            status = kd_fail_memory(error, n * sizeof(float), "axis of the extent");
            goto done;
        }
    }
    memset(values, 0, n_values * sizeof *values);
    const int n_parts =
        kd_bricks_windows(field->array->window_starts, field->array->n_windows, s, parts);
    for (int i = 0; i < n_parts; i++) {
        read.part = &parts[i];
        KD_TRY_DONE(read_window(field, samples, extent, &read, error));
    }

done:
    for (int axis = 0; axis < 3; axis++) {
        free(read.spans[axis].local);
        free(read.spans[axis].weight);
    }
    return status;
}
