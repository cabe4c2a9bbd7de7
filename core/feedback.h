/* Rounding of a network's parameters with error feedback: what one number loses, the numbers of its
 * row that are still to be rounded make up for. Before: rounding.c chooses the units. After: the
 * parameters are multiples of these.
 *
 * A row of a layer's matrix with its bias, w, moves the outputs by g (w . x): x is what the layer
 * reads, with a 1 for the bias, g the outputs' derivative by the row's sum. Rounded to q it adds
 *   (w - q)^T H (w - q),  H = sum over samples of g^2 x x^T = L L^T,
 * to the squared error. From the last number to the first each is rounded after the errors of those
 * behind it were added, by L's columns, so that number i costs L_ii^2 times its own rounding error
 * squared, and not H_ii times it. That is GPTQ (Frantar et al., 2023), which leaves out g. Layers
 * are rounded from the first to the last, and w is first moved so that with what the rounded layers
 * before give the row's sums stay what they were, as nearly as one step can; H is of the x that
 * there was before any rounding. Not in the paper, which stores float32. */
#ifndef KD_FEEDBACK_H
#define KD_FEEDBACK_H

#include "kdinr.h"
#include "net.h"

typedef struct kd_feedback kd_feedback;

/** How many places are worth having, 512 to 4096: fewer where rows are short, and where a network
 * is so large that they would take much memory. */
size_t kd_feedback_places(const kd_net *net);

/** A network and places that stand for all that it is asked for.
 *  net, params  kept by the caller until the end
 *  coords       [n][net->n_inputs], n >= 1
 *  *made must be freed with kd_feedback_free whatever the outcome.
 *  errors  MEMORY */
kdinr_status kd_feedback_make(const kd_net *net, const float *params, const float *coords, size_t n,
                              int n_threads, kd_feedback **made, kdinr_error *error);

/** What rounding will cost: N parameters of a tensor with unit q add about N s q^2 / 12 to the mean
 * squared error of the outputs, less what the layers that follow make up for.
 *  sensitivity  out s, [2 * n_layers], > 0 */
void kd_feedback_measure(const kd_feedback *feedback, double *sensitivity);

/** Mean squared difference of the outputs to targets, [n][n_outputs].
 *  rounded  those of the latest kd_feedback_round, not those before */
double kd_feedback_error(const kd_feedback *feedback, const float *targets, bool rounded);

/** Round all parameters.
 *  units   [2 * n_layers], > 0
 *  params  out [n_params] multiples of the units, at most 32767 of them
 *  returns the mean squared change of the outputs, at the places */
double kd_feedback_round(kd_feedback *feedback, const float *units, float *params);

/** NULL is fine. */
void kd_feedback_free(kd_feedback *feedback);

#endif
