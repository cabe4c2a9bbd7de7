/* One network as the fused kernels see it: layers in chunks of 16 neurons (missing ones are zero),
 * where each layer's weights, inputs and outputs lie. Made by fused_plan.cu from kd_net, passed to
 * the kernels by value, hence its small types.
 *
 * What the kernels take, for blocks of 128 threads. Registers of a thread (nvcc 13.0; nothing is
 * spilled), and KB of shared memory of a block, for bottleneck / plain / even blocks (even ones of
 * m = 256: as of 128):
 *
 *                 8.0   8.6   8.9   9.0      m = 8        16        32        64       128
 *     forward      91    91    91    85  16/16/ 8  28/32/ 8  56/64/16  56/64/32  56/64/64
 *      halves      94    94    94    93  the same
 *     gradient    102   102   102   101  the same
 *      halves     122   122   122   111  24/24/12  40/48/12  80/96/24  80/96/48  80/96/96
 *     weights     128   128   128   128  0
 */
#ifndef KD_CUDA_FUSED_PLAN_H
#define KD_CUDA_FUSED_PLAN_H

#include <stdint.h>

#include "cuda/fused.h"

enum {
    KD_FUSED_CHUNK = 16,      /* neurons of a chunk, and samples of a row tile */
    KD_FUSED_SLOT_CHUNKS = 2, /* of a slot: two row tiles, or a row tile's halves and their rests;
                               * backward, where there are no rests, plan->tiles */
    KD_FUSED_WARPS = 4,       /* of a block */
    KD_FUSED_THREADS = 32 * KD_FUSED_WARPS,
    KD_FUSED_TILE_OUT = 2,           /* chunks of outputs of one tile of a weight gradient */
    KD_FUSED_TILE_IN = 4,            /* and of inputs */
    KD_FUSED_SHARED_SIZE = 96 << 10, /* the most a block asks for; 8.6 and 8.9 allow 99 KB */
    KD_FUSED_MAX_STREAM = 512,       /* neurons of the stream: what SHARED_SIZE has room for */
    KD_FUSED_MAX_SLICES = 64 /* parts of the samples whose weight gradients are summed apart */
};

/* Blocks whose traces are in memory at once: this many, or more if their traces take at most so
 * many bytes. The tests set small numbers. */
#ifndef KD_FUSED_TRACE_BLOCKS
#define KD_FUSED_TRACE_BLOCKS 256
#define KD_FUSED_TRACE_SIZE   ((size_t)32 << 20)
#endif

/* Warps that keep a large device busy; with fewer, more of them share a row group. */
#ifndef KD_FUSED_BUSY_WARPS
#define KD_FUSED_BUSY_WARPS 1024
#endif

/* Derivatives are multiplied by this, so that those of a nearly perfect network stay above fp16's
 * least normal number, 6e-5; an error of 1 gives 2048, far below the greatest, 65504. */
#define KD_FUSED_LOSS_SCALE 1024.0f

/* What a layer's place in its block asks for. */
enum {
    KD_FUSED_ADDS = 1,   /* its output is added to the stream: h <- share * (h + f) */
    KD_FUSED_SKIPS = 2,  /* its input is the stream, which also skips the block */
    KD_FUSED_STREAM = 4, /* its input is the stream */
    KD_FUSED_LAST = 8    /* linear */
};

/** One layer. Offsets of fragments and slots count chunks. */
typedef struct kd_fused_layer {
    uint32_t weights;        /* in params: W [n_out][n_in], then b [n_out] */
    uint32_t fragments;      /* in packed: W; its rest and W^T lie plan.matrices further each */
    uint32_t inputs, slopes; /* in a row tile's trace */
    uint16_t n_in, n_out;    /* neurons */
    uint16_t from, to;       /* slots of its input and output, forward */
    uint16_t by_sum;         /* slot of the derivative by its W x + b, backward */
    uint16_t first_tile;     /* of its weight gradient's tiles */
    uint16_t flags;
    float omega; /* 1 for the last layer */
} kd_fused_layer;

typedef struct kd_fused_plan {
    uint32_t n_layers, n_inputs, n_outputs, n_params;
    uint32_t columns;  /* warps that share a row group's neurons; WARPS / columns row groups */
    uint32_t tiles;    /* row tiles of a row group: 2, or 1 with split factors */
    uint32_t matrices; /* chunks of all W; in packed W, the rests of W, W^T */
    uint32_t chunks;   /* of shared memory of a row group, forward */
    uint32_t gradient_chunks; /* the same, forward and backward */
    uint32_t by_stream;       /* slot of the derivative by the residual stream */
    uint32_t trace;           /* chunks of a row tile's trace */
    uint32_t n_tiles;         /* of all weight gradients */
    float share;              /* what a block passes on of its input and of its layers' answer */
    kd_fused_layer layers[KD_NET_MAX_LAYERS];
} kd_fused_plan;

/** Lay out a supported network; halves: see kd_fused_batch. */
void kd_fused_plan_make(const kd_net *net, bool halves, kd_fused_plan *plan);

/** Samples of a row group. */
static inline size_t kd_fused_group_rows(const kd_fused_plan *plan)
{
    return (size_t)KD_FUSED_CHUNK * plan->tiles;
}

/** Samples of a block. */
static inline size_t kd_fused_block_rows(const kd_fused_plan *plan)
{
    return kd_fused_group_rows(plan) * (KD_FUSED_WARPS / plan->columns);
}

/** Warps that share a row group where there are few samples: more than plan->columns, so that more
 * of the device works. The bits do not depend on it, nor does kd_fused_split. */
uint32_t kd_fused_columns(const kd_fused_plan *plan, const kd_fused_batch *batch);

/** How a gradient of n samples is divided, and where its parts lie in one network's workspace. */
typedef struct kd_fused_split {
    size_t rows;     /* samples whose traces are in memory at once, a multiple of block_rows */
    uint32_t slices; /* partial weight gradients */
    size_t partials, losses, size; /* bytes: the trace is at 0 */
} kd_fused_split;

void kd_fused_split_make(const kd_fused_plan *plan, size_t n, kd_fused_split *split);

/** Chunks that n neurons fill. */
#define KD_FUSED_CHUNKS(n) (((n) + KD_FUSED_CHUNK - 1) / KD_FUSED_CHUNK)

#endif
