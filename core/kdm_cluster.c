/* CLUSTERED networks: what of them is stored how, and section CLUS. A hidden matrix is a list of
 * centres and for each weight the number of its centre, as a code; the first and the last layer and
 * all biases are float32. Before: settle.c has clustered the weights, or kdm_load.c has read NETS.
 * After: the sizes of what CODE has follow from the model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "kdm_layout.h"
#include "status.h"

enum { MAX_BITS = 9, FLOAT_BITS = 32 };

bool kd_kdm_clustered(const kd_net *net, int tensor, int bits)
{
    size_t n;

    (void)kd_net_tensor(net, tensor, &n);
    return tensor % 2 == 0 && kd_blocks_hidden(net, tensor / 2) &&
           ((size_t)FLOAT_BITS << bits) + n * (size_t)bits < n * FLOAT_BITS;
}

void kd_expand_clusters(const kd_model_array *array, const kd_network *network, float *dst)
{
    const size_t n_centres = (size_t)1 << array->cluster_bits;
    const int16_t *codes = network->codes;
    const float *floats = network->params;
    kd_net net;

    kd_kdm_net(array, network, &net);
    for (int i = 0; i < 2 * net.n_layers; i++) {
        size_t n;
        const size_t start = kd_net_tensor(&net, i, &n);

        if (!kd_kdm_clustered(&net, i, array->cluster_bits)) {
            memcpy(dst + start, floats, n * sizeof *dst);
            floats += n;
            continue;
        }
        const float *middle = floats + n_centres / 2;
        for (size_t k = 0; k < n; k++) {
            dst[start + k] = middle[codes[k]];
        }
        floats += n_centres;
        codes += n;
    }
}

/* ---- rules ---- */

kdinr_status kd_check_cluster_bits(const kd_model *model, int a, kdinr_status status,
                                   kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const size_t n_networks = kd_network_count(array);
    bool any = false;

    for (size_t n = 0; n < n_networks; n++) {
        any = any || array->networks[n].kind == KD_NETWORK_CLUSTERED;
    }
    if (array->cluster_bits >= any && array->cluster_bits <= (any ? MAX_BITS : 0)) return KDINR_OK;
    return kd_fail(error, status, "array %d, bits of clustered weights: %d, allowed are %d to %d",
                   a, array->cluster_bits, any, any ? MAX_BITS : 0);
}

static kdinr_status check_centres(const float *centres, size_t n, int a, size_t network, int tensor,
                                  kdinr_status status, kdinr_error *error)
{
    for (size_t i = 1; i < n; i++) {
        if (centres[i - 1] <= centres[i]) continue;
        return kd_fail(error, status,
                       "array %d, network %zu, tensor %d: centre %zu is %g, after %g", a, network,
                       tensor, i, (double)centres[i], (double)centres[i - 1]);
    }
    return KDINR_OK;
}

kdinr_status kd_check_clusters(const kd_model *model, int a, size_t n, kdinr_status status,
                               kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    const kd_network *network = &array->networks[n];
    const kd_stored stored = kd_kdm_stored(array, network);
    const int n_centres = 1 << array->cluster_bits, half = n_centres / 2;
    const float *floats = network->params;
    kd_net net;

    for (size_t i = 0; i < stored.n_floats; i++) {
        if (isfinite(floats[i])) continue;
        return kd_fail(error, status, "array %d, network %zu: number %zu is %g", a, n, i,
                       (double)floats[i]);
    }
    for (size_t i = 0; i < stored.n_codes; i++) {
        if (network->codes[i] >= -half && network->codes[i] < half) continue;
        return kd_fail(error, status, "array %d, network %zu: code %zu is %d, allowed are %d to %d",
                       a, n, i, network->codes[i], -half, half - 1);
    }
    kd_kdm_net(array, network, &net);
    for (int i = 0; i < 2 * net.n_layers; i++) {
        const bool clustered = kd_kdm_clustered(&net, i, array->cluster_bits);
        size_t size = (size_t)n_centres;

        if (clustered) KD_TRY(check_centres(floats, size, a, n, i, status, error));
        if (!clustered) (void)kd_net_tensor(&net, i, &size);
        floats += size;
    }
    return KDINR_OK;
}

/* ---- section CLUS ---- */

static int cluster_bits_of(const kd_model_array *array)
{
    return array->cluster_bits;
}

static kdinr_status take_cluster_bits(kd_model *model, int a, int number, kdinr_error *error)
{
    model->arrays[a].cluster_bits = number;
    return kd_check_cluster_bits(model, a, KDINR_ERROR_FORMAT, error);
}

kdinr_status kd_write_clusters(kd_writer *writer, const kd_model *model, kdinr_error *error)
{
    return kd_write_each(writer, model, cluster_bits_of, error);
}

kdinr_status kd_read_clusters(const kd_source *from, kd_model *model, kdinr_error *error)
{
    return kd_read_each(from, "CLUS", model, take_cluster_bits, error);
}
