/* Interpolation of residuals, and the choice of the best one. */
#include "residual_predict.h"

#include <math.h>

enum { TRIAL_SAMPLES = 8192 };

static const int32_t MOST_LEVEL = 1 << 30;

size_t kd_pass_count(const kd_pass *pass)
{
    size_t n = 1;

    for (int axis = 0; axis < 3; axis++) {
        const int first = (pass->odd >> axis & 1) != 0 ? pass->h : 0;

        if (pass->dims[axis] <= first) return 0;
        n *= (size_t)((pass->dims[axis] - first - 1) / (2 * pass->h) + 1);
    }
    return n;
}

/* 16 times the interpolation along one axis: between two neighbours, through four if `curved`; at
 * the end of the axis on from the last two, or as the last one. */
static int64_t interpolate(const kd_pass *pass, int axis, bool curved, const int32_t *f, int at,
                           size_t i)
{
    const int n = pass->dims[axis], h = pass->h;
    const size_t stride = pass->strides[axis] * (size_t)h;
    const int64_t before = f[i - stride];
    const bool far_before = at >= 3 * h;

    if (at + h >= n) {
        return far_before ? 24 * before - 8 * (int64_t)f[i - 3 * stride] : 16 * before;
    }
    const int64_t after = f[i + stride];
    int64_t sum = 8 * (before + after);
    if (curved && far_before && at + 3 * h < n) {
        sum += before + after - f[i - 3 * stride] - f[i + 3 * stride];
    }
    return sum;
}

static int64_t spread(const kd_pass *pass, const kd_predictor *predictor, const int32_t *f,
                      const int at[3], size_t i)
{
    int64_t sum = 0;

    for (int axis = 0; axis < 3; axis++) {
        if ((predictor->axes >> axis & 1) == 0) continue;
        sum += interpolate(pass, axis, predictor->curved, f, at[axis], i);
    }
    return sum;
}

int32_t kd_residual_predict(const kd_pass *pass, const kd_predictor *predictor, const int32_t *now,
                            const int32_t *before, const int at[3], size_t i)
{
    const unsigned axes = predictor->axes;
    const int64_t n = (axes & 1) + (axes >> 1 & 1) + (axes >> 2 & 1);
    int64_t sum = 8 * spread(pass, predictor, now, at, i);

    if (predictor->follow > 0) {
        sum += predictor->follow * (16 * n * before[i] - spread(pass, predictor, before, at, i));
    }
    const int64_t divisor = 128 * n, raised = sum + divisor / 2;
    const int64_t level = raised / divisor - (raised % divisor < 0);
    return level > MOST_LEVEL ? MOST_LEVEL : level < -MOST_LEVEL ? -MOST_LEVEL : (int32_t)level;
}

/* ---- the choice ---- */

typedef struct trial {
    const kd_pass *pass;
    const int32_t *now, *before;
    const float *wanted;
    const uint8_t *skip;
    int quantum;
} trial;

/* About the bits that a predictor's errors take, on every k-th sample. */
static double cost(const trial *t, const kd_predictor *predictor)
{
    const kd_pass *pass = t->pass;
    int first[3], n[3];
    double sum = 0.0;

    for (int axis = 0; axis < 3; axis++) {
        first[axis] = (pass->odd >> axis & 1) != 0 ? pass->h : 0;
        n[axis] = (pass->dims[axis] - first[axis] - 1) / (2 * pass->h) + 1;
    }
    const size_t count = kd_pass_count(pass);
    const size_t stride = count / TRIAL_SAMPLES + 1;
    for (size_t k = stride / 2; k < count; k += stride) {
        const int at[3] = {first[0] + 2 * pass->h * (int)(k % (size_t)n[0]),
                           first[1] + 2 * pass->h * (int)(k / (size_t)n[0] % (size_t)n[1]),
                           first[2] + 2 * pass->h * (int)(k / (size_t)n[0] / (size_t)n[1])};
        const size_t i =
            (size_t)at[2] * pass->strides[2] + (size_t)at[1] * pass->strides[1] + (size_t)at[0];

        if (t->skip != NULL && t->skip[i] != 0) continue;
        const int32_t level = kd_residual_predict(pass, predictor, t->now, t->before, at, i);
        sum += (double)log2f((float)t->quantum + fabsf((float)level - t->wanted[i]));
    }
    return sum;
}

/* The best axes and interpolation for predictor->follow. */
static double choose_shape(const trial *t, kd_predictor *predictor)
{
    kd_predictor one = *predictor;
    double least = INFINITY;

    for (unsigned code = 2; code < 16; code++) {
        one.axes = code >> 1;
        one.curved = (code & 1) != 0;
        if ((one.axes & ~t->pass->odd) != 0) continue;
        const double found = cost(t, &one);
        if (found < least) {
            least = found;
            *predictor = one;
        }
    }
    return least;
}

kd_predictor kd_residual_choose(const kd_pass *pass, const int32_t *now, const int32_t *before,
                                const float *wanted, const uint8_t *skip, int quantum)
{
    const trial t = {pass, now, before, wanted, skip, quantum};
    kd_predictor best = {.axes = pass->odd};
    double least = choose_shape(&t, &best);

    if (before == NULL) return best;
    for (int follow = 2; follow <= 8; follow += 2) {
        kd_predictor one = best;

        one.follow = follow;
        const double found = cost(&t, &one);
        if (found < least) {
            least = found;
            best = one;
        }
    }
    if (best.follow > 0) (void)choose_shape(&t, &best);
    return best;
}
