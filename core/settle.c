/* Final bits of the networks: which share of the file's error and bytes each has, then quant.c. */
#include "settle.h"

#include <math.h>
#include <stdlib.h>

#include "cluster.h"
#include "quant.h"
#include "status.h"

static double count_samples(const kd_track *track)
{
    double all = 0.0;

    for (size_t i = 0; i < track->n_networks; i++) {
        all += track->network_samples[i];
    }
    return all;
}

/* What one unit of this network's squared output error weighs: its share of the array's samples
 * (`all`) times (half range / peak)^2, averaged over components. */
static double network_weight(const kd_track *track, size_t i, double all)
{
    const kd_model_array *array = &track->model->arrays[track->a];
    const kd_network *network = &array->networks[i];
    double sum = 0.0;

    for (int c = 0; c < array->n_components; c++) {
        const double peak = array->range[c][1] - array->range[c][0];
        const double half = 0.5 * ((double)network->range[c][1] - network->range[c][0]);

        sum += peak > 0.0 ? half * half / (peak * peak) : 0.0;
    }
    return fmax(sum / array->n_components * track->network_samples[i] / all, 1e-30);
}

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
        const double all = count_samples(track);
        kd_model_array *array = &settle->model->arrays[a];

        for (size_t i = 0; i < track->n_networks; i++) {
            if (array->networks[i].kind == KD_NETWORK_CONSTANT) continue;
            list[n++] = (kd_quant_item){.array = array,
                                        .network = &array->networks[i],
                                        .params = array->networks[i].params,
                                        .sensitivity = track->students[i].sensitivity,
                                        .weight = network_weight(track, i, all),
                                        .units = kd_student_units(&track->students[i])};
        }
    }
    *items = list;
    *n_items = n;
    return KDINR_OK;
}

/* Sum over arrays of the mean over steps of squared error relative to the squared range. */
static double relative_error(const kd_settle *settle)
{
    double sum = 0.0;

    for (int a = 0; a < settle->model->n_arrays; a++) {
        const kd_model_array *array = &settle->model->arrays[a];

        for (int t = 0; t < settle->model->n_steps; t++) {
            sum += kd_measure_relative(&settle->tracks[a].quality[t],
                                       (const double(*)[2])array->range, array->n_components) /
                   settle->model->n_steps;
        }
    }
    return sum;
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
        const kdinr_status status = kd_quant_fit(
            settle->model, items, n_items, (uint64_t)(data_size / options->ratio), NULL, error);

        /* with a bound on the error the size is only a wish */
        if (status != KDINR_ERROR_DATA || options->max_error == 0.0) return status;
        if (items[0].units != NULL) return kd_quant_apply(items, n_items, 0.0, error);
    }
    const double share = pow(10.0, 0.1 * options->quantisation_drop) - 1.0; /* of their own error */
    const double mse = fmax(share * relative_error(settle), 1e-10);

    return kd_quant_apply(items, n_items, kd_quant_lambda_for(items, n_items, mse), error);
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
