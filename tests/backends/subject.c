/* See subject.h. */
#include "../check.h"

#include "cpu/backend_cpu.h"
#include "reference/reference.h"
#include "subject.h"

const net_case other_forms[N_OTHER_FORMS] = {
    {.width = 9,
     .depth = 3,
     .n_inputs = 4,
     .n_outputs = 1,
     .block_layers = 1,
     .flat = true,
     .skip = KD_SKIP_NONE},
    {.width = 32,
     .depth = 1,
     .n_inputs = 3,
     .n_outputs = 3,
     .block_layers = 1,
     .flat = true,
     .skip = KD_SKIP_NONE},
    {.width = 7,
     .depth = 4,
     .n_inputs = 8,
     .n_outputs = 3,
     .block_layers = 2,
     .flat = true,
     .skip = KD_SKIP_SUM},
    {.width = 24,
     .depth = 1,
     .n_inputs = 6,
     .n_outputs = 1,
     .block_layers = 2,
     .flat = true,
     .skip = KD_SKIP_SUM},
    {.width = 5, .depth = 2, .n_inputs = 4, .n_outputs = 1, .block_layers = 3, .skip = KD_SKIP_SUM},
};

enum { GUARDS = 16 };
static const float guard = -12345.678f;

const char *wanted;

static bool is_wanted(const kd_backend *backend)
{
    return wanted == NULL || strcmp(wanted, backend->name) == 0;
}

/* All subjects that run here, the reference left out. */
int list_subjects(subject subjects[MAX_SUBJECTS])
{
    int n = 0;
    for (const kd_backend *const *list = kd_backend_list(); *list != NULL; list++) {
        if (*list != &kd_reference_backend && is_wanted(*list) && (*list)->available(NULL)) {
            subjects[n++] = (subject){.backend = *list, .precision = KDINR_PRECISION_32};
        }
    }
    for (int i = 0; is_wanted(&kd_cpu_backend) && kd_cpu_path(i) != NULL; i++) {
        if (!kd_cpu_path_available(i)) continue;
        subjects[n++] = (subject){.backend = &kd_cpu_backend, .path = kd_cpu_path(i)};
    }
    return n;
}

/* Backends that can round what they multiply. */
int list_rounding_subjects(subject subjects[MAX_SUBJECTS])
{
    int n = 0;
    for (const kd_backend *const *list = kd_backend_list(); *list != NULL; list++) {
        if (strcmp((*list)->name, "cuda") != 0 || !is_wanted(*list) || !(*list)->available(NULL)) {
            continue;
        }
        subjects[n++] = (subject){.backend = *list, .precision = KDINR_PRECISION_TF32};
        subjects[n++] = (subject){.backend = *list, .precision = KDINR_PRECISION_MIXED};
        subjects[n++] = (subject){.backend = *list, .precision = KDINR_PRECISION_16};
    }
    return n;
}

void *open_subject(const subject *s, const kd_net *net, const kd_backend_config *asked)
{
    kd_backend_config config = *asked;
    void *state = NULL;
    config.precision = s->precision;
    const kdinr_status status = s->path == NULL ? s->backend->open(net, &config, &state, NULL)
                                                : kd_cpu_open(s->path, net, &config, &state, NULL);
    assert_int_equal(status, KDINR_OK);
    assert_non_null(state);
    return state;
}

/* n floats with GUARDS guard words on either side. */
float *guarded(size_t n)
{
    float *memory = malloc((n + 2 * GUARDS) * sizeof *memory);
    assert_non_null(memory);
    for (size_t i = 0; i < n + 2 * GUARDS; i++) {
        memory[i] = guard;
    }
    return memory + GUARDS;
}

void free_guarded(float *values, size_t n)
{
    for (size_t i = 0; i < GUARDS; i++) {
        assert_true(values[-1 - (ptrdiff_t)i] == guard);
        assert_true(values[n + i] == guard);
    }
    free(values - GUARDS);
}

double root_mean_square(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double difference = (double)a[i] - (b == NULL ? 0 : (double)b[i]);
        sum += difference * difference;
    }
    return sqrt(sum / (double)n);
}

void make_inputs(experiment *e, const net_case *shape, size_t n)
{
    net_make(shape, &e->net);
    e->n = n;
    e->params = malloc(e->net.n_params * sizeof(float));
    e->coords = malloc(n * (size_t)e->net.n_inputs * sizeof(float));
    e->targets = malloc(n * (size_t)e->net.n_outputs * sizeof(float));
    assert_true(e->params != NULL && e->coords != NULL && e->targets != NULL);
    net_random_params(&e->net, 7 * n + e->net.n_params, e->params);
    random_fill(n + 1, n * (size_t)e->net.n_inputs, e->coords);
    random_fill(n + 2, n * (size_t)e->net.n_outputs, e->targets);
}

void free_inputs(experiment *e)
{
    free(e->params);
    free(e->coords);
    free(e->targets);
}

size_t value_count(const experiment *e)
{
    return e->n * (size_t)e->net.n_outputs;
}

void train(const subject *s, void *state, const experiment *e, int n_steps, double *loss)
{
    const kd_step step = {.rate_adam = 1e-3, .rate_matrix = 2e-3};
    for (int i = 0; i < n_steps; i++) {
        assert_int_equal(
            s->backend->train_step(state, e->coords, e->targets, e->n, &step, loss, NULL),
            KDINR_OK);
    }
}

/* Everything a subject can do, with n_threads threads; `trained` after n_steps steps. */
void run_subject(const subject *s, experiment *e, int n_threads, kdinr_optimizer optimizer,
                 int n_steps)
{
    const kd_backend_config config = {
        .n_threads = n_threads, .training = true, .optimizer = optimizer, .max_batch = e->n};
    void *state = open_subject(s, &e->net, &config);
    e->values = guarded(value_count(e));
    e->gradient = guarded(e->net.n_params);
    e->trained = guarded(e->net.n_params);
    assert_int_equal(s->backend->set_params(state, e->params, NULL), KDINR_OK);
    assert_int_equal(s->backend->evaluate(state, e->coords, e->n, e->values, NULL), KDINR_OK);
    assert_int_equal(
        s->backend->gradient(state, e->coords, e->targets, e->n, e->gradient, &e->loss, NULL),
        KDINR_OK);
    train(s, state, e, n_steps, &e->train_loss);
    assert_int_equal(s->backend->get_params(state, e->trained, NULL), KDINR_OK);
    s->backend->close(state);
}

void free_outputs(experiment *e)
{
    free_guarded(e->values, value_count(e));
    free_guarded(e->gradient, e->net.n_params);
    free_guarded(e->trained, e->net.n_params);
}
