/* Memory that runs out: every allocation of a decode and of a small encode fails once, alone and
 * with all that follow. Each time the answer is MEMORY with a message, nothing leaks, no file is
 * left. The linker puts the functions below between the library and malloc (CMakeLists.txt). */
#include "kdm_samples.h"
#include "series.h"
#include "status.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- the allocator ---- */

static long n_live;            /* blocks that were not freed */
static long n_left = -1;       /* allocations until one fails; -1: none does */
static bool and_all_following; /* they fail too */
static long n_failed;

static bool refuse(void)
{
    if (n_left < 0 || n_left-- > 0) return false;
    n_left = and_all_following ? 0 : -1;
    n_failed++;
    return true;
}

static void *count(void *block)
{
    n_live += block != NULL;
    return block;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void __wrap_free(void *block);

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : count(__real_calloc(n, size));
}

void *__wrap_realloc(void *block, size_t size)
{
    if (refuse()) return NULL;
    if (block == NULL) return count(__real_malloc(size));
    return __real_realloc(block, size);
}

char *__wrap_strdup(const char *text)
{
    return refuse() ? NULL : count(__real_strdup(text));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : count(__real_aligned_alloc(alignment, size));
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    if (refuse()) return 12; /* ENOMEM */
    const int result = __real_posix_memalign(block, alignment, size);
    n_live += result == 0;
    return result;
}

void __wrap_free(void *block)
{
    n_live -= block != NULL;
    __real_free(block);
}

/* ---- the walk ---- */

static int lowest_free_descriptor(void)
{
    const int file = dup(STDIN_FILENO);

    (void)close(file);
    return file;
}

/* Run `job`, failing every stride-th allocation in turn, until none fails any more; returns how
 * many there are, rounded up. */
static long walk(kdinr_status (*job)(kdinr_error *error), bool all_following, long stride)
{
    const int descriptor = lowest_free_descriptor();

    for (long k = 0;; k += stride) {
        kdinr_error error = {KDINR_OK, ""};
        const long live_before = n_live;

        n_left = k;
        n_failed = 0;
        and_all_following = all_following;
        const kdinr_status status = job(&error);
        n_left = -1;
        if (n_live != live_before) fail_msg("allocation %ld: %ld leaks", k, n_live - live_before);
        assert_int_equal(lowest_free_descriptor(), descriptor);
        if (n_failed == 0) {
            if (status != KDINR_OK) fail_msg("%s", error.message);
            return k;
        }
        if (status != KDINR_ERROR_MEMORY || error.status != status ||
            strstr(error.message, "memory could not be had") == NULL) {
            fail_msg("allocation %ld: status %d, \"%s\"", k, (int)status, error.message);
        }
    }
}

/* ---- decode ---- */

#define RICH "test_memory_rich.kdm"

static kdinr_status read_some(kdinr_decoder *decoder, int a, double time, kdinr_error *error)
{
    static double values[9 * 8 * 7 * 3];
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), a);

    request.time = time;
    KD_TRY(kdinr_decoder_read(decoder, &request, values, error));
    request.type = kdinr_decoder_info(decoder)->arrays[a].type;
    return kdinr_decoder_read(decoder, &request, values, error);
}

/* Everything: two windows at once, maps, all kinds of networks, another type. */
static kdinr_status decode_all(kdinr_error *error)
{
    kdinr_options options = kdinr_options_default();
    kdinr_decoder *decoder;
    kdinr_status status;

    options.n_threads = 1;
    status = kdinr_decoder_open(RICH, &options, &decoder, error);
    for (int a = 0; a < 3 && status == KDINR_OK; a++) {
        status = read_some(decoder, a, 1.0, error);
        if (status == KDINR_OK) status = read_some(decoder, a, 0.5, error);
    }
    kdinr_decoder_close(decoder);
    return status;
}

static void memory_of_decode_may_end_anywhere(void **state)
{
    kd_model model;
    uint8_t *bytes;
    size_t size;
    kdinr_error error;

    (void)state;
    sample_rich(&model);
    check_ok(kd_kdm_pack(&model, &bytes, &size, &error), error);
    sample_write(RICH, bytes, size);
    kd_kdm_free(&model);
    free(bytes);
    for (int following = 0; following < 2; following++) {
        const long n = walk(decode_all, following == 1, 1);
        assert_true(n > 50);
        print_message("%ld allocations of decode\n", n);
    }
    unlink(RICH);
}

/* ---- encode ---- */

#define OUT  "test_memory.kdm"
#define PART "test_memory.kdm.part"

enum { NX = 8, NY = 7, NZ = 6, N = NX * NY * NZ, N_STEPS = 3 };

static int n_bricks = 1;
static bool use_direct, use_clusters;

static kdinr_options encode_options(void)
{
    kdinr_options options = series_options();

    options.ratio = 3;
    options.depth = 1;
    options.batch = 32;
    options.teacher_samples = 64;
    options.student_samples = 64;
    options.bricks[0] = n_bricks;
    options.bricks[1] = options.bricks[2] = 1;
    options.window = 2;
    options.n_steps = N_STEPS;
    options.n_threads = 1;
    options.keep_bad = true;
    options.part = PART;
    options.direct = use_direct;
    if (use_clusters) options.weights = KDINR_WEIGHTS_CLUSTERED;
    options.cluster_bits = 1;
    return options;
}

/* Two passes over a series with missing samples. */
static kdinr_status pass_all(kdinr_encoder *encoder, kdinr_error *error)
{
    const int dims[3] = {NX, NY, NZ};
    static float values[N];
    const kdinr_array array = {"wave", KDINR_FLOAT32, 1, KDINR_POINTS, values, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);

    for (int step = 0; step < 2 * N_STEPS; step++) {
        const int t = step % N_STEPS;

        series_fill(dims, t, N_STEPS, values);
        values[t] = NAN;
        KD_TRY(step < N_STEPS ? kdinr_encoder_push(encoder, &volume, t, error)
                              : kdinr_encoder_verify(encoder, &volume, t, error));
    }
    return kdinr_encoder_finish(encoder, OUT, error);
}

static kdinr_status encode_all(kdinr_error *error)
{
    const kdinr_options options = encode_options();
    kdinr_encoder *encoder;
    kdinr_status status;

    unlink(OUT);
    unlink(PART);
    status = kdinr_encoder_open(&options, &encoder, error);
    if (status == KDINR_OK) status = pass_all(encoder, error);
    kdinr_encoder_close(encoder);
    assert_int_equal(access(OUT, F_OK) == 0, status == KDINR_OK);
    return status;
}

static void memory_of_encode_may_end_anywhere(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        n_bricks = round == 1 ? 2 : 1;
        use_direct = round >= 2;
        use_clusters = round == 3;
        const long n = walk(encode_all, round == 1, round == 0 ? 1 : 11);
        assert_true(n > 200);
        print_message("%ld allocations of encode\n", n);
    }
    use_clusters = false;
    unlink(OUT);
    unlink(PART);
}

/* Resuming: the part was made by a run that ended just before its file was written. */
static kdinr_status resume_all(kdinr_error *error)
{
    kdinr_options options = encode_options();
    kdinr_encoder *encoder;
    kdinr_status status;

    options.resume = true;
    status = kdinr_encoder_open(&options, &encoder, error);
    if (status == KDINR_OK) status = pass_all(encoder, error);
    kdinr_encoder_close(encoder);
    return status;
}

static void memory_of_a_resumed_encode_may_end_anywhere(void **state)
{
    const kdinr_options options = encode_options();
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    unlink(OUT);
    unlink(PART);
    assert_int_equal(mkdir(OUT, 0777), 0); /* so that the run fails at its very end */
    check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
    check_fails(pass_all(encoder, &error), KDINR_ERROR_IO, "cannot replace", error);
    kdinr_encoder_close(encoder);
    assert_int_equal(rmdir(OUT), 0);
    print_message("%ld allocations of a resumed encode\n", walk(resume_all, false, 7));
    assert_int_equal(access(OUT, F_OK), 0);
    assert_int_not_equal(access(PART, F_OK), 0);
    unlink(OUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_decode_may_end_anywhere),
        cmocka_unit_test(memory_of_encode_may_end_anywhere),
        cmocka_unit_test(memory_of_a_resumed_encode_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
