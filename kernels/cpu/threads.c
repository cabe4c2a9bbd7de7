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
#include <stdlib.h>
#include <unistd.h>

/* Looks at `jobs` before a thread sleeps: about 20 microseconds, the gap between a batch's jobs. */
enum { PATIENCE = 500 };

typedef struct helper {
    kd_threads *threads;
    pthread_t handle;
    int thread;
} helper;

struct kd_threads {
    pthread_mutex_t lock; /* guards all that follows up to `jobs` */
    pthread_cond_t posted, finished;
    kd_threads_work work;
    void *context;
    int n_items, n_taken, n_done;
    bool stop;
    atomic_uint jobs; /* posted so far */
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

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Take items until none is left. The lock is held on entry and exit, not while working. */
static void take_items(kd_threads *threads, int thread)
{
    while (threads->n_taken < threads->n_items) {
        const int item = threads->n_taken++;
        pthread_mutex_unlock(&threads->lock);
        threads->work(threads->context, item, thread);
        pthread_mutex_lock(&threads->lock);
        threads->n_done++;
    }
}

static void *help(void *argument)
{
    const helper *self = argument;
    kd_threads *threads = self->threads;
    pthread_mutex_lock(&threads->lock);
    while (!threads->stop) {
        take_items(threads, self->thread);
        if (threads->n_done == threads->n_items) pthread_cond_signal(&threads->finished);
        const unsigned seen = atomic_load(&threads->jobs);
        pthread_mutex_unlock(&threads->lock);
        for (int i = 0; i < PATIENCE && atomic_load(&threads->jobs) == seen; i++) {
            pause_briefly();
        }
        pthread_mutex_lock(&threads->lock);
        while (!threads->stop && threads->n_taken == threads->n_items) {
            pthread_cond_wait(&threads->posted, &threads->lock);
        }
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

kd_threads *kd_threads_start(int n_threads)
{
    kd_threads *threads = calloc(1, sizeof *threads);
    if (threads == NULL) return NULL;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->posted, NULL);
    pthread_cond_init(&threads->finished, NULL);
    for (int i = 0; i < n_threads - 1; i++) {
        helper *next = &threads->helpers[i];
        next->threads = threads;
        next->thread = i + 1;
        if (pthread_create(&next->handle, NULL, help, next) != 0) break;
        threads->n_helpers++;
    }
    return threads;
}

static void post(kd_threads *threads)
{
    atomic_fetch_add(&threads->jobs, 1);
    pthread_cond_broadcast(&threads->posted);
}

void kd_threads_run(kd_threads *threads, kd_threads_work work, void *context, int n_items)
{
    pthread_mutex_lock(&threads->lock);
    threads->work = work;
    threads->context = context;
    threads->n_items = n_items;
    threads->n_taken = 0;
    threads->n_done = 0;
    if (n_items > 1 && threads->n_helpers > 0) post(threads);
    take_items(threads, 0);
    while (threads->n_done < threads->n_items) {
        pthread_cond_wait(&threads->finished, &threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
}

void kd_threads_stop(kd_threads *threads)
{
    if (threads == NULL) return;
    pthread_mutex_lock(&threads->lock);
    threads->stop = true;
    post(threads);
    pthread_mutex_unlock(&threads->lock);
    for (int i = 0; i < threads->n_helpers; i++) {
        pthread_join(threads->helpers[i].handle, NULL);
    }
    pthread_cond_destroy(&threads->finished);
    pthread_cond_destroy(&threads->posted);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}
