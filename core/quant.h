/* Parameters to integer codes. Before: rounding.c, at the end of a student's training, makes them
 * multiples of units. After: kdm.c packs the codes. Each tensor (weights or biases of a layer) has
 * one unit, the step of its codes; those of a network follow from one number so that the error is
 * spread where a byte buys most.
 *
 * A tensor of N weights with step q adds about N s q^2 / 12 to the mean squared error of the
 * outputs, s being the sensitivity, and takes N (h - log2 q) bits. Least error for given bits:
 * q = lambda / sqrt(s). Not in the paper, which stores float32. */
#ifndef KD_QUANT_H
#define KD_QUANT_H

#include "kdm.h"
#include "net.h"

/** A network and places that stand for its whole brick. */
typedef struct kd_quant_probe {
    const kd_backend *backend;
    const kdinr_options *options; /* where and by how many threads */
    const kd_net *net;
    const float *params; /* [net->n_params] */
    const float *coords; /* [n][net->n_inputs] */
    size_t n;
    uint64_t key; /* of random numbers */
} kd_quant_probe;

/** Mean squared derivative of the outputs with respect to the weights of each tensor, by changing
 * all weights of a tensor by a random sign times a small amount. sensitivity  out [2 * n_layers],
 * squared output per squared weight, averaged over samples and outputs errors  MEMORY, BACKEND */
kdinr_status kd_quant_measure(const kd_quant_probe *probe, double *sensitivity, kdinr_error *error);

/** Of any step, on both sides of 0. */
#define KD_QUANT_MAX_CODE 32767

/** Steps with which a network's codes take about `size` bytes, and not more.
 *  sensitivity  [2 * n_layers], of kd_feedback_measure
 *  units        out [2 * n_layers]
 *  errors       MEMORY */
kdinr_status kd_quant_units(const kd_net *net, const float *params, const double *sensitivity,
                            double size, float *units, kdinr_error *error);

/** Steps with which rounding adds about `mse` to the mean squared error of the outputs.
 *  sensitivity, units  as above */
void kd_quant_units_for(const kd_net *net, const float *params, const double *sensitivity,
                        double mse, float *units);

/** Bytes that the codes of parameters take which are multiples of their units.
 *  errors  MEMORY */
kdinr_status kd_quant_size(const kd_net *net, const float *params, const float *units, double *size,
                           kdinr_error *error);

/** One student of the file, as quantisation sees it. */
typedef struct kd_quant_item {
    const kd_model_array *array;
    kd_network *network;       /* to fill: becomes QUANTISED */
    const float *params;       /* [n_params] float32 */
    const double *sensitivity; /* [2 * n_layers], of kd_quant_measure */
    const float *units;        /* [2 * n_layers] what the parameters are multiples of; NULL: they
                                  are not rounded, and will not be QUANTISED */
} kd_quant_item;

/** Quantise all items. With `coarser` 0 they keep their units; with more, one tensor after the
 *  other gets the next coarser step, all of them per eighth.
 *  errors  MEMORY */
kdinr_status kd_quant_apply(const kd_quant_item *items, size_t n_items, double coarser,
                            kdinr_error *error);

/** Quantise all items so that the packed model has at most `target` bytes, with units as they are
 *  or as little coarser as will do: steps stop at 2^-16 of the largest weight.
 *  errors  DATA (even the coarsest steps give more bytes than `target`), MEMORY */
kdinr_status kd_quant_fit(const kd_model *model, const kd_quant_item *items, size_t n_items,
                          uint64_t target, kdinr_error *error);

/** Mean squared output error that the steps of a QUANTISED network are expected to add to that of
 *  its parameters: none where a tensor was rounded to its step already.
 *  units  [2 * n_layers], as in kd_quant_item */
double kd_quant_expected(const kd_model_array *array, const kd_network *network,
                         const double *sensitivity, const float *units);

/** Store as FLOAT32 or FLOAT16 instead.
 *  errors  MEMORY */
kdinr_status kd_quant_keep(const kd_quant_item *item, kd_network_kind kind, kdinr_error *error);

#endif
