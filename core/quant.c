/* Quantisation of the students' parameters; quant.h has the reasoning. */
#include "quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "entropy.h"
#include "rng.h"
#include "status.h"

enum { N_STEP_CODES = 256, FIT_ROUNDS = 24, UNIT_ROUNDS = 16 };

static double root_mean_square(const float *values, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i] * values[i];
    }
    return sqrt(sum / (double)n);
}

/* What measuring one network needs. */
typedef struct measurement {
    const kd_quant_probe *probe;
    void *state;    /* of the backend */
    float *moved;   /* [n_params] */
    float *outputs; /* [n][n_outputs] of the parameters as they are */
    float *after;   /* [n][n_outputs] of moved */
} measurement;

static kdinr_status measure_tensor(measurement *m, int tensor, double *sensitivity,
                                   kdinr_error *error)
{
    const kd_quant_probe *probe = m->probe;
    const kd_net *net = probe->net;
    const size_t n_values = probe->n * (size_t)net->n_outputs;
    size_t n;
    const size_t start = kd_net_tensor(net, tensor, &n);
    const double delta = 0.01 * root_mean_square(probe->params + start, n) + 1e-6;
    double sum = 0.0;

    memcpy(m->moved, probe->params, net->n_params * sizeof *m->moved);
    for (size_t i = 0; i < n; i++) {
        const bool minus = kd_rng_at(probe->key, start + i) >> 63;
        m->moved[start + i] += (float)(minus ? -delta : delta);
    }
    KD_TRY(probe->backend->set_params(m->state, m->moved, error));
    KD_TRY(probe->backend->evaluate(m->state, probe->coords, probe->n, m->after, error));
    for (size_t i = 0; i < n_values; i++) {
        const double change = (double)m->after[i] - m->outputs[i];
        sum += change * change;
    }
    *sensitivity = fmax(sum / (double)n_values / (delta * delta * (double)n), 1e-12);
    return KDINR_OK;
}

kdinr_status kd_quant_measure(const kd_quant_probe *probe, double *sensitivity, kdinr_error *error)
{
    const kd_backend_config config = kd_backend_evaluation(probe->options);
    const kd_backend *backend = probe->backend;
    const size_t n_values = probe->n * (size_t)probe->net->n_outputs;
    measurement m = {.probe = probe};
    kdinr_status status = KDINR_OK;

    m.moved = malloc(probe->net->n_params * sizeof *m.moved);
    m.outputs = malloc(n_values * sizeof *m.outputs);
    m.after = malloc(n_values * sizeof *m.after);
    if (m.moved == NULL || m.outputs == NULL || m.after == NULL) {
        status = kd_fail_memory(error, (probe->net->n_params + 2 * n_values) * sizeof(float),
                                "sensitivity");
        goto done;
    }
    KD_TRY_DONE(backend->open(probe->net, &config, &m.state, error));
    KD_TRY_DONE(backend->set_params(m.state, probe->params, error));
    KD_TRY_DONE(backend->evaluate(m.state, probe->coords, probe->n, m.outputs, error));
    for (int tensor = 0; tensor < 2 * probe->net->n_layers; tensor++) {
        KD_TRY_DONE(measure_tensor(&m, tensor, &sensitivity[tensor], error));
    }

done:
    backend->close(m.state);
    free(m.moved);
    free(m.outputs);
    free(m.after);
    return status;
}

/* The coarsest step code that is not above the wanted step, and fine enough a range for the codes.
 */
static uint8_t step_code(double step, double largest)
{
    int code = (int)ceil(-8.0 * log2(step));

    code = code < 0 ? 0 : code > N_STEP_CODES - 1 ? N_STEP_CODES - 1 : code;
    while (code > 0 && largest / (double)kd_kdm_step((uint8_t)code) > KD_QUANT_MAX_CODE) {
        code--;
    }
    return (uint8_t)code;
}

static void find_codes(const float *params, size_t n, double unit, int16_t *codes)
{
    for (size_t i = 0; i < n; i++) {
        const double rounded = nearbyint(params[i] / unit);
        codes[i] = (int16_t)(rounded < -KD_QUANT_MAX_CODE  ? -KD_QUANT_MAX_CODE
                             : rounded > KD_QUANT_MAX_CODE ? KD_QUANT_MAX_CODE
                                                           : rounded);
    }
}

static double largest_of(const float *params, size_t n)
{
    double largest = 0.0;

    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)params[i]));
    }
    return largest;
}

/* Units from steps lambda / sqrt(sensitivity). */
static void units_of(const kd_net *net, const float *params, const double *sensitivity,
                     double lambda, float *units)
{
    for (int tensor = 0; tensor < 2 * net->n_layers; tensor++) {
        size_t n;
        const size_t start = kd_net_tensor(net, tensor, &n);
        const double largest = largest_of(params + start, n);

        units[tensor] = kd_kdm_step(step_code(lambda / sqrt(sensitivity[tensor]), largest));
    }
}

static kdinr_status size_of(const kd_net *net, const float *params, const float *units,
                            int16_t *codes, double *size, kdinr_error *error)
{
    const int n_tensors = 2 * net->n_layers;
    kd_entropy_tensor tensors[KD_KDM_MAX_TENSORS];
    uint8_t *packed;
    size_t found;

    for (int tensor = 0; tensor < n_tensors; tensor++) {
        size_t n;
        const size_t start = kd_net_tensor(net, tensor, &n);

        find_codes(params + start, n, (double)units[tensor], codes + start);
        tensors[tensor] = (kd_entropy_tensor){tensor, codes + start, n, false};
    }
    KD_TRY(kd_entropy_pack_codes(tensors, (size_t)n_tensors, &packed, &found, error));
    free(packed);
    *size = (double)found;
    return KDINR_OK;
}

kdinr_status kd_quant_size(const kd_net *net, const float *params, const float *units, double *size,
                           kdinr_error *error)
{
    int16_t *codes = malloc(net->n_params * sizeof *codes);

    if (codes == NULL) return kd_fail_memory(error, net->n_params * sizeof *codes, "codes");
    const kdinr_status status = size_of(net, params, units, codes, size, error);
    free(codes);
    return status;
}

kdinr_status kd_quant_units(const kd_net *net, const float *params, const double *sensitivity,
                            double size, float *units, kdinr_error *error)
{
    int16_t *codes = malloc(net->n_params * sizeof *codes);
    double low = -30.0, high = 10.0; /* of log2 lambda: steps finer and coarser than any use */
    kdinr_status status = KDINR_OK;
    double found;

    if (codes == NULL) return kd_fail_memory(error, net->n_params * sizeof *codes, "codes");
    for (int round = 0; round < UNIT_ROUNDS; round++) {
        const double at = 0.5 * (low + high);

        units_of(net, params, sensitivity, exp2(at), units);
        KD_TRY_DONE(size_of(net, params, units, codes, &found, error));
        *(found > size ? &low : &high) = at;
    }
    units_of(net, params, sensitivity, exp2(high), units);

done:
    free(codes);
    return status;
}

void kd_quant_units_for(const kd_net *net, const float *params, const double *sensitivity,
                        double mse, float *units)
{
    /* every tensor adds N s q^2 / 12 = N lambda^2 / 12 */
    units_of(net, params, sensitivity, sqrt(12.0 * mse / (double)net->n_params), units);
}

/* The step that a tensor should have. Steps are eighths of an octave apart; the golden ratio
 * decides which tensor moves on first. */
static double wanted_step(const kd_quant_item *item, int tensor, double coarser)
{
    const double turn = 0.01 + 0.98 * fmod(0.618034 * tensor, 1.0);

    return item->units[tensor] * exp2(coarser + turn / 8.0);
}

static kdinr_status apply_item(const kd_quant_item *item, double coarser, kdinr_error *error)
{
    kd_network *network = item->network;
    kd_net net;

    kd_kdm_net(item->array, network, &net);
    network->kind = KD_NETWORK_QUANTISED;
    if (network->codes == NULL) {
        network->codes = malloc(net.n_params * sizeof *network->codes);
        if (network->codes == NULL) {
            return kd_fail_memory(error, net.n_params * sizeof *network->codes, "weight codes");
        }
    }
    for (int tensor = 0; tensor < 2 * net.n_layers; tensor++) {
        size_t n;
        const size_t start = kd_net_tensor(&net, tensor, &n);
        const float *params = item->params + start;
        const uint8_t code = step_code(wanted_step(item, tensor, coarser), largest_of(params, n));

        network->steps[tensor] = code;
        find_codes(params, n, kd_kdm_step(code), network->codes + start);
    }
    return KDINR_OK;
}

kdinr_status kd_quant_apply(const kd_quant_item *items, size_t n_items, double coarser,
                            kdinr_error *error)
{
    for (size_t i = 0; i < n_items; i++) {
        KD_TRY(apply_item(&items[i], coarser, error));
    }
    return KDINR_OK;
}

static kdinr_status packed_size(const kd_model *model, const kd_quant_item *items, size_t n_items,
                                double coarser, double *size, kdinr_error *error)
{
    uint8_t *bytes;
    size_t n;

    KD_TRY(kd_quant_apply(items, n_items, coarser, error));
    KD_TRY(kd_kdm_pack(model, &bytes, &n, error));
    free(bytes);
    *size = (double)n;
    return KDINR_OK;
}

static double total_params(const kd_quant_item *items, size_t n_items)
{
    double n = 0.0;

    for (size_t i = 0; i < n_items; i++) {
        kd_net net;
        kd_kdm_net(items[i].array, items[i].network, &net);
        n += (double)net.n_params;
    }
    return n;
}

kdinr_status kd_quant_fit(const kd_model *model, const kd_quant_item *items, size_t n_items,
                          uint64_t target, kdinr_error *error)
{
    const double wanted = (double)target;
    const double per_octave = total_params(items, n_items) / 8.0; /* bytes that one bit costs */
    double low = 0.0, high = INFINITY; /* low: too many bytes; high: fits */
    double at = 0.0, size = 0.0;

    for (int round = 0; round < FIT_ROUNDS; round++) {
        KD_TRY(packed_size(model, items, n_items, at, &size, error));
        if (size > wanted) {
            low = at;
        } else {
            high = at;
            if (at == 0.0 || size >= 0.985 * wanted) break;
        }
        if (high - low < 1e-3 || at > 60.0) break;
        double next = at + fmax(-4.0, fmin(4.0, (size - 0.995 * wanted) / per_octave));
        if (!(next > low && next < high)) next = 0.5 * (low + high);
        at = next;
    }
    if (size > wanted && isfinite(high)) {
        KD_TRY(packed_size(model, items, n_items, high, &size, error));
    }
    if (size > wanted) {
        return kd_fail(
            error, KDINR_ERROR_DATA,
            "the file would have %.0f bytes even with the coarsest weights, asked were %llu; "
            "ask for a smaller ratio",
            size, (unsigned long long)target);
    }
    return KDINR_OK;
}

double kd_quant_expected(const kd_model_array *array, const kd_network *network,
                         const double *sensitivity, const float *units)
{
    double mse = 0.0;
    kd_net net;

    kd_kdm_net(array, network, &net);
    for (int tensor = 0; tensor < 2 * net.n_layers; tensor++) {
        const double step = kd_kdm_step(network->steps[tensor]);
        size_t n;

        if ((float)step == units[tensor]) continue;
        (void)kd_net_tensor(&net, tensor, &n);
        mse += (double)n * sensitivity[tensor] * step * step / 12.0;
    }
    return mse;
}

kdinr_status kd_quant_keep(const kd_quant_item *item, kd_network_kind kind, kdinr_error *error)
{
    kd_network *network = item->network;
    kd_net net;

    kd_kdm_net(item->array, network, &net);
    if (network->params == NULL) {
        network->params = malloc(net.n_params * sizeof *network->params);
        if (network->params == NULL) {
            return kd_fail_memory(error, net.n_params * sizeof *network->params, "weights");
        }
    }
    network->kind = kind;
    for (size_t i = 0; i < net.n_params; i++) {
        const float value = item->params[i];
        network->params[i] = kind == KD_NETWORK_FLOAT16 ? kd_kdm_round_float16(value) : value;
    }
    return KDINR_OK;
}
