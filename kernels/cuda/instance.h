/* One network on the device. backend_cuda.cu makes it, batch.cu trains it, evaluate.cu decodes it,
 * layout.cu says what lies where in a lane's memory. Its products go path 2 (fused.h) or,
 * where the width does not allow that or fp32 or TF32 was asked for, path 1 (operations.h).
 * On path 2 an instance can also be a team (together.cu): the same memory for several networks of
 * one shape, side by side, which are trained by the same launches. */
#ifndef KD_CUDA_INSTANCE_H
#define KD_CUDA_INSTANCE_H

#include "backend.h"
#include "cuda/operations.h"
#include "cuda/supply.h"

/* Samples that go through the network at a time, fewer for wide networks (layout.cu). Decoding
 * always moves this many, even for one sample: cuBLAS chooses its order of summation by the sizes,
 * and a sample's bits must not depend on how many there are. The tests set small ones. */
#ifndef KD_CUDA_EVALUATE_ROWS
#define KD_CUDA_EVALUATE_ROWS 16384
#endif
#ifndef KD_CUDA_FUSED_ROWS /* path 2, whose bits do not depend on it */
#define KD_CUDA_FUSED_ROWS 262144
#endif
#ifndef KD_CUDA_TRAIN_ROWS
#define KD_CUDA_TRAIN_ROWS 65536
#endif

/* The head of what is copied to the device for a step, one for each network; the batch follows at
 * once: coords [n][n_inputs], targets [n][n_outputs]. In pinned memory the runs come before, and a
 * head of the same size, in which the step's loss returns. */
typedef struct kd_cuda_head {
    kd_cuda_rates rates;
} kd_cuda_head;

/* A training instance's lane. */
typedef struct kd_cuda_desk {
    size_t rows;          /* of one pass */
    kd_cuda_head *d_head; /* [n_networks] */
    kd_cuda_run *d_run;   /* [n_networks] */
    double *d_loss;       /* path 1 */
    float *d_fused_loss;  /* path 2: [n_networks] */
    kd_cuda_pass pass;    /* path 1 */
    char *d_workspace;    /* path 2: [n_networks][kd_fused_workspace] */
    size_t size;          /* bytes of all that */
} kd_cuda_desk;

/* What a lane's memory is for. */
typedef struct kd_cuda_use {
    const kd_net *net;
    bool fused; /* path 2 */
    int n_networks;
    size_t max_batch;
} kd_cuda_use;

/* A decoding lane. */
typedef struct kd_cuda_window {
    size_t rows;
    float *d_axes;     /* [axes' points, one axis after the other] */
    float *d_coords;   /* [rows][n_inputs] */
    float *d_values;   /* [rows][n_outputs] */
    kd_cuda_pass pass; /* path 1 */
    size_t size;
} kd_cuda_window;

typedef struct kd_cuda_instance {
    kd_net net;
    kd_backend_config config;
    int device;
    int n_networks;  /* that the arrays below are for, one after the other; 1 unless it is a team */
    size_t step;     /* optimiser steps done */
    float *d_params; /* [n_params]; the optimisers move these */
    char *d_packed;  /* what products read of them on path 2; NULL: path 1 */
    /* training only: */
    kd_cuda_lane *lane;
    kd_cuda_desk desk;
    kd_cuda_muon_plan muon;
    kd_cuda_matrix *d_matrices; /* NULL: the optimiser is Adam, as are */
    unsigned char *d_hidden;
    float *d_scratch;
    float *d_gradient, *d_first, *d_second;
    kd_cuda_supply *supplies; /* [n_networks] what batches are drawn from, if the host does not
                                 give them; a team's are its members' */
    size_t graph_n, direct_n; /* samples of the step that `graph` does, and of the last other */
    bool drawing;             /* do both draw their batches? */
    cudaGraphExec_t graph;    /* NULL: none yet */
    struct kd_cuda_instance *team; /* that it leads; NULL: none */
} kd_cuda_instance;

/** Open an instance, or with n_networks more than 1, for training on path 2 alone, a team.
 *  errors  BACKEND, MEMORY */
kdinr_status kd_cuda_open(const kd_net *net, const kd_backend_config *config, int device,
                          int n_networks, kd_cuda_instance **made, kdinr_error *error);

/** NULL is fine. A team's supplies are left alone. */
void kd_cuda_close(kd_cuda_instance *self);

/** Lay out a lane's memory for training, or for decoding with n_axes points of axes in all. With
 *  d_memory NULL only rows and size are good.
 *  fused  in  path 2 */
void kd_cuda_layout_desk(const kd_cuda_use *use, char *d_memory, kd_cuda_desk *desk);
void kd_cuda_layout_window(const kd_net *net, bool fused, size_t n_axes, char *d_memory,
                           kd_cuda_window *window);

/** Bytes of pinned memory that a training lane needs. */
size_t kd_cuda_layout_pinned(const kd_cuda_use *use);

/** backend.h's gradient; n is known to be allowed. The gradient stays in d_gradient.
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_gradient(kd_cuda_instance *self, const float *coords,
                                    const float *targets, size_t n, double *loss,
                                    kdinr_error *error);

/** backend.h's train_step; n is known to be allowed.
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_step(kd_cuda_instance *self, const float *coords, const float *targets,
                                size_t n, const kd_step *step, double *loss, kdinr_error *error);

/** A run of steps, at most KD_CUDA_RUN_STEPS, of which nothing is waited for. Of a team's turns,
 *  one for each network, all have the same n. First write the runs, one for each network, into
 *  pinned memory; then enqueue their way to the device,
 *  errors  BACKEND */
kd_cuda_run *kd_cuda_batch_fill(const kd_cuda_instance *self, const kd_turn *const *turns,
                                size_t n_steps);
kdinr_status kd_cuda_batch_send(const kd_cuda_instance *self, kdinr_error *error);

/** one step at a time,
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_go(kd_cuda_instance *self, size_t n, kdinr_error *error);

/** and their way back. When that is done, the losses go where the turns want them.
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_fetch(const kd_cuda_instance *self, kdinr_error *error);
void kd_cuda_batch_collect(const kd_cuda_instance *self, const kd_turn *const *turns,
                           size_t n_steps);

/** backend.h's train_supply; what the turns ask is known to be allowed.
 *  errors  BACKEND, MEMORY */
kdinr_status kd_cuda_together_train(const kd_turn *turns, size_t n_turns, size_t n_steps,
                                    kdinr_error *error);

/** backend.h's count_together. */
size_t kd_cuda_together_count(const kd_net *net, const kd_backend_config *config);

/** Is path 2 to be taken? Not to train with a loss on gradients, which path 1 alone has. */
bool kd_cuda_goes_fused(const kd_net *net, const kd_backend_config *config);

/** backend.h's read_supply; n is known to be allowed, a supply is set.
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_read_supply(kd_cuda_instance *self, uint64_t first, size_t n,
                                       float *coords, float *targets, kdinr_error *error);

/** Enqueue what makes products see the present parameters on `stream`.
 *  errors  BACKEND */
kdinr_status kd_cuda_batch_pack(const kd_cuda_instance *self, cudaStream_t stream,
                                kdinr_error *error);

/** Drop the recorded step, which no longer is what a step does. */
void kd_cuda_batch_forget(kd_cuda_instance *self);

/** As backend.h says. */
kdinr_status kd_cuda_evaluate(void *state, const float *coords, size_t n, float *values,
                              kdinr_error *error);
kdinr_status kd_cuda_evaluate_grid(void *state, const kd_grid *grid, float *values,
                                   kdinr_error *error);

#endif
