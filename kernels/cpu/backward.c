/* One tile's gradient, from the last layer to the first. Before: forward.c left inputs and slopes
 * in the tile. After: reduce.c adds the slots of all samples.
 * In the tile: `stream` is the derivative of the loss by h (or by what encoder layers pass on),
 * `local` that by what passes inside a block, `sums` that by one layer's half turns, and `columns`
 * one of a layer's two operands as [sample][neuron]. */
#include "blocks.h"
#include "cpu/operations.h"
#include "cpu/product.h"

/* sums = by_output * slopes, per neuron [KD_TILE]; adds them up into partial_biases. At a block's
 * end both sums and by_output are multiplied by the share of the block's input and answer in h. */
static void by_sums(const kd_cpu_layer *layer, float share, float *by_output, const float *slopes,
                    float *sums, float *partial_biases)
{
    for (int o = 0; o < layer->n_out; o++) {
        kd_vec bias = kd_vec_load(partial_biases + o * KD_LANES);
        for (int s = o * KD_TILE; s < (o + 1) * KD_TILE; s += KD_LANES) {
            const kd_vec passed = share * kd_vec_load(by_output + s);
            const kd_vec sum = layer->sine ? passed * kd_vec_load(slopes + s) : passed;
            if (share != 1) kd_vec_store(by_output + s, passed);
            kd_vec_store(sums + s, sum);
            bias += sum;
        }
        kd_vec_store(partial_biases + o * KD_LANES, bias);
    }
}

/* by_input (+)= W^T sums */
static void through_weights(const kd_cpu_layer *layer, const float *packed, const float *sums,
                            bool add, float *by_input)
{
    const int n_panels = kd_panel_count(layer->n_in);
    for (int i = 0; i < n_panels; i++) {
        const int first = kd_panel_first(layer->n_in, n_panels, i);
        const int rows = kd_panel_first(layer->n_in, n_panels, i + 1) - first;
        const size_t panel = layer->backward_panels + (size_t)first * (size_t)layer->n_out;
        for (int at = 0; at < KD_TILE; at += KD_VECTORS * KD_LANES) {
            const kd_product product = {.n_terms = layer->n_out,
                                        .w = packed + panel,
                                        .w_row = 1,
                                        .w_term = rows,
                                        .x = sums + at,
                                        .x_term = KD_TILE,
                                        .y = by_input + first * KD_TILE + at,
                                        .y_row = KD_TILE,
                                        .start = add ? KD_START_Y : KD_START_ZERO};
            kd_product_rows(&product, rows, KD_VECTORS);
        }
    }
}

/* KD_LANES neurons by KD_LANES samples, turned over in registers: log2(KD_LANES) times, vectors i
 * and i + KD_LANES / 2 are merged lane by lane. Neurons past `n` count as zero. */
KD_INLINE void turn_square(int n, const float *rows, float *columns, int stride)
{
    kd_vec a[KD_LANES], b[KD_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < KD_LANES; i++) {
        a[i] = i < n ? kd_vec_load(rows + i * KD_TILE) : kd_vec_all(0);
    }
#pragma GCC unroll 4
    for (int done = 1; done < KD_LANES; done *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < KD_LANES / 2; i++) {
            b[2 * i] = kd_vec_low(a[i], a[i + KD_LANES / 2]);
            b[2 * i + 1] = kd_vec_high(a[i], a[i + KD_LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < KD_LANES; i++) {
            a[i] = b[i];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < KD_LANES; i++) {
        kd_vec_store(columns + i * stride, a[i]);
    }
}

/* columns [KD_TILE][stride] = transpose of rows [n][KD_TILE], padded with zeros */
static void turn(int n, int stride, const float *rows, float *columns)
{
    for (int neuron = 0; neuron < stride; neuron += KD_LANES) {
        for (int s = 0; s < KD_TILE; s += KD_LANES) {
            float *to = columns + s * stride + neuron;
            const float *from = rows + neuron * KD_TILE + s;
            if (n - neuron >= KD_LANES) {
                turn_square(KD_LANES, from, to, stride);
            } else {
                turn_square(n - neuron, from, to, stride);
            }
        }
    }
}

/* gradient [rows][stride] += sum over samples of operand[row][sample] * columns[sample][lane] */
static void add_products(const kd_cpu_layer *layer, const float *operand, const float *columns,
                         float *gradient)
{
    const int n_panels = kd_panel_count(layer->rows), n_vectors = layer->stride / KD_LANES;
    for (int v = 0; v < n_vectors; v += KD_VECTORS) {
        for (int i = 0; i < n_panels; i++) {
            const int first = kd_panel_first(layer->rows, n_panels, i);
            const int rows = kd_panel_first(layer->rows, n_panels, i + 1) - first;
            const kd_product product = {.n_terms = KD_TILE,
                                        .w = operand + first * KD_TILE,
                                        .w_row = KD_TILE,
                                        .w_term = 1,
                                        .x = columns + v * KD_LANES,
                                        .x_term = layer->stride,
                                        .y = gradient + first * layer->stride + v * KD_LANES,
                                        .y_row = layer->stride,
                                        .start = KD_START_Y};
            kd_product_any(&product, rows, n_vectors - v);
        }
    }
}

/* The layer's weight gradient: outputs by inputs, the fewer of them along the lanes. */
static void weight_gradient(const kd_cpu_layer *layer, const float *sums, const float *input,
                            float *columns, float *gradient)
{
    if (layer->lanes_are_outputs) {
        turn(layer->n_out, layer->stride, sums, columns);
        add_products(layer, input, columns, gradient);
    } else {
        turn(layer->n_in, layer->stride, input, columns);
        add_products(layer, sums, columns, gradient);
    }
}

void kd_cpu_backward(const kd_cpu_plan *plan, const float *packed, float *tile, float *slot)
{
    const kd_net *net = &plan->net;
    float *sums = tile + plan->sums;
    for (int l = net->n_layers - 1; l >= 0; l--) {
        const kd_cpu_layer *layer = &plan->layers[l];
        const bool inside = kd_blocks_contain(net, l);
        const bool starts = kd_blocks_start(net, l), ends = kd_blocks_end(net, l);
        float *by_output = tile + (inside && !ends ? plan->local : plan->stream);
        float *by_input = tile + (inside && !starts ? plan->local : plan->stream);
        by_sums(layer, ends ? kd_blocks_share(net) : 1, by_output, tile + layer->slopes, sums,
                slot + layer->partial_biases);
        weight_gradient(layer, sums, tile + layer->input, tile + plan->columns,
                        slot + layer->weights);
        if (l > 0) through_weights(layer, packed, sums, starts, by_input);
    }
}
