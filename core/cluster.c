/* K-means of weights. In one dimension clusters are runs of the sorted values: their ends are found
 * by bisection and their means from running sums, so that a round takes no time. */
#include "cluster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

enum { MAX_ROUNDS = 1000, LEAST_CENTRES = 2 };

/* Clusters of sorted values; cluster j has values ends[j]..ends[j + 1]-1. */
typedef struct clusters {
    size_t n, n_centres;
    float *sorted;   /* [n] */
    double *sums;    /* [n + 1] of the values before */
    double *centres; /* [n_centres] */
    size_t *ends;    /* [n_centres + 1] */
} clusters;

static int compare(const void *a, const void *b)
{
    float left, right;

    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return (left > right) - (left < right);
}

/* The middle between centres j - 1 and j. */
static double border(const clusters *c, size_t j)
{
    return 0.5 * (c->centres[j - 1] + c->centres[j]);
}

/* Number of values that are at most `limit`. */
static size_t count_below(const clusters *c, double limit)
{
    size_t low = 0, high = c->n;

    while (low < high) {
        const size_t middle = (low + high) / 2;

        if ((double)c->sorted[middle] <= limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Centres to the means of their values; without any they stay, which is between their neighbours.
 */
static void move_centres(const clusters *c)
{
    for (size_t j = 0; j < c->n_centres; j++) {
        const size_t first = c->ends[j], end = c->ends[j + 1];

        if (end > first) c->centres[j] = (c->sums[end] - c->sums[first]) / (double)(end - first);
    }
}

/* Values to their nearest centres. Did any change its cluster? */
static bool move_ends(const clusters *c)
{
    bool moved = false;

    for (size_t j = 1; j < c->n_centres; j++) {
        const size_t end = count_below(c, border(c, j));

        moved = moved || end != c->ends[j];
        c->ends[j] = end;
    }
    return moved;
}

/* The share that a gap between two neighbouring values has in the way from the first to the last.
 * Of many values with density p the best centres have density p^(1/3) (Panter and Dite, 1951), and
 * a gap is about 1 / p wide. */
static double gap_share(const clusters *c, size_t i)
{
    return cbrt(pow((double)c->sorted[i + 1] - (double)c->sorted[i], 2.0));
}

/* Ends of which each is as far along that way from the one before. */
static void start_ends(const clusters *c)
{
    double all = 0.0, way = 0.0;
    size_t at = 0;

    for (size_t i = 0; i + 1 < c->n; i++) {
        all += gap_share(c, i);
    }
    for (size_t j = 0; j < c->n_centres; j++) {
        while (at + 1 < c->n && way < all * (double)j / (double)c->n_centres) {
            way += gap_share(c, at++);
        }
        c->ends[j] = at;
        c->centres[j] = (double)c->sorted[at];
    }
    c->ends[c->n_centres] = c->n;
}

static void find_centres(const clusters *c)
{
    bool moved = true;

    for (size_t i = 0; i < c->n; i++) {
        c->sums[i + 1] = c->sums[i] + (double)c->sorted[i];
    }
    start_ends(c);
    for (int round = 0; moved && round < MAX_ROUNDS; round++) {
        move_centres(c);
        moved = move_ends(c);
    }
}

/* The centre whose borders have the value between them. */
static size_t nearest(const clusters *c, double value)
{
    size_t low = 0, high = c->n_centres - 1;

    while (low < high) {
        const size_t middle = (low + high + 1) / 2;

        if (value > border(c, middle)) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* The centres found, as floats, in the midst of the list; copies of the first and the last around
 * them. Returns where they begin. */
static size_t spread(const clusters *c, size_t n_list, float *centres)
{
    const size_t before = (n_list - c->n_centres) / 2;

    for (size_t i = 0; i < n_list; i++) {
        const size_t j = i < before ? 0 : i - before;

        centres[i] = (float)c->centres[j < c->n_centres ? j : c->n_centres - 1];
    }
    for (size_t j = 0; j < c->n_centres; j++) {
        c->centres[j] = (double)centres[before + j];
    }
    return before;
}

kdinr_status kd_cluster_values(const float *values, size_t n, size_t n_centres, int bits,
                               float *centres, int16_t *codes, kdinr_error *error)
{
    const size_t n_list = (size_t)1 << bits;
    clusters c = {.n = n, .n_centres = n_centres};
    kdinr_status status = KDINR_OK;

    c.sorted = malloc(n * sizeof *c.sorted);
    c.sums = calloc(n + 1, sizeof *c.sums);
    c.centres = calloc(n_centres, sizeof *c.centres);
    c.ends = calloc(n_centres + 1, sizeof *c.ends);
    if (c.sorted == NULL || c.sums == NULL || c.centres == NULL || c.ends == NULL) {
        status = kd_fail_memory(error, n * (sizeof *c.sorted + sizeof *c.sums), "clusters");
        goto done;
    }
    memcpy(c.sorted, values, n * sizeof *values);
    qsort(c.sorted, n, sizeof *c.sorted, compare);
    find_centres(&c);
    const int first = (int)spread(&c, n_list, centres) - (int)(n_list / 2);
    for (size_t i = 0; i < n; i++) {
        codes[i] = (int16_t)(first + (int)nearest(&c, (double)values[i]));
    }

done:
    free(c.sorted);
    free(c.sums);
    free(c.centres);
    free(c.ends);
    return status;
}

/* How a network's matrices are clustered. */
typedef struct clustering {
    int bits;
    size_t n_centres;
} clustering;

/* One tensor into the network's floats and codes, which are moved on.
 *  squares  out  sum of squared changes */
static kdinr_status store_tensor(const float *params, size_t n, const clustering *how,
                                 float **floats, int16_t **codes, double *squares,
                                 kdinr_error *error)
{
    const size_t n_list = (size_t)1 << how->bits;
    const float *middle = *floats + n_list / 2;

    KD_TRY(kd_cluster_values(params, n, how->n_centres, how->bits, *floats, *codes, error));
    *squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double miss = (double)params[i] - (double)middle[(*codes)[i]];

        *squares += miss * miss;
    }
    *floats += n_list;
    *codes += n;
    return KDINR_OK;
}

static kdinr_status store(const kd_quant_item *item, const kd_net *net, const clustering *how,
                          double *added, kdinr_error *error)
{
    float *floats = item->network->params;
    int16_t *codes = item->network->codes;

    *added = 0.0;
    for (int tensor = 0; tensor < 2 * net->n_layers; tensor++) {
        size_t n;
        const float *params = item->params + kd_net_tensor(net, tensor, &n);
        double squares;

        if (!kd_kdm_clustered(net, tensor, how->bits)) {
            memcpy(floats, params, n * sizeof *floats);
            floats += n;
            continue;
        }
        KD_TRY(store_tensor(params, n, how, &floats, &codes, &squares, error));
        *added += item->sensitivity[tensor] * squares;
    }
    return KDINR_OK;
}

/* Room for what a network has. */
static bool allocate(const kd_stored *stored, kd_network *network)
{
    if (network->params == NULL) {
        network->params = malloc(stored->n_floats * sizeof *network->params);
    }
    if (network->codes == NULL) {
        network->codes = malloc((stored->n_codes + 1) * sizeof *network->codes);
    }
    return network->params != NULL && network->codes != NULL;
}

static kdinr_status apply(const kd_quant_item *items, size_t n_items, const clustering *how,
                          double *added, kdinr_error *error)
{
    for (size_t i = 0; i < n_items; i++) {
        const kd_quant_item *item = &items[i];
        kd_net net;

        kd_kdm_net(item->array, item->network, &net);
        item->network->kind = KD_NETWORK_CLUSTERED;
        const kd_stored stored = kd_kdm_stored(item->array, item->network);
        if (!allocate(&stored, item->network)) {
            return kd_fail_memory(error, stored.n_floats * sizeof(float), "clustered weights");
        }
        KD_TRY(store(item, &net, how, &added[i], error));
    }
    return KDINR_OK;
}

kdinr_status kd_cluster_apply(const kd_quant_item *items, size_t n_items, int bits, double *added,
                              kdinr_error *error)
{
    return apply(items, n_items, &(clustering){bits, (size_t)1 << bits}, added, error);
}

kdinr_status kd_cluster_fit(const kd_model *model, const kd_quant_item *items, size_t n_items,
                            int bits, const kd_cluster_aim *aim, kdinr_error *error)
{
    size_t low = LEAST_CENTRES, high = (size_t)1 << bits, at = high, size = 0;

    while (low <= high) {
        uint8_t *bytes;

        KD_TRY(apply(items, n_items, &(clustering){bits, at}, aim->added, error));
        KD_TRY(kd_kdm_pack(model, &bytes, &size, error));
        free(bytes);
        if (size <= aim->size && at == high) return KDINR_OK;
        if (size <= aim->size) {
            low = at;
        } else {
            high = at - 1;
        }
        at = (low + high + 1) / 2;
    }
    return kd_fail(
        error, KDINR_ERROR_DATA,
        "the file would have %zu bytes even with %d centres for the weights of a matrix, "
        "asked were %zu; ask for a smaller ratio",
        size, LEAST_CENTRES, aim->size);
}
