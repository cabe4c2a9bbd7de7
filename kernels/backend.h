/* The compute backends: what trains a network on a batch and what evaluates it.
 * Above: core/train.c (training) and core/decode.c (evaluation). Below: reference/, cpu/, cuda/.
 * A whole batch per call; no type of VTK or CUDA crosses this header. */
#ifndef KD_BACKEND_H
#define KD_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kdinr.h"

enum {
    KD_NET_MAX_DEPTH = 32,
    KD_NET_MAX_WIDTH = 256,                  /* m; the widest layer has 4m neurons */
    KD_NET_MAX_MODES = 4,                    /* of time, see core/modes.h */
    KD_NET_MAX_TIMES = 1 + KD_NET_MAX_MODES, /* inputs that follow x, y, z: time, then its modes */
    KD_NET_MAX_INPUTS = 3 + KD_NET_MAX_TIMES,
    KD_NET_MAX_OUTPUTS = 9,
    KD_NET_MAX_LAYERS = 3 + 3 * KD_NET_MAX_DEPTH + 1,
    KD_NET_MAX_TENSORS = 2 * KD_NET_MAX_LAYERS /* weights and biases of each layer */
};

enum { KD_MOST_TURNS = 256 }; /* of one call of train_supply */

enum { KD_GROUP_ROWS = 4 }; /* of a batch, see gradient_weight */

/** One linear layer, y = W x + b, followed by sin(omega * y) unless omega is 0.
 *  Parameters live in the network's flat block: W at `weights` as [n_out][n_in], b at `biases`. */
typedef struct kd_layer {
    int n_in, n_out;
    size_t weights, biases; /* offsets, in floats */
    float omega;
} kd_layer;

/** What a block makes of its input h and its layers' answer f(h). */
typedef enum kd_skip {
    KD_SKIP_MEAN = 0, /* (h + f(h)) / 2 */
    KD_SKIP_SUM = 1,  /* h + f(h) */
    KD_SKIP_NONE = 2  /* f(h): the blocks are layers one after another */
} kd_skip;

/** One network as data (Table I): encoder of `n_encoder` layers, `depth` blocks of `block_layers`
 *  layers each, one linear output layer. Backends ask blocks.h which layer is what. */
typedef struct kd_net {
    int n_inputs;     /* 3: x, y, z; 4 and more: time and its modes too */
    int n_outputs;    /* components, 1..9 */
    int width;        /* m */
    int depth;        /* d */
    int block_layers; /* 3: bottleneck 4m-m-m-4m; 2: plain 4m-4m-4m or m-m-m; 1: m-m */
    int n_layers;     /* n_encoder + depth * block_layers + 1 */
    size_t n_params;
    kd_layer layers[KD_NET_MAX_LAYERS];
    int n_encoder; /* 3: m, 2m, 4m; 1: m */
    kd_skip skip;
} kd_net;

/** How a backend instance is set up. */
typedef struct kd_backend_config {
    int n_threads; /* 0: all */
    bool training; /* false: evaluate only, no optimiser state */
    kdinr_optimizer optimizer;
    size_t max_batch;          /* largest n of train_step and gradient; evaluate takes any n */
    kdinr_precision precision; /* of products, where the backend has a choice */
    uint64_t devices;          /* of backends that have several, as kdinr_options has it; */
    unsigned turn;             /* the instance is on the turn-th of them, counted round and round */
    double gradient_weight; /* of the loss on gradients (groups.h), in training. More than 0: rows
                               come in groups of KD_GROUP_ROWS, a sample and its neighbours along
                               x, y and z, or itself again where there is none */
} kd_backend_config;

/** Muon's weight decay: without it the matrices, and with them the frequencies, grow as long as a
 *  training lasts. */
#define KD_MATRIX_DECAY 0.3

/** One optimiser step's rates. Adam: beta 0.9, 0.999, eps 1e-8, bias-corrected (the paper, sec.
 * IV). With KDINR_OPTIMIZER_MUON hidden matrices (all weights except the first and last layer's)
 * move by rate_matrix * 0.2 * sqrt(max(n_out, n_in)) * orthogonalised Nesterov momentum (momentum
 * 0.95, buffer = lerp(buffer, gradient, 0.05), update = lerp(gradient, buffer, 0.95); five
 * Newton-Schulz steps with 3.4445, -4.7750, 2.0315 after division by the Frobenius norm + 1e-12),
 * after they have lost the share rate_matrix * KD_MATRIX_DECAY, as Liu et al. (2025) do; everything
 * else by Adam with rate_adam. */
typedef struct kd_step {
    double rate_adam;
    double rate_matrix;
} kd_step;

/** The samples of a box: all combinations of three axes' coordinates, at one time. */
typedef struct kd_grid {
    const float *axes[3]; /* [n[a]] coordinates along x, y, z, about [-1,1] */
    size_t n[3];
    float times[KD_NET_MAX_TIMES]; /* the inputs after the third, as many as the network has */
} kd_grid;

/** Tables by which samples of a box are chosen: blocks by Walker's method, see draw.h. */
typedef struct kd_chooser {
    int dims[3];   /* samples of the box */
    int counts[3]; /* blocks */
    int edge;      /* samples along a block's edge; the last blocks may be smaller */
    size_t n_blocks;
    const float *keep;     /* [n_blocks] probability of staying in the column that was hit */
    const uint32_t *alias; /* [n_blocks] the other block of the column */
} kd_chooser;

/** What is to be learnt of one time step: the data, what a network says, or -1 everywhere; clamped
 *  to [-1,1], then times `scale` plus `offset`. */
typedef struct kd_answer {
    const uint8_t *classes;        /* [samples] only those with 0 are drawn; NULL: all are */
    const float *values;           /* [samples][n_outputs]; NULL: */
    const kd_net *net;             /* of (x,y,z); NULL: -1 */
    const float *params;           /* [net->n_params] */
    float times[KD_NET_MAX_TIMES]; /* the inputs after the third */
    double scale[KD_NET_MAX_OUTPUTS], offset[KD_NET_MAX_OUTPUTS];
} kd_answer;

/** An endless sequence of samples: number k belongs to answers[k % n_answers] and is chosen by
 *  random number k of the stream with `key` (draw.h). */
typedef struct kd_supply {
    kd_chooser chooser;
    const float *axes[3]; /* [dims[a]] coordinates along x, y, z */
    uint64_t key;
    int n_answers;
    const kd_answer *answers; /* [n_answers] */
} kd_supply;

/** What one instance is asked of train_supply: optimiser steps, each as train_step, on its supply's
 *  samples first .. first + n - 1, the next n, and so on. */
typedef struct kd_turn {
    void *state; /* has a supply */
    uint64_t first;
    size_t n;             /* samples of a batch */
    const kd_step *steps; /* as many as the call says, as are */
    double *losses;       /* out */
} kd_turn;

typedef struct kd_backend {
    const char *name;

    /** Can it run here? If not, *reason (static text) says why. `reason` may be NULL. What follows
     *  is there to be called only if it can. */
    bool (*available)(const char **reason);

    /** Make an instance for `net` (copied). Parameters are unset. *state is NULL on failure.
     *  errors  MEMORY, BACKEND */
    kdinr_status (*open)(const kd_net *net, const kd_backend_config *config, void **state,
                         kdinr_error *error);
    void (*close)(void *state); /* NULL is fine */

    /** Copy parameters in ([n_params]) and reset the optimiser's state. */
    kdinr_status (*set_params)(void *state, const float *params, kdinr_error *error);

    /** Copy parameters out ([n_params]). */
    kdinr_status (*get_params)(void *state, float *params, kdinr_error *error);

    /** Mean squared error over n samples and all outputs, and its gradient; nothing moves. With
     *  gradient_weight the gradient is that of both losses, `loss` that of values alone.
     *  coords    in  [n][n_inputs], about [-1,1]
     *  targets   in  [n][n_outputs]
     *  gradient  out [n_params]
     *  loss      out mean over n * n_outputs of (prediction - target)^2, eq. 3 divided by the count
     */
    kdinr_status (*gradient)(void *state, const float *coords, const float *targets, size_t n,
                             float *gradient, double *loss, kdinr_error *error);

    /** One optimiser step on one batch. *loss is that of the batch before the step.
     *  Same inputs and parameters give the same bits for any number of threads. */
    kdinr_status (*train_step)(void *state, const float *coords, const float *targets, size_t n,
                               const kd_step *step, double *loss, kdinr_error *error);

    /** values out [n][n_outputs]. A sample's bits do not depend on n, its place or the threads. */
    kdinr_status (*evaluate)(void *state, const float *coords, size_t n, float *values,
                             kdinr_error *error);

    /** values out [n_z][n_y][n_x][n_outputs]. A sample's bits depend on its coordinates alone, but
     *  may differ from those of `evaluate` in the last places. */
    kdinr_status (*evaluate_grid)(void *state, const kd_grid *grid, float *values,
                                  kdinr_error *error);

    /** May be NULL, as then the next three: who trains draws batches himself. Training instances:
     *  copy what batches are drawn from to where training takes place.
     *  taken   out false: there is no room for it there, or not for such; the next two are not to
     * be called */
    kdinr_status (*set_supply)(void *state, const kd_supply *supply, bool *taken,
                               kdinr_error *error);

    /** Several instances at once, so that small networks fill a device together: n_steps steps of
     *  each of up to KD_MOST_TURNS. What one learns has the same bits whichever others there are.
     *  errors  BACKEND, ARGUMENT; the instances can then only be closed */
    kdinr_status (*train_supply)(const kd_turn *turns, size_t n_turns, size_t n_steps,
                                 kdinr_error *error);

    /** How many instances of such a shape are worth opening at once and have room, on all of the
     *  devices together; 1 or more. */
    size_t (*count_together)(const kd_net *net, const kd_backend_config *config);

    /** The supply's samples first .. first + n - 1, n at most max_batch.
     *  coords   out [n][n_inputs]
     *  targets  out [n][n_outputs] */
    kdinr_status (*read_supply)(void *state, uint64_t first, size_t n, float *coords,
                                float *targets, kdinr_error *error);

    /** May be NULL: there are no devices to choose from. Are there all that kdinr_options has as
     *  `devices`, and can be used?
     *  errors  ARGUMENT (the message says which there are), BACKEND */
    kdinr_status (*check_devices)(uint64_t devices, kdinr_error *error);
} kd_backend;

/** How to open an instance that does not train, as the options say. */
kd_backend_config kd_backend_evaluation(const kdinr_options *options);

/** How an instance that trains is set up, by the same; the first of those that train at once. */
kd_backend_config kd_backend_training(const kdinr_options *options, size_t max_batch);

/** All backends compiled in, ended by NULL; fastest first ("cuda", "cpu", "reference"). */
const kd_backend *const *kd_backend_list(void);

/** The backend called `name`, or for "auto" the first available one.
 *  errors  ARGUMENT (unknown name), BACKEND (it cannot run here; the message says why) */
kdinr_status kd_backend_find(const char *name, const kd_backend **backend, kdinr_error *error);

/** The same for options->backend, which must have options->devices.
 *  errors  as kd_backend_find; ARGUMENT (it has no such devices) */
kdinr_status kd_backend_choose(const kdinr_options *options, const kd_backend **backend,
                               kdinr_error *error);

#endif
