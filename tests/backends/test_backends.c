/* Every backend, and every instruction set of the cpu backend that runs here, against the
 * reference; the reference against finite differences. Widths and batch sizes are odd on purpose:
 * they leave partial vectors, panels and tiles.
 *   test_backends [BACKEND [PATTERN]]
 * tests that backend only (exit code 77: it cannot run here), by the cases that match. */
#include "../check.h"

#include "cpu/backend_cpu.h"
#include "reference/reference.h"
#include "subject.h"

/* Allowed as EXACT_TOLERANCE is. Newton-Schulz multiplies small singular values, and their errors,
 * by up to 3.4445^5. Adam moves even a parameter whose gradient is lost in rounding by the full
 * rate, in either direction. */
#define MUON_TOLERANCE 1e-3
#define ADAM_TOLERANCE 1e-2
/* The same where products round their factors to 11 bits, for training over all steps. */
#define ROUNDED_TOLERANCE       2e-2
#define ROUNDED_TRAIN_TOLERANCE 0.1

enum { SKIPPED = 77 };

static void assert_agrees(const experiment *expected, const experiment *found, double tolerance,
                          double train_tolerance)
{
    const size_t n = expected->net.n_params, n_values = value_count(expected);
    const double value = root_mean_square(expected->values, NULL, n_values);
    const double gradient = root_mean_square(expected->gradient, NULL, n);
    const double moved = root_mean_square(expected->trained, expected->params, n);
    assert_true(root_mean_square(expected->values, found->values, n_values) <= tolerance * value);
    assert_true(fabs(expected->loss - found->loss) <= tolerance * expected->loss);
    assert_true(root_mean_square(expected->gradient, found->gradient, n) <= tolerance * gradient);
    assert_true(root_mean_square(expected->trained, found->trained, n) <= train_tolerance * moved);
    assert_true(fabs(expected->train_loss - found->train_loss) <=
                train_tolerance * expected->train_loss);
}

static void assert_same_bits(const experiment *a, const experiment *b)
{
    assert_memory_equal(a->values, b->values, value_count(a) * sizeof(float));
    assert_memory_equal(a->gradient, b->gradient, a->net.n_params * sizeof(float));
    assert_memory_equal(a->trained, b->trained, a->net.n_params * sizeof(float));
    assert_memory_equal(&a->loss, &b->loss, sizeof a->loss);
    assert_memory_equal(&a->train_loss, &b->train_loss, sizeof a->train_loss);
}

/* Each of n_subjects against the reference. */
static void compare(const subject *subjects, int n_subjects, const net_case *shape, size_t n,
                    kdinr_optimizer optimizer, int n_steps)
{
    const subject reference = {.backend = &kd_reference_backend};
    experiment expected;
    make_inputs(&expected, shape, n);
    run_subject(&reference, &expected, 1, optimizer, n_steps);
    for (int i = 0; i < n_subjects; i++) {
        const bool rounds = subjects[i].precision > KDINR_PRECISION_32;
        const double exact_train =
            optimizer == KDINR_OPTIMIZER_MUON ? MUON_TOLERANCE : ADAM_TOLERANCE;
        experiment found = expected;
        run_subject(&subjects[i], &found, 2, optimizer, n_steps);
        assert_agrees(&expected, &found, rounds ? ROUNDED_TOLERANCE : EXACT_TOLERANCE,
                      rounds ? ROUNDED_TRAIN_TOLERANCE : exact_train);
        free_outputs(&found);
    }
    free_outputs(&expected);
    free_inputs(&expected);
}

static void compare_subjects(const net_case *shape, size_t n, kdinr_optimizer optimizer,
                             int n_steps)
{
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_subjects(subjects);
    compare(subjects, n_subjects, shape, n, optimizer, n_steps);
}

/* All widths and block kinds; the other properties take turns. */
static void compare_widths(size_t n, kdinr_optimizer optimizer)
{
    static const int widths[] = {2, 5, 7, 9, 24, 32}, outputs[] = {1, 3, 9};
    int turn = (int)n;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (int block_layers = 2; block_layers <= 3; block_layers++, turn++) {
            const net_case shape = {.width = widths[w],
                                    .depth = turn % 4 < 2 ? 1 : 3,
                                    .n_inputs = turn % 7 < 3 ? 3 : 4 + turn % 5,
                                    .n_outputs = outputs[turn % 3],
                                    .block_layers = block_layers};
            compare_subjects(&shape, n, optimizer, TRAIN_STEPS);
        }
    }
}

static void muon_agrees_with_reference(void **unused)
{
    (void)unused;
    static const size_t batches[] = {1, 31, 33, 1000};
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        compare_widths(batches[b], KDINR_OPTIMIZER_MUON);
    }
}

static void adam_agrees_with_reference(void **unused)
{
    (void)unused;
    compare_widths(33, KDINR_OPTIMIZER_ADAM);
}

/* Both kinds of the paper's blocks and the default's form, which go the fused path of the cuda
 * backend, and a network that does not. */
static void rounded_products_agree_with_reference(void **unused)
{
    (void)unused;
    static const int widths[] = {8, 24, 9};
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_rounding_subjects(subjects);
    for (size_t w = 0; n_subjects > 0 && w < sizeof widths / sizeof *widths; w++) {
        for (int block_layers = 2; block_layers <= 3; block_layers++) {
            const net_case shape = {.width = widths[w],
                                    .depth = 2,
                                    .n_inputs = block_layers + 1,
                                    .n_outputs = block_layers,
                                    .block_layers = block_layers};
            compare(subjects, n_subjects, &shape, 333, KDINR_OPTIMIZER_MUON, TRAIN_STEPS);
        }
    }
    for (int block_layers = 2; n_subjects > 0 && block_layers <= 3; block_layers++) {
        const net_case shape = {.width = 25,
                                .depth = 2,
                                .n_inputs = 4,
                                .n_outputs = 1,
                                .block_layers = block_layers, /* 3: not on the fused path */
                                .flat = true,
                                .skip = KD_SKIP_SUM};
        compare(subjects, n_subjects, &shape, 333, KDINR_OPTIMIZER_MUON, TRAIN_STEPS);
    }
}

static void widest_network_agrees_with_reference(void **unused)
{
    (void)unused;
    const net_case shape = {
        .width = KD_NET_MAX_WIDTH, .depth = 1, .n_inputs = 4, .n_outputs = 1, .block_layers = 2};
    compare_subjects(&shape, 3, KDINR_OPTIMIZER_ADAM, 1);
}

static void other_forms_agree_with_reference(void **unused)
{
    (void)unused;
    static const size_t batches[] = {1, 33, 1000};
    for (int f = 0; f < N_OTHER_FORMS; f++) {
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            compare_subjects(&other_forms[f], batches[b], KDINR_OPTIMIZER_MUON, TRAIN_STEPS);
        }
        compare_subjects(&other_forms[f], 33, KDINR_OPTIMIZER_ADAM, TRAIN_STEPS);
    }
}

static double reference_loss(void *state, const experiment *e, const float *params)
{
    float *gradient = malloc(e->net.n_params * sizeof *gradient);
    double loss = 0;
    assert_non_null(gradient);
    kd_reference_backend.set_params(state, params, NULL);
    kd_reference_backend.gradient(state, e->coords, e->targets, e->n, gradient, &loss, NULL);
    free(gradient);
    return loss;
}

/* Central differences; the reference computes in doubles, so they are good to about 1e-6. */
static void check_differences(const net_case *shape)
{
    const subject reference = {.backend = &kd_reference_backend};
    const double tolerance = 1e-4;
    experiment e;
    make_inputs(&e, shape, 5);
    run_subject(&reference, &e, 1, KDINR_OPTIMIZER_ADAM, 0);
    const kd_backend_config config = {.n_threads = 1, .training = true, .max_batch = e.n};
    void *state = open_subject(&reference, &e.net, &config);
    const double typical = root_mean_square(e.gradient, NULL, e.net.n_params);
    for (size_t i = 0; i < e.net.n_params; i++) {
        const float kept = e.params[i];
        const float above = kept + 1e-5f, below = kept - 1e-5f;
        e.params[i] = above;
        double difference = reference_loss(state, &e, e.params);
        e.params[i] = below;
        difference -= reference_loss(state, &e, e.params);
        e.params[i] = kept;
        difference /= (double)above - (double)below;
        assert_true(fabs(difference - (double)e.gradient[i]) <=
                    tolerance * (fabs(difference) + 0.1 * typical));
    }
    kd_reference_backend.close(state);
    free_outputs(&e);
    free_inputs(&e);
}

static void reference_gradient_equals_finite_differences(void **unused)
{
    (void)unused;
    for (int block_layers = 2; block_layers <= 3; block_layers++) {
        const net_case shape = {
            .width = 3, .depth = 2, .n_inputs = 4, .n_outputs = 2, .block_layers = block_layers};
        check_differences(&shape);
    }
    for (int f = 0; f < N_OTHER_FORMS; f++) {
        check_differences(&other_forms[f]);
    }
}

static void threads_do_not_change_bits(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_subjects(subjects);
    const net_case shape = {
        .width = 9, .depth = 2, .n_inputs = 4, .n_outputs = 3, .block_layers = 3};
    for (int i = 0; i < n_subjects; i++) {
        experiment one;
        make_inputs(&one, &shape, 1000);
        run_subject(&subjects[i], &one, 1, KDINR_OPTIMIZER_MUON, TRAIN_STEPS);
        for (int n_threads = 2; n_threads <= 3; n_threads++) {
            experiment more = one;
            run_subject(&subjects[i], &more, n_threads, KDINR_OPTIMIZER_MUON, TRAIN_STEPS);
            assert_same_bits(&one, &more);
            free_outputs(&more);
        }
        free_outputs(&one);
        free_inputs(&one);
    }
}

/* Parameters come back as they went in, and setting them forgets the optimiser's past. */
static void set_params_starts_afresh(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    int n_subjects = list_subjects(subjects);
    subjects[n_subjects++] = (subject){.backend = &kd_reference_backend};
    const net_case shape = {
        .width = 5, .depth = 1, .n_inputs = 3, .n_outputs = 1, .block_layers = 3};
    experiment e;
    make_inputs(&e, &shape, 40);
    const size_t size = e.net.n_params * sizeof(float);
    for (int i = 0; i < n_subjects; i++) {
        const kd_backend_config config = {.n_threads = 1, .training = true, .max_batch = e.n};
        const kd_backend *backend = subjects[i].backend;
        void *state = open_subject(&subjects[i], &e.net, &config);
        float *once = guarded(e.net.n_params), *again = guarded(e.net.n_params);
        double loss = 0;
        backend->set_params(state, e.params, NULL);
        backend->get_params(state, once, NULL);
        assert_memory_equal(once, e.params, size);
        train(&subjects[i], state, &e, 3, &loss);
        backend->get_params(state, once, NULL);
        backend->set_params(state, e.params, NULL);
        train(&subjects[i], state, &e, 3, &loss);
        backend->get_params(state, again, NULL);
        assert_memory_equal(once, again, size);
        free_guarded(once, e.net.n_params);
        free_guarded(again, e.net.n_params);
        backend->close(state);
    }
    free_inputs(&e);
}

static void check_refusal(const subject *s, const experiment *e, bool training, size_t n)
{
    const kd_backend_config config = {.n_threads = 1, .training = training, .max_batch = e->n - 1};
    const kd_step step = {1e-3, 1e-3};
    kdinr_error error = {KDINR_OK, ""};
    double loss = -1;
    void *state = open_subject(s, &e->net, &config);
    s->backend->set_params(state, e->params, NULL);
    assert_int_equal(s->backend->train_step(state, e->coords, e->targets, n, &step, &loss, &error),
                     KDINR_ERROR_ARGUMENT);
    assert_true(loss == -1 && strlen(error.message) > 0);
    s->backend->close(state);
}

static void batch_of_wrong_size_is_refused(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    int n_subjects = list_subjects(subjects);
    subjects[n_subjects++] = (subject){.backend = &kd_reference_backend};
    const net_case shape = {
        .width = 2, .depth = 1, .n_inputs = 3, .n_outputs = 1, .block_layers = 3};
    experiment e;
    make_inputs(&e, &shape, 10);
    for (int i = 0; i < n_subjects; i++) {
        check_refusal(&subjects[i], &e, true, 0);
        check_refusal(&subjects[i], &e, true, 10);
        check_refusal(&subjects[i], &e, false, 5);
        subjects[i].backend->close(NULL);
    }
    free_inputs(&e);
}

static void backends_are_found_by_name(void **unused)
{
    (void)unused;
    const kd_backend *found = NULL;
    kdinr_error error = {KDINR_OK, ""};
    assert_int_equal(kd_backend_find("reference", &found, &error), KDINR_OK);
    assert_ptr_equal(found, &kd_reference_backend);
    assert_int_equal(kd_backend_find("cpu", &found, &error), KDINR_OK);
    assert_ptr_equal(found, &kd_cpu_backend);
    assert_int_equal(kd_backend_find("auto", &found, &error), KDINR_OK);
    assert_true(found->available(NULL));
    assert_int_equal(kd_backend_find("abacus", &found, &error), KDINR_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "abacus"));
    assert_non_null(strstr(error.message, "reference"));
}

static void backends_name_why_they_cannot_run(void **unused)
{
    (void)unused;
    for (const kd_backend *const *list = kd_backend_list(); *list != NULL; list++) {
        const char *reason = "not asked";
        const kd_backend *found = NULL;
        kdinr_error error = {KDINR_OK, ""};
        if ((*list)->available(&reason)) {
            assert_null(reason);
        } else {
            assert_int_equal(kd_backend_find((*list)->name, &found, &error), KDINR_ERROR_BACKEND);
            assert_true(strlen(reason) > 0 && strstr(error.message, reason) != NULL);
        }
    }
}

/* Is what the command line asks for here? Prints why not. */
static bool find_wanted(void)
{
    const kd_backend *found = NULL;
    kdinr_error error = {KDINR_OK, ""};
    if (wanted == NULL || kd_backend_find(wanted, &found, &error) == KDINR_OK) return true;
    print_message("skipped: %s\n", error.message);
    return false;
}

int main(int argc, char **argv)
{
    wanted = argc > 1 ? argv[1] : NULL;
    if (!find_wanted()) return SKIPPED;
    if (argc > 2) cmocka_set_test_filter(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_name_why_they_cannot_run),
        cmocka_unit_test(backends_are_found_by_name),
        cmocka_unit_test(reference_gradient_equals_finite_differences),
        cmocka_unit_test(muon_agrees_with_reference),
        cmocka_unit_test(adam_agrees_with_reference),
        cmocka_unit_test(rounded_products_agree_with_reference),
        cmocka_unit_test(rounded_sample_has_same_bits_alone_and_in_any_place),
        cmocka_unit_test(widest_network_agrees_with_reference),
        cmocka_unit_test(other_forms_agree_with_reference),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(sample_has_same_bits_alone_and_in_any_place),
        cmocka_unit_test(grid_has_the_values_of_its_samples),
        cmocka_unit_test(set_params_starts_afresh),
        cmocka_unit_test(groups_gradient_equals_finite_differences),
        cmocka_unit_test(groups_agree_with_reference),
        cmocka_unit_test(groups_must_be_whole),
        cmocka_unit_test(supply_gives_the_hosts_samples),
        cmocka_unit_test(supply_trains_as_its_batches_do),
        cmocka_unit_test(supply_trains_together_as_alone),
        cmocka_unit_test(batch_of_wrong_size_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
