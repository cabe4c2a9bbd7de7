/* Ended runs that go on: the part keeps what was trained, a resumed run gives the same bytes, and
 * no part, however damaged, gives any other. */
#include "check.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "series.h"

#include "backend.h"
#include "options.h"
#include "part.h"

enum { NX = 9, NY = 8, NZ = 7, N = NX * NY * NZ, N_STEPS = 5 };

#define OUT  "test_part.kdm"
#define PART "test_part.kdm.part"

/* A run of the whole series, ended early if `stop` is below 1. */
typedef struct run {
    kdinr_options options;
    double stop, reached;
    float scale; /* of the values; 1 is the series that all tests share */
} run;

static bool watch_progress(void *user, double fraction, const char *stage)
{
    run *one = user;

    (void)stage;
    one->reached = fraction;
    return fraction < one->stop;
}

/* Two arrays, one with missing samples; two bricks; windows of two, two and one step. */
static run small_run(void)
{
    run one = {.options = series_options(), .stop = 2.0, .scale = 1.0f};

    one.options.ratio = 8; /* networks of width 2 or 3, with rounded parameters */
    one.options.depth = 1;
    one.options.batch = 64;
    one.options.teacher_samples = 320;
    one.options.student_samples = 640;
    one.options.bricks[0] = 2;
    one.options.bricks[1] = one.options.bricks[2] = 1;
    one.options.window = 2;
    one.options.window_memory = 0; /* a teacher for every step: more to keep */
    one.options.n_steps = N_STEPS;
    one.options.omega_first = 0;
    one.options.n_threads = 1;
    one.options.part = PART;
    one.options.keep_bad = true;
    return one;
}

static kdinr_status push_all(kdinr_encoder *encoder, const run *one, kdinr_error *error)
{
    const int dims[3] = {NX, NY, NZ};
    float wave[N], holes[N];
    const kdinr_array arrays[2] = {{"wave", KDINR_FLOAT32, 1, KDINR_POINTS, wave, false, 0.0},
                                   {"holes", KDINR_FLOAT32, 1, KDINR_POINTS, holes, false, 0.0}};
    kdinr_volume volume = series_volume(dims, arrays);
    kdinr_status status = KDINR_OK;

    volume.n_arrays = 2;
    for (int t = 0; t < N_STEPS && status == KDINR_OK; t++) {
        series_fill(dims, t, N_STEPS, wave);
        for (int i = 0; i < N; i++) {
            wave[i] *= one->scale;
            holes[i] = i % 5 == 0 ? NAN : -wave[i];
        }
        status = kdinr_encoder_push(encoder, &volume, t, error);
    }
    return status;
}

static kdinr_status compress(run *one, kdinr_error *error)
{
    kdinr_encoder *encoder;
    kdinr_status status;

    one->options.progress = watch_progress;
    one->options.progress_user = one;
    memset(error, 0, sizeof *error);
    status = kdinr_encoder_open(&one->options, &encoder, error);
    if (status == KDINR_OK) status = push_all(encoder, one, error);
    if (status == KDINR_OK) status = kdinr_encoder_finish(encoder, OUT, error);
    kdinr_encoder_close(encoder);
    return status;
}

typedef struct blob {
    uint8_t *bytes;
    size_t size;
} blob;

static blob read_blob(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat about;
    blob found;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &about), 0);
    found.size = (size_t)about.st_size;
    found.bytes = malloc(found.size + 1);
    assert_non_null(found.bytes);
    assert_int_equal(fread(found.bytes, 1, found.size, file), found.size);
    fclose(file);
    return found;
}

static void write_blob(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static blob undisturbed; /* what every run of the small series must give */
static blob kept;        /* its part after most of the work */

static int make_references(void **state)
{
    run one = small_run();
    kdinr_error error;

    (void)state;
    unlink(OUT);
    unlink(PART);
    check_ok(compress(&one, &error), error);
    undisturbed = read_blob(OUT);
    one.stop = 0.8;
    assert_int_equal(compress(&one, &error), KDINR_CANCELLED);
    kept = read_blob(PART);
    return 0;
}

static int free_references(void **state)
{
    (void)state;
    free(undisturbed.bytes);
    free(kept.bytes);
    unlink(OUT);
    unlink(PART);
    return 0;
}

/* Resume from whatever is there; the outcome must have the bytes of the undisturbed run. */
static void check_resumes(void)
{
    run one = small_run();
    kdinr_error error;

    one.options.resume = true;
    unlink(OUT);
    check_ok(compress(&one, &error), error);
    blob found = read_blob(OUT);
    assert_int_equal(found.size, undisturbed.size);
    assert_memory_equal(found.bytes, undisturbed.bytes, found.size);
    assert_false(is_there(PART));
    free(found.bytes);
}

static void part_is_gone_after_success(void **state)
{
    run one = small_run();
    kdinr_error error;

    (void)state;
    unlink(PART);
    check_ok(compress(&one, &error), error);
    assert_false(is_there(PART));
    one.options.part = NULL;
    check_ok(compress(&one, &error), error);
    blob found = read_blob(OUT);
    assert_memory_equal(found.bytes, undisturbed.bytes, undisturbed.size);
    free(found.bytes);
}

static void part_resumes_to_the_same_bytes(void **state)
{
    kdinr_error error;

    (void)state;
    for (double stop = 0.05; stop < 1.0; stop += 0.15) {
        run one = small_run();

        unlink(PART);
        one.stop = stop;
        check_fails(compress(&one, &error), KDINR_CANCELLED,
                    PART " keeps what was trained so far, and resume goes on", error);
        one.options.resume = true; /* and once more before the end */
        one.stop = fmin(stop + 0.2, 0.99);
        assert_int_equal(compress(&one, &error), KDINR_CANCELLED);
        check_resumes();
    }
    check_resumes(); /* without a part: from the start */
}

static void part_saves_the_training(void **state)
{
    run one = small_run();
    struct stat before, after;
    kdinr_error error;

    (void)state;
    write_blob(PART, kept.bytes, kept.size);
    assert_int_equal(stat(PART, &before), 0);
    one.options.resume = true;
    one.stop = 0.5; /* less than what is kept: replayed, and cancelled in the middle of that */
    assert_int_equal(compress(&one, &error), KDINR_CANCELLED);
    assert_int_equal(stat(PART, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    blob found = read_blob(PART);
    assert_memory_equal(found.bytes, kept.bytes, kept.size);
    free(found.bytes);
    check_resumes();
}

static void part_without_resume_starts_over(void **state)
{
    run one = small_run();
    kdinr_error error;

    (void)state;
    write_blob(PART, kept.bytes, kept.size);
    one.stop = 0.3;
    assert_int_equal(compress(&one, &error), KDINR_CANCELLED);
    blob found = read_blob(PART);
    assert_true(found.size < kept.size);
    free(found.bytes);
    check_resumes();
}

static void part_of_other_options_or_data_is_refused(void **state)
{
    kdinr_error error;
    run one = small_run();

    (void)state;
    write_blob(PART, kept.bytes, kept.size);
    one.options.resume = true;
    one.options.ratio = 5;
    check_fails(compress(&one, &error), KDINR_ERROR_ARGUMENT,
                "option ratio is not the one that " PART " was made with (5 now, 8 then)", error);
    one.options.ratio = 8;
    one.options.seed += (uint64_t)1 << 40;
    check_fails(compress(&one, &error), KDINR_ERROR_ARGUMENT, "option seed", error);
    one.options.seed = series_options().seed;
    one.options.backend = "reference";
    check_fails(compress(&one, &error), KDINR_ERROR_ARGUMENT, "option backend", error);
    one.options.backend = "auto";
    one.scale = 2.0f;
    check_fails(compress(&one, &error), KDINR_ERROR_ARGUMENT,
                "step 0, at time 0, is not the one that " PART " was made from", error);
    one.scale = 1.0f;
    one.options.n_threads = 2; /* may change */
    check_resumes();
}

static void part_never_overwrites_another_file(void **state)
{
    const char *const text = "the only copy of a letter";
    run one = small_run();
    kdinr_error error;

    (void)state;
    for (int resume = 0; resume < 2; resume++) {
        write_blob(PART, (const uint8_t *)text, strlen(text));
        one.options.resume = resume == 1;
        check_fails(compress(&one, &error), KDINR_ERROR_FORMAT, "no part of a compression", error);
        blob found = read_blob(PART);
        assert_memory_equal(found.bytes, text, strlen(text));
        free(found.bytes);
    }
    unlink(PART);
    assert_int_equal(mkdir(PART, 0777), 0);
    check_fails(compress(&one, &error), KDINR_ERROR_IO, PART, error);
    assert_int_equal(rmdir(PART), 0);
    one.options.part = "no/such/folder/x.part";
    check_fails(compress(&one, &error), KDINR_ERROR_IO, "no/such/folder/x.part", error);
}

static void part_with_nothing_trained_is_removed(void **state)
{
    run one = small_run();
    kdinr_error error;

    (void)state;
    unlink(PART);
    one.scale = NAN;
    check_fails(compress(&one, &error), KDINR_ERROR_DATA, "has no value", error);
    assert_false(is_there(PART));
}

static void part_is_for_one_process(void **state)
{
    kdinr_options options = small_run().options;
    kdinr_encoder *encoder;
    kdinr_error error;
    int result;

    (void)state;
    unlink(PART);
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run one = small_run();
        const kdinr_status status = compress(&one, &error);
        _exit(status == KDINR_ERROR_IO && strstr(error.message, "in use") != NULL ? 33 : 34);
    }
    assert_true(waitpid(child, &result, 0) == child && WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 33);
    kdinr_encoder_close(encoder);
}

/* In a child that may write `limit` bytes only. */
static void part_on_a_full_disk_says_so(void **state)
{
    const struct rlimit limit = {kept.size / 2, kept.size / 2};
    const pid_t child = fork();
    int result;

    (void)state;
    unlink(PART);
    assert_true(child >= 0);
    if (child == 0) {
        run one = small_run();
        kdinr_error error;

        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        const kdinr_status status = compress(&one, &error);
        _exit(status == KDINR_ERROR_IO && strstr(error.message, "cannot write " PART) != NULL ? 33
                                                                                              : 34);
    }
    if (child > 0) {
        assert_true(waitpid(child, &result, 0) == child && WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 33);
    }
    check_resumes(); /* from the half that could be written */
}

/* ---- damage ---- */

static void part_cut_short_anywhere_resumes(void **state)
{
    (void)state;
    for (size_t size = 0; size < kept.size; size += 1 + kept.size / 25) {
        write_blob(PART, kept.bytes, size);
        check_resumes();
    }
}

/* A run that resumes from damage: it succeeds with the right bytes, or says what is wrong. */
static int resume_damaged(const uint8_t *bytes, size_t size)
{
    run one = small_run();
    kdinr_error error;

    write_blob(PART, bytes, size);
    one.options.resume = true;
    const kdinr_status status = compress(&one, &error);
    if (status != KDINR_OK) {
        assert_true(status == KDINR_ERROR_FORMAT || status == KDINR_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, PART));
        return 0;
    }
    blob found = read_blob(OUT);
    assert_int_equal(found.size, undisturbed.size);
    assert_memory_equal(found.bytes, undisturbed.bytes, found.size);
    free(found.bytes);
    return 1;
}

static void part_with_any_byte_changed_resumes_or_is_refused(void **state)
{
    uint8_t *copy = malloc(kept.size);
    int n_resumed = 0, n_tried = 0;

    (void)state;
    assert_non_null(copy);
    for (size_t i = 0; i < kept.size; i += i < 400 ? 17 : 1 + kept.size / 25, n_tried++) {
        memcpy(copy, kept.bytes, kept.size);
        copy[i] ^= 0x41;
        n_resumed += resume_damaged(copy, kept.size);
    }
    print_message("%d of %d changed bytes passed over\n", n_resumed, n_tried);
    free(copy);
}

/* ---- records, one by one ---- */

static kd_part *open_part(bool resume)
{
    run one = small_run();
    kd_part *part;
    kdinr_error error;

    one.options.resume = resume;
    check_ok(kd_part_open(&one.options, "cpu", &part, &error), error);
    return part;
}

static void part_takes_only_what_is_sound(void **state)
{
    const float bad[] = {NAN, INFINITY, 1e30f};
    const float bad_units[] = {NAN, 0.0f, 1.5f};
    kd_outcome outcome = {
        .loss = 0.5, .variance = 1.0, .restarts = 1, .rollbacks = 2, .n_units = 2};
    kdinr_error error;

    (void)state;
    unlink(PART);
    for (size_t i = 0; i < 7; i++) {
        outcome.units[0] = 0.25f;
        outcome.units[1] = i == 6 || i < 3 ? 0.125f : bad_units[i - 3];
        float params[3] = {1.0f, 2.0f, i < 3 ? bad[i] : 3.0f}, taken_params[3] = {7.0f, 7.0f, 7.0f};
        kd_outcome found = {.n_units = 2};
        bool taken;
        kd_part *part = open_part(false);

        const kd_record record = {42, params, 3, &outcome};
        check_ok(kd_part_add(part, &record, &error), error);
        kd_part_close(part, false);
        part = open_part(true);
        check_ok(kd_part_take(part, 42, taken_params, 3, &found, &taken, &error), error);
        assert_int_equal(taken, i == 6);
        check_near(taken_params[0], i == 6 ? 1.0 : 7.0, 0.0);
        check_near(found.loss, i == 6 ? 0.5 : 0.0, 0.0);
        assert_int_equal(found.rollbacks, i == 6 ? 2 : 0);
        check_near(found.units[1], i == 6 ? 0.125 : 0.0, 0.0);
        kd_part_close(part, i == 6);
    }
    assert_false(is_there(PART));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(part_is_gone_after_success),
        cmocka_unit_test(part_resumes_to_the_same_bytes),
        cmocka_unit_test(part_saves_the_training),
        cmocka_unit_test(part_without_resume_starts_over),
        cmocka_unit_test(part_of_other_options_or_data_is_refused),
        cmocka_unit_test(part_never_overwrites_another_file),
        cmocka_unit_test(part_with_nothing_trained_is_removed),
        cmocka_unit_test(part_is_for_one_process),
        cmocka_unit_test(part_on_a_full_disk_says_so),
        cmocka_unit_test(part_cut_short_anywhere_resumes),
        cmocka_unit_test(part_with_any_byte_changed_resumes_or_is_refused),
        cmocka_unit_test(part_takes_only_what_is_sound),
    };
    return cmocka_run_group_tests(tests, make_references, free_references);
}
