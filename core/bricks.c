/* Bricks and windows: geometry only. Neighbouring bricks overlap by a few samples and are blended
 * there with weights that sum to one, so the decoded field is continuous across every border at any
 * resolution. The paper has one brick and one window, which is the special case n_bricks = 1. */
#include "bricks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

/* Half width of the blend, in samples: two samples on either side are enough to hide the
 * networks' independent errors, and cost (L + 4) / L evaluations for a brick of L samples. */
#define OVERLAP 2.0

kd_interval kd_bricks_interval(int n_samples, int n_bricks, int j)
{
    const double end = n_samples - 1;
    const double length = end / n_bricks;
    kd_interval interval;

    interval.left = j * length;
    interval.right = j + 1 == n_bricks ? end : (j + 1) * length;
    interval.has_left = j > 0;
    interval.has_right = j + 1 < n_bricks;
    interval.overlap = n_bricks == 1 ? 0.0 : fmin(OVERLAP, length / 2.0);
    interval.low = interval.has_left ? interval.left - interval.overlap : 0.0;
    interval.high = interval.has_right ? interval.right + interval.overlap : end;
    return interval;
}

float kd_bricks_local(const kd_interval *interval, double position)
{
    const double length = interval->high - interval->low;

    return length > 0.0 ? (float)(2.0 * (position - interval->low) / length - 1.0) : 0.0f;
}

static double smoothstep(double x)
{
    x = x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x;
    return x * x * (3.0 - 2.0 * x);
}

/* Weight of the brick right of a border. */
static double rise(double border, double overlap, double position)
{
    return smoothstep((position - (border - overlap)) / (2.0 * overlap));
}

float kd_bricks_weight(const kd_interval *interval, double position)
{
    double weight = 1.0;

    if (interval->has_left) weight *= rise(interval->left, interval->overlap, position);
    if (interval->has_right) weight *= 1.0 - rise(interval->right, interval->overlap, position);
    return (float)weight;
}

void kd_bricks_samples(const kd_interval *interval, int *first, int *last)
{
    *first = (int)ceil(interval->low);
    *last = (int)floor(interval->high);
}

/* The samples from a border up to the next. */
static void own_samples(const kd_interval *interval, int *first, int *last)
{
    *first = (int)ceil(interval->left);
    *last = interval->has_right ? (int)ceil(interval->right) - 1 : (int)interval->right;
}

size_t kd_bricks_count(const kd_box *box)
{
    size_t count = 1;

    for (int axis = 0; axis < 3; axis++) {
        const int n = box->last[axis] - box->first[axis] + 1;

        count *= n > 0 ? (size_t)n : 0;
    }
    return count;
}

kd_box kd_bricks_whole(const int samples[3])
{
    return (kd_box){{0, 0, 0}, {samples[0] - 1, samples[1] - 1, samples[2] - 1}};
}

bool kd_bricks_inside(const kd_box *inner, const kd_box *outer)
{
    bool inside = true;

    for (int axis = 0; axis < 3; axis++) {
        inside = inside && inner->first[axis] >= outer->first[axis] &&
                 inner->last[axis] <= outer->last[axis];
    }
    return inside || kd_bricks_count(inner) == 0;
}

void kd_bricks_unite(kd_box *box, const kd_box *other)
{
    if (kd_bricks_count(other) == 0) return;
    if (kd_bricks_count(box) == 0) *box = *other;
    for (int axis = 0; axis < 3; axis++) {
        if (other->first[axis] < box->first[axis]) box->first[axis] = other->first[axis];
        if (other->last[axis] > box->last[axis]) box->last[axis] = other->last[axis];
    }
}

kdinr_status kd_bricks_make(const int samples[3], const int n_bricks[3], int index, kd_brick *brick,
                            kdinr_error *error)
{
    memset(brick, 0, sizeof *brick);
    for (int axis = 0; axis < 3; axis++) {
        const int j = index % n_bricks[axis];
        const kd_interval interval = kd_bricks_interval(samples[axis], n_bricks[axis], j);
        int *first = &brick->box.first[axis];

        index /= n_bricks[axis];
        brick->axes[axis] = interval;
        kd_bricks_samples(&interval, first, &brick->box.last[axis]);
        own_samples(&interval, &brick->own.first[axis], &brick->own.last[axis]);
        const int n = brick->box.last[axis] - *first + 1;
        brick->dims[axis] = n;
        brick->local[axis] = malloc((size_t)n * sizeof *brick->local[axis]);
        if (brick->local[axis] == NULL) return kd_fail_memory(error, (size_t)n * 4, "brick");
        for (int i = 0; i < n; i++) {
            brick->local[axis][i] = kd_bricks_local(&interval, *first + i);
        }
    }
    brick->n = kd_bricks_count(&brick->box);
    return KDINR_OK;
}

void kd_bricks_free(kd_brick *brick)
{
    for (int axis = 0; axis < 3; axis++) {
        free(brick->local[axis]);
        brick->local[axis] = NULL;
    }
}

double kd_bricks_position(kdinr_association association, int n_stored, int n, int i)
{
    if (association == KDINR_CELLS) return (i + 0.5) / n * n_stored - 0.5;
    if (n == 1) return 0.5 * (n_stored - 1);
    return (double)i * (n_stored - 1) / (n - 1);
}

double kd_bricks_step(const double *times, int n_steps, double time)
{
    int low = 0, high = n_steps - 1;

    if (!(time > times[0])) return 0.0;
    if (time >= times[high]) return high;
    while (high - low > 1) {
        const int middle = (low + high) / 2;

        if (times[middle] <= time) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low + (time - times[low]) / (times[high] - times[low]);
}

float kd_bricks_local_time(int first, int last, double s)
{
    return last > first ? (float)(2.0 * (s - first) / (last - first) - 1.0) : 0.0f;
}

int kd_bricks_windows(const int *starts, int n_windows, double s, kd_window_part parts[2])
{
    int w = 0;

    while (w + 1 < n_windows && s >= starts[w + 1]) {
        w++;
    }
    const int first = starts[w], last = starts[w + 1] - 1;
    if (s <= last) {
        parts[0] = (kd_window_part){w, kd_bricks_local_time(first, last, s), s - first, 1.0f};
        return 1;
    }
    const float f = (float)(s - last);
    parts[0] = (kd_window_part){w, kd_bricks_local_time(first, last, last), last - first, 1.0f - f};
    parts[1] = (kd_window_part){w + 1, starts[w + 2] - starts[w + 1] > 1 ? -1.0f : 0.0f, 0.0, f};
    return 2;
}
