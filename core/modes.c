/* Principal components along time; modes.h says what for. */
#include "modes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

enum { ROUNDS = 200, SCALE = 127 };

/* What is left of a vector's length when it has nothing new to tell. */
#define NOTHING 1e-9

int kd_modes_count(int wanted, int n_steps)
{
    const int most = n_steps > 2 ? n_steps - 2 : 0;

    return wanted < most ? wanted : most;
}

/* deviations [n_steps] of one place from its straight line over the steps that are there */
static void deviate(const float *values, const uint8_t *missing, size_t n, size_t n_steps,
                    double *deviations)
{
    double there = 0.0, time = 0.0, squares = 0.0, sum = 0.0, products = 0.0;

    for (size_t t = 0; t < n_steps; t++) {
        if (missing != NULL && missing[t * n] != 0) continue;
        const double value = (double)values[t * n], at = (double)t;
        there += 1.0;
        time += at;
        squares += at * at;
        sum += value;
        products += at * value;
    }
    const double spread = there * squares - time * time; /* whole numbers: exact */
    const double slope = spread > 0.0 ? (there * products - time * sum) / spread : 0.0;
    for (size_t t = 0; t < n_steps; t++) {
        const bool is_there = missing == NULL || missing[t * n] == 0;
        const double line = (sum + slope * (there * (double)t - time)) / there;
        deviations[t] = is_there ? (double)values[t * n] - line : 0.0;
    }
}

kdinr_status kd_modes_add(const float *values, const uint8_t *missing, size_t n, size_t n_steps,
                          double *sums, kdinr_error *error)
{
    double *deviations = malloc(n_steps * sizeof *deviations);

    if (deviations == NULL) return kd_fail_memory(error, n_steps * sizeof *deviations, "modes");
    for (size_t place = 0; place < n; place++) {
        deviate(values + place, missing == NULL ? NULL : missing + place, n, n_steps, deviations);
        for (size_t t = 0; t < n_steps; t++) {
            for (size_t s = 0; s < n_steps; s++) {
                sums[t * n_steps + s] += deviations[t] * deviations[s];
            }
        }
    }
    free(deviations);
    return KDINR_OK;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Take out what the orthonormal basis [n_basis][n] says of a vector, twice for the sake of
 * rounding, and give it length 1; 0 if hardly anything is left of it. Returns whether something is.
 */
static bool straighten(const double *basis, size_t n_basis, size_t n, double *vector)
{
    const double before = sqrt(dot(vector, vector, n));

    for (int round = 0; round < 2; round++) {
        for (size_t k = 0; k < n_basis; k++) {
            const double part = dot(basis + k * n, vector, n);
            for (size_t i = 0; i < n; i++) {
                vector[i] -= part * basis[k * n + i];
            }
        }
    }
    const double after = sqrt(dot(vector, vector, n));
    const bool is_new = after > NOTHING * before && after > 0.0;
    for (size_t i = 0; i < n; i++) {
        vector[i] = is_new ? vector[i] / after : 0.0;
    }
    return is_new;
}

/* basis [2 + n_modes][n]: a constant, time, and waves to start from */
static void start_basis(size_t n, size_t n_modes, double *basis)
{
    const double pi = 3.14159265358979323846;

    for (size_t k = 0; k < 2 + n_modes; k++) {
        for (size_t t = 0; t < n; t++) {
            basis[k * n + t] =
                k == 1 ? (double)t : cos(pi * (double)k * ((double)t + 0.5) / (double)n);
        }
        (void)straighten(basis, k, n, basis + k * n);
    }
}

/* Subspace iteration: each vector is multiplied by the sums and made orthogonal to those before. */
static void iterate(const double *sums, size_t n, size_t n_modes, double *basis, double *product)
{
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 2; k < 2 + n_modes; k++) {
            double *vector = basis + k * n;

            for (size_t t = 0; t < n; t++) {
                product[t] = dot(sums + t * n, vector, n);
            }
            (void)straighten(basis, k, n, product);
            memcpy(vector, product, n * sizeof *vector);
        }
    }
}

/* A vector of length 1 as the k-th of n_modes, its largest element SCALE; 0 if it is not one that
 * the sums know. */
static void store(const double *vector, size_t n, bool known, size_t n_modes, int8_t *modes)
{
    double largest = 0.0;

    for (size_t t = 0; t < n; t++) {
        if (fabs(vector[t]) > 1.000001 * fabs(largest)) largest = vector[t];
    }
    for (size_t t = 0; t < n; t++) {
        modes[t * n_modes] = known ? (int8_t)nearbyint(SCALE * vector[t] / largest) : 0;
    }
}

kdinr_status kd_modes_find(const double *sums, size_t n_steps, size_t n_modes, int8_t *modes,
                           kdinr_error *error)
{
    const size_t n = n_steps, size = (3 + n_modes) * n;
    double *basis = calloc(size, sizeof *basis), total = 0.0;

    if (basis == NULL) return kd_fail_memory(error, size * sizeof *basis, "modes");
    double *product = basis + (2 + n_modes) * n;
    for (size_t t = 0; t < n; t++) {
        total += sums[t * n + t];
    }
    start_basis(n, n_modes, basis);
    iterate(sums, n, n_modes, basis, product);
    for (size_t k = 0; k < n_modes; k++) {
        const double *vector = basis + (2 + k) * n;

        for (size_t t = 0; t < n; t++) {
            product[t] = dot(sums + t * n, vector, n);
        }
        store(vector, n, dot(product, vector, n) > NOTHING * total, n_modes, modes + k);
    }
    free(basis);
    return KDINR_OK;
}

void kd_modes_inputs(const int8_t *modes, int n_modes, int n_steps, double at, float local,
                     float times[KD_NET_MAX_TIMES])
{
    const int most = n_steps - 1;
    const int low = at >= most ? most : (int)at, high = low < most ? low + 1 : low;

    memset(times, 0, KD_NET_MAX_TIMES * sizeof *times);
    times[0] = local;
    for (int k = 0; k < n_modes; k++) {
        const double from = modes[low * n_modes + k], to = modes[high * n_modes + k];
        times[1 + k] = (float)((from + (at - low) * (to - from)) / SCALE);
    }
}
