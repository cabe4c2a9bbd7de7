/* Where everything of a network lies for the fused kernels. Before: the backend asks whether this
 * path can carry the network. After: fused_pack.cu fills `packed`. Host code only. */
#include "cuda/fused_plan.h"

#include <string.h>

#include "blocks.h"

enum { WEIGHT_WARPS = 2048, ALIGNMENT = 256, CHUNK_SIZE = 512 };

static uint32_t max_of(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static size_t aligned(size_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What the plan takes for granted: the widths of Table I, sines everywhere but at the end. */
static bool is_regular(const kd_net *net)
{
    const int m = net->width, wide = 4 * m;
    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const bool last = l == net->n_layers - 1;
        const bool starts = l == 3 || kd_blocks_start(net, l) || last;
        const int n_in = l == 0 ? net->n_inputs : starts ? wide : net->layers[l - 1].n_out;
        if (layer->n_in != n_in || (layer->omega == 0) != last) return false;
        if (kd_blocks_contain(net, l)) {
            const bool narrow = net->block_layers == 3 && !kd_blocks_end(net, l);
            if (layer->n_out != (narrow ? m : wide)) return false;
        }
    }
    return net->layers[0].n_out == m && net->layers[1].n_out == 2 * m &&
           net->layers[2].n_out == wide && net->layers[net->n_layers - 1].n_out == net->n_outputs;
}

bool kd_fused_supports(const kd_net *net)
{
    return net->width >= 2 && net->width <= 128 && net->n_inputs >= 1 &&
           net->n_inputs <= KD_NET_MAX_INPUTS && net->n_outputs >= 1 &&
           net->n_outputs <= KD_NET_MAX_OUTPUTS &&
           (net->block_layers == 2 || net->block_layers == 3) && net->n_encoder == 3 &&
           net->skip == KD_SKIP_MEAN && is_regular(net);
}

static uint16_t layer_flags(const kd_net *net, int l)
{
    const bool last = l == net->n_layers - 1;
    return (uint16_t)((kd_blocks_end(net, l) ? KD_FUSED_ADDS : 0) |
                      (kd_blocks_start(net, l) ? KD_FUSED_SKIPS : 0) |
                      (kd_blocks_start(net, l) || last ? KD_FUSED_STREAM : 0) |
                      (last ? KD_FUSED_LAST : 0));
}

/* Forward, a row group's slots are the stream h [4m] and behind it what lives inside the encoder or
 * a block: two outputs in a row, which take turns as input and output. */
static void place_forward(const kd_net *net, kd_fused_plan *plan)
{
    const uint32_t narrow = KD_FUSED_CHUNKS((uint32_t)net->width);
    const uint32_t wide = KD_FUSED_CHUNKS(4 * (uint32_t)net->width);
    uint32_t inner = wide;
    plan->stream = 0;
    plan->slots = wide;
    for (int l = 0; l < net->n_layers; l++) {
        kd_fused_layer *layer = &plan->layers[l];
        const bool to_stream = l == 2 || kd_blocks_end(net, l);
        if (l == 0 || kd_blocks_start(net, l)) inner = wide;
        layer->from = (uint16_t)(l == 0 ? 0 : plan->layers[l - 1].to);
        layer->to = (uint16_t)(to_stream ? plan->stream : inner);
        if (!to_stream) {
            inner = inner == wide ? wide + narrow : wide;
            plan->slots = max_of(plan->slots, layer->to + KD_FUSED_CHUNKS((uint32_t)layer->n_out));
        }
    }
}

/* Backward, they are the derivatives by the stream [4m], by the sums of a layer that ends in the
 * stream [4m], and by those of the layers between; again two of them live at a time. */
static void place_backward(const kd_net *net, kd_fused_plan *plan)
{
    const uint32_t narrow = KD_FUSED_CHUNKS((uint32_t)net->width);
    const uint32_t wide = KD_FUSED_CHUNKS(4 * (uint32_t)net->width);
    plan->by_stream = 0;
    plan->slots_backward = 2 * wide;
    for (int l = 0; l < net->n_layers; l++) {
        kd_fused_layer *layer = &plan->layers[l];
        const bool ends = l == 2 || kd_blocks_end(net, l);
        const bool starts_long_block = net->block_layers == 3 && kd_blocks_start(net, l);
        const uint32_t by_sum = l == 0 || ends      ? wide
                                : starts_long_block ? 2 * wide + narrow
                                                    : 2 * wide;
        layer->by_sum = (uint16_t)by_sum;
        plan->slots_backward =
            max_of(plan->slots_backward, by_sum + KD_FUSED_CHUNKS((uint32_t)layer->n_out));
    }
}

static void place_layer(const kd_net *net, int l, kd_fused_plan *plan)
{
    const kd_layer *source = &net->layers[l];
    kd_fused_layer *layer = &plan->layers[l];
    const uint32_t in = KD_FUSED_CHUNKS((uint32_t)source->n_in);
    const uint32_t out = KD_FUSED_CHUNKS((uint32_t)source->n_out);
    const uint32_t tiles_out = (out + KD_FUSED_TILE_OUT - 1) / KD_FUSED_TILE_OUT;
    const uint32_t tiles_in = (in + KD_FUSED_TILE_IN - 1) / KD_FUSED_TILE_IN;

    layer->weights = (uint32_t)source->weights;
    layer->n_in = (uint16_t)source->n_in;
    layer->n_out = (uint16_t)source->n_out;
    layer->flags = layer_flags(net, l);
    layer->omega = source->omega == 0 ? 1 : source->omega;
    layer->fragments = plan->matrices;
    if (l > 0) plan->matrices += in * out; /* the first layer is not a product of fragments */
    layer->inputs = plan->trace;
    layer->slopes = plan->trace + in;
    plan->trace += in + out;
    layer->first_tile = (uint16_t)plan->n_tiles;
    plan->n_tiles += tiles_out * tiles_in;
}

void kd_fused_plan_make(const kd_net *net, bool halves, kd_fused_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    plan->n_layers = (uint32_t)net->n_layers;
    plan->n_inputs = (uint32_t)net->n_inputs;
    plan->n_outputs = (uint32_t)net->n_outputs;
    plan->n_params = (uint32_t)net->n_params;
    plan->columns = net->width <= 32 ? 1 : net->width <= 64 ? 2 : 4;
    plan->tiles = halves ? 2 : 1;
    for (int l = 0; l < net->n_layers; l++) {
        place_layer(net, l, plan);
    }
    place_forward(net, plan);
    place_backward(net, plan);
}

void kd_fused_split_make(const kd_fused_plan *plan, size_t n, kd_fused_split *split)
{
    const size_t block_rows = kd_fused_block_rows(plan);
    const size_t n_blocks = (n + block_rows - 1) / block_rows;
    const size_t most = KD_FUSED_TRACE_BLOCKS, blocks = n_blocks < most ? n_blocks : most;
    const size_t row_tiles = blocks * block_rows / KD_FUSED_CHUNK;
    size_t slices = WEIGHT_WARPS / plan->n_tiles;

    if (slices > row_tiles / 8) slices = row_tiles / 8; /* a slice is worth 8 products in a row */
    if (slices > KD_FUSED_MAX_SLICES) slices = KD_FUSED_MAX_SLICES;
    split->rows = blocks * block_rows;
    split->slices = (uint32_t)(slices > 1 ? slices : 1);
    split->partials = row_tiles * plan->trace * CHUNK_SIZE;
    split->losses = split->partials + aligned(split->slices * plan->n_params * sizeof(float));
    split->size =
        split->losses + aligned(n_blocks * block_rows / kd_fused_group_rows(plan) * sizeof(float));
}

size_t kd_fused_packed_size(const kd_net *net)
{
    kd_fused_plan plan;
    kd_fused_plan_make(net, true, &plan);
    return 3 * (size_t)plan.matrices * CHUNK_SIZE;
}

size_t kd_fused_workspace(const kd_net *net, size_t n)
{
    kd_fused_plan plan;
    kd_fused_split split, split_halves;
    kd_fused_plan_make(net, false, &plan);
    kd_fused_split_make(&plan, n, &split);
    kd_fused_plan_make(net, true, &plan);
    kd_fused_split_make(&plan, n, &split_halves);
    return split.size > split_halves.size ? split.size : split_halves.size;
}
