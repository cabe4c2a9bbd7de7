/* The first layer for a tile of a grid's samples, which lie row by row along x. A row's y, z and
 * times enter every sample alike, so their part is formed once per row. Before: evaluate.c cut the
 * grid into tiles. After: forward.c goes on with the second layer. */
#include <string.h>

#include "cpu/operations.h"
#include "cpu/product.h"

/* A neuron's weights lie `stride` floats apart in its panel, input after input. */
static const float *neuron_weights(const kd_cpu_layer *layer, const float *packed, int panel,
                                   int *first, int *stride)
{
    const int n_panels = kd_panel_count(layer->n_out);
    *first = kd_panel_first(layer->n_out, n_panels, panel);
    *stride = kd_panel_first(layer->n_out, n_panels, panel + 1) - *first;
    return packed + layer->forward_panels + (size_t)*first * (size_t)layer->n_in;
}

/* turns [n_out][KD_TILE], samples at..at+n-1: half turns of one row's samples
 * inputs [n_in - 1] all but x */
static void row_turns(const kd_cpu_layer *layer, const float *packed, const float *inputs,
                      const float *x, int at, int n, float *turns)
{
    const int n_panels = kd_panel_count(layer->n_out);
    for (int panel = 0; panel < n_panels; panel++) {
        int first, rows;
        const float *w = neuron_weights(layer, packed, panel, &first, &rows);
        for (int row = 0; row < rows; row++) {
            float *to = turns + (first + row) * KD_TILE + at;
            float start = packed[layer->packed_biases + (size_t)(first + row)];
            for (int k = 1; k < layer->n_in; k++) {
                start += w[k * rows + row] * inputs[k - 1];
            }
            for (int s = 0; s < n; s++) {
                to[s] = start + w[row] * x[s];
            }
        }
    }
}

void kd_cpu_grid_rows(const kd_cpu_plan *plan, const float *packed, const kd_grid *grid,
                      size_t first, size_t count, float *tile)
{
    const kd_cpu_layer *layer = &plan->layers[0];
    const size_t nx = grid->n[0], ny = grid->n[1];
    const int n = layer->n_out * KD_TILE;
    float *turns = tile + layer->output;
    float inputs[KD_NET_MAX_INPUTS - 1];
    memcpy(inputs + 2, grid->times, sizeof grid->times);
    if (count < KD_TILE) memset(turns, 0, (size_t)n * sizeof *turns);
    for (size_t done = 0; done < count;) {
        const size_t x = (first + done) % nx, row = (first + done) / nx;
        const size_t run = nx - x < count - done ? nx - x : count - done;
        inputs[0] = grid->axes[1][row % ny];
        inputs[1] = grid->axes[2][row / ny];
        row_turns(layer, packed, inputs, grid->axes[0] + x, (int)done, (int)run, turns);
        done += run;
    }
    kd_cpu_sine(n, turns, turns, NULL);
}
