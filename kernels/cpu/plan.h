/* Where everything of one network lies in the cpu backend's memory. Before: kd_net. After: every
 * operation in cpu/ looks its offsets up here. All offsets are in floats.
 *
 *   parameters  weights, then biases. Each weight matrix lies with its smaller dimension along the
 *               vector lanes, padded to whole vectors with zeros: [rows][stride]. Gradient and
 *               optimiser state have the same layout, so optimisers see plain runs of memory.
 *   slot        gradient sums of one run of samples: weights as above, biases as one vector of
 *               partial sums per neuron.
 *   packed      the same parameters scaled by omega / pi and in the order in which products read
 *               them: panels for forward and (transposed) for backward, and biases.
 *   tile        KD_TILE samples on their way through the network, always as [neuron][KD_TILE]. */
#ifndef KD_PLAN_H
#define KD_PLAN_H

#include "backend.h"

enum { KD_TILE = 48 };

typedef struct kd_cpu_layer {
    int n_in, n_out;
    bool sine;              /* false: linear */
    float scale;            /* omega / pi, or 1 if linear: products yield half turns */
    bool lanes_are_outputs; /* of the weight matrix in `parameters`; else they are inputs */
    int rows, lanes;        /* the larger and the smaller of n_in, n_out */
    int stride;             /* lanes, rounded up to whole vectors */
    size_t weights, biases; /* in parameters; weights also in a slot */
    size_t partial_biases;  /* in a slot: [n_out][vector] */
    size_t forward_panels, backward_panels, packed_biases; /* in packed */
    size_t input, output, slopes;                          /* in a tile */
} kd_cpu_layer;

typedef struct kd_cpu_plan {
    kd_net net;
    bool training;
    int n_vector;                        /* floats in a vector */
    size_t n_weights, n_biases;          /* in parameters, padding included */
    size_t n_params, n_slot;             /* floats */
    size_t n_packed, n_tile;             /* floats */
    size_t n_muon;                       /* floats of scratch that one thread needs for Muon */
    size_t stream, local, sums, columns; /* in a tile, see backward.c */
    kd_cpu_layer layers[KD_NET_MAX_LAYERS];
} kd_cpu_plan;

/** Lay out `net` for vectors of n_vector floats. */
void kd_cpu_plan_make(const kd_net *net, bool training, int n_vector, kd_cpu_plan *plan);

/** parameters[plan->n_params] = flat[net.n_params], padding zero. */
void kd_cpu_plan_import(const kd_cpu_plan *plan, const float *flat, float *parameters);

/** flat[net.n_params] = parameters[plan->n_params]. */
void kd_cpu_plan_export(const kd_cpu_plan *plan, const float *parameters, float *flat);

#endif
