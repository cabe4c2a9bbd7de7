/* Sections FORM and MODE: which arrays' networks are not of the paper's form, and how many modes of
 * time they read.
 * Before: kdm.c writes, or kdm_read.c has read META. After: the layer tables of all networks follow
 * from the model. */
#include <stdlib.h>

#include "kdm_layout.h"

kdinr_status kd_write_forms(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    bool all_papers = true;

    for (int a = 0; a < model->n_arrays; a++) {
        if (model->arrays[a].form != KD_FORM_KDINR) all_papers = false;
    }
    for (int a = 0; a < model->n_arrays && !all_papers; a++) {
        kd_put_u8(writer, (uint8_t)model->arrays[a].form);
    }
    return kd_writer_check(writer, "forms of networks", error);
}

kdinr_status kd_read_forms(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY(kd_source_read(from, "FORM", &bytes, &size, error));
    if (bytes == NULL) return KDINR_OK;
    kd_reader reader = kd_reader_open(bytes, size, "section FORM");
    for (int a = 0; a < model->n_arrays; a++) {
        kd_model_array *array = &model->arrays[a];

        array->form = (kd_form)kd_get_u8(&reader);
        KD_TRY_DONE(kd_reader_check(&reader, error));
        /* META's flag tells 2 layers from another number, which is 3 or depends on the form */
        if (array->form == KD_FORM_SIREN && array->block_layers == 3) array->block_layers = 1;
        KD_TRY_DONE(kd_check_form(model, a, KDINR_ERROR_FORMAT, error));
    }
    KD_TRY_DONE(kd_reader_finish(&reader, error));

done:
    free(bytes);
    return status;
}

/* Modes of an array; without networks nobody reads any. */
static int used_modes(const kd_model_array *array)
{
    const size_t n_networks = kd_network_count(array);

    for (size_t n = 0; n < n_networks; n++) {
        if (array->networks[n].kind != KD_NETWORK_CONSTANT) return array->n_modes;
    }
    return 0;
}

kdinr_status kd_write_modes(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    bool none = true;

    for (int a = 0; a < model->n_arrays; a++) {
        if (used_modes(&model->arrays[a]) > 0) none = false;
    }
    for (int a = 0; a < model->n_arrays && !none; a++) {
        kd_put_u8(writer, (uint8_t)used_modes(&model->arrays[a]));
    }
    return kd_writer_check(writer, "numbers of modes", error);
}

kdinr_status kd_read_modes(const kd_source *from, kd_model *model, kdinr_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY(kd_source_read(from, "MODE", &bytes, &size, error));
    if (bytes == NULL) return KDINR_OK;
    kd_reader reader = kd_reader_open(bytes, size, "section MODE");
    for (int a = 0; a < model->n_arrays; a++) {
        const int n = kd_get_u8(&reader);

        KD_TRY_DONE(kd_reader_check(&reader, error));
        if (n > KD_NET_MAX_MODES) {
            status = kd_fail(error, KDINR_ERROR_FORMAT,
                             "section MODE: array %d has %d modes, allowed are 0 to %d", a, n,
                             KD_NET_MAX_MODES);
            goto done;
        }
        model->arrays[a].n_modes = n;
    }
    KD_TRY_DONE(kd_reader_finish(&reader, error));

done:
    free(bytes);
    return status;
}
