/* A few threads that share the items of one job after another. Before: batch.c and backend_cpu.c
 * cut work into items. Threads are woken, not waited for: one that the system does not run takes
 * no items, so that a busy machine costs its share of the speed and no more. */
#ifndef KD_THREADS_H
#define KD_THREADS_H

enum { KD_THREADS_MAX = 256 };

typedef struct kd_threads kd_threads;

/** Do one item. Items are 0..n_items-1, in any order; threads 0..n_threads-1. */
typedef void (*kd_threads_work)(void *context, int item, int thread);

/** Number of processors that this process may use. */
int kd_threads_available(void);

/** Prepare n_threads - 1 threads beside the caller's; the first job with several items starts them,
 *  fewer if the system refuses. NULL if there is no memory. */
kd_threads *kd_threads_start(int n_threads);

/** Do all items of one job and return when they are done. The caller is thread 0. */
void kd_threads_run(kd_threads *threads, kd_threads_work work, void *context, int n_items);

/** End the threads. NULL is fine. */
void kd_threads_stop(kd_threads *threads);

#endif
