/* Several encoders share the work of one file: threads stand for processes, which are given whole
 * steps or, in memory that has nothing else, what they say they need of them. The file is that of
 * one encoder alone; a failure or a cancellation of one ends all with one message. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "series.h"

enum { NX = 9, NY = 8, NZ = 7, N = NX * NY * NZ, N_STEPS = 5, MOST_RANKS = 4 };

#define ALONE "test_share_alone.kdm"
#define OUT   "test_share.kdm"
#define PART  "test_share.kdm.part"

/* What the threads have in common. */
typedef struct world {
    int n_ranks;
    pthread_barrier_t barrier;
    const void *given[MOST_RANKS]; /* to the exchange that is under way */
    size_t n_exchanges;
} world;

/* One of them. */
typedef struct process {
    world *world;
    kdinr_share share;
    kdinr_options options;
    int odd_step;        /* this one's data differ at a step, by their size; -1: they do not */
    int broken_exchange; /* from this one on exchanges fail; -1: none does */
    double stop;         /* fraction at which it is cancelled */
    bool in_parts;       /* it is given parts of steps */
    size_t most_given;   /* samples of a step's arrays that it was given at most */
    kdinr_status status;
    kdinr_error error;
} process;

static bool exchange(void *user, const void *mine, size_t size, void *all)
{
    process *one = user;
    world *common = one->world;

    common->given[one->share.rank] = mine;
    (void)pthread_barrier_wait(&common->barrier);
    for (int rank = 0; rank < common->n_ranks; rank++) {
        memcpy((char *)all + (size_t)rank * size, common->given[rank], size);
    }
    if (one->share.rank == 0) common->n_exchanges++;
    (void)pthread_barrier_wait(&common->barrier);
    return one->broken_exchange < 0 || common->n_exchanges <= (size_t)one->broken_exchange;
}

static bool watch(void *user, double fraction, const char *stage)
{
    (void)stage;
    return fraction < ((process *)user)->stop;
}

/* Two arrays, one with missing samples; two bricks each; windows of two, two and one step. */
static kdinr_options small_options(void)
{
    kdinr_options options = series_options();

    options.ratio = 4;
    options.width = 2;
    options.depth = 1;
    options.batch = 64;
    options.teacher_samples = 320;
    options.student_samples = 640;
    options.bricks[0] = 2;
    options.bricks[1] = options.bricks[2] = 1;
    options.window = 2;
    options.n_steps = N_STEPS;
    options.omega_first = 0;
    options.n_threads = 1;
    options.keep_bad = true;
    return options;
}

/* The missing samples change every so many steps, between two ways. */
static int holes_period = N_STEPS;

/* Step k of the series. */
typedef struct step {
    float wave[N], holes[N];
    kdinr_array arrays[2];
} step;

static kdinr_volume make_step(const process *one, int k, step *made)
{
    const int dims[3] = {NX, NY, NZ};
    const float scale = one->odd_step == k ? 2.0f : 1.0f;

    series_fill(dims, k, N_STEPS, made->wave);
    for (int i = 0; i < N; i++) {
        made->wave[i] *= scale;
        made->holes[i] = i % (5 + k / holes_period % 2) == 0 ? NAN : -made->wave[i];
    }
    made->arrays[0] = (kdinr_array){"wave", KDINR_FLOAT32, 1, KDINR_POINTS, made->wave, false, 0.0};
    made->arrays[1] =
        (kdinr_array){"holes", KDINR_FLOAT32, 1, KDINR_POINTS, made->holes, false, 0.0};
    kdinr_volume volume = series_volume(dims, made->arrays);
    volume.n_arrays = 2;
    if (one->odd_step == -2 - k) volume.dims[0] = 0; /* refused */
    return volume;
}

/* ---- parts of steps ---- */

static size_t count_samples(const int extent[6])
{
    size_t n = 1;

    for (int axis = 0; axis < 3; axis++) {
        const int length = extent[2 * axis + 1] - extent[2 * axis] + 1;
        n *= length > 0 ? (size_t)length : 0;
    }
    return n;
}

/* These samples of an array, in memory that ends where they end; NULL if there are none. */
static float *copy_part(const float *values, const int e[6])
{
    const size_t n = count_samples(e);
    float *part = n > 0 ? malloc(n * sizeof *part) : NULL;
    size_t i = 0;

    for (int z = e[4]; z <= e[5] && n > 0; z++) {
        for (int y = e[2]; y <= e[3]; y++) {
            for (int x = e[0]; x <= e[1]; x++) {
                part[i++] = values[(z * NY + y) * NX + x];
            }
        }
    }
    return part;
}

/* What a simulation's process might have: a few layers, the last also the next one's first. */
static void find_piece(const process *one, int extent[6])
{
    const int rank = one->share.rank, n_ranks = one->share.n_ranks;
    const int all[6] = {0, NX - 1, 0, NY - 1, rank * NZ / n_ranks, (rank + 1) * NZ / n_ranks};

    memcpy(extent, all, sizeof all);
    if (extent[5] > NZ - 1) extent[5] = NZ - 1;
}

typedef enum call { PLAN, PUSH, VERIFY } call;

static kdinr_status ask_extent(const process *one, const kdinr_encoder *encoder, call which,
                               int array, int extent[6], kdinr_error *error)
{
    const int rank = one->share.rank;

    if (which == PUSH) return kdinr_encoder_push_extent(encoder, array, rank, extent, error);
    if (which == VERIFY) return kdinr_encoder_verify_extent(encoder, array, rank, extent, error);
    find_piece(one, extent);
    return KDINR_OK;
}

/* Plan from, push or verify a part of step k. */
static kdinr_status do_part(process *one, kdinr_encoder *encoder, call which, int k,
                            kdinr_error *error)
{
    float *parts[2] = {NULL, NULL};
    int extents[2][6];
    step made;
    kdinr_volume volume = make_step(one, k, &made);
    kdinr_status status = KDINR_OK;
    size_t given = 0;

    for (int a = 0; a < 2 && status == KDINR_OK; a++) {
        status = ask_extent(one, encoder, which, a, extents[a], error);
        if (status != KDINR_OK) break;
        parts[a] = copy_part(made.arrays[a].values, extents[a]);
        made.arrays[a].values = parts[a];
        given += count_samples(extents[a]);
    }
    volume.extents = extents[0];
    if (which != PLAN && given > one->most_given) one->most_given = given;
    if (status == KDINR_OK && which == PLAN) status = kdinr_encoder_plan(encoder, &volume, error);
    if (status == KDINR_OK && which == PUSH) {
        status = kdinr_encoder_push(encoder, &volume, k, error);
    }
    if (status == KDINR_OK && which == VERIFY) {
        status = kdinr_encoder_verify(encoder, &volume, k, error);
    }
    free(parts[0]);
    free(parts[1]);
    return status;
}

static kdinr_status do_step(process *one, kdinr_encoder *encoder, call which, int k,
                            kdinr_error *error)
{
    step made;

    if (one->in_parts) return do_part(one, encoder, which, k, error);
    const kdinr_volume volume = make_step(one, k, &made);
    return which == PUSH ? kdinr_encoder_push(encoder, &volume, k, error)
                         : kdinr_encoder_verify(encoder, &volume, k, error);
}

static kdinr_status run_passes(process *one, kdinr_encoder *encoder, const char *path,
                               kdinr_error *error)
{
    kdinr_status status = one->in_parts ? do_part(one, encoder, PLAN, 0, error) : KDINR_OK;

    for (int k = 0; k < 2 * N_STEPS && status == KDINR_OK; k++) {
        status = do_step(one, encoder, k < N_STEPS ? PUSH : VERIFY, k % N_STEPS, error);
    }
    return status == KDINR_OK ? kdinr_encoder_finish(encoder, path, error) : status;
}

static kdinr_status give_step(void *user, int k, kdinr_volume *volume, double *time,
                              kdinr_error *error)
{
    static _Thread_local step made;

    (void)time;
    (void)error;
    *volume = make_step(user, k, &made);
    return KDINR_OK;
}

static void compress(process *one, const char *path)
{
    kdinr_encoder *encoder = NULL;

    if (one->options.psnr > 0.0) {
        const kdinr_series series = {N_STEPS, give_step, one};
        one->status = kdinr_compress_series(&one->options, &series, path, &one->error);
        return;
    }
    one->status = kdinr_encoder_open(&one->options, &encoder, &one->error);
    if (one->status == KDINR_OK) one->status = run_passes(one, encoder, path, &one->error);
    kdinr_encoder_close(encoder);
}

static void *run_process(void *user)
{
    compress(user, OUT);
    return NULL;
}

static void prepare(world *common, process *processes, int n_ranks, const kdinr_options *options)
{
    (void)remove(OUT);
    *common = (world){.n_ranks = n_ranks};
    assert_int_equal(pthread_barrier_init(&common->barrier, NULL, (unsigned)n_ranks), 0);
    for (int rank = 0; rank < n_ranks; rank++) {
        process *one = &processes[rank];

        *one = (process){.world = common, .options = *options, .stop = 2.0};
        one->odd_step = one->broken_exchange = -1;
        one->share = (kdinr_share){rank, n_ranks, exchange, one};
        one->options.share = &one->share;
        one->options.progress = watch;
        one->options.progress_user = one;
    }
}

static void run_all(world *common, process *processes)
{
    pthread_t threads[MOST_RANKS];

    for (int rank = 0; rank < common->n_ranks; rank++) {
        assert_int_equal(pthread_create(&threads[rank], NULL, run_process, &processes[rank]), 0);
    }
    for (int rank = 0; rank < common->n_ranks; rank++) {
        assert_int_equal(pthread_join(threads[rank], NULL), 0);
    }
    (void)pthread_barrier_destroy(&common->barrier);
}

static void check_all_fail(const world *common, const process *processes, kdinr_status status,
                           const char *text)
{
    for (int rank = 0; rank < common->n_ranks; rank++) {
        const char *message = processes[rank].error.message;

        assert_int_equal(processes[rank].status, status);
        if (strstr(message, text) == NULL) fail_msg("\"%s\" is not in \"%s\"", text, message);
        assert_string_equal(message, processes[0].error.message);
    }
    assert_int_not_equal(access(OUT, F_OK), 0);
}

static long read_file(const char *path, char **bytes)
{
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long size = ftell(file);
    rewind(file);
    *bytes = malloc((size_t)size + 1);
    assert_non_null(*bytes);
    assert_int_equal(fread(*bytes, 1, (size_t)size, file), size);
    (void)fclose(file);
    return size;
}

static void check_same_bytes(const char *a, const char *b)
{
    char *of_a, *of_b;
    const long size = read_file(a, &of_a);

    assert_int_equal(read_file(b, &of_b), size);
    assert_memory_equal(of_a, of_b, (size_t)size);
    free(of_a);
    free(of_b);
}

static void write_alone(const kdinr_options *options)
{
    process alone = {.options = *options, .odd_step = -1, .stop = 2.0};

    compress(&alone, ALONE);
    check_ok(alone.status, alone.error);
}

/* The same file, given whole steps or parts; returns how many samples of a step one was given at
 * most. */
static size_t check_file(const kdinr_options *options, int n_ranks, bool in_parts)
{
    process processes[MOST_RANKS];
    world common;
    size_t most_given = 0;

    prepare(&common, processes, n_ranks, options);
    for (int rank = 0; rank < n_ranks; rank++) {
        processes[rank].in_parts = in_parts;
    }
    run_all(&common, processes);
    for (int rank = 0; rank < n_ranks; rank++) {
        check_ok(processes[rank].status, processes[rank].error);
        most_given =
            processes[rank].most_given > most_given ? processes[rank].most_given : most_given;
    }
    check_same_bytes(ALONE, OUT);
    return most_given;
}

static void check_file_is_that_of_one(const kdinr_options *options, int n_ranks)
{
    (void)check_file(options, n_ranks, false);
    if (options->psnr == 0.0) (void)check_file(options, n_ranks, true);
}

static void share_any_number_of_processes_writes_the_file_of_one(void **state)
{
    const kdinr_options options = small_options();

    (void)state;
    write_alone(&options);
    for (int n_ranks = 1; n_ranks <= MOST_RANKS; n_ranks++) {
        check_file_is_that_of_one(&options, n_ranks);
    }
}

static void share_more_processes_than_bricks_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1; /* of two arrays */
    write_alone(&options);
    for (int n_ranks = 2; n_ranks <= MOST_RANKS; n_ranks++) {
        check_file_is_that_of_one(&options, n_ranks);
    }
    options.max_error = 0.5;
    write_alone(&options);
    check_file_is_that_of_one(&options, MOST_RANKS);
}

/* With all steps kept, as above, and with a teacher for each; weights rounded while training. */
static void share_every_way_to_train_writes_the_file_of_one(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        kdinr_options options = small_options();

        options.bricks[0] = 1 + way % 2;
        options.window_memory = 0;
        if (way / 2 == 1) {
            options.width = 0;
            options.ratio = 8;
            options.window_memory = 1 << 20;
        }
        write_alone(&options);
        check_file_is_that_of_one(&options, 2);
        check_file_is_that_of_one(&options, MOST_RANKS);
    }
}

static void share_one_brick_and_one_window_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1;
    options.window = N_STEPS;
    write_alone(&options);
    check_file_is_that_of_one(&options, 3);
}

/* Two arrays of two bricks that overlap by a few of nine samples: two processes are given one array
 * each, four one brick each; for the second pass, equally many layers. */
static void share_parts_of_steps_are_small(void **state)
{
    const kdinr_options options = small_options();

    (void)state;
    write_alone(&options);
    assert_int_equal(check_file(&options, 1, true), 2 * N);
    assert_int_equal(check_file(&options, 2, true), 2 * NX * NY * ((NZ + 1) / 2));
    assert_int_equal(check_file(&options, 4, true), 7 * NY * NZ);
}

/* Missing samples change, and the process that sees them changes too. */
static void share_maps_that_come_back_are_stored_as_by_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1;
    options.window = 1;
    for (int period = 1; period <= 3; period++) {
        holes_period = period;
        write_alone(&options);
        for (int n_ranks = 2; n_ranks <= MOST_RANKS; n_ranks++) {
            check_file_is_that_of_one(&options, n_ranks);
        }
    }
    holes_period = N_STEPS;
}

static void check_part_fails(const process *one, kdinr_encoder *encoder, const int given[6],
                             const char *text)
{
    int extents[2][6] = {{0, NX - 1, 0, NY - 1, 0, NZ - 1}};
    kdinr_error error;
    step made;
    kdinr_volume volume = make_step(one, 0, &made);

    memcpy(extents[1], given, sizeof extents[1]);
    volume.extents = extents[0];
    check_fails(kdinr_encoder_push(encoder, &volume, 0, &error), KDINR_ERROR_ARGUMENT, text, error);
    kdinr_encoder_close(encoder);
}

static void share_parts_that_do_not_suffice_are_refused(void **state)
{
    const int outside[6] = {0, NX, 0, NY - 1, 0, NZ - 1}, part[6] = {0, 4, 0, NY - 1, 0, NZ - 1};
    const process alone = {.options = small_options(), .odd_step = -1};
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_part_fails(&alone, encoder, outside, "samples 0 to 9, 0 to 7, 0 to 6");
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_part_fails(&alone, encoder, part, "was given samples 0 to 4");
}

static void share_what_is_needed_is_asked_after_planning(void **state)
{
    const process alone = {.options = small_options(), .odd_step = -1};
    kdinr_encoder *encoder;
    kdinr_error error;
    int extent[6];
    step made;
    const kdinr_volume volume = make_step(&alone, 0, &made);

    (void)state;
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_fails(kdinr_encoder_push_extent(encoder, 0, 0, extent, &error), KDINR_ERROR_ARGUMENT,
                "kdinr_encoder_plan", error);
    check_ok(kdinr_encoder_plan(encoder, &volume, &error), error);
    check_ok(kdinr_encoder_push_extent(encoder, 1, 0, extent, &error), error);
    assert_int_equal(count_samples(extent), N);
    check_fails(kdinr_encoder_verify_extent(encoder, 2, 0, extent, &error), KDINR_ERROR_ARGUMENT,
                "array 2 of 2", error);
    check_fails(kdinr_encoder_verify_extent(encoder, 0, 1, extent, &error), KDINR_ERROR_ARGUMENT,
                "process 1 of 1", error);
    check_fails(kdinr_encoder_plan(encoder, &volume, &error), KDINR_ERROR_ARGUMENT, "once", error);
    kdinr_encoder_close(encoder);
}

static void share_with_a_bound_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.max_error = 0.5;
    write_alone(&options);
    check_file_is_that_of_one(&options, 2);
    options.ratio = 0.0; /* chosen from the first step */
    write_alone(&options);
    check_file_is_that_of_one(&options, 3);
}

static void share_with_a_psnr_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.psnr = 30.0;
    write_alone(&options);
    check_file_is_that_of_one(&options, 2);
}

static void share_failure_of_one_ends_all_with_its_message(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    for (int k = 0; k < N_STEPS; k++) {
        prepare(&common, processes, 3, &options);
        processes[k % 3].odd_step = -2 - k;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "0 points along x");
    }
}

static void share_unknown_backend_on_one_ends_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    prepare(&common, processes, 2, &options);
    processes[1].options.backend = "abacus";
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "abacus");
}

static void share_unwritable_folder_on_root_ends_all(void **state)
{
    kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    options.part = "no_such_folder/x.part";
    prepare(&common, processes, 2, &options);
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_IO, "no_such_folder");
}

static void share_other_options_on_one_end_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    prepare(&common, processes, 2, &options);
    processes[1].options.width = 3;
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "other steps or options");
}

static void share_broken_exchange_ends_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    for (int n = 0; n < 12; n++) {
        prepare(&common, processes, 2, &options);
        processes[0].broken_exchange = processes[1].broken_exchange = n;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_ERROR_IO, "2 processes");
    }
}

static void share_rank_out_of_range_is_refused(void **state)
{
    kdinr_options options = small_options();
    kdinr_share share = {2, 2, exchange, NULL};
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    options.share = &share;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "rank 2 of 2",
                error);
    share = (kdinr_share){0, 2, NULL, NULL};
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "exchange",
                error);
}

/* Cancelled in one process, the part goes on to the same file with any number of processes. */
static void check_cancelled_run_resumes(kdinr_options options)
{
    process processes[MOST_RANKS];
    world common;

    write_alone(&options);
    for (int rank = 0; rank < 3; rank++) {
        options.part = PART;
        options.resume = false;
        prepare(&common, processes, 3, &options);
        processes[rank].stop = 0.6;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_CANCELLED, "keeps what was trained");
        assert_int_equal(access(PART, F_OK), 0);
        options.resume = true;
        check_file_is_that_of_one(&options, rank + 1);
        assert_int_not_equal(access(PART, F_OK), 0);
    }
}

static void share_cancelled_run_resumes(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    check_cancelled_run_resumes(options);
    options.bricks[0] = 1;
    check_cancelled_run_resumes(options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_any_number_of_processes_writes_the_file_of_one),
        cmocka_unit_test(share_more_processes_than_bricks_writes_the_file_of_one),
        cmocka_unit_test(share_every_way_to_train_writes_the_file_of_one),
        cmocka_unit_test(share_one_brick_and_one_window_writes_the_file_of_one),
        cmocka_unit_test(share_parts_of_steps_are_small),
        cmocka_unit_test(share_maps_that_come_back_are_stored_as_by_one),
        cmocka_unit_test(share_parts_that_do_not_suffice_are_refused),
        cmocka_unit_test(share_what_is_needed_is_asked_after_planning),
        cmocka_unit_test(share_with_a_bound_writes_the_file_of_one),
        cmocka_unit_test(share_with_a_psnr_writes_the_file_of_one),
        cmocka_unit_test(share_failure_of_one_ends_all_with_its_message),
        cmocka_unit_test(share_unknown_backend_on_one_ends_all),
        cmocka_unit_test(share_unwritable_folder_on_root_ends_all),
        cmocka_unit_test(share_other_options_on_one_end_all),
        cmocka_unit_test(share_broken_exchange_ends_all),
        cmocka_unit_test(share_rank_out_of_range_is_refused),
        cmocka_unit_test(share_cancelled_run_resumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
