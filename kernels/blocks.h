/* Where residual blocks begin and end in a kd_net's row of layers, for every backend.
 * Layers 0..2 are the encoder, the last one is linear, the blocks are between. */
#ifndef KD_BLOCKS_H
#define KD_BLOCKS_H

#include "backend.h"

/** Is layer `l` part of a residual block? */
static inline bool kd_blocks_contain(const kd_net *net, int l)
{
    return l >= 3 && l < 3 + net->depth * net->block_layers;
}

/** Does a block begin with layer `l`: is its input also what the block adds at its end? */
static inline bool kd_blocks_start(const kd_net *net, int l)
{
    return kd_blocks_contain(net, l) && (l - 3) % net->block_layers == 0;
}

/** Does a block end with layer `l`: is (h + f(h)) / 2 formed after it? */
static inline bool kd_blocks_end(const kd_net *net, int l)
{
    return kd_blocks_contain(net, l) && (l - 3) % net->block_layers == net->block_layers - 1;
}

/** Are the weights of layer `l` a hidden matrix, one that Muon moves? */
static inline bool kd_blocks_hidden(const kd_net *net, int l)
{
    return l > 0 && l < net->n_layers - 1;
}

#endif
