/* Parameters into the order in which products read them. Before: adam.c or muon.c moved them, or
 * they were set. After: forward.c and backward.c of the next batch. */
#include "cpu/operations.h"
#include "cpu/product.h"

/* Panel after panel, [term][row of the panel], from weights at row * w_row + term * w_term. */
static void pack_panels(int n_rows, int n_terms, const float *w, int w_row, int w_term, float scale,
                        float *panels)
{
    const int n_panels = kd_panel_count(n_rows);
    for (int i = 0; i < n_panels; i++) {
        const int first = kd_panel_first(n_rows, n_panels, i);
        const int rows = kd_panel_first(n_rows, n_panels, i + 1) - first;
        for (int k = 0; k < n_terms; k++) {
            const float *from = w + (ptrdiff_t)first * w_row + (ptrdiff_t)k * w_term;
            for (int row = 0; row < rows; row++) {
                *panels++ = scale * from[row * w_row];
            }
        }
    }
}

void kd_cpu_pack(const kd_cpu_layer *layer, const float *params, float *packed)
{
    const float *w = params + layer->weights;
    const int by_output = layer->lanes_are_outputs ? 1 : layer->stride;
    const int by_input = layer->lanes_are_outputs ? layer->stride : 1;
    pack_panels(layer->n_out, layer->n_in, w, by_output, by_input, layer->scale,
                packed + layer->forward_panels);
    for (int o = 0; o < layer->n_out; o++) {
        packed[layer->packed_biases + (size_t)o] = layer->scale * params[layer->biases + (size_t)o];
    }
    if (layer->backward_panels != 0) {
        pack_panels(layer->n_in, layer->n_out, w, by_input, by_output, layer->scale,
                    packed + layer->backward_panels);
    }
}
