/* The networks' parameters, as the file will have them. */
#include "settle.h"

#include <math.h>
#include <stdlib.h>

#include "cluster.h"
#include "quant.h"
#include "status.h"

static kdinr_status list_items(const kd_settle *settle, kd_quant_item **items, size_t *n_items,
                               kdinr_error *error)
{
    size_t n = 0;

    for (int a = 0; a < settle->model->n_arrays; a++) {
        n += settle->tracks[a].n_networks;
    }
    kd_quant_item *list = malloc((n + 1) * sizeof *list);
    if (list == NULL) return kd_fail_memory(error, n * sizeof *list, "networks");
    n = 0;
    for (int a = 0; a < settle->model->n_arrays; a++) {
        const kd_track *track = &settle->tracks[a];
        kd_model_array *array = &settle->model->arrays[a];

        for (size_t i = 0; i < track->n_networks; i++) {
            if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
            list[n++] = (kd_quant_item){.array = array,
                                        .network = &array->networks[i],
                                        .params = array->networks[i].params,
                                        .sensitivity = track->students[i].sensitivity,
                                        .units = kd_student_units(&track->students[i])};
        }
    }
    *items = list;
    *n_items = n;
    return KDINR_OK;
}

/* The error that clustering adds, to the students; items are in the order of arrays and networks.
 */
static void note_added(const kd_settle *settle, const double *added)
{
    for (int a = 0; a < settle->model->n_arrays; a++) {
        const kd_model_array *array = &settle->model->arrays[a];

        for (size_t i = 0; i < settle->tracks[a].n_networks; i++) {
            if (array->networks[i].kind == KD_NETWORK_CLUSTERED) {
                settle->tracks[a].students[i].added = *added++;
            }
        }
    }
}

/* Arrays that have networks get the bits. The students' parameters leave the networks, where their
 * centres and codes follow, and end here. */
static kdinr_status cluster(const kd_settle *settle, const kd_quant_item *items, size_t n_items,
                            kdinr_error *error)
{
    const kdinr_options *options = settle->options;
    const double data_size = (double)kd_kdm_data_size(settle->model);
    const int bits = options->cluster_bits;
    float **params = calloc(n_items, sizeof *params);
    double *added = calloc(n_items, sizeof *added);
    const kd_cluster_aim aim = {(size_t)(data_size / fmax(options->ratio, 1.0)), added};
    kdinr_status status = KDINR_OK;

    if (params == NULL || added == NULL) {
        status = kd_fail_memory(error, n_items * sizeof *params, "networks");
        goto done;
    }
    for (int a = 0; a < settle->model->n_arrays; a++) {
        kd_model_array *array = &settle->model->arrays[a];

        for (size_t i = 0; i < settle->tracks[a].n_networks; i++) {
            if (array->networks[i].kind != KD_NETWORK_CONSTANT) array->cluster_bits = bits;
        }
    }
    for (size_t i = 0; i < n_items; i++) {
        params[i] = items[i].network->params;
        items[i].network->params = NULL;
    }
    status = options->width == 0 && options->max_error == 0.0
                 ? kd_cluster_fit(settle->model, items, n_items, bits, &aim, error)
                 : kd_cluster_apply(items, n_items, bits, added, error);
    if (status == KDINR_OK) note_added(settle, added);

done:
    for (size_t i = 0; params != NULL && i < n_items; i++) {
        free(params[i]);
    }
    free(params);
    free(added);
    return status;
}

static kdinr_status quantise(const kd_settle *settle, const kd_quant_item *items, size_t n_items,
                             kdinr_error *error)
{
    const kdinr_options *options = settle->options;
    const double data_size = (double)kd_kdm_data_size(settle->model);

    if (n_items == 0) return KDINR_OK;
    if (options->weights == KDINR_WEIGHTS_CLUSTERED) return cluster(settle, items, n_items, error);
    if (options->weights != KDINR_WEIGHTS_QUANTISED) {
        const bool half = options->weights == KDINR_WEIGHTS_FLOAT16;

        for (size_t i = 0; i < n_items; i++) {
            KD_TRY(kd_quant_keep(&items[i], half ? KD_NETWORK_FLOAT16 : KD_NETWORK_FLOAT32, error));
        }
        return KDINR_OK;
    }
    if (options->width == 0) {
        const uint64_t target = (uint64_t)(data_size / options->ratio);
        const kdinr_status status = kd_quant_fit(settle->model, items, n_items, target, error);

        /* with a bound on the error the size is only a wish */
        if (status != KDINR_ERROR_DATA || options->max_error == 0.0) return status;
    }
    return kd_quant_apply(items, n_items, 0.0, error);
}

/* Quantisation's expected error, added to the estimates that were made before it. */
static void add_quantisation_error(const kd_settle *settle, int a)
{
    const kd_track *track = &settle->tracks[a];
    const kd_model_array *array = &settle->model->arrays[a];
    double all = 0.0, added[KD_KDM_MAX_COMPONENTS] = {0};

    for (size_t i = 0; i < track->n_networks; i++) {
        const kd_network *network = &array->networks[i];
        all += track->network_samples[i];
        const kd_student *student = &track->students[i];
        const double mse =
            network->kind == KD_NETWORK_QUANTISED
                ? kd_quant_expected(array, network, student->sensitivity, kd_student_units(student))
                : student->added;
        for (int c = 0; c < array->n_components; c++) {
            const double half = 0.5 * ((double)network->range[c][1] - network->range[c][0]);
            added[c] += track->network_samples[i] * mse * half * half;
        }
    }
    for (int t = 0; t < settle->model->n_steps; t++) {
        for (int c = 0; c < array->n_components && all > 0.0; c++) {
            track->quality[t].squares[c] += added[c] / all;
        }
    }
}

kdinr_status kd_settle_networks(const kd_settle *settle, kdinr_error *error)
{
    kd_quant_item *items = NULL;
    size_t n_items = 0;
    kdinr_status status = KDINR_OK;

    KD_TRY_DONE(list_items(settle, &items, &n_items, error));
    if (settle->options->weights == KDINR_WEIGHTS_QUANTISED) kd_kdm_choose_packs(settle->model);
    KD_TRY_DONE(quantise(settle, items, n_items, error));
    for (int a = 0; a < settle->model->n_arrays; a++) {
        add_quantisation_error(settle, a);
    }

done:
    free(items);
    return status;
}
