/* The reference backend: every operation in plain loops and doubles, one sample at a time.
 * It is the tests' oracle: whoever disagrees with it is wrong. backend_reference.c calls the
 * operations in the order forward, backward, muon or adam. */
#ifndef KD_REFERENCE_H
#define KD_REFERENCE_H

#include "backend.h"

enum { KD_REFERENCE_MAX_NEURONS = 4 * KD_NET_MAX_WIDTH };

extern const kd_backend kd_reference_backend;

/** What one sample leaves behind on its way through the network. */
typedef struct kd_reference_trace {
    /* inputs[l] enters layer l (the residual is already in it), inputs[n_layers] is the answer */
    double inputs[KD_NET_MAX_LAYERS + 1][KD_REFERENCE_MAX_NEURONS];
    /* slopes[l]: derivative of layer l's output by its W x + b: omega * cos(omega (W x + b)) */
    double slopes[KD_NET_MAX_LAYERS][KD_REFERENCE_MAX_NEURONS];
} kd_reference_trace;

/** Move one sample through the network.
 *  params  in      [n_params]
 *  trace   in/out  inputs[0] is given, the rest is filled */
void kd_reference_forward(const kd_net *net, const double *params, kd_reference_trace *trace);

/** Add one sample's part of the gradient.
 *  answer    in/out  [n_outputs] derivative of the loss by the network's outputs; room for
 *                    KD_REFERENCE_MAX_NEURONS values, overwritten
 *  gradient  in/out  [n_params] */
void kd_reference_backward(const kd_net *net, const double *params, const kd_reference_trace *trace,
                           double *answer, double *gradient);

/** One Adam step on `n` parameters (Kingma and Ba, 2015; beta 0.9 and 0.999, eps 1e-8).
 *  step    in      1 for the first step
 *  first   in/out  [n] running mean of the gradient
 *  second  in/out  [n] running mean of its square */
void kd_reference_adam(size_t n, double rate, size_t step, const double *gradient, double *first,
                       double *second, double *params);

/** One Muon step on a matrix, as kd_step says (Jordan et al., 2024).
 *  gradient  in      [n_out][n_in]
 *  momentum  in/out  [n_out][n_in]
 *  params    in/out  [n_out][n_in]
 *  scratch   out     [kd_reference_muon_scratch(n_out, n_in)] */
void kd_reference_muon(int n_out, int n_in, double rate, const double *gradient, double *momentum,
                       double *params, double *scratch);

/** Number of doubles of scratch that kd_reference_muon needs. */
size_t kd_reference_muon_scratch(int n_out, int n_in);

#endif
