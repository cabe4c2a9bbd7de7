/* One tile through the network: y = sin(omega (W x + b)) per layer, h <- share (h + f(h)) per
 * block. Before: batch.c put the coordinates into the first layer's input, or grid.c did that
 * layer. After: the answers are in the last layer's output and, when training, slopes = pi cos(...)
 * wait for backward.c. */
#include "blocks.h"
#include "cpu/operations.h"
#include "cpu/product.h"

/* turns [rows][KD_TILE] = packed weights of neurons first..first+rows-1 times the input + bias */
static void panel_product(const kd_cpu_layer *layer, const float *packed, const float *input,
                          int first, int rows, float *turns)
{
    const size_t panel = layer->forward_panels + (size_t)first * (size_t)layer->n_in;
    for (int at = 0; at < KD_TILE; at += KD_VECTORS * KD_LANES) {
        const kd_product product = {.n_terms = layer->n_in,
                                    .w = packed + panel,
                                    .w_row = 1,
                                    .w_term = rows,
                                    .x = input + at,
                                    .x_term = KD_TILE,
                                    .y = turns + at,
                                    .y_row = KD_TILE,
                                    .start = KD_START_BIAS,
                                    .bias = packed + layer->packed_biases + first};
        kd_product_rows(&product, rows, KD_VECTORS);
    }
}

/* output = share * (skipped + moved); output may be skipped */
static void residual(int n, float share, const float *skipped, const float *moved, float *output)
{
    for (int i = 0; i < n; i += KD_LANES) {
        const kd_vec sum = kd_vec_load(skipped + i) + kd_vec_load(moved + i);
        kd_vec_store(output + i, share * sum);
    }
}

/* skipped: the block's input where a block ends, else NULL */
static void layer_forward(const kd_cpu_plan *plan, int l, const float *packed, const float *skipped,
                          float *tile)
{
    const kd_cpu_layer *layer = &plan->layers[l];
    const float share = kd_blocks_share(&plan->net);
    const int n_panels = kd_panel_count(layer->n_out);
    for (int i = 0; i < n_panels; i++) {
        float moved[KD_ROWS * KD_TILE];
        const int first = kd_panel_first(layer->n_out, n_panels, i);
        const int rows = kd_panel_first(layer->n_out, n_panels, i + 1) - first;
        const int n = rows * KD_TILE, at = first * KD_TILE;
        float *output = tile + layer->output + at;
        float *turns = skipped == NULL ? output : moved;
        panel_product(layer, packed, tile + layer->input, first, rows, turns);
        if (layer->sine) {
            kd_cpu_sine(n, turns, turns, plan->training ? tile + layer->slopes + at : NULL);
        }
        if (skipped != NULL) residual(n, share, skipped + at, moved, output);
    }
}

void kd_cpu_forward(const kd_cpu_plan *plan, const float *packed, int first_layer, float *tile)
{
    const float *block_input = NULL;
    for (int l = first_layer; l < plan->net.n_layers; l++) {
        if (kd_blocks_start(&plan->net, l)) block_input = tile + plan->layers[l].input;
        layer_forward(plan, l, packed, kd_blocks_end(&plan->net, l) ? block_input : NULL, tile);
    }
}
