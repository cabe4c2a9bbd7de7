/* Several encoders, one file: each process has an encoder that is given the same options and of the
 * same steps what it needs (deal.h), and all go through the same calls. A unit of work (a training,
 * a slab to compare) is dealt to one of them; at the next exchange its result is copied to all, so
 * that every process goes on with what one alone would have. Before: encode.c opens it. After:
 * survey.c, train.c, distill.c and measure.c ask whose a unit is. All functions take NULL: the
 * encoder is alone, all is its own. */
#ifndef KD_SHARE_H
#define KD_SHARE_H

#include "part.h"

typedef struct kd_share kd_share;

/** Copy the caller's way to exchange. *share is NULL on failure, and if `with` is NULL or one rank.
 *  errors  ARGUMENT, MEMORY */
kdinr_status kd_share_open(const kdinr_share *with, kd_share **share, kdinr_error *error);

/** Is this the process that writes files? */
bool kd_share_is_root(const kd_share *share);

/** Deal the next unit, to the process that has least to do until the exchange: is it this one?
 *  cost  in any measure, the same on all */
bool kd_share_deal(kd_share *share, double cost);

/** How many processes there are. */
int kd_share_n_ranks(const kd_share *share);

/** Which of them this one is; 0 is the root. */
int kd_share_rank(const kd_share *share);

enum { KD_SHARE_ALL = -1 };

/** The unit that is spoken of next is that of process `rank`, or of KD_SHARE_ALL: all have its
 *  result. */
void kd_share_of(kd_share *share, int rank);

/** Whose the latest unit's result is: a rank or KD_SHARE_ALL. */
int kd_share_owner(const kd_share *share);

/** Has this process the result of the latest unit? */
bool kd_share_has(const kd_share *share);

/** Announce bytes of the latest unit's result. They must stay where they are until the exchange.
 *  errors  MEMORY */
kdinr_status kd_share_bytes(kd_share *share, void *bytes, size_t size, kdinr_error *error);

/** Announce the latest unit's result, a trained network: at the exchange it is added to the part.
 * If the encoder is alone, that is done now. key      kd_part_key; only its owner's counts params
 * [n_params], like *outcome to stay where it is until the exchange errors   MEMORY, IO */
kdinr_status kd_share_network(kd_share *share, kd_part *part, const kd_record *record,
                              kdinr_error *error);

/** Collective. Copy all results that were announced from those that have them to all others.
 *  errors  those that another process met since the exchange before; IO, MEMORY */
kdinr_status kd_share_exchange(kd_share *share, kd_part *part, kdinr_error *error);

/** Collective. Something of each process to all.
 *  mine  in [size], the same size on all
 *  all   out [n_ranks][size]
 *  errors  as kd_share_exchange */
kdinr_status kd_share_gather(kd_share *share, const void *mine, size_t size, void *all,
                             kdinr_error *error);

/** Collective. Copy bytes of any size from process `from` to process `to` or KD_SHARE_ALL, a piece
 *  at a time.
 *  bytes  [size] where they are, or shall be; not looked at by the other processes
 *  errors  as kd_share_exchange */
kdinr_status kd_share_move(kd_share *share, int from, int to, void *bytes, size_t size,
                           kdinr_error *error);

/** Collective, at the end of what can fail: the status and error of the first process that failed,
 *  on all. A failure that came out of an exchange is known to all and returned at once. */
kdinr_status kd_share_agree(kd_share *share, kdinr_status status, kdinr_error *error);

/** NULL is fine. */
void kd_share_close(kd_share *share);

#endif
