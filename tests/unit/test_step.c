/* One training step of every backend against a recorded reference that shares no code with it:
 * reference_step.py computed it in numpy with float64. */
#include "check.h"

#include "net.h"
#include "reference_step.h"

/* float32 against float64: relative to the largest entry of the gradient */
#define GRADIENT_TOLERANCE 1e-4
#define PARAM_TOLERANCE    2e-6

static void *open_instance(const kd_backend *backend, kdinr_optimizer optimizer)
{
    const kd_net_shape shape = {3, 1, REF_M, REF_D, 3, 7.0f, 30.0f, KD_FORM_KDINR};
    const kd_backend_config config = {
        .n_threads = 1, .training = true, .optimizer = optimizer, .max_batch = REF_BATCH};
    void *instance;
    kdinr_error error;
    kd_net net;

    kd_net_layout(&shape, &net);
    assert_int_equal(net.n_params, REF_N);
    check_ok(backend->open(&net, &config, &instance, &error), error);
    check_ok(backend->set_params(instance, ref_params, &error), error);
    return instance;
}

static double largest_gradient(void)
{
    double largest = 0.0;

    for (int i = 0; i < REF_N; i++) {
        largest = fmax(largest, fabs((double)ref_gradient[i]));
    }
    return largest;
}

static void step_matches(const kd_backend *backend, kdinr_optimizer optimizer,
                         const float *expected)
{
    const kd_step rates = {1e-3, 0.5e-3};
    void *instance = open_instance(backend, optimizer);
    float params[REF_N];
    double loss;
    kdinr_error error;

    check_ok(
        backend->train_step(instance, ref_coords, ref_targets, REF_BATCH, &rates, &loss, &error),
        error);
    check_near(loss, ref_loss, 1e-5 * ref_loss);
    check_ok(backend->get_params(instance, params, &error), error);
    for (int i = 0; i < REF_N; i++) {
        /* where the gradient is as small as its rounding error, Adam's first step is undecided */
        const double slack = fabs((double)ref_gradient[i]) < 1e-3 * largest_gradient() ? 2e-3 : 0.0;
        check_near(params[i], expected[i], PARAM_TOLERANCE + slack);
    }
    backend->close(instance);
}

static void step_agrees_with_numpy(void **state)
{
    const kd_backend *const *list = kd_backend_list();

    (void)state;
    for (int b = 0; list[b] != NULL; b++) {
        float gradient[REF_N];
        double loss;
        kdinr_error error;

        if (!list[b]->available(NULL)) continue;
        void *instance = open_instance(list[b], KDINR_OPTIMIZER_ADAM);
        check_ok(list[b]->gradient(instance, ref_coords, ref_targets, REF_BATCH, gradient, &loss,
                                   &error),
                 error);
        for (int i = 0; i < REF_N; i++) {
            check_near(gradient[i], ref_gradient[i], GRADIENT_TOLERANCE * largest_gradient());
        }
        list[b]->close(instance);
        step_matches(list[b], KDINR_OPTIMIZER_ADAM, ref_adam);
        step_matches(list[b], KDINR_OPTIMIZER_MUON, ref_muon);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(step_agrees_with_numpy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
