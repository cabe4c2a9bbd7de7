/* The loss on gradients of every backend (groups.h): cases of test_backends.c. */
#include "../check.h"

#include "groups.h"
#include "reference/reference.h"
#include "subject.h"

#define WEIGHT   0.07
#define DISTANCE 0.4f

enum { N_SIZES = 4 };
static const size_t sizes[N_SIZES] = {4, 48, 316, 1000};

/* Samples with their neighbours, at another distance along each axis; of every fifth group all are
 * missing, of every seventh that along y. */
static void make_groups(experiment *e, const net_case *shape, size_t n)
{
    make_inputs(e, shape, n);
    const size_t n_inputs = (size_t)e->net.n_inputs;
    for (size_t b = 0; b < n; b++) {
        const size_t group = b / KD_GROUP_ROWS, member = b % KD_GROUP_ROWS;
        float *row = e->coords + b * n_inputs;
        memcpy(row, row - member * n_inputs, n_inputs * sizeof *row);
        if (member == 0 || group % 5 == 4 || (group % 7 == 6 && member == 2)) continue;
        row[member - 1] += DISTANCE * (1.0f + (float)member) * (group % 2 == 0 ? 1.0f : -1.0f);
    }
}

static kd_backend_config group_config(const experiment *e)
{
    return (kd_backend_config){
        .n_threads = 2, .training = true, .max_batch = e->n, .gradient_weight = WEIGHT};
}

/* Both losses, from answers alone. */
static double both_losses(void *state, const experiment *e, const float *params, float *answers)
{
    const size_t n_outputs = (size_t)e->net.n_outputs, n_inputs = (size_t)e->net.n_inputs;
    double values = 0, slopes = 0;
    assert_int_equal(kd_reference_backend.set_params(state, params, NULL), KDINR_OK);
    assert_int_equal(kd_reference_backend.evaluate(state, e->coords, e->n, answers, NULL),
                     KDINR_OK);
    for (size_t i = 0; i < e->n * n_outputs; i++) {
        const double miss = (double)answers[i] - (double)e->targets[i];
        values += miss * miss;
    }
    for (size_t b = 0; b < e->n; b += KD_GROUP_ROWS) {
        for (size_t axis = 0; axis < 3; axis++) {
            const size_t other = b + 1 + axis;
            const double h =
                (double)e->coords[other * n_inputs + axis] - (double)e->coords[b * n_inputs + axis];
            for (size_t c = 0; c < n_outputs && h != 0; c++) {
                const size_t i = other * n_outputs + c, k = b * n_outputs + c;
                const double found = ((double)answers[i] - (double)answers[k]) / h;
                const double expected = ((double)e->targets[i] - (double)e->targets[k]) / h;
                slopes += (found - expected) * (found - expected);
            }
        }
    }
    const double count = (double)e->n * (double)n_outputs;
    return values / count + WEIGHT * slopes / (3 * count / KD_GROUP_ROWS);
}

static void check_differences(const net_case *shape)
{
    experiment e;
    make_groups(&e, shape, 40);
    const kd_backend_config config = group_config(&e);
    void *state = open_subject(&(subject){.backend = &kd_reference_backend}, &e.net, &config);
    float *gradient = guarded(e.net.n_params), *answers = guarded(value_count(&e));
    double loss, squares = 0, misses = 0;
    kd_reference_backend.set_params(state, e.params, NULL);
    kd_reference_backend.gradient(state, e.coords, e.targets, e.n, gradient, &loss, NULL);
    for (size_t i = 0; i < e.net.n_params; i++) {
        const float at = e.params[i];
        e.params[i] = at + 1e-4f;
        const double above = both_losses(state, &e, e.params, answers), high = (double)e.params[i];
        e.params[i] = at - 1e-4f;
        const double below = both_losses(state, &e, e.params, answers);
        const double slope = (above - below) / (high - (double)e.params[i]);
        e.params[i] = at;
        squares += slope * slope;
        misses += ((double)gradient[i] - slope) * ((double)gradient[i] - slope);
    }
    assert_true(sqrt(misses) <= 2e-4 * sqrt(squares));
    kd_reference_backend.close(state);
    free_guarded(gradient, e.net.n_params);
    free_guarded(answers, value_count(&e));
    free_inputs(&e);
}

void groups_gradient_equals_finite_differences(void **unused)
{
    (void)unused;
    const net_case shape = {
        .width = 3, .depth = 2, .n_inputs = 4, .n_outputs = 2, .block_layers = 3};
    check_differences(&shape);
    for (int f = 0; f < N_OTHER_FORMS; f++) {
        check_differences(&other_forms[f]);
    }
}

static void run_groups(const subject *s, experiment *e)
{
    const kd_backend_config config = group_config(e);
    void *state = open_subject(s, &e->net, &config);
    e->gradient = guarded(e->net.n_params);
    e->trained = guarded(e->net.n_params);
    assert_int_equal(s->backend->set_params(state, e->params, NULL), KDINR_OK);
    assert_int_equal(
        s->backend->gradient(state, e->coords, e->targets, e->n, e->gradient, &e->loss, NULL),
        KDINR_OK);
    train(s, state, e, TRAIN_STEPS, &e->train_loss);
    assert_int_equal(s->backend->get_params(state, e->trained, NULL), KDINR_OK);
    s->backend->close(state);
}

static void check_near_reference(const experiment *found, const experiment *expected)
{
    const size_t n = found->net.n_params;
    const double scale = root_mean_square(expected->gradient, NULL, n);
    assert_true(fabs(found->loss - expected->loss) <= EXACT_TOLERANCE * expected->loss);
    assert_true(root_mean_square(found->gradient, expected->gradient, n) <=
                EXACT_TOLERANCE * scale);
    assert_true(root_mean_square(found->trained, expected->trained, n) <= 1e-4);
    assert_true(fabs(found->train_loss - expected->train_loss) <= 1e-3 * expected->train_loss);
}

static void free_run(experiment *e)
{
    free_guarded(e->gradient, e->net.n_params);
    free_guarded(e->trained, e->net.n_params);
}

/* With any precision: it is the loss that decides how a device computes. */
void groups_agree_with_reference(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    const int n_subjects = list_subjects(subjects);
    const net_case narrow = {
        .width = 5, .depth = 2, .n_inputs = 4, .n_outputs = 3, .block_layers = 3};
    const net_case *shapes[3] = {&narrow, &other_forms[0], &other_forms[3]};
    for (int k = 0; k < 3 * N_SIZES; k++) {
        experiment e;
        make_groups(&e, shapes[k / N_SIZES], sizes[k % N_SIZES]);
        experiment expected = e;
        run_groups(&(subject){.backend = &kd_reference_backend}, &expected);
        for (int i = 0; i < n_subjects; i++) {
            experiment found = e;
            run_groups(&subjects[i], &found);
            check_near_reference(&found, &expected);
            free_run(&found);
        }
        free_run(&expected);
        free_inputs(&e);
    }
}

void groups_must_be_whole(void **unused)
{
    (void)unused;
    subject subjects[MAX_SUBJECTS];
    int n_subjects = list_subjects(subjects);
    subjects[n_subjects++] = (subject){.backend = &kd_reference_backend};
    experiment e;
    make_groups(&e, &other_forms[0], 12);
    const kd_backend_config config = group_config(&e);
    for (int i = 0; i < n_subjects; i++) {
        const kd_backend *backend = subjects[i].backend;
        void *state = open_subject(&subjects[i], &e.net, &config);
        float *gradient = guarded(e.net.n_params);
        kdinr_error error;
        double loss;
        backend->set_params(state, e.params, NULL);
        check_fails(backend->gradient(state, e.coords, e.targets, 10, gradient, &loss, &error),
                    KDINR_ERROR_ARGUMENT, "batch of 10 samples, groups have 4", error);
        backend->close(state);
        free_guarded(gradient, e.net.n_params);
    }
    free_inputs(&e);
}
