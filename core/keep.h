/* Keeping a bound while compressing: codes what the networks miss of each step, checks it by
 * decoding it again, and at the end decides whether the networks pay. Before: settle.c has given
 * the networks their final bits; encode.c hands over the steps once more. After: kdm.c writes.
 *
 * Every step is coded twice: on top of the networks, and alone. Networks are kept if they save more
 * than a few bytes, so that they never make a bounded file larger. */
#ifndef KD_KEEP_H
#define KD_KEEP_H

#include "measure.h"
#include "residual.h"

enum { KD_KEEP_ALONE = 0, KD_KEEP_HYBRID = 1, KD_KEEP_WAYS = 2 };

enum { KD_KEEP_GROUP = 8 }; /* steps, of which the first needs no other */

/** One way to keep an array's bound. */
typedef struct kd_way {
    bool tried;
    double room;
    kd_bound bound;
    int finer;            /* choice of the latest group's first step */
    kd_residual steps[3]; /* of the latest step, of the one before, and spare */
    kd_stream *streams;   /* [n_steps], owned */
    kd_quality *quality;  /* [n_steps], owned */
    uint32_t *checksums;  /* [n_steps] of the decoded values, owned */
} kd_way;

/** One array on its way through the second pass. */
typedef struct kd_keep {
    kd_model *model; /* not owned */
    int a;
    int n_done; /* steps are taken in order */
    kd_way ways[KD_KEEP_WAYS];
} kd_keep;

/** Largest error of each component that the options allow for an array with this range.
 *  most  out [n_components] */
void kd_keep_bound(const kdinr_options *options, int n_components, const double range[][2],
                   double *most);

/** What levels are worth: quanta as wide as bound->most allows when decoders differ by `room` and
 *  values are rounded; without networks (bound->alone) also what levels are added to.
 *  bound  in: most, alone; out: unit, base */
void kd_keep_units(kdinr_type type, int n_components, const double range[][2], double room,
                   kd_bound *bound);

/** Prepare, the model's networks being final. *keep must be freed with kd_keep_close whatever the
 *  outcome.
 *  errors  MEMORY */
kdinr_status kd_keep_open(kd_model *model, int a, const kdinr_options *options, kd_keep *keep,
                          kdinr_error *error);

/** Code the next step and check it.
 *  classes  [n_samples] kd_missing; NULL: nothing is missing
 *  field    of the model's networks
 *  errors   MEMORY, BACKEND, CANCELLED */
kdinr_status kd_keep_step(kd_keep *keep, const kdinr_array *array, const uint8_t *classes,
                          kd_field *field, kd_run *run, kdinr_error *error);

/** Put the better way into the model, which then owns its streams: the smaller one, but networks
 *  must save more than their options take in the file's description.
 *  quality  out [n_steps] of what was chosen
 *  errors   MEMORY, ARGUMENT */
kdinr_status kd_keep_choose(kd_keep *keep, kd_quality *quality, kdinr_error *error);

/** Decode a file and compare it with what kd_keep_step checked.
 *  errors  IO, FORMAT, MEMORY, DATA (it differs) */
kdinr_status kd_keep_check(const kd_keep *keep, const char *path, const kdinr_options *options,
                           kdinr_error *error);

/** Free what it owns. */
void kd_keep_close(kd_keep *keep);

#endif
