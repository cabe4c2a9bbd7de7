/* The fused kernels against the reference: on the host by tests/cuda_shim, or compiled by nvcc on a
 * device. Networks have the paper's form (behind m, 2m, 4m), the default's (even: one width, blocks
 * that sum) and the compared networks'. Widths leave partial chunks and one, two or four warps per
 * row group; sample counts leave partial row tiles, groups and blocks. Every device buffer has
 * guards on either side. */
#include <algorithm>

#include "fused_experiment.h"

#include "cuda/fused_device.h"
#include "cuda/launch.h"

namespace
{

/* Root mean square differences allowed, relative to the reference's root mean square. fp16 has 11
 * places, 2^-11 = 5e-4; roundings of a sum are random. A single layer's gradient is allowed more:
 * that of the first layers has gone through all products. */
constexpr double tolerance = 1e-2, layer_tolerance = 2e-2;
/* Gradients of halves behind blocks that sum: there, rounding errors of the stream add up. */
constexpr double summed_tolerance = 2e-2;
/* Outputs of split factors: 22 places, so that fp32's sums and the sine's 2^-21 are what is left.
 */
constexpr double exact_tolerance = 1e-5;

struct sized_case {
    net_case shape; /* width, depth, inputs, outputs, layers of a block */
    size_t n;
};

const sized_case cases[] = {
    {{8, 1, 3, 1, 3, false, KD_SKIP_MEAN}, 1},    {{8, 3, 4, 9, 3, false, KD_SKIP_MEAN}, 31},
    {{8, 2, 3, 3, 2, false, KD_SKIP_MEAN}, 33},   {{16, 2, 3, 1, 3, false, KD_SKIP_MEAN}, 1000},
    {{16, 10, 3, 1, 3, false, KD_SKIP_MEAN}, 33}, {{24, 2, 4, 2, 3, false, KD_SKIP_MEAN}, 129},
    {{32, 3, 3, 1, 2, false, KD_SKIP_MEAN}, 40},  {{40, 2, 3, 8, 3, false, KD_SKIP_MEAN}, 65},
    {{64, 2, 4, 1, 3, false, KD_SKIP_MEAN}, 31},  {{56, 1, 3, 1, 2, false, KD_SKIP_MEAN}, 33},
    {{72, 1, 3, 3, 3, false, KD_SKIP_MEAN}, 33},  {{128, 1, 4, 1, 3, false, KD_SKIP_MEAN}, 31},
    {{128, 1, 3, 1, 2, false, KD_SKIP_MEAN}, 1},  {{2, 1, 4, 2, 2, false, KD_SKIP_MEAN}, 33},
    {{5, 2, 4, 1, 3, false, KD_SKIP_MEAN}, 31},   {{13, 2, 3, 3, 3, false, KD_SKIP_MEAN}, 65},
    {{37, 1, 4, 1, 2, false, KD_SKIP_MEAN}, 33},  {{67, 1, 3, 1, 3, false, KD_SKIP_MEAN}, 17},
    {{5, 2, 4, 1, 3, false, KD_SKIP_SUM}, 31},    {{2, 1, 3, 1, 2, true, KD_SKIP_SUM}, 1},
    {{9, 3, 4, 9, 2, true, KD_SKIP_SUM}, 33},     {{16, 7, 4, 1, 2, true, KD_SKIP_SUM}, 40},
    {{41, 3, 4, 3, 2, true, KD_SKIP_SUM}, 129},   {{81, 3, 4, 1, 2, true, KD_SKIP_SUM}, 65},
    {{128, 1, 3, 2, 2, true, KD_SKIP_SUM}, 31},   {{131, 1, 4, 1, 2, true, KD_SKIP_SUM}, 33},
    {{256, 1, 3, 1, 2, true, KD_SKIP_SUM}, 17},   {{24, 2, 3, 1, 2, true, KD_SKIP_MEAN}, 33},
    {{13, 3, 3, 1, 1, true, KD_SKIP_NONE}, 65},   {{150, 2, 4, 1, 1, true, KD_SKIP_NONE}, 31},
    {{19, 1, 4, 2, 2, true, KD_SKIP_NONE}, 33},
};

/* What a failure is about. */
struct label {
    explicit label(const sized_case &c)
    {
        static const char *const skips[] = {"mean", "sum", "none"};
        snprintf(text, sizeof text, "m %d d %d layers %d %s %s n %zu", c.shape.width, c.shape.depth,
                 c.shape.block_layers, c.shape.flat ? "even" : "wide", skips[c.shape.skip], c.n);
    }
    char text[80];
};

void check_outputs(const sized_case &c, bool halves, double allowed)
{
    const experiment e(c.shape, c.n, halves);
    const reference r(&e.net, e.params.data(), c.n);
    const floats values = e.forward();
    const floats expected = r.evaluate(e.coords.data(), values.size());
    const double wrong = difference(values.data(), expected.data(), values.size());
    if (!(wrong < allowed)) fail_msg("%s: outputs differ by %g", label(c).text, wrong);
}

void outputs_are_the_references(void **)
{
    for (const sized_case &c : cases) {
        check_outputs(c, false, exact_tolerance);
    }
}

void outputs_of_halves_are_nearly_the_references(void **)
{
    for (const sized_case &c : cases) {
        check_outputs(c, true, tolerance);
    }
}

void check_layers(const kd_net *net, const char *name, const floats &gradient,
                  const floats &expected)
{
    for (int l = 0; l < net->n_layers; l++) {
        const kd_layer *layer = &net->layers[l];
        const size_t n = layer->biases + (size_t)layer->n_out - layer->weights;
        const double wrong =
            difference(gradient.data() + layer->weights, expected.data() + layer->weights, n);
        if (!(wrong < layer_tolerance)) {
            fail_msg("%s, layer %d: gradients differ by %g", name, l, wrong);
        }
    }
}

void check_gradient(const sized_case &c, bool halves)
{
    const label name(c);
    const experiment e(c.shape, c.n, halves);
    const reference r(&e.net, e.params.data(), c.n);
    double expected_loss;
    floats losses;
    const floats gradient = e.gradient(&losses);
    const floats expected =
        r.gradient(e.coords.data(), e.targets.data(), e.net.n_params, &expected_loss);
    const double wrong = difference(gradient.data(), expected.data(), gradient.size());
    const bool sums = halves && c.shape.skip == KD_SKIP_SUM;
    if (!(wrong < (sums ? summed_tolerance : tolerance)))
        fail_msg("%s: gradients differ by %g", name.text, wrong);
    check_layers(&e.net, name.text, gradient, expected);
    check_near((double)losses[0], expected_loss, tolerance * expected_loss);
}

void gradients_are_the_references(void **)
{
    for (const sized_case &c : cases) {
        check_gradient(c, false);
        check_gradient(c, true);
    }
}

/* More samples than traces are kept at once: weight gradients are summed over two launches. */
void gradients_of_many_samples_take_turns(void **)
{
    const net_case shape = {8, 1, 3, 1, 3, false, KD_SKIP_MEAN};
    kd_net net;
    kd_fused_plan plan;
    kd_fused_split split;
    net_make(&shape, &net);
    kd_fused_plan_make(&net, false, &plan);
    kd_fused_split_make(&plan, (size_t)1 << 40, &split);
    check_gradient({shape, split.rows + 33}, false);
}

void the_same_batch_gives_the_same_bits(void **)
{
    const experiment e({40, 2, 3, 2, 3, false, KD_SKIP_MEAN}, 100, false);
    floats losses, losses_again;
    const floats gradient = e.gradient(&losses);
    assert_true(gradient == e.gradient(&losses_again));
    assert_true(losses == losses_again);
}

#ifndef __CUDACC__
/* One, two and four warps to a row group: without a barrier that is needed, bits would change. */
void the_order_of_threads_does_not_matter(void **)
{
    static const sized_case shapes[] = {
        {{16, 2, 3, 1, 3, false, KD_SKIP_MEAN}, 40}, {{45, 2, 3, 1, 3, false, KD_SKIP_MEAN}, 20},
        {{72, 1, 3, 1, 3, false, KD_SKIP_MEAN}, 20}, {{72, 1, 3, 1, 2, false, KD_SKIP_MEAN}, 20},
        {{37, 2, 4, 1, 2, true, KD_SKIP_SUM}, 40},   {{140, 2, 4, 1, 2, true, KD_SKIP_SUM}, 40},
        {{140, 3, 4, 1, 1, true, KD_SKIP_NONE}, 20}};
    for (const sized_case &c : shapes) {
        for (const bool halves : {false, true}) {
            const experiment e(c.shape, c.n, halves);
            floats losses, losses_again;
            const floats gradient = e.gradient(&losses);
            shim_set_order(c.shape.width + 1u);
            assert_true(gradient == e.gradient(&losses_again));
            assert_true(losses == losses_again);
            shim_set_order(0);
        }
    }
}
#endif

void check_many_networks(const net_case &shape)
{
    enum { NETWORKS = 3, SAMPLES = 70 };
    experiment all(shape, SAMPLES, false, NETWORKS);
    floats losses, loss;
    floats values = all.forward(), gradients = all.gradient(&losses);
    for (int i = 0; i < NETWORKS; i++) {
        experiment one(shape, SAMPLES, false);
        one.params.assign(all.at(all.params, i), all.at(all.params, i) + one.params.size());
        one.coords.assign(all.at(all.coords, i), all.at(all.coords, i) + one.coords.size());
        one.targets.assign(all.at(all.targets, i), all.at(all.targets, i) + one.targets.size());
        const floats alone = one.forward(), gradient = one.gradient(&loss);
        assert_memory_equal(all.at(values, i), alone.data(), alone.size() * sizeof(float));
        assert_memory_equal(all.at(gradients, i), gradient.data(), gradient.size() * sizeof(float));
        assert_true(loss[0] == losses[(size_t)i]);
    }
}

void many_networks_are_as_if_alone(void **)
{
    check_many_networks({24, 1, 3, 2, 3, false, KD_SKIP_MEAN});
    check_many_networks({21, 2, 4, 1, 2, true, KD_SKIP_SUM});
}

/* A part of a 7 x 5 x 3 grid, against the same points given one by one. */
void check_grid(const net_case &shape)
{
    const size_t n[3] = {7, 5, 3}, first = 9, count = 80;
    experiment e(shape, count, false);
    std::vector<floats> axes;
    for (int a = 0; a < 3; a++) {
        axes.push_back(floats(n[a]));
        random_fill((unsigned)a + 3, n[a], axes.back().data());
    }
    for (size_t i = 0; i < count; i++) {
        const size_t at = first + i;
        float *point = &e.coords[4 * i];
        point[0] = axes[0][at % 7];
        point[1] = axes[1][at / 7 % 5];
        point[2] = axes[2][at / 35];
        point[3] = 0.25f;
    }
    const device_array<float> d_x(axes[0]), d_y(axes[1]), d_z(axes[2]), d_params(e.params);
    const device_array<float> d_values(count * 2);
    const device_array<char> d_packed(kd_fused_packed_size(&e.net));
    const kd_grid grid = {{d_x.get(), d_y.get(), d_z.get()}, {7, 5, 3}, 0.25f};
    check_cuda(kd_fused_pack(&e.net, d_params.get(), d_packed.get(), nullptr));
    check_cuda(kd_fused_forward_grid(&e.net, d_packed.get(), d_params.get(), &grid, first, count,
                                     d_values.get(), nullptr));
    check_cuda(cudaDeviceSynchronize());
    assert_true(d_values.read() == e.forward());
}

void a_grid_is_its_points(void **)
{
    check_grid({16, 1, 4, 2, 3, false, KD_SKIP_MEAN});
    check_grid({21, 2, 4, 2, 2, true, KD_SKIP_SUM});
}

/* The derivatives of nearly right predictions survive in fp16: gradients are linear in the errors,
 * of which one set is a thousandth of the other. Fused predictions are the measure, as the errors
 * are smaller than what fp16 costs. */
void check_small_errors(const net_case &shape)
{
    experiment large(shape, 64, true), small(shape, 64, true);
    const floats values = large.forward();
    floats losses;
    for (size_t i = 0; i < values.size(); i++) {
        const float miss = large.targets[i];
        large.targets[i] = values[i] - 0.1f * miss;
        small.targets[i] = values[i] - 0.0001f * miss;
    }
    const floats expected = large.gradient(&losses);
    floats gradient = small.gradient(&losses);
    for (float &value : gradient) {
        value *= 1000;
    }
    check_layers(&large.net, "a thousandth", gradient, expected);
}

void small_errors_give_small_gradients(void **)
{
    check_small_errors({16, 10, 3, 1, 3, false, KD_SKIP_MEAN});
    check_small_errors({16, 7, 3, 1, 2, true, KD_SKIP_SUM});
}

void check_absurd_errors(const net_case &shape)
{
    experiment e(shape, 33, true);
    floats losses;
    for (float &target : e.targets) {
        target *= 1e6f;
    }
    for (const float value : e.gradient(&losses)) {
        assert_true(std::isfinite(value));
    }
}

void absurd_errors_give_finite_gradients(void **)
{
    check_absurd_errors({8, 1, 3, 1, 3, false, KD_SKIP_MEAN});
    check_absurd_errors({17, 3, 3, 1, 2, true, KD_SKIP_SUM});
}

void only_fitting_networks_are_supported(void **)
{
    static const net_case fit[] = {{128, 32, 4, 9, 2, false, KD_SKIP_MEAN},
                                   {128, 32, 4, 9, 3, false, KD_SKIP_SUM},
                                   {256, 32, 4, 9, 2, true, KD_SKIP_SUM},
                                   {256, 32, 4, 9, 1, true, KD_SKIP_NONE}};
    static const net_case others[] = {{1, 1, 3, 1, 3, false, KD_SKIP_MEAN},
                                      {129, 1, 3, 1, 3, false, KD_SKIP_MEAN},
                                      {8, 1, 3, 1, 3, false, KD_SKIP_NONE},
                                      {8, 1, 3, 1, 3, true, KD_SKIP_SUM},
                                      {8, 1, 3, 1, 1, true, KD_SKIP_SUM}};
    kd_net net;
    for (const net_case &shape : others) {
        net_make(&shape, &net);
        assert_false(kd_fused_supports(&net));
    }
    for (const net_case &shape : fit) {
        net_make(&shape, &net);
        assert_true(kd_fused_supports(&net));
        net.layers[5].n_out = 64;
        assert_false(kd_fused_supports(&net));
    }
}

__global__ void sine_kernel(const float *turns, float *sines, float *cosines, unsigned n)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    sines[i] = kd_fused_sine(turns[i]);
    cosines[i] = kd_fused_cosine(turns[i]);
}

void sines_of_many_turns_are_exact_to_20_places(void **)
{
    enum { N = 4096 };
    floats turns(N);
    random_fill(1, N, turns.data());
    for (size_t i = 0; i < N; i++) {
        turns[i] *= i % 2 == 0 ? 1.0f : 1000.0f;
    }
    const device_array<float> d_turns(turns), d_sines(N), d_cosines(N);
    KD_LAUNCH(sine_kernel, dim3(N / 128), dim3(128), 0, nullptr, d_turns.get(), d_sines.get(),
              d_cosines.get(), (unsigned)N);
    check_cuda(cudaGetLastError());
    const floats sines = d_sines.read(), cosines = d_cosines.read();
    for (size_t i = 0; i < N; i++) {
        const double angle = 2 * M_PI * remainder((double)turns[i], 1.0);
        check_near((double)sines[i], sin(angle), 1.5e-6);
        check_near((double)cosines[i], cos(angle), 1.5e-6);
    }
}

/* Full-batch Adam on a smooth field, in double as the reference does it. */
class adam_run
{
  public:
    explicit adam_run(size_t n) : first_(n), second_(n), params_(n)
    {
    }
    void step(const floats &gradient, floats *params)
    {
        const std::vector<double> g(gradient.begin(), gradient.end());
        if (n_steps_++ == 0) params_.assign(params->begin(), params->end());
        kd_reference_adam(g.size(), 1e-3, n_steps_, g.data(), first_.data(), second_.data(),
                          params_.data());
        std::transform(params_.begin(), params_.end(), params->begin(),
                       [](double value) { return (float)value; });
    }

  private:
    std::vector<double> first_, second_, params_;
    size_t n_steps_ = 0;
};

/* The loss after so many steps. */
float train(experiment *e, size_t n, int n_steps, bool fused)
{
    adam_run adam(e->params.size());
    floats losses(1);
    for (int i = 0; i <= n_steps; i++) {
        double loss;
        floats gradient;
        if (fused) {
            gradient = e->gradient(&losses);
        } else {
            const reference r(&e->net, e->params.data(), n);
            gradient = r.gradient(e->coords.data(), e->targets.data(), e->net.n_params, &loss);
            losses[0] = (float)loss;
        }
        if (i < n_steps) adam.step(gradient, &e->params);
    }
    return losses[0];
}

/* The ways part as rounding differs, but they come to the same end. With halves there is a floor: a
 * root mean square error of about 2e-3, here 60 dB. */
void training_comes_as_far_as_the_references(void **)
{
    enum { SAMPLES = 64, STEPS = 80 };
    const double floor_of_halves = 4e-6;
    experiment start({8, 2, 3, 1, 3, false, KD_SKIP_MEAN}, SAMPLES, false);
    for (size_t i = 0; i < SAMPLES; i++) {
        const float *at = &start.coords[3 * i];
        start.targets[i] = sinf(2 * at[0]) * cosf(3 * at[1]) + 0.3f * at[2];
    }
    experiment exact = start, halves = start, its = start;
    halves.halves = true;
    const double expected = (double)train(&its, SAMPLES, STEPS, false);
    const double loss = (double)train(&exact, SAMPLES, STEPS, true);
    const double loss_of_halves = (double)train(&halves, SAMPLES, STEPS, true);
    print_message("loss %.3g, with halves %.3g, the reference's %.3g\n", loss, loss_of_halves,
                  expected);
    check_near(loss, expected, 0.5 * expected);
    check_near(loss_of_halves, expected, 0.5 * expected + floor_of_halves);
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_the_references),
        cmocka_unit_test(outputs_of_halves_are_nearly_the_references),
        cmocka_unit_test(gradients_are_the_references),
        cmocka_unit_test(gradients_of_many_samples_take_turns),
        cmocka_unit_test(the_same_batch_gives_the_same_bits),
#ifndef __CUDACC__
        cmocka_unit_test(the_order_of_threads_does_not_matter),
#endif
        cmocka_unit_test(many_networks_are_as_if_alone),
        cmocka_unit_test(a_grid_is_its_points),
        cmocka_unit_test(small_errors_give_small_gradients),
        cmocka_unit_test(absurd_errors_give_finite_gradients),
        cmocka_unit_test(only_fitting_networks_are_supported),
        cmocka_unit_test(sines_of_many_turns_are_exact_to_20_places),
        cmocka_unit_test(training_comes_as_far_as_the_references),
    };
    int n_devices = 0;
    if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
        printf("no CUDA device\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
