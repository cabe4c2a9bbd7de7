/* Models for the tests of the container: one small, one that uses every feature of the format. */
#ifndef KDM_SAMPLES_H
#define KDM_SAMPLES_H

#include "check.h"

#include "entropy.h"
#include "kdm.h"
#include "residual.h"
#include "rng.h"

static inline void *sample_memory(size_t size)
{
    void *memory = calloc(size > 0 ? size : 1, 1);

    assert_non_null(memory);
    return memory;
}

static inline char *sample_text(const char *text)
{
    char *copy = sample_memory(strlen(text) + 1);

    memcpy(copy, text, strlen(text));
    return copy;
}

/* About normally distributed, deterministic. */
static inline double sample_normal(uint64_t key, uint64_t i)
{
    double sum = -6.0;

    for (uint64_t k = 0; k < 12; k++) {
        sum += (double)kd_rng_unit(kd_rng_at(key, 12 * i + k));
    }
    return sum;
}

/* A CLUSTERED network's codes and floats; array->cluster_bits must be set. */
static inline void sample_clusters_of(const kd_model_array *array, kd_network *network,
                                      uint64_t key)
{
    const kd_stored stored = kd_kdm_stored(array, network);
    const size_t n_centres = (size_t)1 << array->cluster_bits;
    float *floats = network->params = sample_memory(stored.n_floats * sizeof(float));
    kd_net net;

    network->codes = sample_memory(stored.n_codes * sizeof(int16_t));
    for (size_t i = 0; i < stored.n_codes; i++) {
        const uint32_t code = kd_rng_below(kd_rng_at(key, i), (uint32_t)n_centres);
        network->codes[i] = (int16_t)((int)code - (int)(n_centres / 2));
    }
    kd_kdm_net(array, network, &net);
    for (int t = 0; t < 2 * net.n_layers; t++) {
        const bool clustered = kd_kdm_clustered(&net, t, array->cluster_bits);
        size_t n = n_centres;

        if (!clustered) (void)kd_net_tensor(&net, t, &n);
        for (size_t i = 0; i < n; i++) {
            *floats++ = (float)(clustered ? 0.01 * (double)i - 0.005 * (double)n
                                          : 0.0005 * sample_normal(key, i));
        }
    }
}

/* Give a network its shape and parameters. */
static inline void sample_network(const kd_model_array *array, kd_network *network,
                                  kd_network_kind kind, int width, int depth, uint64_t key)
{
    kd_net net;

    network->kind = kind;
    for (int c = 0; c < array->n_components; c++) {
        network->range[c][0] = -1.5f - (float)c;
        network->range[c][1] = kind == KD_NETWORK_CONSTANT ? -1.5f - (float)c : 2.25f;
    }
    if (kind == KD_NETWORK_CONSTANT) return;
    network->width = width;
    network->depth = depth;
    if (kind == KD_NETWORK_CLUSTERED) {
        sample_clusters_of(array, network, key);
        return;
    }
    kd_kdm_net(array, network, &net);
    if (kind == KD_NETWORK_QUANTISED) {
        network->codes = sample_memory(net.n_params * sizeof(int16_t));
        for (int t = 0; t < 2 * net.n_layers; t++) {
            network->steps[t] = (uint8_t)(92 + 3 * (t % 5));
        }
    } else {
        network->params = sample_memory(net.n_params * sizeof(float));
    }
    for (size_t i = 0; i < net.n_params; i++) {
        const double value = 30.0 * sample_normal(key, i);
        if (network->codes != NULL) network->codes[i] = (int16_t)lrint(value);
        if (network->params != NULL) network->params[i] = (float)(0.0005 * value);
        if (kind == KD_NETWORK_FLOAT16) {
            network->params[i] = kd_kdm_round_float16(network->params[i]);
        }
    }
}

/* An array with defaults: float32 points, one brick, one window, no networks yet. */
static inline void sample_array(kd_model_array *array, const char *name, int n_steps)
{
    array->name = sample_text(name);
    array->n_components = 1;
    array->range[0][0] = -1.5;
    array->range[0][1] = 2.25;
    array->bricks[0] = array->bricks[1] = array->bricks[2] = 1;
    array->n_windows = 1;
    array->window_starts = sample_memory(2 * sizeof(int));
    array->window_starts[1] = n_steps;
    array->block_layers = 3;
    array->omega_first = 10.0f;
    array->omega_hidden = 30.0f;
    array->psnr = sample_memory((size_t)n_steps * sizeof(float));
    array->max_error = sample_memory((size_t)n_steps * sizeof(float));
    for (int k = 0; k < n_steps; k++) {
        array->psnr[k] = (float)((4012 + 7 * k) / 100.0);
        array->max_error[k] = 0.25f * (float)(k + 1);
    }
    array->mse = (double)1e-4f;
}

static inline void sample_grid(kd_model *model, int nx, int ny, int nz, int n_steps, int n_arrays)
{
    memset(model, 0, sizeof *model);
    model->dims[0] = nx;
    model->dims[1] = ny;
    model->dims[2] = nz;
    for (int i = 0; i < 3; i++) {
        model->spacing[i] = 1.0;
        model->direction[4 * i] = 1.0;
    }
    model->n_steps = n_steps;
    model->times = sample_memory((size_t)n_steps * sizeof(double));
    for (int k = 0; k < n_steps; k++) {
        model->times[k] = k;
    }
    model->n_arrays = n_arrays;
    model->arrays = sample_memory((size_t)n_arrays * sizeof(kd_model_array));
    model->provenance = sample_text("kdinr test");
}

/* One array, one network of `kind` with m = 2, d = 1 (119 parameters). */
static inline void sample_small(kd_model *model, kd_network_kind kind)
{
    sample_grid(model, 9, 8, 7, 3, 1);
    sample_array(&model->arrays[0], "wind", 3);
    model->arrays[0].networks = sample_memory(sizeof(kd_network));
    model->arrays[0].cluster_bits = kind == KD_NETWORK_CLUSTERED ? 1 : 0;
    sample_network(&model->arrays[0], &model->arrays[0].networks[0], kind, 2, 1, 1);
}

/* Add `n_masks` maps to an array; step k has map k % (n_masks + 1) - 1. */
static inline void sample_masks(const kd_model *model, kd_model_array *array, int n_masks)
{
    kdinr_error error;
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    const size_t n = (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
    uint8_t *classes = sample_memory(n);
    array->n_masks = n_masks;
    array->masks = sample_memory((size_t)n_masks * sizeof(kd_mask));
    array->step_masks = sample_memory((size_t)model->n_steps * sizeof(int));
    for (int i = 0; i < n_masks; i++) {
        for (size_t s = 0; s < n; s++) {
            classes[s] = (uint8_t)(s % (size_t)(7 + i) < 3 ? 1 + s % 4 : 0);
        }
        check_ok(kd_entropy_pack_mask(classes, samples, &array->masks[i].bytes,
                                      &array->masks[i].size, &error),
                 error);
    }
    for (int k = 0; k < model->n_steps; k++) {
        array->step_masks[k] = k % (n_masks + 1) - 1;
    }
    free(classes);
}

/* Every flag, kind and form of the format at least once. */
static inline void sample_rich(kd_model *model)
{
    const kd_network_kind kinds[4] = {KD_NETWORK_QUANTISED, KD_NETWORK_CONSTANT, KD_NETWORK_FLOAT16,
                                      KD_NETWORK_FLOAT32};

    sample_grid(model, 9, 8, 7, 5, 3);
    for (int i = 0; i < 3; i++) {
        model->first[i] = 10 * i - 10;
        model->origin[i] = 0.1 * i - 3.0;
        model->spacing[i] = 0.5 + i;
    }
    model->direction[0] = model->direction[4] = 0.0;
    model->direction[1] = -1.0;
    model->direction[3] = 1.0;
    model->times[4] = 4.5;

    kd_model_array *wind = &model->arrays[0]; /* two bricks, windows of 1 and 4 steps */
    sample_array(wind, "wind \xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\x80", 5);
    free(wind->window_starts);
    wind->bricks[0] = 2;
    wind->n_windows = 2;
    wind->window_starts = sample_memory(3 * sizeof(int));
    wind->window_starts[1] = 1;
    wind->window_starts[2] = 5;
    wind->has_fill = true;
    wind->fill_value = 1e30;
    wind->psnr[2] = INFINITY;
    wind->max_error[2] = 0.0f;
    wind->quality_exact = true;
    wind->networks = sample_memory(4 * sizeof(kd_network));
    for (int i = 0; i < 4; i++) {
        sample_network(wind, &wind->networks[i], kinds[i], 2, 1 + i % 2, (uint64_t)i);
    }
    sample_masks(model, wind, 2);

    kd_model_array *speed = &model->arrays[1]; /* cells, plain blocks, windows of 2 steps */
    sample_array(speed, "s", 5);
    free(speed->window_starts);
    speed->association = KDINR_CELLS;
    speed->type = KDINR_UINT16;
    speed->n_components = 3;
    speed->range[1][0] = 0.1;
    speed->range[1][1] = 1e300;
    speed->block_layers = 2;
    speed->omega_hidden = 20.0f;
    speed->n_windows = 3;
    speed->window_starts = sample_memory(4 * sizeof(int));
    for (int w = 0; w < 4; w++) {
        speed->window_starts[w] = w < 3 ? 2 * w : 5;
    }
    speed->networks = sample_memory(3 * sizeof(kd_network));
    for (int i = 0; i < 3; i++) {
        sample_network(speed, &speed->networks[i], KD_NETWORK_QUANTISED, 2 + i, 1, 7u);
    }
    sample_masks(model, speed, 1);
    for (int k = 0; k < 5; k++) {
        speed->step_masks[k] = 0;
    }

    kd_model_array *flat = &model->arrays[2]; /* nothing to learn; a map for every step */
    sample_array(flat, "flat", 5);
    flat->type = KDINR_INT64;
    flat->networks = sample_memory(sizeof(kd_network));
    sample_network(flat, &flat->networks[0], KD_NETWORK_CONSTANT, 0, 0, 0);
    sample_masks(model, flat, 5);
    for (int k = 0; k < 5; k++) {
        flat->step_masks[k] = k;
    }
}

/* Three arrays on a small grid, one of each form. */
static inline void sample_forms(kd_model *model)
{
    sample_grid(model, 9, 8, 7, 3, 3);
    for (int a = 0; a < 3; a++) {
        kd_model_array *array = &model->arrays[a];

        sample_array(array, a == 0 ? "a" : a == 1 ? "b" : "c", 3);
        array->form = (kd_form)a;
        array->block_layers = a == KD_FORM_KDINR ? 3 : a == KD_FORM_SIREN ? 1 : 2;
        array->networks = sample_memory(sizeof(kd_network));
        sample_network(array, &array->networks[0],
                       a == 1 ? KD_NETWORK_FLOAT16 : KD_NETWORK_QUANTISED, 3, 2, (uint64_t)a);
    }
}

/* Three arrays: four windows of clustered and other networks; weights that none are clustered of;
 * nothing but a constant. */
static inline void sample_clusters(kd_model *model)
{
    const kd_network_kind kinds[4] = {KD_NETWORK_CLUSTERED, KD_NETWORK_QUANTISED,
                                      KD_NETWORK_CONSTANT, KD_NETWORK_CLUSTERED};

    sample_grid(model, 9, 8, 7, 4, 3);
    for (int a = 0; a < 3; a++) {
        kd_model_array *array = &model->arrays[a];

        sample_array(array, a == 0 ? "a" : a == 1 ? "b" : "c", 4);
        array->form = KD_FORM_EVEN;
        array->block_layers = 2;
        array->cluster_bits = a == 0 ? 3 : a == 1 ? 9 : 0;
        array->networks = sample_memory(4 * sizeof(kd_network));
    }
    kd_model_array *first = &model->arrays[0];
    first->n_windows = 4;
    free(first->window_starts);
    first->window_starts = sample_memory(5 * sizeof(int));
    for (int w = 0; w < 4; w++) {
        first->window_starts[w + 1] = w + 1;
        sample_network(first, &first->networks[w], kinds[w], 6 + w, 2, (uint64_t)w);
    }
    sample_network(&model->arrays[1], model->arrays[1].networks, KD_NETWORK_CLUSTERED, 5, 1, 9);
    sample_network(&model->arrays[2], model->arrays[2].networks, KD_NETWORK_CONSTANT, 0, 0, 0);
}

/* Bricks along x, y and z and windows of as many steps each, with a small network for each of them,
 * every seventh a constant. */
static inline void sample_bricks(kd_model *model, kd_model_array *array, const int bricks[3],
                                 int steps_per_window)
{
    const size_t n_bricks = (size_t)bricks[0] * (size_t)bricks[1] * (size_t)bricks[2];

    array->n_windows = (model->n_steps + steps_per_window - 1) / steps_per_window;
    free(array->window_starts);
    array->window_starts = sample_memory(((size_t)array->n_windows + 1) * sizeof(int));
    for (int w = 0; w <= array->n_windows; w++) {
        const int start = w * steps_per_window;
        array->window_starts[w] = start < model->n_steps ? start : model->n_steps;
    }
    memcpy(array->bricks, bricks, sizeof array->bricks);
    array->networks = sample_memory((size_t)array->n_windows * n_bricks * sizeof(kd_network));
    for (size_t i = 0; i < (size_t)array->n_windows * n_bricks; i++) {
        sample_network(array, &array->networks[i],
                       i % 7 == 6 ? KD_NETWORK_CONSTANT : KD_NETWORK_QUANTISED, 2, 1, i);
    }
}

/* Two arrays, of which one has two modes of time: two bricks, windows of 3 and 2 steps. */
static inline void sample_moving(kd_model *model)
{
    sample_grid(model, 9, 8, 7, 5, 2);
    for (int a = 0; a < 2; a++) {
        kd_model_array *array = &model->arrays[a];

        sample_array(array, a == 0 ? "still" : "moving", 5);
        array->n_modes = a == 0 ? 0 : 2;
        sample_bricks(model, array, (int[]){2, 1, 1}, 3);
        for (size_t i = 0; i < 4 && array->n_modes > 0; i++) {
            const int n = kd_network_steps(array, i) * array->n_modes;

            array->networks[i].modes = sample_memory((size_t)n);
            for (int k = 0; k < n; k++) {
                array->networks[i].modes[k] = (int8_t)(127 - 37 * k - (int)i);
            }
        }
    }
    model->arrays[0].networks[1].kind = model->arrays[1].networks[2].kind = KD_NETWORK_CONSTANT;
}

/* Two arrays with 12 and 2 networks, of which three have their codes together. */
static inline void sample_packs(kd_model *model)
{
    sample_grid(model, 17, 13, 9, 4, 2);
    sample_array(&model->arrays[0], "a", 4);
    sample_array(&model->arrays[1], "b", 4);
    sample_bricks(model, &model->arrays[0], (int[]){3, 2, 1}, 2);
    sample_bricks(model, &model->arrays[1], (int[]){1, 1, 2}, 4);
    model->pack_networks = 3;
}

/* Two arrays without networks, one with a bound: three steps in groups of two. */
static inline void sample_bounded(kd_model *model)
{
    float values[9 * 8 * 7];
    kd_residual steps[3];
    kdinr_error error;

    sample_grid(model, 9, 8, 7, 3, 2);
    for (int a = 0; a < 2; a++) {
        sample_array(&model->arrays[a], a == 0 ? "free" : "bounded", 3);
        model->arrays[a].networks = sample_memory(sizeof(kd_network));
        sample_network(&model->arrays[a], &model->arrays[a].networks[0], KD_NETWORK_CONSTANT, 0, 0,
                       0);
    }
    kd_model_array *array = &model->arrays[1];
    array->has_bound = true;
    array->bound =
        (kd_bound){.most = {0.1}, .unit = {0.19 / KD_RESIDUAL_QUANTUM}, .alone = true, .group = 2};
    array->residuals = sample_memory(3 * sizeof(kd_stream));
    for (int k = 0; k < 3; k++) {
        const kdinr_array data = {.type = KDINR_FLOAT32, .n_components = 1, .values = values};
        const kd_residual_source source = {.array = &data, .bound = &array->bound};

        for (int i = 0; i < 9 * 8 * 7; i++) {
            values[i] = (float)(sample_normal((uint64_t)k, (uint64_t)i) + (i == 100 ? 1e20 : 0.0));
        }
        check_ok(kd_residual_create(model->dims, 1, &steps[k], &error), error);
        check_ok(kd_residual_pack(&source, model->dims, k, k == 1 ? &steps[0] : NULL, &steps[k],
                                  &array->residuals[k], &error),
                 error);
    }
    for (int k = 0; k < 3; k++) {
        kd_residual_free(&steps[k]);
    }
}

/* Write bytes to a file, replacing it. */
static inline void sample_write(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The model as bytes of a file, to be freed. */
static inline uint8_t *sample_packed(const kd_model *model, size_t *size)
{
    kdinr_error error;
    uint8_t *bytes;

    check_ok(kd_kdm_pack(model, &bytes, size, &error), error);
    return bytes;
}

#endif
