/* Parts of the cpu backend that no network shows on its own: the sine, and the threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/threads.h"

enum { MAX_BLOCK = 960 }; /* a multiple of every vector length */

static const double pi = 3.14159265358979323846;

/* sin(pi t) or cos(pi t); the remainder is exact, so doubles lose nothing for large t. */
static double exact_wave(double t, bool cosine)
{
    const double r = remainder(t, 2);
    return cosine ? cos(pi * r) : sin(pi * r);
}

/* The largest errors over one block of half turns. */
static void measure(const kd_cpu_kernels *path, const float *turns, double *sine_error,
                    double *slope_error)
{
    float sine[MAX_BLOCK], slope[MAX_BLOCK];
    path->sine(MAX_BLOCK, turns, sine, slope);
    for (int i = 0; i < MAX_BLOCK; i++) {
        const double t = (double)turns[i];
        const double off = fabs((double)sine[i] - exact_wave(t, false));
        const double slope_off = fabs((double)slope[i] / pi - exact_wave(t, true));
        assert_true(off <= 2 && slope_off <= 2);
        if (off > *sine_error) *sine_error = off;
        if (slope_off > *slope_error) *slope_error = slope_off;
    }
}

static float next_turn(uint32_t bits)
{
    float turn;
    memcpy(&turn, &bits, sizeof turn);
    return turn;
}

/* Every 499th float of either sign up to 1000 / pi half turns, that is |x| <= 1000. */
static void sine_is_within_2e_7_up_to_1000(void **unused)
{
    (void)unused;
    const float last = (float)(1000 / pi);
    for (int p = 0; kd_cpu_path(p) != NULL; p++) {
        double sine_error = 0, slope_error = 0;
        uint32_t bits = 0;
        if (!kd_cpu_path_available(p)) continue;
        while (next_turn(bits) <= last) {
            float turns[MAX_BLOCK];
            for (int i = 0; i < MAX_BLOCK; i += 2, bits += 499) {
                turns[i] = next_turn(bits);
                turns[i + 1] = -turns[i];
            }
            measure(kd_cpu_path(p), turns, &sine_error, &slope_error);
        }
        print_message("%s: sine within %.3g, slope / pi within %.3g\n", kd_cpu_path(p)->name,
                      sine_error, slope_error);
        assert_true(sine_error <= 2e-7);
        assert_true(slope_error <= 2e-7);
    }
}

static void sine_is_exact_at_multiples_of_half_turns(void **unused)
{
    (void)unused;
    for (int p = 0; kd_cpu_path(p) != NULL; p++) {
        float turns[MAX_BLOCK], sine[MAX_BLOCK];
        if (!kd_cpu_path_available(p)) continue;
        for (int i = 0; i < MAX_BLOCK; i++) {
            turns[i] = (float)(i - MAX_BLOCK / 2);
        }
        kd_cpu_path(p)->sine(MAX_BLOCK, turns, sine, NULL);
        for (int i = 0; i < MAX_BLOCK; i++) {
            assert_true(sine[i] == 0);
        }
    }
}

enum { N_THREADS = 4, MAX_ITEMS = 300 };

typedef struct tally {
    int done[MAX_ITEMS];
    int n_threads;
} tally;

static void count_item(void *context, int item, int thread)
{
    tally *shared = context;
    shared->done[item]++;
    if (thread < 0 || thread >= shared->n_threads) shared->done[item] = -1000;
}

static void check_items(int n_threads)
{
    kd_threads *threads = kd_threads_start(n_threads);
    assert_non_null(threads);
    for (int n_items = 0; n_items <= MAX_ITEMS; n_items++) {
        tally shared = {.n_threads = n_threads};
        kd_threads_run(threads, count_item, &shared, n_items);
        for (int i = 0; i < MAX_ITEMS; i++) {
            assert_int_equal(shared.done[i], i < n_items ? 1 : 0);
        }
    }
    kd_threads_stop(threads);
}

static void threads_do_every_item_once(void **unused)
{
    (void)unused;
    for (int n_threads = 1; n_threads <= N_THREADS; n_threads++) {
        check_items(n_threads);
    }
    kd_threads_stop(NULL);
    assert_true(kd_threads_available() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sine_is_within_2e_7_up_to_1000),
        cmocka_unit_test(sine_is_exact_at_multiples_of_half_turns),
        cmocka_unit_test(threads_do_every_item_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
