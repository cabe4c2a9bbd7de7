/* Sections with one number for each array: FORM, which arrays' networks are not of the paper's
 * form, and MODE, how many modes of time they read; CLUS is in kdm_cluster.c. Before: kdm.c writes,
 * or kdm_read.c has read META. After: the layer tables of all networks follow from the model. */
#include <stdio.h>
#include <stdlib.h>

#include "kdm_layout.h"

kdinr_status kd_write_each(kd_writer *writer, const kd_model *model,
                           int (*number_of)(const kd_model_array *array), kdinr_error *error)
{
    bool all_zero = true;

    for (int a = 0; a < model->n_arrays; a++) {
        if (number_of(&model->arrays[a]) != 0) all_zero = false;
    }
    for (int a = 0; a < model->n_arrays && !all_zero; a++) {
        kd_put_u8(writer, (uint8_t)number_of(&model->arrays[a]));
    }
    return kd_writer_check(writer, "numbers of the arrays", error);
}

kdinr_status kd_read_each(const kd_source *from, const char *id, kd_model *model,
                          kdinr_status (*take)(kd_model *model, int a, int number,
                                               kdinr_error *error),
                          kdinr_error *error)
{
    char what[16];
    uint8_t *bytes = NULL;
    size_t size;
    kdinr_status status;

    KD_TRY(kd_source_read(from, id, &bytes, &size, error));
    (void)snprintf(what, sizeof what, "section %s", id);
    kd_reader reader = kd_reader_open(bytes, size, what);
    for (int a = 0; a < model->n_arrays; a++) {
        const int number = bytes == NULL ? 0 : kd_get_u8(&reader);

        KD_TRY_DONE(kd_reader_check(&reader, error));
        KD_TRY_DONE(take(model, a, number, error));
    }
    KD_TRY_DONE(kd_reader_finish(&reader, error));

done:
    free(bytes);
    return status;
}

/* ---- FORM ---- */

static int form_of(const kd_model_array *array)
{
    return (int)array->form;
}

static kdinr_status take_form(kd_model *model, int a, int number, kdinr_error *error)
{
    kd_model_array *array = &model->arrays[a];

    array->form = (kd_form)number;
    /* META's flag tells 2 layers from another number, which is 3 or depends on the form */
    if (array->form == KD_FORM_SIREN && array->block_layers == 3) array->block_layers = 1;
    return kd_check_form(model, a, KDINR_ERROR_FORMAT, error);
}

kdinr_status kd_write_forms(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    return kd_write_each(writer, model, form_of, error);
}

kdinr_status kd_read_forms(const kd_source *from, kd_model *model, kdinr_error *error)
{
    return kd_read_each(from, "FORM", model, take_form, error);
}

/* ---- MODE ---- */

/* Modes of an array; without networks nobody reads any. */
static int used_modes(const kd_model_array *array)
{
    const size_t n_networks = kd_network_count(array);

    for (size_t n = 0; n < n_networks; n++) {
        if (array->networks[n].kind != KD_NETWORK_CONSTANT) return array->n_modes;
    }
    return 0;
}

static kdinr_status take_modes(kd_model *model, int a, int number, kdinr_error *error)
{
    if (number > KD_NET_MAX_MODES) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "section MODE: array %d has %d modes, allowed are 0 to %d", a, number,
                       KD_NET_MAX_MODES);
    }
    model->arrays[a].n_modes = number;
    return KDINR_OK;
}

kdinr_status kd_write_modes(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    return kd_write_each(writer, model, used_modes, error);
}

kdinr_status kd_read_modes(const kd_source *from, kd_model *model, kdinr_error *error)
{
    return kd_read_each(from, "MODE", model, take_modes, error);
}
