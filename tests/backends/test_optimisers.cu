/* Both ways of the optimisers' step give the same bits: muon.cu and adam.cu in many launches, and
 * orthogonal.cu in one. On the host by tests/cuda_shim, or compiled by nvcc on a device. That
 * either is right is what test_backends finds out. */
#include "fused_experiment.h"

#include "cuda/operations.h"

namespace
{

constexpr int n_networks = 2, n_steps = 2;

/* Networks in the middle of a training, and a gradient. */
struct training {
    explicit training(const net_case &shape)
    {
        net_make(&shape, &net);
        kd_cuda_muon_plan_make(&net, &plan);
        const size_t n = n_networks * net.n_params;
        params.resize(n);
        first.resize(n);
        second.resize(n);
        gradient.resize(n);
        random_fill(1, n, params.data());
        random_fill(2, n, first.data());
        random_fill(3, n, second.data());
        random_fill(4, n, gradient.data());
        for (float &square : second) {
            square *= square;
        }
        hidden.assign(net.n_params, 0);
        for (int i = 0; i < plan.n_matrices; i++) {
            const kd_cuda_matrix &matrix = plan.matrices[i];
            memset(hidden.data() + matrix.weights, 1, (size_t)matrix.n_out * (size_t)matrix.n_in);
        }
    }

    kd_net net;
    kd_cuda_muon_plan plan;
    floats params, first, second, gradient;
    std::vector<unsigned char> hidden;
};

/* What a training is after some steps. */
struct outcome {
    floats params, first, second;
};

void take_step(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan, const kd_cuda_moved *moved,
               bool in_one)
{
    kdinr_error error = {KDINR_OK, ""};
    if (in_one) {
        check_ok(kd_cuda_orthogonal(lane, plan, moved, &error), error);
    } else {
        check_ok(kd_cuda_muon(lane, plan, moved, true, &error), error);
        check_ok(kd_cuda_adam(lane, moved, &error), error);
    }
}

outcome train(const training &t, bool in_one)
{
    const std::vector<kd_cuda_rates> all_rates = {{1e-3f, 1.5f, 2e-3f, 0}, {2e-3f, 1.2f, 1e-3f, 0}};
    const std::vector<kd_cuda_matrix> all_matrices(t.plan.matrices,
                                                   t.plan.matrices + t.plan.n_matrices);
    const device_array<kd_cuda_rates> rates(all_rates);
    const device_array<kd_cuda_matrix> matrices(all_matrices);
    const device_array<unsigned char> hidden(t.hidden);
    const device_array<float> gradient(t.gradient), first(t.first), second(t.second);
    const device_array<float> params(t.params), scratch(n_networks * t.plan.n_scratch);
    const kd_cuda_moved moved = {n_networks,     t.net.n_params, rates.get(), hidden.get(),
                                 matrices.get(), gradient.get(), first.get(), second.get(),
                                 params.get(),   scratch.get()};
    kd_cuda_lane lane = {};
    check_cuda(cudaStreamCreate(&lane.stream));
    for (int i = 0; i < n_steps; i++) {
        take_step(&lane, &t.plan, &moved, in_one);
    }
    check_cuda(cudaStreamSynchronize(lane.stream));
    check_cuda(cudaStreamDestroy(lane.stream));
    return {params.read(), first.read(), second.read()};
}

void assert_same_bits(const floats &a, const floats &b)
{
    assert_memory_equal(a.data(), b.data(), a.size() * sizeof(float));
}

/* Odd widths, square matrices and those of bottlenecks, threads that make four and sixteen
 * elements, up to the largest that fits. */
void one_launch_is_as_many(void **)
{
    const net_case shapes[] = {
        {9, 2, 4, 1, 2, true, KD_SKIP_SUM},    {7, 1, 3, 2, 3, false, KD_SKIP_MEAN},
        {32, 1, 4, 1, 2, true, KD_SKIP_SUM},   {41, 2, 4, 1, 2, true, KD_SKIP_SUM},
        {24, 1, 3, 1, 3, false, KD_SKIP_MEAN}, {88, 1, 3, 1, 1, true, KD_SKIP_NONE},
    };
    for (const net_case &shape : shapes) {
        const training t(shape);
        assert_true(kd_cuda_orthogonal_fits(&t.plan));
        const outcome many = train(t, false), one = train(t, true);
        assert_same_bits(many.params, one.params);
        assert_same_bits(many.first, one.first);
        assert_same_bits(many.second, one.second);
        assert_true(many.params != t.params && many.first != t.first && many.second != t.second);
    }
}

void large_matrices_do_not_fit(void **)
{
    const training large({96, 1, 3, 1, 2, true, KD_SKIP_SUM});
    assert_false(kd_cuda_orthogonal_fits(&large.plan));
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_launch_is_as_many),
        cmocka_unit_test(large_matrices_do_not_fit),
    };
    int n_devices = 0;
    if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
        printf("no CUDA device\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
