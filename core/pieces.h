/* Pieces of a step that lie with several processes, put together by the root: what needs the whole
 * of something at once, such as packing a missing-value map. Before: each process has a box of
 * samples. After: share.c tells all what came of it. */
#ifndef KD_PIECES_H
#define KD_PIECES_H

#include "bricks.h"
#include "share.h"

/** Collective. Put boxes that cover an array together, a few rows at a time.
 *  box      of this process, maybe empty; where boxes overlap they must agree
 *  mine     in [count of the box][size]
 *  samples  of the array, per axis
 *  size     bytes of a sample
 *  whole    out, on the root alone, [nz][ny][nx][size]; what is in no box stays
 *  errors   as kd_share_exchange */
kdinr_status kd_pieces_collect(kd_share *share, const kd_box *box, const void *mine,
                               const int samples[3], size_t size, void *whole, kdinr_error *error);

#endif
