/* From trials to the next ratio. The constants are measured: tests/quality/README.md. */
#include "aim.h"

#include <math.h>
#include <stddef.h>

/* Networks have the PSNR of residuals at about the residuals' ratio to this power. */
#define FIRST_POWER 1.35
/* dB lost when the ratio grows ten-fold, until two trials tell; and what two on one side of the
 * target may say. */
#define SLOPE    8.0
#define STEEPEST 20.0
#define FLATTEST 3.0
/* The next ratio stays this part of a bracket away from its ends. */
#define MARGIN 0.1
/* Ratios nearer than this give the same file, or one as good. */
#define SAME_RATIO 1.003
#define MOST_RATIO 1e6
/* After a ratio at which nothing was learned. */
#define FAILED_SHARE 0.5

/* Trials on both sides of the target, NULL where there is none. */
typedef struct bracket {
    const kd_aim_trial *above; /* highest ratio that has the target */
    const kd_aim_trial *below; /* lowest ratio that has not */
} bracket;

static bracket find_bracket(const kd_aim *aim)
{
    bracket found = {NULL, NULL};

    for (int i = 0; i < aim->n; i++) {
        const kd_aim_trial *one = &aim->trials[i];

        if (one->psnr >= aim->target) {
            if (found.above == NULL || one->ratio > found.above->ratio) found.above = one;
        } else if (found.below == NULL || one->ratio < found.below->ratio) {
            found.below = one;
        }
    }
    return found;
}

/* The nearest to the target but `other`; NULL: there is none that has a PSNR. */
static const kd_aim_trial *nearest(const kd_aim *aim, const kd_aim_trial *other)
{
    const kd_aim_trial *best = NULL;

    for (int i = 0; i < aim->n; i++) {
        const kd_aim_trial *one = &aim->trials[i];

        if (one == other || !isfinite(one->psnr)) continue;
        if (best == NULL || fabs(one->psnr - aim->target) < fabs(best->psnr - aim->target)) {
            best = one;
        }
    }
    return best;
}

/* dB lost when the ratio grows ten-fold. */
static double slope_between(const kd_aim_trial *one, const kd_aim_trial *other)
{
    const double decades = log10(other->ratio / one->ratio);

    return fabs(decades) < log10(SAME_RATIO) ? SLOPE : (one->psnr - other->psnr) / decades;
}

/* log10 of the ratio at which a line through two trials has the target. */
static double line_crossing(const kd_aim *aim, const bracket *ends)
{
    const bool closed = ends->above != NULL && ends->below != NULL && isfinite(ends->below->psnr);
    const kd_aim_trial *from = nearest(aim, NULL);
    double slope = SLOPE;

    if (from == NULL) return log10(FAILED_SHARE * aim->trials[aim->n - 1].ratio);
    if (closed && ends->above->ratio < ends->below->ratio) {
        from = ends->above;
        slope = slope_between(ends->above, ends->below);
    } else if (aim->n > 1 && nearest(aim, from) != NULL) {
        slope = fmax(FLATTEST, fmin(STEEPEST, slope_between(from, nearest(aim, from))));
    }
    return log10(from->ratio) + (from->psnr - aim->target) / slope;
}

static double stay_inside(const bracket *ends, double at)
{
    if (ends->above == NULL || ends->below == NULL) return at;
    const double low = log10(ends->above->ratio), high = log10(ends->below->ratio);
    const double margin = MARGIN * (high - low);

    if (margin <= 0.0) return at; /* the trials contradict each other */
    if (!isfinite(ends->below->psnr)) return fmin(at, 0.5 * (low + high));
    return fmax(low + margin, fmin(high - margin, at));
}

/* Was it among the first n trials? */
static bool was_tried(const kd_aim *aim, int n, double ratio)
{
    for (int i = 0; i < n; i++) {
        const double apart = fmax(ratio / aim->trials[i].ratio, aim->trials[i].ratio / ratio);

        if (apart < SAME_RATIO) return true;
    }
    return false;
}

bool kd_aim_next(const kd_aim *aim, double *ratio)
{
    if (aim->n == 0) {
        *ratio = fmin(MOST_RATIO, pow(aim->alone, FIRST_POWER));
        return true;
    }
    const bracket ends = find_bracket(aim);
    const double alone = log10(aim->alone), last = log10(aim->trials[aim->n - 1].ratio);
    double at = stay_inside(&ends, line_crossing(aim, &ends));

    /* one trial alone does not tell the slope, and may have collapsed */
    if (aim->n == 1) at = fmax(at, 0.5 * (last + alone));
    /* another ratio was asked for and changed nothing: the size hangs on something else */
    const bool stuck = was_tried(aim, aim->n - 1, aim->trials[aim->n - 1].ratio);

    if (aim->n == KD_AIM_MOST || stuck || at <= alone) return false;
    *ratio = fmin(MOST_RATIO, pow(10.0, at));
    return !was_tried(aim, aim->n, *ratio);
}
