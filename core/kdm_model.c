/* What follows from the fields of a model: parameters, layer tables, counts, float16. Before:
 * encode.c fills a model, or kdm_read.c reads one. After: kdm.c writes it, decode.c evaluates it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kdm_layout.h"
#include "status.h"

float kd_kdm_step(uint8_t code)
{
    return (float)exp2(-code / 8.0);
}

/* value * 2^-shift, ties to even. */
static uint32_t shift_rounding(uint32_t value, uint32_t shift)
{
    const uint32_t half = UINT32_C(1) << (shift - 1);
    const uint32_t kept = value >> shift;
    const uint32_t lost = value & (2 * half - 1);

    return kept + (lost > half || (lost == half && (kept & 1) != 0));
}

uint16_t kd_float16_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t exponent = bits >> 23 & 0xFF;
    const uint32_t fraction = bits & 0x7FFFFF;

    if (exponent == 0xFF && fraction != 0) return (uint16_t)(sign | 0x7E00);
    if (exponent >= 143) return (uint16_t)(sign | 0x7C00);
    if (exponent >= 113) { /* normal; rounding may carry into the exponent, up to infinity */
        return (uint16_t)(sign | shift_rounding((exponent - 112) << 23 | fraction, 13));
    }
    if (exponent < 102) return (uint16_t)sign;
    return (uint16_t)(sign | shift_rounding(fraction | 0x800000, 126 - exponent));
}

float kd_float16_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 0x1F;
    const int fraction = bits & 0x3FF;
    float value;

    if (exponent == 0x1F) {
        value = fraction != 0 ? NAN : INFINITY;
    } else if (exponent == 0) {
        value = ldexpf((float)fraction, -24);
    } else {
        value = ldexpf((float)(fraction + 0x400), exponent - 25);
    }
    return (bits & 0x8000) != 0 ? -value : value;
}

float kd_kdm_round_float16(float value)
{
    return kd_float16_value(kd_float16_bits(value));
}

void kd_kdm_net(const kd_model_array *array, const kd_network *network, kd_net *net)
{
    const kd_net_shape shape = {.n_inputs = 4 + array->n_modes,
                                .n_outputs = array->n_components,
                                .width = network->width,
                                .depth = network->depth,
                                .block_layers = array->block_layers,
                                .omega_first = array->omega_first,
                                .omega_hidden = array->omega_hidden,
                                .form = array->form};

    kd_net_layout(&shape, net);
}

void kd_kdm_params(const kd_model_array *array, const kd_network *network, float *dst)
{
    kd_net net;

    if (network->kind == KD_NETWORK_CLUSTERED) {
        kd_expand_clusters(array, network, dst);
        return;
    }
    kd_kdm_net(array, network, &net);
    if (network->kind != KD_NETWORK_QUANTISED) {
        memcpy(dst, network->params, net.n_params * sizeof *dst);
        return;
    }
    for (int tensor = 0; tensor < 2 * net.n_layers; tensor++) {
        const float step = kd_kdm_step(network->steps[tensor]);
        size_t n;
        const size_t start = kd_net_tensor(&net, tensor, &n);

        for (size_t i = start; i < start + n; i++) {
            dst[i] = (float)network->codes[i] * step;
        }
    }
}

void kd_kdm_samples(const int dims[3], kdinr_association association, int samples[3])
{
    for (int i = 0; i < 3; i++) {
        samples[i] = association == KDINR_CELLS && dims[i] > 1 ? dims[i] - 1 : dims[i];
    }
}

uint64_t kd_kdm_data_size(const kd_model *model)
{
    double estimate = 0.0;
    uint64_t total = 0;

    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        uint64_t size = (uint64_t)array->n_components * kdinr_type_size(array->type);
        int samples[3];

        kd_kdm_samples(model->dims, array->association, samples);
        size *= (uint64_t)model->n_steps;
        estimate += (double)size * samples[0] * samples[1] * samples[2];
        total += size * (uint64_t)samples[0] * (uint64_t)samples[1] * (uint64_t)samples[2];
    }
    return estimate < 0x1p63 ? total : UINT64_MAX;
}

size_t kd_network_count(const kd_model_array *array)
{
    return (size_t)array->n_windows * (size_t)array->bricks[0] * (size_t)array->bricks[1] *
           (size_t)array->bricks[2];
}

int kd_network_steps(const kd_model_array *array, size_t n)
{
    const size_t window = n / (kd_network_count(array) / (size_t)array->n_windows);

    return array->window_starts[window + 1] - array->window_starts[window];
}

void kd_network_middle(const kd_model_array *array, kd_network *network)
{
    network->kind = KD_NETWORK_CONSTANT;
    for (int c = 0; c < array->n_components; c++) {
        const double middle = 0.5 * array->range[c][0] + 0.5 * array->range[c][1];
        network->range[c][0] = network->range[c][1] = (float)middle;
    }
}

int kd_tensor_count(const kd_model_array *array, const kd_network *network)
{
    const int n_encoder = array->form == KD_FORM_KDINR ? 3 : 1;

    return 2 * (n_encoder + network->depth * array->block_layers + 1);
}

kd_stored kd_kdm_stored(const kd_model_array *array, const kd_network *network)
{
    kd_stored stored = {0, 0};
    kd_net net;

    if (network->kind == KD_NETWORK_CONSTANT) return stored;
    kd_kdm_net(array, network, &net);
    if (network->kind == KD_NETWORK_QUANTISED) {
        stored.n_codes = net.n_params;
        return stored;
    }
    stored.n_floats = net.n_params;
    for (int i = 0; network->kind == KD_NETWORK_CLUSTERED && i < 2 * net.n_layers; i++) {
        size_t n;

        (void)kd_net_tensor(&net, i, &n);
        if (!kd_kdm_clustered(&net, i, array->cluster_bits)) continue;
        stored.n_codes += n;
        stored.n_floats = stored.n_floats - n + ((size_t)1 << array->cluster_bits);
    }
    return stored;
}

/* Has this tensor of a network codes? */
static bool has_codes(const kd_model_array *array, const kd_network *network, const kd_net *net,
                      int tensor)
{
    return network->kind == KD_NETWORK_QUANTISED ||
           kd_kdm_clustered(net, tensor, array->cluster_bits);
}

/* Called for the networks of a range that are QUANTISED or CLUSTERED. */
typedef void (*visitor)(void *user, const kd_model_array *array, const kd_network *network);

static void visit(const kd_model *model, size_t first, size_t n, visitor call, void *user)
{
    size_t base = 0; /* networks of the arrays before */

    for (int a = 0; a < model->n_arrays; a++) {
        const kd_model_array *array = &model->arrays[a];
        const size_t n_networks = kd_network_count(array);
        const size_t from = first > base ? first - base : 0;
        const size_t end = n > SIZE_MAX - first || first + n > base + n_networks ? n_networks
                           : first + n > base                                    ? first + n - base
                                                                                 : 0;
        for (size_t i = from; i < end; i++) {
            const kd_network_kind kind = array->networks[i].kind;

            if (kind == KD_NETWORK_QUANTISED || kind == KD_NETWORK_CLUSTERED) {
                call(user, array, &array->networks[i]);
            }
        }
        base += n_networks;
    }
}

static void add_tensors(void *user, const kd_model_array *array, const kd_network *network)
{
    kd_net net;

    kd_kdm_net(array, network, &net);
    for (int i = 0; i < 2 * net.n_layers; i++) {
        *(size_t *)user += has_codes(array, network, &net, i);
    }
}

static void add_codes(void *user, const kd_model_array *array, const kd_network *network)
{
    *(size_t *)user += kd_kdm_stored(array, network).n_codes;
}

static void list_network(void *user, const kd_model_array *array, const kd_network *network)
{
    kd_entropy_tensor **next = user;
    int16_t *codes = network->codes;
    kd_net net;

    kd_kdm_net(array, network, &net);
    for (int i = 0; i < 2 * net.n_layers; i++) {
        size_t n;

        (void)kd_net_tensor(&net, i, &n);
        if (!has_codes(array, network, &net, i)) continue;
        *(*next)++ = (kd_entropy_tensor){i, codes, n, network->kind == KD_NETWORK_CLUSTERED};
        codes += n;
    }
}

size_t kd_count_codes(const kd_model *model, size_t first, size_t n)
{
    size_t n_codes = 0;

    visit(model, first, n, add_codes, &n_codes);
    return n_codes;
}

kdinr_status kd_list_tensors(const kd_model *model, size_t first, size_t n,
                             kd_entropy_tensor **tensors, size_t *n_tensors, kdinr_error *error)
{
    kd_entropy_tensor *next;
    size_t size;

    *n_tensors = 0;
    visit(model, first, n, add_tensors, n_tensors);
    *tensors = NULL;
    if (!kd_size_mul(*n_tensors + 1, sizeof **tensors, &size)) size = SIZE_MAX;
    *tensors = next = malloc(size);
    if (next == NULL) return kd_fail_memory(error, size, "list of tensors");
    visit(model, first, n, list_network, &next);
    return KDINR_OK;
}

void kd_network_release(kd_network *network)
{
    free(network->modes);
    free(network->codes);
    free(network->params);
}

void kd_free_loaded(kd_model_array *array)
{
    const size_t n_networks = array->networks != NULL ? kd_network_count(array) : 0;

    for (size_t i = 0; i < n_networks; i++) {
        kd_network_release(&array->networks[i]);
    }
    for (int i = 0; array->masks != NULL && i < array->n_masks; i++) {
        free(array->masks[i].bytes);
    }
    kd_free_residuals(array);
    free(array->networks);
    free(array->masks);
    free(array->step_masks);
    array->networks = NULL;
    array->masks = NULL;
    array->step_masks = NULL;
}

void kd_kdm_free(kd_model *model)
{
    for (int a = 0; model->arrays != NULL && a < model->n_arrays; a++) {
        kd_model_array *array = &model->arrays[a];

        kd_free_loaded(array);
        free(array->name);
        free(array->window_starts);
        free(array->psnr);
        free(array->max_error);
    }
    free(model->arrays);
    for (int axis = 0; axis < 3; axis++) {
        free(model->axes[axis]);
    }
    free(model->times);
    free(model->provenance);
    free(model->packs);
    memset(model, 0, sizeof *model);
}
