/* Handles in several threads at once: each is independent of the others, whatever the number of
 * threads that it uses itself. Under ThreadSanitizer this is where a race would show. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "series.h"

enum { NX = 14, NY = 12, NZ = 10, N = NX * NY * NZ, N_STEPS = 3, N_WORKERS = 3 };

typedef struct worker {
    int n_threads;
    char path[64];
    float values[N];
    kdinr_error error; /* status OK if all went well */
} worker;

static kdinr_options small_options(int n_threads)
{
    kdinr_options options = series_options();

    options.ratio = 8;
    options.batch = 256;
    options.teacher_samples = 5000;
    options.student_samples = 10000;
    options.n_steps = N_STEPS;
    options.n_threads = n_threads;
    options.keep_bad = true;
    return options;
}

static kdinr_status compress(worker *w)
{
    const int dims[3] = {NX, NY, NZ};
    const kdinr_options options = small_options(w->n_threads);
    const kdinr_array array = {"a", KDINR_FLOAT32, 1, KDINR_POINTS, w->values, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_encoder *encoder;
    kdinr_status status = kdinr_encoder_open(&options, &encoder, &w->error);

    for (int t = 0; t < N_STEPS && status == KDINR_OK; t++) {
        series_fill(dims, t, N_STEPS, w->values);
        status = kdinr_encoder_push(encoder, &volume, t, &w->error);
    }
    if (status == KDINR_OK) status = kdinr_encoder_finish(encoder, w->path, &w->error);
    kdinr_encoder_close(encoder);
    return status;
}

static kdinr_status decode(worker *w)
{
    const kdinr_options options = small_options(w->n_threads);
    kdinr_decoder *decoder;
    kdinr_status status = kdinr_decoder_open(w->path, &options, &decoder, &w->error);

    if (status != KDINR_OK) return status;
    kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), 0);
    request.time = 1.3;
    status = kdinr_decoder_read(decoder, &request, w->values, &w->error);
    kdinr_decoder_close(decoder);
    return status;
}

static void *work(void *argument)
{
    worker *w = argument;

    if (compress(w) == KDINR_OK) (void)decode(w);
    return NULL;
}

static void threads_have_handles_of_their_own(void **state)
{
    static worker workers[N_WORKERS];
    pthread_t handles[N_WORKERS];

    (void)state;
    for (int i = 0; i < N_WORKERS; i++) {
        workers[i].n_threads = i + 1;
        (void)snprintf(workers[i].path, sizeof workers[i].path, "test_threads_%d.kdm", i);
        assert_int_equal(pthread_create(&handles[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N_WORKERS; i++) {
        assert_int_equal(pthread_join(handles[i], NULL), 0);
    }
    for (int i = 0; i < N_WORKERS; i++) {
        if (workers[i].error.status != KDINR_OK) fail_msg("%s", workers[i].error.message);
        assert_memory_equal(workers[i].values, workers[0].values, sizeof workers[i].values);
        unlink(workers[i].path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_have_handles_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
