/* The part: a file that keeps every network as soon as it is trained, so that a run that was ended
 * goes on where it stopped. It is a list of what happened: a step was pushed, a network was
 * trained, ... To resume, the same steps are pushed again. All work is done again but the training,
 * nearly all of the time, whose results are taken from the list as long as it lasts; then it grows
 * again. Training is deterministic, so the outcome has the same bytes as without the interruption.
 *
 * Bytes (little-endian). Head: u8[8] magic, u32 XXH32 of the library's version, u32 n, f64[n] the
 * options (kd_options_list and the backend), u64 XXH64 of all these. Then records: u32 kind, u64
 * size, u8[size] content, u64 XXH64 of all these. Kinds: 1 a step, f64 time, u64 XXH64 of its grid,
 * arrays and values; 2 a network, u64 key, f64 loss, f64 variance, u32 restarts, u32 rollbacks,
 * f32[] units (none if it was not rounded), f32[] parameters. A reader knows the size that the next
 * record must have and never asks for another. A record that is incomplete, damaged or of other
 * work ends the list; the rest is cut off and made anew. */
#ifndef KD_PART_H
#define KD_PART_H

#include "train.h"

typedef struct kd_part kd_part;

/** Open options->part: with options->resume what is there is used, else it starts empty. *part is
 * NULL on failure and if options->part is NULL: all functions take that and do nothing.
 *  backend  name of the one that trains
 *  errors   ARGUMENT (other options: the message names the first that differs), FORMAT (no part, or
 *           damaged: it is left alone), IO (also: another process has it open), MEMORY */
kdinr_status kd_part_open(const kdinr_options *options, const char *backend, kd_part **part,
                          kdinr_error *error);

/** Collective: as kd_part_open, for encoders that share their work (share.h; NULL: alone). The file
 * is the root's. The others get what it holds, so that all take the same networks from it. errors
 * those of kd_part_open on the root, on all */
kdinr_status kd_part_open_shared(const kdinr_options *options, const char *backend,
                                 struct kd_share *share, kd_part **part, kdinr_error *error);

/** A step is pushed.
 *  hash    of its grid, arrays and values
 *  errors  ARGUMENT (it is not the step that the part was made from), IO, MEMORY */
kdinr_status kd_part_step(kd_part *part, uint64_t hash, double time, kdinr_error *error);

/** What tells one training from another.
 *  matrix_scale  Muon's rate / the schedule's
 *  params        the initial ones, [n_params] */
uint64_t kd_part_key(const kd_schedule *schedule, double matrix_scale, const float *params,
                     size_t n_params);

/** If the part has the result of the training `key` next, put it into params and *outcome.
 *  params   in the initial ones, out the trained ones, if *taken; [n_params]
 *  outcome  in n_units, out the rest, if *taken
 *  errors  IO, MEMORY */
kdinr_status kd_part_take(kd_part *part, uint64_t key, float *params, size_t n_params,
                          kd_outcome *outcome, bool *taken, kdinr_error *error);

/** A training and its result. */
typedef struct kd_record {
    uint64_t key;  /* kd_part_key */
    float *params; /* [n_params], not owned */
    size_t n_params;
    kd_outcome *outcome; /* not owned */
} kd_record;

/** A network was trained.
 *  errors  IO, MEMORY */
kdinr_status kd_part_add(kd_part *part, const kd_record *record, kdinr_error *error);

/** Wait until all of it is on the disk: a kill never loses what was added, a power cut nothing
 *  that was synced. errors  IO */
kdinr_status kd_part_sync(kd_part *part, kdinr_error *error);

/** Record that the user cancelled, and whether a part was kept. Returns CANCELLED. */
kdinr_status kd_part_fail_cancelled(const kd_part *part, kdinr_error *error);

/** Close; remove the file if it is `done` with, or holds nothing. NULL is fine. */
void kd_part_close(kd_part *part, bool done);

#endif
