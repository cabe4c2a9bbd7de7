/* Parameters to integer codes. Before: distill.c leaves students in float32. After: kdm.c packs the
 * codes. Each tensor (weights or biases of a layer) has one step; the steps of the whole file
 * follow from one number so that the error is spread where a byte buys most.
 *
 * A tensor of N weights with step q adds about N s q^2 / 12 to the mean squared error of the
 * outputs, s being its mean squared derivative (the sensitivity), and takes N (h - log2 q) bits.
 * Least error for given bits: q = lambda / sqrt(s v), v = what one unit of output error weighs in
 * the file (samples * (range / peak)^2). Not in the paper, which stores float32.
 *
 * When a size is asked for, the steps are chosen before the end of training (kd_quant_units), and
 * the last part of it is done with rounded weights. These then lose next to nothing by rounding,
 * and fewer bits for more weights pay. */
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

/** Steps with which a network's codes take about `size` bytes, and not more.
 *  sensitivity  [2 * n_layers], see kd_quant_measure
 *  units        out [2 * n_layers]
 *  errors       MEMORY */
kdinr_status kd_quant_units(const kd_net *net, const float *params, const double *sensitivity,
                            double size, float *units, kdinr_error *error);

/** One student of the file, as quantisation sees it. */
typedef struct kd_quant_item {
    const kd_model_array *array;
    kd_network *network;       /* to fill: becomes QUANTISED */
    const float *params;       /* [n_params] float32 */
    const double *sensitivity; /* [2 * n_layers] */
    double weight;             /* v above, > 0 */
    const float *units;        /* [2 * n_layers] what the parameters are multiples of; NULL: they
                                  are not rounded yet */
} kd_quant_item;

/** Quantise all items with steps from `log2_lambda`. Items that have units keep these with 0; with
 *  more, one tensor after the other gets the next coarser step, all of them per eighth.
 *  errors  MEMORY */
kdinr_status kd_quant_apply(const kd_quant_item *items, size_t n_items, double log2_lambda,
                            kdinr_error *error);

/** Quantise all items so that the packed model has at most `target` bytes and at least 98.5 % of it
 *  if that is possible at all (steps stop at 2^-16 of the largest weight; units are not made
 * finer). Either all items have units or none has. log2_lambda  out, may be NULL: what was chosen
 *  errors       DATA (even the coarsest steps give more bytes than `target`), MEMORY */
kdinr_status kd_quant_fit(const kd_model *model, const kd_quant_item *items, size_t n_items,
                          uint64_t target, double *log2_lambda, kdinr_error *error);

/** The log2_lambda at which quantisation adds `mse` (in the unit of the items' weights: sum over
 *  items of weight * output error) to the file's error. */
double kd_quant_lambda_for(const kd_quant_item *items, size_t n_items, double mse);

/** Mean squared output error that the steps of a QUANTISED network are expected to add to that of
 *  its parameters: none where a tensor was rounded to its step already.
 *  units  [2 * n_layers] or NULL, as in kd_quant_item */
double kd_quant_expected(const kd_model_array *array, const kd_network *network,
                         const double *sensitivity, const float *units);

/** Store as FLOAT32 or FLOAT16 instead.
 *  errors  MEMORY */
kdinr_status kd_quant_keep(const kd_quant_item *item, kd_network_kind kind, kdinr_error *error);

#endif
