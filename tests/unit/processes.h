/* Several encoders that share the work of one file: threads stand for processes, which are given
 * whole steps or, in memory that has nothing else, what they say they need of them. PROCESSES,
 * defined by the test that includes this, begins the names of the files it writes. */
#ifndef PROCESSES_H
#define PROCESSES_H

#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "series.h"

enum { NX = 9, NY = 8, NZ = 7, N = NX * NY * NZ, N_STEPS = 5, MOST_RANKS = 4 };

#define ALONE PROCESSES "_alone.kdm"
#define OUT   PROCESSES ".kdm"

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

static inline bool exchange(void *user, const void *mine, size_t size, void *all)
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

static inline bool watch(void *user, double fraction, const char *stage)
{
    (void)stage;
    return fraction < ((process *)user)->stop;
}

/* Two arrays, one with missing samples; two bricks each; windows of two, two and one step. */
static inline kdinr_options small_options(void)
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

/* Two steps are looked at before the first is pushed. */
static bool looks_first;

/* Step k of the series. */
typedef struct step {
    float wave[N], holes[N];
    kdinr_array arrays[2];
} step;

static inline kdinr_volume make_step(const process *one, int k, step *made)
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

static inline size_t count_samples(const int extent[6])
{
    size_t n = 1;

    for (int axis = 0; axis < 3; axis++) {
        const int length = extent[2 * axis + 1] - extent[2 * axis] + 1;
        n *= length > 0 ? (size_t)length : 0;
    }
    return n;
}

/* These samples of an array, in memory that ends where they end; NULL if there are none. */
static inline float *copy_part(const float *values, const int e[6])
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
static inline void find_piece(const process *one, int extent[6])
{
    const int rank = one->share.rank, n_ranks = one->share.n_ranks;
    const int all[6] = {0, NX - 1, 0, NY - 1, rank * NZ / n_ranks, (rank + 1) * NZ / n_ranks};

    memcpy(extent, all, sizeof all);
    if (extent[5] > NZ - 1) extent[5] = NZ - 1;
}

typedef enum call { LOOK, PLAN, PUSH, VERIFY } call;

static inline kdinr_status ask_extent(const process *one, const kdinr_encoder *encoder, call which,
                                      int array, int extent[6], kdinr_error *error)
{
    const int rank = one->share.rank;

    if (which == PUSH) return kdinr_encoder_push_extent(encoder, array, rank, extent, error);
    if (which == VERIFY) return kdinr_encoder_verify_extent(encoder, array, rank, extent, error);
    find_piece(one, extent);
    return KDINR_OK;
}

/* Look at, plan from, push or verify a part of step k. */
static inline kdinr_status do_part(process *one, kdinr_encoder *encoder, call which, int k,
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
    if (which >= PUSH && given > one->most_given) one->most_given = given;
    if (status == KDINR_OK && which == LOOK) status = kdinr_encoder_look(encoder, &volume, error);
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

static inline kdinr_status do_step(process *one, kdinr_encoder *encoder, call which, int k,
                                   kdinr_error *error)
{
    step made;

    if (one->in_parts) return do_part(one, encoder, which, k, error);
    const kdinr_volume volume = make_step(one, k, &made);
    return which == LOOK   ? kdinr_encoder_look(encoder, &volume, error)
           : which == PUSH ? kdinr_encoder_push(encoder, &volume, k, error)
                           : kdinr_encoder_verify(encoder, &volume, k, error);
}

static inline kdinr_status run_passes(process *one, kdinr_encoder *encoder, const char *path,
                                      kdinr_error *error)
{
    kdinr_status status = KDINR_OK;

    for (int k = 0; k < 2 && looks_first && status == KDINR_OK; k++) {
        status = do_step(one, encoder, LOOK, k, error);
    }
    if (status == KDINR_OK && one->in_parts) status = do_part(one, encoder, PLAN, 0, error);
    for (int k = 0; k < 2 * N_STEPS && status == KDINR_OK; k++) {
        status = do_step(one, encoder, k < N_STEPS ? PUSH : VERIFY, k % N_STEPS, error);
    }
    return status == KDINR_OK ? kdinr_encoder_finish(encoder, path, error) : status;
}

static inline kdinr_status give_step(void *user, int k, kdinr_volume *volume, double *time,
                                     kdinr_error *error)
{
    static _Thread_local step made;

    (void)time;
    (void)error;
    *volume = make_step(user, k, &made);
    return KDINR_OK;
}

static inline void compress(process *one, const char *path)
{
    kdinr_encoder *encoder = NULL;

    if (one->options.psnr > 0.0) {
        const kdinr_series series = {.n_steps = N_STEPS, .step = give_step, .user = one};
        one->status = kdinr_compress_series(&one->options, &series, path, &one->error);
        return;
    }
    one->status = kdinr_encoder_open(&one->options, &encoder, &one->error);
    if (one->status == KDINR_OK) one->status = run_passes(one, encoder, path, &one->error);
    kdinr_encoder_close(encoder);
}

static inline void *run_process(void *user)
{
    compress(user, OUT);
    return NULL;
}

static inline void prepare(world *common, process *processes, int n_ranks,
                           const kdinr_options *options)
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

static inline void run_all(world *common, process *processes)
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

static inline void check_all_fail(const world *common, const process *processes,
                                  kdinr_status status, const char *text)
{
    for (int rank = 0; rank < common->n_ranks; rank++) {
        const char *message = processes[rank].error.message;

        assert_int_equal(processes[rank].status, status);
        if (strstr(message, text) == NULL) fail_msg("\"%s\" is not in \"%s\"", text, message);
        assert_string_equal(message, processes[0].error.message);
    }
    assert_int_not_equal(access(OUT, F_OK), 0);
}

static inline long read_file(const char *path, char **bytes)
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

static inline void check_same_bytes(const char *a, const char *b)
{
    char *of_a, *of_b;
    const long size = read_file(a, &of_a);

    assert_int_equal(read_file(b, &of_b), size);
    assert_memory_equal(of_a, of_b, (size_t)size);
    free(of_a);
    free(of_b);
}

static inline void write_alone(const kdinr_options *options)
{
    process alone = {.options = *options, .odd_step = -1, .stop = 2.0};

    compress(&alone, ALONE);
    check_ok(alone.status, alone.error);
}

/* The same file, given whole steps or parts; returns how many samples of a step one was given at
 * most. */
static inline size_t check_file(const kdinr_options *options, int n_ranks, bool in_parts)
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

static inline void check_file_is_that_of_one(const kdinr_options *options, int n_ranks)
{
    (void)check_file(options, n_ranks, false);
    if (options->psnr == 0.0) (void)check_file(options, n_ranks, true);
}

#endif
