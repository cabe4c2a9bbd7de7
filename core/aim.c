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
/* After so many trials brackets are halved: what scatters is no line. */
#define LINES 4
/* Ratios nearer than this give the same file, or one as good. */
#define SAME_RATIO 1.003
#define MOST_RATIO 1e6
/* After a ratio at which nothing was learned. */
#define FAILED_SHARE 0.5

/* Trials on both sides of the target, NULL where there is none. Trainings scatter, so that some
 * trial may contradict others: what counts is the last place where the target is crossed. */
typedef struct bracket {
    const kd_aim_trial *above; /* has the target; of those the one of the highest ratio */
    const kd_aim_trial *below; /* the next beyond it, which has not */
} bracket;

static bracket find_bracket(const kd_aim *aim)
{
    bracket found = {NULL, NULL};

    for (int i = 0; i < aim->n; i++) {
        const kd_aim_trial *one = &aim->trials[i];

        if (one->psnr < aim->target) continue;
        if (found.above == NULL || one->asked > found.above->asked) found.above = one;
    }
    for (int i = 0; i < aim->n; i++) {
        const kd_aim_trial *one = &aim->trials[i];

        if (one->psnr >= aim->target) continue;
        if (found.above != NULL && one->asked < found.above->asked) continue;
        if (found.below == NULL || one->asked < found.below->asked) found.below = one;
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

/* dB lost when the ratio grows ten-fold; of trials that contradict each other the usual. */
static double slope_between(const kd_aim_trial *one, const kd_aim_trial *other)
{
    const double slope = (one->psnr - other->psnr) / log10(other->asked / one->asked);

    return slope > 0.0 ? slope : SLOPE;
}

static bool is_closed(const bracket *ends)
{
    return ends->above != NULL && ends->below != NULL;
}

/* log10 of the ratio at which a line through two trials has the target. */
static double line_crossing(const kd_aim *aim, const bracket *ends)
{
    const kd_aim_trial *from = nearest(aim, NULL);
    double slope = SLOPE;

    if (from == NULL) return log10(FAILED_SHARE * aim->trials[aim->n - 1].asked);
    if (is_closed(ends) && isfinite(ends->below->psnr)) {
        from = ends->above;
        slope = slope_between(ends->above, ends->below);
    } else if (aim->n > 1 && nearest(aim, from) != NULL) {
        slope = fmax(FLATTEST, fmin(STEEPEST, slope_between(from, nearest(aim, from))));
    }
    return log10(from->asked) + (from->psnr - aim->target) / slope;
}

static double stay_inside(const bracket *ends, int n, double at)
{
    if (!is_closed(ends)) return at;
    const double low = log10(ends->above->asked), high = log10(ends->below->asked);
    const double margin = MARGIN * (high - low);

    if (!isfinite(ends->below->psnr)) return fmin(at, 0.5 * (low + high));
    if (n >= LINES) return 0.5 * (low + high);
    return fmax(low + margin, fmin(high - margin, at));
}

static bool is_same(double one, double other)
{
    return fmax(one / other, other / one) < SAME_RATIO;
}

static bool was_asked(const kd_aim *aim, double ratio)
{
    for (int i = 0; i < aim->n; i++) {
        if (is_same(ratio, aim->trials[i].asked)) return true;
    }
    return false;
}

/* Another ratio was asked for and changed nothing: the size hangs on something else, or there is
 * no smaller network. */
static bool is_stuck(const kd_aim *aim)
{
    const kd_aim_trial *last = &aim->trials[aim->n - 1];

    for (int i = 0; i < aim->n - 1; i++) {
        if (is_same(last->ratio, aim->trials[i].ratio)) return true;
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
    const kd_aim_trial *last = &aim->trials[aim->n - 1];
    double at = stay_inside(&ends, aim->n, line_crossing(aim, &ends));

    /* one trial alone does not tell the slope, and may have collapsed */
    if (aim->n == 1) at = fmax(at, 0.5 * log10(last->asked * aim->alone));
    if (aim->n == KD_AIM_MOST || (is_stuck(aim) && !is_closed(&ends))) return false;
    if (pow(10.0, at) * last->ratio / last->asked <= aim->alone) return false;
    *ratio = fmin(MOST_RATIO, pow(10.0, at));
    return !was_asked(aim, *ratio);
}
