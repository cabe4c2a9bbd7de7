/* One network as data: the layer table of Table I, its parameter count and its initialisation.
 * Used by teachers (3 inputs), students (4 inputs) and the decoder. */
#ifndef KD_NET_H
#define KD_NET_H

#include "backend.h"

/** How a network's layers follow one another. Numbers are stored in files.
 *  source  SIREN: Sitzmann et al., 2020; NeurComp: Lu et al., 2021, and their program: blocks
 *          h + f(h); the halves by which it multiplies what blocks and the last layer read are here
 *          part of their weights */
typedef enum kd_form {
    KD_FORM_KDINR = 0, /* encoder m, 2m, 4m; blocks on 4m that average (Table I, CoordNet) */
    KD_FORM_SIREN = 1, /* layers of m neurons: one and then d, nothing passes by */
    KD_FORM_EVEN = 2   /* a layer of m neurons; blocks of two such layers that sum (our default,
                          NeurComp) */
} kd_form;

/** What distinguishes one network of the family from another. */
typedef struct kd_net_shape {
    int n_inputs;     /* 3; 4 and more: time and its modes too */
    int n_outputs;    /* 1..9 */
    int width;        /* m, 2..256 */
    int depth;        /* d, 1..32 */
    int block_layers; /* KDINR: 3 bottleneck, 2 plain; SIREN: 1; EVEN: 2 */
    float omega_first, omega_hidden;
    kd_form form;
} kd_net_shape;

/** Parameters of a network. With 4 inputs, 1 output and bottleneck this is the paper's formula
 *  (sec. III-D) plus the output layer's 4m + 1, which the paper leaves out:
 *  (4m + m) + (2m^2 + 2m) + (8m^2 + 4m) + d (4m^2 + m + m^2 + m + 4m^2 + 4m) + (4m + 1). */
size_t kd_net_count(const kd_net_shape *shape);

/** Fill the layer table. The shape must be within the ranges above. */
void kd_net_layout(const kd_net_shape *shape, kd_net *net);

/** The widest m in 2..256 whose network has at most n_params parameters (2 if none has).
 *  shape->width is ignored. */
int kd_net_width_for(const kd_net_shape *shape, double n_params);

/** SIREN initialisation (Sitzmann et al., cited in sec. IV): first layer uniform in +-1/n_in
 *  (columns of modes: not counted, and 0),
 *  others in +-sqrt(6/n_in)/omega_hidden, half of that where NeurComp halves what is read: after
 *  blocks that sum; biases uniform in +-1/sqrt(n_in).
 *  params  out [net->n_params] */
void kd_net_initialise(const kd_net *net, float omega_hidden, uint64_t seed, uint64_t stream,
                       float *params);

/** Change what the outputs mean: afterwards the network answers scale[c] * old + offset[c].
 *  params  in/out [net->n_params] */
void kd_net_rescale(const kd_net *net, const double *scale, const double *offset, float *params);

/** Where a tensor lies in the flat parameter block: 2 l is the weights of layer l, 2 l + 1 its
 * biases. n  out its length returns its first index */
size_t kd_net_tensor(const kd_net *net, int tensor, size_t *n);

/** Start a network of time from a 3-input one of the same width, depth and block: same parameters,
 *  the columns of time and its modes zero.
 *  params  out [student->n_params] */
void kd_net_add_time(const kd_net *teacher, const float *teacher_params, const kd_net *student,
                     float *params);

#endif
