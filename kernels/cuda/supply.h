/* What batches are drawn from, kept on the device for as long as one training lasts, so that its
 * steps need nothing of the host. Before: backend_cuda.cu is handed a kd_supply. After: batch.cu
 * trains on the batches. */
#ifndef KD_CUDA_SUPPLY_H
#define KD_CUDA_SUPPLY_H

#include "backend.h"
#include "cuda/operations.h"

/* Steps that are enqueued before the host waits for their losses. */
enum { KD_CUDA_RUN_STEPS = 64 };

/** A kd_answer in device memory. */
typedef struct kd_cuda_answer {
    const uint8_t *classes;
    const float *values;
    int network; /* which of the supply's; -1: none */
    float times[KD_NET_MAX_TIMES];
    double scale[KD_NET_MAX_OUTPUTS], offset[KD_NET_MAX_OUTPUTS];
} kd_cuda_answer;

/** What the kernels see of a supply; pointers are to device memory. */
typedef struct kd_cuda_drawing {
    kd_chooser chooser;
    const float *axes[3];
    uint64_t key;
    unsigned n_answers, n_inputs, n_outputs;
    const kd_cuda_answer *answers; /* [n_answers] */
    float *asked;                  /* [networks][most][3]: each network is asked for `most` samples
                                      of a batch, or fewer */
    float *said;                   /* [networks][most][n_outputs] */
} kd_cuda_drawing;

/** Memory of an instance that a team works with in its stead, both on the device: as floats. */
typedef struct kd_cuda_loan {
    float *own, *lent;
    size_t n;
} kd_cuda_loan;

enum { KD_CUDA_LOANS = 4 };

/** A run of one network's steps, in device memory: where it has come to, and what it needs and
 *  leaves. */
typedef struct kd_cuda_run {
    uint64_t first;  /* number of the next batch's first sample */
    unsigned n_done; /* steps */
    unsigned unused;
    kd_cuda_drawing drawing;
    kd_cuda_loan loans[KD_CUDA_LOANS];          /* of a team's member */
    kd_cuda_rates rates[KD_CUDA_RUN_STEPS + 1]; /* the last one is never used */
    double losses[KD_CUDA_RUN_STEPS];           /* sums, not means */
} kd_cuda_run;

/** A supply on the device. All zero: there is none. */
typedef struct kd_cuda_supply {
    char *d_memory; /* all of it */
    kd_cuda_drawing drawing;
    kd_net net; /* of the answering networks, if there are any */
    int n_networks;
    float *d_params; /* [n_networks][net.n_params] */
    char *d_packed;  /* [n_networks] what path 2 reads of them; NULL: path 1 */
    char *d_window;  /* path 1: working memory of one network */
} kd_cuda_supply;

/** Copy a supply to the device, where a training instance of n_inputs and n_outputs draws batches
 *  of at most max_batch samples.
 *  taken   out false: there is no memory for it, or its networks have different shapes; *made is
 *              then all zero
 *  errors  BACKEND, MEMORY */
kdinr_status kd_cuda_supply_make(const kd_supply *supply, const kd_net *net, size_t max_batch,
                                 kd_cuda_supply *made, bool *taken, kdinr_error *error);

/** Free it; nothing may be under way that reads it. */
void kd_cuda_supply_free(kd_cuda_supply *supply);

/** Where batches of n samples each are drawn to. */
typedef struct kd_cuda_drawn {
    int n_batches;
    size_t n;
    float *d_coords;  /* [n_batches][n][n_inputs] */
    float *d_targets; /* [n_batches][n][n_outputs] */
} kd_cuda_drawn;

/** Enqueue the drawing of the runs' next batches.
 *  supplies  in  [n_batches] what d_runs [n_batches] draw from
 *  errors    BACKEND */
kdinr_status kd_cuda_supply_draw(const kd_cuda_supply *supplies, const kd_cuda_lane *lane,
                                 const kd_cuda_run *d_runs, const kd_cuda_drawn *to,
                                 kdinr_error *error);

/** Have the two networks one shape, so that one launch can carry both? */
bool kd_cuda_is_same(const kd_net *a, const kd_net *b);

#endif
