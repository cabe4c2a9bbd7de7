/* A few threads that share the items of one job after another; see threads.h. */
#if defined(__linux__)
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include "cpu/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How long a thread that has nothing to do keeps looking before it sleeps. Waking a sleeping thread
 * takes about as long as a small batch; the gaps between a batch's jobs are shorter than this. */
enum { PATIENCE_NANOSECONDS = 50000, LOOKS_PER_CLOCK = 32 };

typedef struct helper {
    kd_threads *threads;
    pthread_t handle;
    int thread;
} helper;

typedef struct job {
    _Atomic kd_threads_work work;
    void *_Atomic context;
    atomic_int n_items;
} job;

/* Job number g lies in jobs[g % 2], so that a thread which is late for job g - 1 reads its number
 * of items, not the next job's. It can take no item of either: `ticket` has moved on. */
struct kd_threads {
    atomic_uint_fast64_t ticket; /* job number in the upper half, next item in the lower */
    job jobs[2];
    atomic_int n_done; /* items of the present job */
    atomic_bool stop;
    atomic_int n_asleep; /* helpers that wait for `posted` */
    atomic_bool caller_asleep;
    pthread_mutex_t lock; /* for the two conditions only */
    pthread_cond_t posted, finished;
    int n_wanted; /* helpers, started by the first job that has more than one item */
    int n_helpers;
    helper helpers[KD_THREADS_MAX];
};

int kd_threads_available(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    return n < 1 ? 1 : n > KD_THREADS_MAX ? KD_THREADS_MAX : (int)n;
}

static uint32_t job_number(const kd_threads *threads)
{
    return (uint32_t)(atomic_load(&threads->ticket) >> 32);
}

/* Take items until none is left. */
static void take_items(kd_threads *threads, int thread)
{
    uint_fast64_t ticket = atomic_load(&threads->ticket);
    for (;;) {
        job *current = &threads->jobs[(ticket >> 32) % 2];
        const int item = (int)(uint32_t)ticket, n_items = atomic_load(&current->n_items);
        const kd_threads_work work = atomic_load(&current->work);
        void *context = atomic_load(&current->context);
        if (item >= n_items) return;
        if (!atomic_compare_exchange_weak(&threads->ticket, &ticket, ticket + 1)) continue;
        work(context, item, thread);
        if (atomic_fetch_add(&threads->n_done, 1) + 1 == n_items &&
            atomic_load(&threads->caller_asleep)) {
            pthread_mutex_lock(&threads->lock);
            pthread_cond_signal(&threads->finished);
            pthread_mutex_unlock(&threads->lock);
        }
        ticket = atomic_load(&threads->ticket);
    }
}

static int64_t nanoseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static bool job_posted(const kd_threads *threads, uint32_t seen)
{
    return job_number(threads) != seen || atomic_load(&threads->stop);
}

static bool job_finished(const kd_threads *threads, uint32_t number)
{
    return atomic_load(&threads->n_done) == atomic_load(&threads->jobs[number % 2].n_items);
}

/* Keep looking for a while. Returns whether it came true. */
static bool look_for(bool (*is_true)(const kd_threads *, uint32_t), const kd_threads *threads,
                     uint32_t number)
{
    const int64_t end = nanoseconds_now() + PATIENCE_NANOSECONDS;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (is_true(threads, number)) return true;
            pause_briefly();
        }
    } while (nanoseconds_now() < end);
    return false;
}

static void *help(void *argument)
{
    const helper *self = argument;
    kd_threads *threads = self->threads;
    while (!atomic_load(&threads->stop)) {
        const uint32_t seen = job_number(threads);
        take_items(threads, self->thread);
        if (look_for(job_posted, threads, seen)) continue;
        pthread_mutex_lock(&threads->lock);
        atomic_fetch_add(&threads->n_asleep, 1);
        while (!job_posted(threads, seen)) {
            pthread_cond_wait(&threads->posted, &threads->lock);
        }
        atomic_fetch_sub(&threads->n_asleep, 1);
        pthread_mutex_unlock(&threads->lock);
    }
    return NULL;
}

kd_threads *kd_threads_start(int n_threads)
{
    kd_threads *threads = calloc(1, sizeof *threads);
    if (threads == NULL) return NULL;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->posted, NULL);
    pthread_cond_init(&threads->finished, NULL);
    threads->n_wanted = n_threads - 1;
    return threads;
}

static void start_helpers(kd_threads *threads)
{
    for (int i = 0; i < threads->n_wanted; i++) {
        helper *next = &threads->helpers[i];
        next->threads = threads;
        next->thread = i + 1;
        if (pthread_create(&next->handle, NULL, help, next) != 0) break;
        threads->n_helpers++;
    }
    threads->n_wanted = 0;
}

static void wake_helpers(kd_threads *threads)
{
    if (atomic_load(&threads->n_asleep) == 0) return;
    pthread_mutex_lock(&threads->lock);
    pthread_cond_broadcast(&threads->posted);
    pthread_mutex_unlock(&threads->lock);
}

static void run_alone(kd_threads_work work, void *context, int n_items)
{
    for (int i = 0; i < n_items; i++) {
        work(context, i, 0);
    }
}

void kd_threads_run(kd_threads *threads, kd_threads_work work, void *context, int n_items)
{
    if (n_items > 1) start_helpers(threads);
    if (n_items <= 1 || threads->n_helpers == 0) {
        run_alone(work, context, n_items);
        return;
    }
    const uint32_t number = job_number(threads) + 1;
    job *next = &threads->jobs[number % 2];
    atomic_store(&next->work, work);
    atomic_store(&next->context, context);
    atomic_store(&next->n_items, n_items);
    atomic_store(&threads->n_done, 0);
    atomic_store(&threads->ticket, (uint_fast64_t)number << 32);
    wake_helpers(threads);
    take_items(threads, 0);
    if (look_for(job_finished, threads, number)) return;
    pthread_mutex_lock(&threads->lock);
    atomic_store(&threads->caller_asleep, true);
    while (!job_finished(threads, number)) {
        pthread_cond_wait(&threads->finished, &threads->lock);
    }
    atomic_store(&threads->caller_asleep, false);
    pthread_mutex_unlock(&threads->lock);
}

void kd_threads_stop(kd_threads *threads)
{
    if (threads == NULL) return;
    atomic_store(&threads->stop, true);
    wake_helpers(threads);
    for (int i = 0; i < threads->n_helpers; i++) {
        pthread_join(threads->helpers[i].handle, NULL);
    }
    pthread_cond_destroy(&threads->finished);
    pthread_cond_destroy(&threads->posted);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}
