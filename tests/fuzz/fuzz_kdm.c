/* Fuzz target: the container. Any bytes as a .kdm, first as they are, then with right checksums.
 * Built with -fsanitize=fuzzer it searches; linked with replay.c it runs over given files. Nothing
 * may crash, leak or fail without a message. */
#define _GNU_SOURCE

#include "fuzz.h"

#include "entropy.h"
#include "kdm.h"
#include "repair.h"
#include "residual.h"

static void use_masks(const kd_model *model, const kd_model_array *array)
{
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    const double n_samples = (double)samples[0] * samples[1] * samples[2];
    if (n_samples > 1e5) return;
    uint8_t *classes = calloc((size_t)n_samples, 1);
    for (int i = 0; classes != NULL && i < array->n_masks; i++) {
        (void)kd_entropy_unpack_mask(array->masks[i].bytes, array->masks[i].size, samples, classes,
                                     NULL);
    }
    free(classes);
}

static void use_residuals(const kd_model *model, const kd_model_array *array)
{
    kd_residual steps[2] = {{0}};
    int samples[3];

    kd_kdm_samples(model->dims, array->association, samples);
    if ((double)samples[0] * samples[1] * samples[2] > 1e5 || model->n_steps > 100) return;
    kdinr_status status = kd_residual_create(samples, array->n_components, &steps[0], NULL);
    if (status == KDINR_OK) {
        status = kd_residual_create(samples, array->n_components, &steps[1], NULL);
    }
    for (int k = 0; k < model->n_steps && status == KDINR_OK; k++) {
        const kd_residual *before = k % array->bound.group == 0 ? NULL : &steps[(k + 1) % 2];

        status = kd_residual_unpack(&array->residuals[k], array->type, samples, NULL, before,
                                    &steps[k % 2], NULL);
    }
    kd_residual_free(&steps[0]);
    kd_residual_free(&steps[1]);
}

static void use_networks(const char *path, const kd_model *model, int a)
{
    const kd_model_array *array = &model->arrays[a];
    const int n = array->n_windows * array->bricks[0] * array->bricks[1] * array->bricks[2];

    for (int i = 0; i < n; i++) {
        kd_net net;
        if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
        if (kd_kdm_load_codes(path, model, a, (size_t)i, NULL) != KDINR_OK) continue;
        kd_kdm_net(array, &array->networks[i], &net);
        float *params = malloc(net.n_params * sizeof *params);
        if (params != NULL) kd_kdm_params(array, &array->networks[i], params);
        free(params);
    }
}

static void load(const char *path)
{
    kdinr_error error = {KDINR_OK, ""};
    kd_model model;
    kdinr_status status = kd_kdm_load_info(path, &model, &error);

    if (status == KDINR_OK) {
        expect(kd_kdm_can_read(path) && kd_kdm_data_size(&model) > 0);
        status = kd_kdm_load_networks(path, &model, &error);
    }
    if (status == KDINR_OK) {
        for (int a = 0; a < model.n_arrays; a++) {
            use_networks(path, &model, a);
            use_masks(&model, &model.arrays[a]);
            if (model.arrays[a].has_bound) use_residuals(&model, &model.arrays[a]);
        }
    } else {
        expect(error.status == status && error.message[0] != '\0');
    }
    kd_kdm_free(&model);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const memory_file file = memory_file_open();
    uint8_t *repaired = malloc(size + 1);

    expect(repaired != NULL);
    memory_file_fill(&file, bytes, size);
    load(file.path);
    if (repair_copy(bytes, size, repaired)) {
        memory_file_fill(&file, repaired, size);
        load(file.path);
    }
    (void)close(file.file);
    free(repaired);
    return 0;
}
