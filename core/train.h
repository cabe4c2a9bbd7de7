/* The only training loop: draws batches from a source, steps a backend, watches for collapse,
 * reports progress. Before: teacher.c and distill.c make sources. After: the backend.
 * Several networks can be handed over together. A backend that draws batches itself then trains as
 * many of them at once as it has room for, in steps that all take; each has its own rates, watches
 * and end, so that what it becomes is the same to the bit as if it were trained alone. */
#ifndef KD_TRAIN_H
#define KD_TRAIN_H

#include "backend.h"
#include "kdinr.h"

/** What all steps of one encoder share, and how far they are. */
typedef struct kd_run {
    const kdinr_options *options;
    const kd_backend *backend;
    double work_total; /* planned samples, all stages */
    double work_done;
    double reported; /* fraction that the callback last saw */
    const char *stage;
    struct kd_part *part;   /* keeps what was trained (part.h); NULL: nothing is kept */
    struct kd_share *share; /* other encoders at the same work (share.h); NULL: alone */
} kd_run;

/** Ask the user's callback whether to go on, where much is done that does not count as work.
 *  errors  CANCELLED */
kdinr_status kd_run_poll(const kd_run *run, kdinr_error *error);

/** Add work and, at most a thousand times in all, tell the user's callback.
 *  errors  CANCELLED */
kdinr_status kd_run_advance(kd_run *run, double work, kdinr_error *error);

/** Where batches come from. */
typedef struct kd_source {
    /** Fill samples first..first+n-1 of an endless sequence.
     *  coords   out [n][n_inputs]
     *  targets  out [n][n_outputs] */
    kdinr_status (*draw)(void *user, uint64_t first, size_t n, float *coords, float *targets,
                         kdinr_error *error);
    void *user;
    const kd_supply *supply; /* the same samples, for backends that draw themselves; NULL: none */
    double gradient_weight;  /* of the loss on gradients; more than 0: samples come in groups, as
                                kd_backend_config has it */
} kd_source;

/** What came out. */
typedef struct kd_outcome {
    double loss;                     /* mean squared error over the last tenth of the batches, and
                                        what rounding adds */
    double variance;                 /* of the targets: the loss of the best constant */
    int restarts;                    /* from the initial values, with half the rate */
    int rollbacks;                   /* to the best parameters so far, with half the rate */
    int n_units;                     /* 2 * n_layers with schedule->rounding, else 0 */
    float units[KD_NET_MAX_TENSORS]; /* [n_units] the parameters are multiples of these */
} kd_outcome;

/** How the result is rounded, as the file will have it. */
typedef struct kd_rounding {
    /** Choose units and round to them.
     *  params   in/out [n_params]
     *  outcome  in/out; sets the units, adds to the loss */
    kdinr_status (*round)(void *user, float *params, kd_outcome *outcome, kdinr_error *error);
    void *user;
} kd_rounding;

/** How long and how fast. */
typedef struct kd_schedule {
    double samples; /* to draw in all; at least one batch is drawn */
    size_t batch;
    double rate;                 /* learning rate at the top of the schedule */
    double work;                 /* share of run->work_total that this training stands for */
    const kd_rounding *rounding; /* NULL: parameters are not rounded */
    bool stands_for_wider;       /* a narrow network learns as one of 64 neurons would */
} kd_schedule;

/** Learning rate as a fraction of the top at progress x in [0,1]. Cosine: 2 % warm-up, then to 1 %.
 *  Halving: 1, 1/2, 1/4, 1/8, each for a quarter (sec. IV: halved every 100 of 400 epochs). */
double kd_train_decay(kdinr_decay decay, double x);

/** What Muon's rate on matrices is multiplied by. Muon moves each weight by about as much, and a
 *  matrix therefore the more the wider it is: too much in wide networks, whose loss then rises or
 *  stays where it is, and too little in narrow ones. */
double kd_train_width_scale(const kd_net *net, const kd_schedule *schedule);

enum { KD_TRAIN_ANYWHERE = -1 };

/** One training. */
typedef struct kd_training {
    const kd_net *net;
    const kd_source *source;
    const kd_schedule *schedule;
    float *params;       /* in the initial values, out the trained ones, [net->n_params] */
    kd_outcome *outcome; /* out */
    int trainer;         /* process that trains, or KD_TRAIN_ANYWHERE: it is dealt */
    /** What follows on the result, in the trainings' order; kd_share_has says whether it is here.
     * May be NULL. */
    kdinr_status (*finish)(void *user, kdinr_error *error);
    void *user;
} kd_training;

/** How many networks of a shape are worth handing over together, 1 or more. */
size_t kd_train_count(const kd_run *run, const kd_net *net, size_t batch);

/** Train all of them. Networks of sines can collapse to their mean in the midst of training. Two
 * watches: a run of at least 2048 steps that after a quarter of them never was below 95 % of the
 * variance starts over with half the rate, at most twice; a run whose loss, over 64 batches, is
 * more than twice its best, or not finite, goes on from its best parameters with half the rate, at
 * most six times.
 *
 *  With run->share, a training may be dealt to another process: then params and outcome are set
 * at the next kd_share_exchange, and must stay where they are until then.
 *
 *  errors   TRAINING (not finite to the end), CANCELLED, MEMORY, BACKEND */
kdinr_status kd_train(kd_run *run, const kd_training *trainings, size_t n, kdinr_error *error);

#endif
