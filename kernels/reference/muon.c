/* Muon on one hidden matrix: momentum, then the nearest orthogonal matrix by Newton-Schulz.
 * Before: backward.c, averaged over the batch. After: the next batch.
 * X is the update with its smaller dimension as rows: X <- aX + (bA + cA^2) X, A = X X^T. */
#include <math.h>

#include "reference/reference.h"

enum { NEWTON_SCHULZ_STEPS = 5 };

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

size_t kd_reference_muon_scratch(int n_out, int n_in)
{
    const size_t rows = (size_t)min_int(n_out, n_in);
    return 2 * (size_t)n_out * (size_t)n_in + 2 * rows * rows;
}

/* Momentum moves; X [rows][columns] becomes the Nesterov update over its Frobenius norm. */
static void nesterov(int n_out, int n_in, const double *gradient, double *momentum, double *x)
{
    const size_t n = (size_t)n_out * (size_t)n_in;
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        momentum[i] += 0.05 * (gradient[i] - momentum[i]);
        const double update = gradient[i] + 0.95 * (momentum[i] - gradient[i]);
        const size_t o = i / (size_t)n_in, k = i % (size_t)n_in;
        x[n_out > n_in ? k * (size_t)n_out + o : i] = update;
        square += update * update;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] /= sqrt(square) + 1e-12;
    }
}

/* polynomial [rows][rows] = bA + cA^2 with A = X X^T [rows][rows] */
static void even_polynomial(size_t rows, size_t columns, const double *x, double *a,
                            double *polynomial)
{
    for (size_t p = 0; p < rows; p++) {
        for (size_t q = 0; q < rows; q++) {
            double sum = 0;
            for (size_t k = 0; k < columns; k++) {
                sum += x[p * columns + k] * x[q * columns + k];
            }
            a[p * rows + q] = sum;
        }
    }
    for (size_t p = 0; p < rows; p++) {
        for (size_t q = 0; q < rows; q++) {
            double sum = 0;
            for (size_t k = 0; k < rows; k++) {
                sum += a[p * rows + k] * a[k * rows + q];
            }
            polynomial[p * rows + q] = -4.7750 * a[p * rows + q] + 2.0315 * sum;
        }
    }
}

/* next [rows][columns] = 3.4445 X + polynomial X */
static void apply(size_t rows, size_t columns, const double *polynomial, const double *x,
                  double *next)
{
    for (size_t p = 0; p < rows; p++) {
        for (size_t q = 0; q < columns; q++) {
            double sum = 3.4445 * x[p * columns + q];
            for (size_t k = 0; k < rows; k++) {
                sum += polynomial[p * rows + k] * x[k * columns + q];
            }
            next[p * columns + q] = sum;
        }
    }
}

void kd_reference_muon(int n_out, int n_in, double rate, const double *gradient, double *momentum,
                       double *params, double *scratch)
{
    const size_t n = (size_t)n_out * (size_t)n_in;
    const size_t rows = (size_t)min_int(n_out, n_in), columns = (size_t)max_int(n_out, n_in);
    double *x = scratch, *next = x + n, *a = next + n, *polynomial = a + rows * rows;
    nesterov(n_out, n_in, gradient, momentum, x);
    for (int i = 0; i < NEWTON_SCHULZ_STEPS; i++) {
        even_polynomial(rows, columns, x, a, polynomial);
        apply(rows, columns, polynomial, x, next);
        double *swap = x;
        x = next;
        next = swap;
    }
    const double move = rate * 0.2 * sqrt((double)columns), keep = 1 - rate * KD_MATRIX_DECAY;
    for (size_t i = 0; i < n; i++) {
        const size_t o = i / (size_t)n_in, k = i % (size_t)n_in;
        params[i] = keep * params[i] - move * x[n_out > n_in ? k * (size_t)n_out + o : i];
    }
}
