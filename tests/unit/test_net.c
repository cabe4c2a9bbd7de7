/* Layer table, parameter count and initialisation (core/net.c). */
#include "check.h"

#include "net.h"

static kd_net_shape shape_of(int n_inputs, int n_outputs, int width, int depth, int block_layers)
{
    const kd_net_shape shape = {.n_inputs = n_inputs,
                                .n_outputs = n_outputs,
                                .width = width,
                                .depth = depth,
                                .block_layers = block_layers,
                                .omega_first = 10.0f,
                                .omega_hidden = 30.0f};
    return shape;
}

/* As wide everywhere: SIREN's layers, or NeurComp's blocks of two. */
static kd_net_shape flat_shape(kd_form form, int n_inputs, int n_outputs, int width, int depth)
{
    kd_net_shape shape = shape_of(n_inputs, n_outputs, width, depth, form == KD_FORM_SIREN ? 1 : 2);

    shape.form = form;
    return shape;
}

/* Sec. III-D, which leaves out the output layer's 4m + 1. */
static void net_count_matches_the_paper(void **state)
{
    (void)state;
    for (size_t m = 2; m <= 64; m++) {
        for (size_t d = 1; d <= 12; d++) {
            const kd_net_shape shape = shape_of(4, 1, (int)m, (int)d, 3);
            const size_t paper = (4 * m + m) + (2 * m * m + 2 * m) + (8 * m * m + 4 * m) +
                                 d * (4 * m * m + m + m * m + m + 4 * m * m + 4 * m);

            assert_int_equal(kd_net_count(&shape), paper + 4 * m + 1);
        }
    }
}

static void net_layout_is_consecutive(void **state)
{
    const int blocks[] = {2, 3};

    (void)state;
    for (size_t b = 0; b < 2; b++) {
        const kd_net_shape shape = shape_of(3, 9, 7, 4, blocks[b]);
        size_t offset = 0;
        kd_net net;

        kd_net_layout(&shape, &net);
        assert_int_equal(net.n_layers, 3 + 4 * blocks[b] + 1);
        for (int l = 0; l < net.n_layers; l++) {
            const kd_layer *layer = &net.layers[l];

            assert_int_equal(layer->n_in, l == 0 ? 3 : net.layers[l - 1].n_out);
            assert_int_equal(layer->weights, offset);
            offset += (size_t)(layer->n_in * layer->n_out);
            assert_int_equal(layer->biases, offset);
            offset += (size_t)layer->n_out;
            assert_float_equal(layer->omega, l == 0 ? 10 : l + 1 == net.n_layers ? 0 : 30, 0);
        }
        assert_int_equal(net.layers[net.n_layers - 1].n_out, 9);
        assert_int_equal(net.n_params, offset);
    }
}

static void net_flat_forms_have_layers_of_one_width(void **state)
{
    (void)state;
    for (size_t m = 2; m <= 256; m += 127) {
        for (size_t d = 1; d <= 32; d += 31) {
            const kd_net_shape siren = flat_shape(KD_FORM_SIREN, 4, 3, (int)m, (int)d);
            const kd_net_shape neurcomp = flat_shape(KD_FORM_EVEN, 4, 3, (int)m, (int)d);
            kd_net net;

            assert_int_equal(kd_net_count(&siren), 5 * m + d * (m * m + m) + 3 * m + 3);
            assert_int_equal(kd_net_count(&neurcomp), 5 * m + 2 * d * (m * m + m) + 3 * m + 3);
            kd_net_layout(&siren, &net);
            assert_true(net.n_encoder == 1 && net.skip == KD_SKIP_NONE);
            kd_net_layout(&neurcomp, &net);
            assert_true(net.n_encoder == 1 && net.skip == KD_SKIP_SUM);
        }
    }
}

static void net_width_for_is_the_widest_that_fits(void **state)
{
    (void)state;
    for (double budget = 200; budget < 3e6; budget *= 1.37) {
        kd_net_shape shape = shape_of(4, 1, 0, 3, 3);

        shape.form = budget < 2000 ? KD_FORM_SIREN : KD_FORM_KDINR;
        shape.block_layers = budget < 2000 ? 1 : 3;
        shape.width = kd_net_width_for(&shape, budget);
        assert_true((double)kd_net_count(&shape) <= budget || shape.width == 2);
        shape.width++;
        assert_true(shape.width > 256 || (double)kd_net_count(&shape) > budget);
    }
}

static void net_initialise_stays_in_siren_bounds(void **state)
{
    const kd_net_shape shape = shape_of(4, 1, 16, 2, 3);
    kd_net net;
    float params[16384], again[16384];

    (void)state;
    kd_net_layout(&shape, &net);
    assert_true(net.n_params <= 16384);
    kd_net_initialise(&net, 30.0f, 5, 6, params);
    for (int l = 0; l < net.n_layers; l++) {
        const kd_layer *layer = &net.layers[l];
        const double bound = l == 0 ? 0.25 : sqrt(6.0 / layer->n_in) / 30.0;
        double largest = 0.0;

        for (int i = 0; i < layer->n_in * layer->n_out; i++) {
            largest = fmax(largest, fabs((double)params[layer->weights + (size_t)i]));
        }
        assert_true(largest <= bound * 1.000001);
        assert_true(largest > 0.8 * bound);
    }
    kd_net_initialise(&net, 30.0f, 5, 6, again);
    assert_memory_equal(params, again, net.n_params * sizeof *params);
    kd_net_initialise(&net, 30.0f, 5, 7, again);
    assert_true(memcmp(params, again, net.n_params * sizeof *params) != 0);
}

static void answer(const kd_net *net, const float *params, const float *coords, float *value)
{
    const kd_backend_config config = {.n_threads = 1};
    const kd_backend *backend;
    void *instance;
    kdinr_error error;

    check_ok(kd_backend_find("reference", &backend, &error), error);
    check_ok(backend->open(net, &config, &instance, &error), error);
    check_ok(backend->set_params(instance, params, &error), error);
    check_ok(backend->evaluate(instance, coords, 1, value, &error), error);
    backend->close(instance);
}

/* y [n_out] = sin(30 (W (scale x) + b)) of layer `l`; linear where the net is. */
static void apply_layer(const kd_net *net, int l, const float *params, double scale,
                        const double *x, double *y)
{
    const kd_layer *layer = &net->layers[l];

    for (int o = 0; o < layer->n_out; o++) {
        double sum = (double)params[layer->biases + (size_t)o];

        for (int i = 0; i < layer->n_in; i++) {
            const size_t at = layer->weights + (size_t)(o * layer->n_in + i);
            sum += (double)params[at] * scale * x[i];
        }
        y[o] = layer->omega == 0.0f ? sum : sin((double)layer->omega * sum);
    }
}

/* NeurComp as its authors have it: all layers start alike, but a block after the first halves what
 * its first layer reads, and the last block halves its sum. Twice our weights stand for theirs. */
static void net_neurcomp_is_its_authors_network(void **state)
{
    const kd_net_shape shape = flat_shape(KD_FORM_EVEN, 4, 1, 6, 3);
    const float coords[4] = {0.3f, -0.7f, 0.1f, 0.9f};
    double h[6], inner[6], f[6], input[4], expected;
    kd_net net;
    float params[512], value;

    (void)state;
    kd_net_layout(&shape, &net);
    assert_true(net.n_params <= 512);
    kd_net_initialise(&net, 30.0f, 3, 4, params);
    answer(&net, params, coords, &value);
    for (int l = 3; l < net.n_layers; l += 2) { /* what reads a sum */
        const kd_layer *layer = &net.layers[l];
        double largest = 0.0;

        for (size_t i = layer->weights; i < layer->biases; i++) {
            params[i] *= 2.0f;
            largest = fmax(largest, fabs((double)params[i]));
        }
        assert_true(largest > 0.7 / 30.0 && largest <= 1.000001 / 30.0);
    }
    for (int i = 0; i < 4; i++) {
        input[i] = (double)coords[i];
    }
    apply_layer(&net, 0, params, 1.0, input, h);
    for (int block = 0; block < 3; block++) {
        apply_layer(&net, 1 + 2 * block, params, block > 0 ? 0.5 : 1.0, h, inner);
        apply_layer(&net, 2 + 2 * block, params, 1.0, inner, f);
        for (int i = 0; i < 6; i++) {
            h[i] = (block == 2 ? 0.5 : 1.0) * (h[i] + f[i]);
        }
    }
    apply_layer(&net, 7, params, 1.0, h, &expected);
    check_near((double)value, expected, 1e-6);
}

static void net_add_time_and_rescale_keep_the_answers(void **state)
{
    const kd_net_shape teacher_shape = shape_of(3, 2, 8, 2, 3),
                       student_shape = shape_of(4, 2, 8, 2, 3);
    const float coords[4] = {0.3f, -0.7f, 0.1f, 0.9f};
    const double scale[2] = {0.5, 2.0}, offset[2] = {0.25, -1.0};
    kd_net teacher, student;
    float params[4096], wider[4096], before[2], after[2];

    (void)state;
    kd_net_layout(&teacher_shape, &teacher);
    kd_net_layout(&student_shape, &student);
    kd_net_initialise(&teacher, 30.0f, 1, 2, params);
    answer(&teacher, params, coords, before);
    kd_net_add_time(&teacher, params, &student, wider);
    kd_net_rescale(&student, scale, offset, wider);
    answer(&student, wider, coords, after);
    for (int c = 0; c < 2; c++) {
        check_near(after[c], before[c] * scale[c] + offset[c], 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(net_count_matches_the_paper),
        cmocka_unit_test(net_layout_is_consecutive),
        cmocka_unit_test(net_flat_forms_have_layers_of_one_width),
        cmocka_unit_test(net_width_for_is_the_widest_that_fits),
        cmocka_unit_test(net_initialise_stays_in_siren_bounds),
        cmocka_unit_test(net_neurcomp_is_its_authors_network),
        cmocka_unit_test(net_add_time_and_rescale_keep_the_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
