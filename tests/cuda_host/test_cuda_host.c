/* The cuda backend on the host's stand-in: what happens when the device fails, and what no other
 * backend does (passes, graphs, lanes). Its results are compared by tests/backends/test_backends.c,
 * which runs on the same sources. */
#include "../check.h"

#include <cuda_runtime.h>

#include "cuda_module.h"
#include "nets.h"
#include "reference/reference.h"

enum { MAX_BATCH = 700, N_OUTPUTS = 2, N_INPUTS = 4 };

static const net_case shape = {
    .width = 2, .depth = 1, .n_inputs = N_INPUTS, .n_outputs = N_OUTPUTS, .block_layers = 3};
static const net_case fused_shape = {
    .width = 8, .depth = 1, .n_inputs = N_INPUTS, .n_outputs = N_OUTPUTS, .block_layers = 3};
static const kd_step rates = {.rate_adam = 1e-3, .rate_matrix = 1e-3};

/* A network, its parameters and a batch. */
typedef struct sample {
    kd_net net;
    float params[4096], coords[MAX_BATCH * N_INPUTS], targets[MAX_BATCH * N_OUTPUTS];
} sample;

static sample given, fused;
static const kd_backend *cuda;

const kd_cuda_module *kdinr_cuda_module(void);

static bool make_sample(const net_case *case_, sample *made)
{
    net_make(case_, &made->net);
    if (made->net.n_params > sizeof made->params / sizeof *made->params) return false;
    net_random_params(&made->net, 1, made->params);
    random_fill(2, MAX_BATCH * N_INPUTS, made->coords);
    random_fill(3, MAX_BATCH * N_OUTPUTS, made->targets);
    return true;
}

static int set_up(void **unused)
{
    (void)unused;
    cuda = kdinr_cuda_module()->backend;
    return make_sample(&shape, &given) && make_sample(&fused_shape, &fused) ? 0 : 1;
}

/* Everything that a test made on the device is gone. */
static void assert_nothing_left(void)
{
    size_t free_size = 0, total_size = 1;
    int n_devices = 0;
    assert_int_equal(cudaGetDeviceCount(&n_devices), cudaSuccess);
    for (int k = n_devices - 1; k >= 0; k--) {
        assert_int_equal(cudaSetDevice(k), cudaSuccess);
        assert_int_equal(cudaMemGetInfo(&free_size, &total_size), cudaSuccess);
        assert_int_equal(free_size, total_size);
    }
    assert_int_equal(shim_object_count(), 0);
    assert_string_equal(shim_fault(), "");
}

static kdinr_status train(void *state, const kd_backend *backend, size_t n, double *loss,
                          kdinr_error *error)
{
    return backend->train_step(state, given.coords, given.targets, n, &rates, loss, error);
}

/* Two time steps of a box of 4 x 2 x 1 samples: data, and a network of one input less. */
typedef struct supply_sample {
    kd_net net;
    float params[4096];
    kd_answer answers[2];
    kd_supply supply;
} supply_sample;

static const float keep[2] = {1, 1};
static const uint32_t alias[2] = {0, 1};

static void make_supply(const sample *on, const net_case *network, supply_sample *made)
{
    net_case asked = *network;
    asked.n_inputs = 3;
    memset(made, 0, sizeof *made);
    net_make(&asked, &made->net);
    net_random_params(&made->net, 4, made->params);
    for (int i = 0; i < 2; i++) {
        made->answers[i].scale[0] = made->answers[i].scale[1] = 1;
    }
    made->answers[0].values = on->targets;
    made->answers[1].net = &made->net;
    made->answers[1].params = made->params;
    made->supply = (kd_supply){.chooser = {{4, 2, 1}, {2, 1, 1}, 2, 2, keep, alias},
                               .axes = {on->coords, on->coords, on->coords},
                               .n_answers = 2,
                               .answers = made->answers};
}

/* Draw and train on the device; no room for that is a failure here. */
static kdinr_status use_supply(const sample *on, void *state, kdinr_error *error)
{
    static supply_sample from;
    static float coords[20 * N_INPUTS], targets[20 * N_OUTPUTS];
    const kd_step steps[2] = {rates, rates};
    double losses[2];
    const kd_turn turn = {state, 7, 20, steps, losses};
    bool taken = false;
    make_supply(on, on == &fused ? &fused_shape : &shape, &from);
    kdinr_status status = cuda->set_supply(state, &from.supply, &taken, error);
    if (status != KDINR_OK) return status;
    if (!taken) {
        snprintf(error->message, sizeof error->message, "failed: no room");
        return KDINR_ERROR_BACKEND;
    }
    status = cuda->read_supply(state, 7, 20, coords, targets, error);
    return status != KDINR_OK ? status : cuda->train_supply(&turn, 1, 2, error);
}

/* One use of everything; where it stops, `*state` may be open. */
static kdinr_status use_all(const sample *on, const kd_backend_config *config, void **state,
                            kdinr_error *error)
{
    static float values[MAX_BATCH * N_OUTPUTS], gradient[4096];
    const kd_grid grid = {.axes = {on->coords, on->coords, on->coords}, .n = {5, 4, 5}};
    double loss = 0;
    kdinr_status status = cuda->open(&on->net, config, state, error);
    if (status == KDINR_OK) status = cuda->set_params(*state, on->params, error);
    for (int i = 0; i < 3 && status == KDINR_OK; i++) {
        status = cuda->train_step(*state, on->coords, on->targets, 33, &rates, &loss, error);
    }
    if (status == KDINR_OK) status = use_supply(on, *state, error);
    if (status != KDINR_OK) return status;
    status =
        cuda->gradient(*state, on->coords, on->targets, config->max_batch, gradient, &loss, error);
    if (status == KDINR_OK) status = cuda->evaluate(*state, on->coords, 100, values, error);
    if (status == KDINR_OK) status = cuda->evaluate_grid(*state, &grid, values, error);
    return status == KDINR_OK ? cuda->get_params(*state, gradient, error) : status;
}

/* Every call of one use fails in turn. Returns how many there are. */
static int fail_each_call(const sample *on, const kd_backend_config *config)
{
    int n_calls = 1;
    for (int k = -1; k < n_calls; k++) {
        kdinr_error error = {KDINR_OK, ""};
        void *state = NULL;
        shim_fail_call(k);
        const kdinr_status status = use_all(on, config, &state, &error);
        if (k < 0) n_calls = shim_call_count();
        shim_fail_call(-1);
        assert_int_equal(status, k < 0 ? KDINR_OK : KDINR_ERROR_BACKEND);
        if (k >= 0) assert_non_null(strstr(error.message, "failed: "));
        cuda->close(state);
        assert_nothing_left();
    }
    return n_calls;
}

static void any_failing_call_is_reported_and_leaves_nothing(void **unused)
{
    (void)unused;
    const kd_backend_config config = {
        .training = true, .optimizer = KDINR_OPTIMIZER_MUON, .max_batch = MAX_BATCH};
    const kd_backend_config fused_config = {.training = true,
                                            .optimizer = KDINR_OPTIMIZER_ADAM,
                                            .max_batch = 40,
                                            .precision = KDINR_PRECISION_MIXED};
    assert_true(fail_each_call(&given, &config) > 100);
    assert_true(fail_each_call(&fused, &fused_config) > 20);
}

/* ---- several instances in one call ---- */

enum { TEAM = 3, TEAM_BATCH = 20 };

static const kd_backend_config team_config = {.training = true, .max_batch = TEAM_BATCH};

static kdinr_status open_member(const kd_backend_config *config, const supply_sample *from,
                                void **state, kdinr_error *error)
{
    bool taken = false;
    kdinr_status status = cuda->open(&fused.net, config, state, error);
    if (status == KDINR_OK) status = cuda->set_params(*state, fused.params, error);
    if (status == KDINR_OK) status = cuda->set_supply(*state, &from->supply, &taken, error);
    if (status != KDINR_OK || taken) return status;
    snprintf(error->message, sizeof error->message, "failed: no room");
    return KDINR_ERROR_BACKEND;
}

/* The first n members, two steps together. */
static kdinr_status train_team(void *const states[TEAM], size_t n, double losses[TEAM][2],
                               kdinr_error *error)
{
    const kd_step steps[2] = {rates, rates};
    kd_turn turns[TEAM];
    for (size_t i = 0; i < n; i++) {
        turns[i] = (kd_turn){states[i], 7, TEAM_BATCH, steps, losses[i]};
    }
    return cuda->train_supply(turns, n, 2, error);
}

static kdinr_status use_team(const supply_sample *from, void *states[TEAM], kdinr_error *error)
{
    double losses[TEAM][2];
    for (int i = 0; i < 2; i++) {
        const kdinr_status status = open_member(&team_config, from, &states[i], error);
        if (status != KDINR_OK) return status;
    }
    return train_team(states, 2, losses, error);
}

static void close_team(void *const states[TEAM])
{
    for (int i = 0; i < TEAM; i++) {
        cuda->close(states[i]);
    }
    assert_nothing_left();
}

static void any_failing_call_of_a_team_is_reported_and_leaves_nothing(void **unused)
{
    (void)unused;
    static supply_sample from;
    int n_calls = 1;
    make_supply(&fused, &fused_shape, &from);
    for (int k = -1; k < n_calls; k++) {
        kdinr_error error = {KDINR_OK, ""};
        void *states[TEAM] = {NULL};
        shim_fail_call(k);
        const kdinr_status status = use_team(&from, states, &error);
        if (k < 0) n_calls = shim_call_count();
        shim_fail_call(-1);
        assert_int_equal(status, k < 0 ? KDINR_OK : KDINR_ERROR_BACKEND);
        if (k >= 0) assert_non_null(strstr(error.message, "failed: "));
        close_team(states);
    }
    assert_true(n_calls > 50);
}

static int count_launches(void *const states[TEAM], size_t n)
{
    double losses[TEAM][2];
    kdinr_error error;
    const int before = shim_launch_count();
    check_ok(train_team(states, n, losses, &error), error);
    return shim_launch_count() - before;
}

/* Three networks take the launches of one, and two to borrow and to give back, but for what each is
 * asked by the networks it learns from. Without room for a team they train on their own lanes. */
static void team_takes_the_launches_of_one(void **unused)
{
    (void)unused;
    static supply_sample from;
    size_t free_size = 0, total_size = 0;
    kdinr_error error;
    void *states[TEAM];
    double losses[TEAM][2];
    make_supply(&fused, &fused_shape, &from);
    for (int i = 0; i < TEAM; i++) {
        check_ok(open_member(&team_config, &from, &states[i], &error), error);
    }
    const int of_one = count_launches(states, 1), of_all = count_launches(states, TEAM);
    assert_int_equal(of_all, of_one + 2 + 2 * (TEAM - 1));
    assert_int_equal(count_launches(states, TEAM), of_all);
    check_ok(train_team(states, 2, losses, &error), error); /* its team of three is gone */
    assert_int_equal(cudaMemGetInfo(&free_size, &total_size), cudaSuccess);
    shim_set_memory(total_size - free_size + 1000);
    assert_int_equal(count_launches(states, TEAM), TEAM * of_one);
    assert_int_equal(cuda->count_together(&fused.net, &team_config), 1);
    shim_set_memory((size_t)1 << 30);
    assert_true(cuda->count_together(&fused.net, &team_config) > 8);
    close_team(states);
}

/* Five instances, two of them on the second of two devices. */
static void devices_share_the_instances(void **unused)
{
    (void)unused;
    enum { MEMBERS = 5 };
    static supply_sample from;
    static float expected[4096], found[4096];
    const kd_step steps[2] = {rates, rates};
    kdinr_error error;
    void *states[MEMBERS];
    double losses[MEMBERS][2], alone_losses[2];
    kd_turn turns[MEMBERS];
    int before[2], launched[2];
    make_supply(&fused, &fused_shape, &from);
    shim_set_device_count(2);
    for (unsigned i = 0; i < MEMBERS; i++) {
        kd_backend_config config = team_config;
        config.devices = KDINR_DEVICES_ALL;
        config.turn = i;
        check_ok(open_member(&config, &from, &states[i], &error), error);
        turns[i] = (kd_turn){states[i], 7, TEAM_BATCH, steps, losses[i]};
    }
    for (int k = 0; k < 2; k++) {
        before[k] = shim_device_launch_count(k);
    }
    check_ok(cuda->train_supply(turns, MEMBERS, 2, &error), error);
    for (int k = 0; k < 2; k++) {
        launched[k] = shim_device_launch_count(k) - before[k];
    }
    assert_int_equal(launched[0], launched[1] + 2); /* whom one more learns from is asked twice */
    const kd_turn alone = {states[0], 7, TEAM_BATCH, steps, alone_losses};
    check_ok(cuda->set_params(states[0], fused.params, &error), error);
    check_ok(cuda->train_supply(&alone, 1, 2, &error), error);
    check_ok(cuda->get_params(states[0], expected, &error), error);
    for (int i = 1; i < MEMBERS; i++) {
        check_ok(cuda->get_params(states[i], found, &error), error);
        assert_memory_equal(found, expected, fused.net.n_params * sizeof *found);
        assert_memory_equal(losses[i], alone_losses, sizeof alone_losses);
    }
    for (int i = 0; i < MEMBERS; i++) {
        cuda->close(states[i]);
    }
    assert_nothing_left();
    shim_set_device_count(1);
}

static void devices_that_are_not_there_are_refused(void **unused)
{
    (void)unused;
    kd_backend_config config = {.devices = 2};
    kdinr_error error;
    void *state = &given;
    check_ok(cuda->check_devices(1, &error), error);
    check_ok(cuda->check_devices(KDINR_DEVICES_ALL, &error), error);
    check_fails(cuda->check_devices(5, &error), KDINR_ERROR_ARGUMENT,
                "option devices: device 2 was asked for; this machine has 1, numbered from 0",
                error);
    check_fails(cuda->open(&given.net, &config, &state, &error), KDINR_ERROR_BACKEND,
                "no device can be used: those that were asked for are gone", error);
    assert_null(state);
}

static void device_without_memory_is_reported(void **unused)
{
    (void)unused;
    const kd_backend_config config = {.training = true, .max_batch = MAX_BATCH};
    for (size_t size = 0; size < 3000; size += 1000) {
        kdinr_error error = {KDINR_OK, ""};
        void *state = &given;
        shim_set_memory(size);
        check_fails(cuda->open(&given.net, &config, &state, &error), KDINR_ERROR_BACKEND,
                    "out of memory", error);
        assert_null(state);
        assert_nothing_left();
    }
    shim_set_memory((size_t)1 << 30);
}

/* A series that the device has no room for is drawn from by the host. */
static void supply_without_memory_is_not_taken(void **unused)
{
    (void)unused;
    static supply_sample from;
    const kd_backend_config config = {.training = true, .max_batch = 20};
    size_t free_size = 0, total_size = 0;
    kdinr_error error = {KDINR_OK, ""};
    void *state = NULL;
    bool taken = true;
    double loss = 0;
    make_supply(&given, &shape, &from);
    check_ok(cuda->open(&given.net, &config, &state, &error), error);
    check_ok(cuda->set_params(state, given.params, &error), error);
    assert_int_equal(cudaMemGetInfo(&free_size, &total_size), cudaSuccess);
    shim_set_memory(total_size - free_size + 1000);
    check_ok(cuda->set_supply(state, &from.supply, &taken, &error), error);
    assert_false(taken);
    check_ok(cuda->train_step(state, given.coords, given.targets, 20, &rates, &loss, &error),
             error);
    shim_set_memory((size_t)1 << 30);
    check_ok(cuda->set_supply(state, &from.supply, &taken, &error), error);
    assert_true(taken);
    cuda->close(state);
    assert_nothing_left();
}

static void machine_without_device_is_not_available(void **unused)
{
    (void)unused;
    const char *reason = NULL;
    shim_set_device_count(0);
    assert_false(cuda->available(&reason));
    assert_string_equal(reason, "no CUDA-capable device is detected");
    shim_set_device_count(1);
    assert_true(cuda->available(&reason));
    assert_null(reason);
}

/* Parameters after batches of changing size, some repeated so that they become graphs, some larger
 * than a pass. */
static void train_sizes(const kd_backend *backend, float *params, double losses[])
{
    static const size_t sizes[] = {33, 33, 33, 700, 5, 5, 33, 33, 700, 700};
    const kd_backend_config config = {
        .training = true, .optimizer = KDINR_OPTIMIZER_MUON, .max_batch = MAX_BATCH};
    kdinr_error error;
    void *state = NULL;
    check_ok(backend->open(&given.net, &config, &state, &error), error);
    check_ok(backend->set_params(state, given.params, &error), error);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_ok(train(state, backend, sizes[i], &losses[i], &error), error);
    }
    check_ok(backend->get_params(state, params, &error), error);
    backend->close(state);
}

static void batches_of_changing_size_train_like_the_reference(void **unused)
{
    (void)unused;
    static float expected[4096], found[4096], again[4096];
    double expected_losses[10], losses[10], again_losses[10];
    train_sizes(&kd_reference_backend, expected, expected_losses);
    train_sizes(cuda, found, losses);
    train_sizes(cuda, again, again_losses);
    for (size_t i = 0; i < given.net.n_params; i++) {
        check_near((double)found[i], (double)expected[i], 1e-4);
    }
    for (int i = 0; i < 10; i++) {
        check_near(losses[i], expected_losses[i], 1e-4 * expected_losses[i]);
    }
    assert_memory_equal(found, again, given.net.n_params * sizeof *found);
    assert_memory_equal(losses, again_losses, sizeof losses);
    assert_nothing_left();
}

/* Decoding takes lanes from those that are there already, however many networks are open. */
static void networks_share_lanes(void **unused)
{
    (void)unused;
    enum { N_STATES = 20 };
    const kd_backend_config config = {.training = false};
    static float values[MAX_BATCH * N_OUTPUTS];
    void *states[N_STATES];
    kdinr_error error;
    int n_objects = 0;
    for (int i = 0; i < N_STATES; i++) {
        check_ok(cuda->open(&given.net, &config, &states[i], &error), error);
        check_ok(cuda->set_params(states[i], given.params, &error), error);
        check_ok(cuda->evaluate(states[i], given.coords, MAX_BATCH, values, &error), error);
        if (i == 0) n_objects = shim_object_count();
        assert_int_equal(shim_object_count(), n_objects);
    }
    assert_int_equal(n_objects, 2 * 4); /* stream, event, handle, pinned memory */
    for (int i = 0; i < N_STATES; i++) {
        cuda->close(states[i]);
    }
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_without_device_is_not_available),
        cmocka_unit_test(device_without_memory_is_reported),
        cmocka_unit_test(supply_without_memory_is_not_taken),
        cmocka_unit_test(any_failing_call_is_reported_and_leaves_nothing),
        cmocka_unit_test(any_failing_call_of_a_team_is_reported_and_leaves_nothing),
        cmocka_unit_test(team_takes_the_launches_of_one),
        cmocka_unit_test(devices_share_the_instances),
        cmocka_unit_test(devices_that_are_not_there_are_refused),
        cmocka_unit_test(batches_of_changing_size_train_like_the_reference),
        cmocka_unit_test(networks_share_lanes),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
