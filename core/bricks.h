/* The domain as bricks and the steps as windows: which brick answers a point, with which weight and
 * in which local coordinates. One axis at a time; a brick is a product of three intervals.
 * Used when training (which samples a brick sees) and when decoding (which bricks a sample asks).
 * Positions are in stored-sample units: sample i sits at i. core/FORMAT.md states the same rules.
 */
#ifndef KD_BRICKS_H
#define KD_BRICKS_H

#include <stdbool.h>

#include "kdinr.h"

/** The interval of one axis that one brick answers for. */
typedef struct kd_interval {
    double low, high;   /* ends, overlap with the neighbours included, inside [0, n - 1] */
    double left, right; /* borders with the neighbours, where both weigh 1/2 */
    bool has_left, has_right;
    double overlap; /* half width of the blend around a border */
} kd_interval;

/** Interval of brick `j` of `n_bricks` along an axis with n_samples stored samples. */
kd_interval kd_bricks_interval(int n_samples, int n_bricks, int j);

/** Local coordinate of a position, in [-1,1] inside the interval; 0 if the interval is a point. */
float kd_bricks_local(const kd_interval *interval, double position);

/** Weight of the brick at a position, 0..1; the weights of all bricks of an axis sum to 1. */
float kd_bricks_weight(const kd_interval *interval, double position);

/** First and last stored sample inside the interval. */
void kd_bricks_samples(const kd_interval *interval, int *first, int *last);

/** A box of samples of an array, in sample indices, inclusive. */
typedef struct kd_box {
    int first[3], last[3];
} kd_box;

/** A box without samples. */
static const kd_box kd_bricks_none = {{0, 0, 0}, {-1, -1, -1}};

/** Number of samples in the box; 0 if it ends before it starts. */
size_t kd_bricks_count(const kd_box *box);

/** All samples of an array with `samples` per axis. */
kd_box kd_bricks_whole(const int samples[3]);

/** Is every sample of `inner` in `outer`? */
bool kd_bricks_inside(const kd_box *inner, const kd_box *outer);

/** Let `box` grow to the smallest that has all samples of both. */
void kd_bricks_unite(kd_box *box, const kd_box *other);

/** Index, in memory that holds the samples of `box`, x fastest, of its first sample in row y, z. */
static inline size_t kd_bricks_row(const kd_box *box, int y, int z)
{
    const size_t nx = (size_t)(box->last[0] - box->first[0] + 1);
    const size_t ny = (size_t)(box->last[1] - box->first[1] + 1);

    return ((size_t)(z - box->first[2]) * ny + (size_t)(y - box->first[1])) * nx;
}

/** Row `b` of a batch needs coordinates: what training knows of a brick's place. */
typedef struct kd_brick {
    kd_interval axes[3];
    kd_box box;      /* the stored samples that it sees */
    kd_box own;      /* those of them that count as its: every sample is one brick's own */
    int dims[3];     /* of the box */
    size_t n;        /* samples of the box */
    float *local[3]; /* [dims[i]] local coordinate of each sample, owned */
} kd_brick;

/** Brick number `index` (x fastest) of an array with `samples` per axis.
 *  *brick must be freed with kd_bricks_free whatever the outcome.
 *  errors  MEMORY */
kdinr_status kd_bricks_make(const int samples[3], const int n_bricks[3], int index, kd_brick *brick,
                            kdinr_error *error);

/** Free what the brick owns. */
void kd_bricks_free(kd_brick *brick);

/** Index of sample (x,y,z) of the brick in arrays of [n] samples. */
static inline size_t kd_bricks_at(const kd_brick *brick, const int index[3])
{
    return ((size_t)index[2] * (size_t)brick->dims[1] + (size_t)index[1]) * (size_t)brick->dims[0] +
           (size_t)index[0];
}

/** Local coordinates of sample (x,y,z) of the brick.
 *  coords  out [3] */
static inline void kd_bricks_coords(const kd_brick *brick, const int index[3], float *coords)
{
    for (int axis = 0; axis < 3; axis++) {
        coords[axis] = brick->local[axis][index[axis]];
    }
}

/** Samples of an extent, inclusive, that is within what a file may have. */
static inline size_t kd_bricks_volume(const int e[6])
{
    return (size_t)(e[1] - e[0] + 1) * (size_t)(e[3] - e[2] + 1) * (size_t)(e[5] - e[4] + 1);
}

/** Position, in stored-sample units, of sample i of n when the axis stores n_stored samples:
 *  points span the same ends, cells the same bounds. */
double kd_bricks_position(kdinr_association association, int n_stored, int n, int i);

/** Time in step units, 0..n_steps-1: piecewise linear through the stored times, clamped. */
double kd_bricks_step(const double *times, int n_steps, double time);

/** Which windows answer at step position s: one or, between two windows, two. */
typedef struct kd_window_part {
    int window;
    float local; /* time coordinate in [-1,1] */
    double at;   /* the same in steps from the window's first */
    float weight;
} kd_window_part;

/** Fill parts[2]; returns 1 or 2.
 *  starts  [n_windows + 1]; window w holds steps starts[w]..starts[w+1]-1 */
int kd_bricks_windows(const int *starts, int n_windows, double s, kd_window_part parts[2]);

/** Time coordinate of step position s in a window of steps first..last: [-1,1], 0 if one step. */
float kd_bricks_local_time(int first, int last, double s);

#endif
