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

/* Neurons of what the blocks read and write: 4m behind an encoder m, 2m, 4m, or m behind one layer.
 */
static int stream_width(const kd_net *net)
{
    return net->n_encoder == 1 ? net->width : 4 * net->width;
}

/* Neurons that layer `l` should have. */
static int regular_width(const kd_net *net, int l)
{
    const int place = (l - net->n_encoder) % net->block_layers;
    if (l == net->n_layers - 1) return net->n_outputs;
    if (l < net->n_encoder) return net->width << l;
    return net->block_layers == 3 && place < 2 ? net->width : stream_width(net);
}

/* What the plan takes for granted: the widths of Table I or one width, and sines everywhere but at
 * the end. */
static bool is_regular(const kd_net *net)
{
    if (net->n_layers != net->n_encoder + net->depth * net->block_layers + 1) return false;
    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const int n_in = l == 0 ? net->n_inputs : net->layers[l - 1].n_out;
        if (layer->n_in != n_in || layer->n_out != regular_width(net, l)) return false;
        if ((layer->omega == 0) != (l == net->n_layers - 1)) return false;
    }
    return true;
}

/* A block that adds to the stream needs a layer before, which does not write where it reads. */
static bool has_known_form(const kd_net *net)
{
    if (net->n_encoder == 3) {
        return net->skip != KD_SKIP_NONE && (net->block_layers == 2 || net->block_layers == 3);
    }
    return net->n_encoder == 1 &&
           (net->block_layers == 2 || (net->block_layers == 1 && net->skip == KD_SKIP_NONE));
}

bool kd_fused_supports(const kd_net *net)
{
    return net->width >= 2 && stream_width(net) <= KD_FUSED_MAX_STREAM && net->n_inputs >= 1 &&
           net->n_inputs <= KD_NET_MAX_INPUTS && net->n_outputs >= 1 &&
           net->n_outputs <= KD_NET_MAX_OUTPUTS && has_known_form(net) && is_regular(net);
}

static uint32_t chunks_of(int n)
{
    return KD_FUSED_CHUNKS((uint32_t)n);
}

/* Chunks of the stream: none if the blocks pass nothing by. */
static uint32_t stream_chunks(const kd_net *net)
{
    return net->skip == KD_SKIP_NONE ? 0 : chunks_of(stream_width(net));
}

/* Is the stream what layer `l` makes? */
static bool makes_stream(const kd_net *net, int l)
{
    return net->skip != KD_SKIP_NONE && (kd_blocks_encoded(net, l) || kd_blocks_end(net, l));
}

static uint16_t layer_flags(const kd_net *net, int l)
{
    const bool last = l == net->n_layers - 1;
    return (uint16_t)((kd_blocks_end(net, l) ? KD_FUSED_ADDS : 0) |
                      (kd_blocks_start(net, l) ? KD_FUSED_SKIPS : 0) |
                      (l > 0 && makes_stream(net, l - 1) ? KD_FUSED_STREAM : 0) |
                      (last ? KD_FUSED_LAST : 0));
}

/* Forward, a row group's slots are the stream h and behind it what lives inside the encoder or a
 * block: two outputs in a row, which take turns as input and output. */
static void place_forward(const kd_net *net, kd_fused_plan *plan)
{
    const uint32_t inner = stream_chunks(net);
    uint32_t slots = inner;
    for (int l = 0; l < net->n_layers - 1; l++) {
        kd_fused_layer *layer = &plan->layers[l], *after = &plan->layers[l + 1];
        const uint32_t n_in = l == 0 ? 0 : KD_FUSED_CHUNKS(layer->n_in);
        const uint32_t n_out = KD_FUSED_CHUNKS(layer->n_out), end = layer->from + n_in;
        const bool is_taken = end > inner && layer->from < inner + n_out;
        const uint32_t to = makes_stream(net, l) ? 0 : is_taken ? end : inner;
        layer->to = (uint16_t)to;
        after->from = (uint16_t)to;
        slots = max_of(slots, to + n_out);
    }
    plan->chunks = slots * KD_FUSED_SLOT_CHUNKS;
}

/* Where the derivative by the sums of layer `l` goes: layers that make the stream have a place of
 * their own. The others' begins behind it, or behind that of the layer after, if that is there. */
static uint32_t place_by_sum(const kd_net *net, const kd_fused_plan *plan, int l)
{
    const uint32_t wide = chunks_of(stream_width(net)), first = stream_chunks(net);
    const int last = net->n_layers - 1;
    if (net->skip == KD_SKIP_NONE) return (last - l) % 2 == 0 ? 0 : wide;
    if (l == 0 || makes_stream(net, l)) return first;
    if (l == last || makes_stream(net, l + 1)) return first + wide;
    return first + wide + KD_FUSED_CHUNKS(plan->layers[l + 1].n_out);
}

/* Backward, they are the derivatives by the stream, and behind it those by the sums of two layers
 * in a row. */
static void place_backward(const kd_net *net, kd_fused_plan *plan)
{
    uint32_t slots = stream_chunks(net);
    plan->by_stream = 0;
    for (int l = 0; l < net->n_layers; l++) {
        kd_fused_layer *layer = &plan->layers[l];
        const uint32_t by_sum = place_by_sum(net, plan, l);
        layer->by_sum = (uint16_t)by_sum;
        slots = max_of(slots, by_sum + KD_FUSED_CHUNKS(layer->n_out));
    }
    plan->gradient_chunks = max_of(plan->chunks, slots * plan->tiles);
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
    const int wide = stream_width(net);
    memset(plan, 0, sizeof *plan);
    plan->n_layers = (uint32_t)net->n_layers;
    plan->n_inputs = (uint32_t)net->n_inputs;
    plan->n_outputs = (uint32_t)net->n_outputs;
    plan->n_params = (uint32_t)net->n_params;
    plan->share = kd_blocks_share(net);
    plan->columns = wide <= 128 ? 1 : wide <= 256 ? 2 : 4;
    plan->tiles = halves ? 2 : 1;
    for (int l = 0; l < net->n_layers; l++) {
        place_layer(net, l, plan);
    }
    place_forward(net, plan);
    place_backward(net, plan);
}

uint32_t kd_fused_columns(const kd_fused_plan *plan, const kd_fused_batch *batch)
{
    const size_t rows = kd_fused_group_rows(plan);
    const size_t groups = (size_t)batch->n_networks * ((batch->n + rows - 1) / rows);
    uint32_t columns = plan->columns, widest = 1;
    for (uint32_t l = 0; l + 1 < plan->n_layers; l++) {
        widest = max_of(widest, KD_FUSED_CHUNKS((uint32_t)plan->layers[l].n_out));
    }
    while (columns < KD_FUSED_WARPS && columns < widest &&
           2 * columns * groups <= KD_FUSED_BUSY_WARPS) {
        columns *= 2;
    }
    return columns;
}

/* Blocks whose traces are in memory at once. */
static size_t most_blocks(const kd_fused_plan *plan)
{
    const size_t size = kd_fused_block_rows(plan) / KD_FUSED_CHUNK * plan->trace * CHUNK_SIZE;
    const size_t fitting = KD_FUSED_TRACE_SIZE / size;
    return fitting > KD_FUSED_TRACE_BLOCKS ? fitting : KD_FUSED_TRACE_BLOCKS;
}

void kd_fused_split_make(const kd_fused_plan *plan, size_t n, kd_fused_split *split)
{
    const size_t block_rows = kd_fused_block_rows(plan);
    const size_t n_blocks = (n + block_rows - 1) / block_rows;
    const size_t most = most_blocks(plan), blocks = n_blocks < most ? n_blocks : most;
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
