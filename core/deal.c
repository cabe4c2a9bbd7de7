/* Runs of bricks to processes; students to those that have least to do; data after them. */
#include "deal.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"

/* How much longer than with the best distribution students may take where their data is. */
#define PATIENCE 1.05

/* ---- who holds which bricks ---- */

/* What training one brick of one window takes, in any measure. */
static double brick_cost(const kd_track *track)
{
    if (track->no_networks) return 1.0;
    return track->plan.student_samples * (double)kd_net_count(&track->plan.student);
}

void kd_deal_holders(kd_track *tracks, int n_tracks, int n_ranks)
{
    double all = 0.0, before = 0.0;

    for (int a = 0; a < n_tracks; a++) {
        all += brick_cost(&tracks[a]) * tracks[a].n_bricks * tracks[a].n_windows;
    }
    for (int a = 0; a < n_tracks; a++) {
        const double cost = brick_cost(&tracks[a]);

        for (int i = 0; i < tracks[a].n_windows; i++) {
            for (int b = 0; b < tracks[a].n_bricks; b++, before += cost) {
                const int rank = (int)((before + 0.5 * cost) / all * n_ranks);

                tracks[a].windows[i].holders[b] = rank < n_ranks ? rank : n_ranks - 1;
            }
        }
    }
}

kd_box kd_deal_box(const kd_track *track, int rank)
{
    const kd_window *window = &track->windows[track->window];
    kd_box box = kd_bricks_none;

    for (int b = 0; b < track->n_bricks; b++) {
        if (window->holders[b] == rank) kd_bricks_unite(&box, &track->bricks[b].box);
    }
    return box;
}

/* ---- who trains which student ---- */

/* A student to be trained. */
typedef struct unit {
    double cost;
    int number; /* in the order of arrays, windows and bricks */
    int holder;
    int *trainer;
} unit;

/* Does any value of the brick differ from another in the window? Else nothing is trained. */
static bool varies(const kd_track *track, const kd_window *window, int b)
{
    const kd_teacher *first = NULL;

    for (int t = 0; t < window->n_steps; t++) {
        const kd_teacher *teacher = &window->teachers[t * track->n_bricks + b];

        if (!teacher->present) continue;
        if (first == NULL) first = teacher;
        for (int c = 0; c < kd_track_array(track)->n_components; c++) {
            const double *range = teacher->range[c];
            if (range[1] > range[0] || range[0] != first->range[c][0]) return true;
        }
    }
    return false;
}

/* The students of one window; returns how many. */
static int list_window(const kd_track *track, const kd_window *window, int number, unit *units)
{
    if (!window->closing || track->no_networks) return 0;
    for (int b = 0; b < track->n_bricks; b++) {
        const kd_net_shape shape = kd_plan_student_shape(&track->plan, window->sizes[b].width);

        units[b] = (unit){
            .number = number + b, .holder = window->holders[b], .trainer = &window->trainers[b]};
        if (varies(track, window, b)) {
            units[b].cost = track->plan.student_samples * (double)kd_net_count(&shape);
        }
    }
    return track->n_bricks;
}

/* Longest first. */
static int compare_units(const void *a, const void *b)
{
    const unit *one = a, *other = b;

    if (one->cost != other->cost) return one->cost < other->cost ? 1 : -1;
    return one->number - other->number;
}

static int least_busy(const double *loads, int n_ranks)
{
    int least = 0;

    for (int rank = 1; rank < n_ranks; rank++) {
        if (loads[rank] < loads[least]) least = rank;
    }
    return least;
}

/* Give each to its holder while that makes it no busier than `most`, else to the least busy.
 *  returns what the busiest has to do */
static double spread_units(const unit *units, int n_units, double most, double *loads, int n_ranks)
{
    double longest = 0.0;

    memset(loads, 0, (size_t)n_ranks * sizeof *loads);
    for (int i = 0; i < n_units; i++) {
        const bool stays = loads[units[i].holder] + units[i].cost <= most;
        const int rank = stays ? units[i].holder : least_busy(loads, n_ranks);

        *units[i].trainer = rank;
        loads[rank] += units[i].cost;
        longest = loads[rank] > longest ? loads[rank] : longest;
    }
    return longest;
}

kdinr_status kd_deal_students(kd_track *tracks, int n_tracks, const kd_share *share,
                              kdinr_error *error)
{
    const int n_ranks = kd_share_n_ranks(share);
    int n_most = 0, n_units = 0;
    kdinr_status status = KDINR_OK;

    for (int a = 0; a < n_tracks; a++) {
        n_most += tracks[a].n_windows * tracks[a].n_bricks;
    }
    unit *units = malloc((size_t)n_most * sizeof *units);
    double *loads = malloc((size_t)n_ranks * sizeof *loads);
    if (units == NULL || loads == NULL) {
        status = kd_fail_memory(error, (size_t)n_most * sizeof *units, "students");
        goto done;
    }
    for (int a = 0; a < n_tracks; a++) {
        for (int i = 0; i < tracks[a].n_windows; i++) {
            n_units += list_window(&tracks[a], &tracks[a].windows[i], n_units, units + n_units);
        }
    }
    qsort(units, (size_t)n_units, sizeof *units, compare_units);
    const double best = spread_units(units, n_units, -1.0, loads, n_ranks);
    (void)spread_units(units, n_units, PATIENCE * best, loads, n_ranks);

done:
    free(units);
    free(loads);
    return status;
}

/* ---- the data to those that train ---- */

/* One brick of a closing window on its way from its holder to its trainer. */
typedef struct transfer {
    const kd_track *track;
    kd_window *window;
    kd_share *share;
    int b, from, to;
    bool has, takes; /* is this process `from`; is it `to`? */
} transfer;

/* Collective. Bytes to the trainer, where they are allocated, and freed at the holder. */
static kdinr_status transfer_bytes(const transfer *one, void **bytes, size_t size,
                                   kdinr_error *error)
{
    if (one->from == one->to) return KDINR_OK;
    if (one->takes) {
        *bytes = malloc(size + 1);
        if (*bytes == NULL) return kd_fail_memory(error, size, "data of another process");
    }
    KD_TRY(kd_share_move(one->share, one->from, one->to, *bytes, size, error));
    if (one->has) {
        free(*bytes);
        *bytes = NULL;
    }
    return KDINR_OK;
}

/* Which samples of the brick are missing at step t of the window; steps with the same map share
 * what is cut from it. */
static kdinr_status transfer_classes(const transfer *one, int t, kdinr_error *error)
{
    const kd_window *window = one->window;
    const kd_brick *brick = &one->track->bricks[one->b];
    const int *masks = kd_track_array(one->track)->step_masks + window->first;
    uint8_t **classes = &window->classes[t * one->track->n_bricks + one->b];
    void *bytes = NULL;

    if (masks[t] < 0) return KDINR_OK;
    if (t > 0 && masks[t] == masks[t - 1]) {
        *classes = classes[-one->track->n_bricks];
        return KDINR_OK;
    }
    if (one->has) {
        bytes = malloc(brick->n);
        if (bytes == NULL) return kd_fail_memory(error, brick->n, "missing values");
        (void)kd_volume_cut_classes(window->maps[t], &brick->box, bytes);
    }
    *classes = bytes; /* owned, whatever follows */
    const kdinr_status status = transfer_bytes(one, &bytes, brick->n, error);
    *classes = bytes;
    return status;
}

/* Where the window's data is kept: the values at step t of the window. */
static kdinr_status transfer_values(const transfer *one, int t, kdinr_error *error)
{
    const kd_track *track = one->track;
    const int slot = t * track->n_bricks + one->b, nc = kd_track_array(track)->n_components;
    const kd_teacher *teacher = &one->window->teachers[slot];
    void *bytes = one->window->values[slot];
    bool constant = true;

    for (int c = 0; c < nc; c++) {
        constant = constant && !(teacher->range[c][1] > teacher->range[c][0]);
    }
    if (constant || !track->plan.keeps) return KDINR_OK;
    const kdinr_status status =
        transfer_bytes(one, &bytes, track->bricks[one->b].n * (size_t)nc * sizeof(float), error);
    one->window->values[slot] = bytes;
    return status;
}

static kdinr_status transfer_brick(const transfer *one, kdinr_error *error)
{
    const kd_window *window = one->window;
    const size_t n = kd_sampler_blocks(one->track->bricks[one->b].dims, one->track->block_edge).n;

    for (int t = 0; t < window->n_steps; t++) {
        KD_TRY(transfer_classes(one, t, error));
        KD_TRY(transfer_values(one, t, error));
    }
    KD_TRY(kd_share_move(one->share, one->from, one->to, window->entropy[one->b],
                         n * sizeof **window->entropy, error));
    return kd_share_move(one->share, one->from, one->to, window->present[one->b],
                         n * sizeof **window->present, error);
}

kdinr_status kd_deal_data(kd_track *track, kd_window *window, kd_share *share, kdinr_error *error)
{
    const int rank = kd_share_rank(share);

    for (int b = 0; b < track->n_bricks; b++) {
        const int from = window->holders[b], to = window->trainers[b];
        const transfer one = {track, window, share, b, from, to, from == rank, to == rank};

        KD_TRY(transfer_brick(&one, error));
    }
    return KDINR_OK;
}
