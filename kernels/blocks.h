/* What each layer in a kd_net's row of layers is, for every backend: layers 0..n_encoder-1 are the
 * encoder, the last one is linear, the blocks are between. */
#ifndef KD_BLOCKS_H
#define KD_BLOCKS_H

#include "backend.h"

/** Is layer `l` part of a residual block? No layer is if blocks pass nothing by. */
static inline bool kd_blocks_contain(const kd_net *net, int l)
{
    return net->skip != KD_SKIP_NONE && l >= net->n_encoder && l < net->n_layers - 1;
}

/** Does a block begin with layer `l`: is its input also what the block adds at its end? */
static inline bool kd_blocks_start(const kd_net *net, int l)
{
    return kd_blocks_contain(net, l) && (l - net->n_encoder) % net->block_layers == 0;
}

/** Does a block end with layer `l`: is share * (h + f(h)) formed after it? */
static inline bool kd_blocks_end(const kd_net *net, int l)
{
    return kd_blocks_contain(net, l) &&
           (l - net->n_encoder) % net->block_layers == net->block_layers - 1;
}

/** The share of h, and that of f(h), in what a residual block passes on. */
static inline float kd_blocks_share(const kd_net *net)
{
    return net->skip == KD_SKIP_MEAN ? 0.5f : 1.0f;
}

/** Does layer `l` make the first h, what the first block reads? */
static inline bool kd_blocks_encoded(const kd_net *net, int l)
{
    return l == net->n_encoder - 1;
}

/** Are the weights of layer `l` a hidden matrix, one that Muon moves? */
static inline bool kd_blocks_hidden(const kd_net *net, int l)
{
    return l > 0 && l < net->n_layers - 1;
}

#endif
