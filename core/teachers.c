/* Stage 1 of a step: a teacher for each brick, or its data kept for the student. Before: survey.c
 * has classified the step's samples. After: window.c, when a window is full. Bricks are handed to
 * teacher.c in groups, as many as the backend trains at once (train.h), as long as their data fit
 * into MOST_BYTES; where it trains one at a time, a group is one brick. */
#include "teachers.h"

#include <stdlib.h>
#include <string.h>

#include "pilot.h"
#include "share.h"
#include "status.h"

#define MOST_BYTES ((size_t)1 << 30)

/* The cut of brick b of the step: the data, if this process holds the brick. */
static kdinr_status make_cut(const kd_track *track, const kd_run *run, const kd_view *view, int b,
                             kd_cut *cut, kdinr_error *error)
{
    const kd_window *window = &track->windows[track->window];
    const kd_brick *brick = &track->bricks[b];
    const kd_survey *survey = &track->surveys[b];

    if (window->holders[b] == kd_share_rank(run->share)) {
        return kd_cut_make(view, window->maps[window->n_steps], survey, brick, track->block_edge,
                           cut, error);
    }
    *cut = kd_cut_describe(survey, brick, view->array->n_components, track->block_edge);
    return KDINR_OK;
}

/* How much there is to learn in a brick. */
static double count_entropy(const kd_cut *cut)
{
    double sum = 0.0;

    for (size_t i = 0; i < cut->blocks.n && !cut->elsewhere; i++) {
        sum += cut->entropy[i];
    }
    return sum;
}

/* Collective. The brick with the richest first step. */
static kdinr_status find_richest(const kd_track *track, kd_run *run, const kd_view *view,
                                 int *richest, kdinr_error *error)
{
    double *sums = calloc((size_t)track->n_bricks, sizeof *sums);
    kdinr_status status = KDINR_OK;

    *richest = 0;
    if (sums == NULL) return kd_fail_memory(error, sizeof *sums, "pilot");
    for (int b = 0; b < track->n_bricks; b++) {
        kd_cut cut;

        status = make_cut(track, run, view, b, &cut, error);
        if (status == KDINR_OK) sums[b] = count_entropy(&cut);
        kd_cut_free(&cut);
        if (status != KDINR_OK) goto done;
        kd_share_of(run->share, track->windows[track->window].holders[b]);
        KD_TRY_DONE(kd_share_bytes(run->share, &sums[b], sizeof *sums, error));
    }
    KD_TRY_DONE(kd_share_exchange(run->share, run->part, error));
    for (int b = 1; b < track->n_bricks; b++) {
        if (sums[b] > sums[*richest]) *richest = b;
    }

done:
    free(sums);
    return status;
}

/* Collective. A cut's data from its holder to all. */
static kdinr_status spread_cut(kd_share *share, int holder, kd_cut *cut, kdinr_error *error)
{
    const size_t n = cut->brick->n, n_values = n * (size_t)cut->n_components;

    if (cut->elsewhere) KD_TRY(kd_cut_allocate(cut, error));
    KD_TRY(kd_share_move(share, holder, KD_SHARE_ALL, cut->classes, n, error));
    KD_TRY(kd_share_move(share, holder, KD_SHARE_ALL, cut->values, n_values * sizeof *cut->values,
                         error));
    KD_TRY(kd_share_move(share, holder, KD_SHARE_ALL, cut->entropy,
                         cut->blocks.n * sizeof *cut->entropy, error));
    return kd_share_move(share, holder, KD_SHARE_ALL, cut->present,
                         cut->blocks.n * sizeof *cut->present, error);
}

/* Collective. The first-layer frequency: given, or by a pilot on the richest brick, which for that
 * is copied to all processes: each trains some of the frequencies. */
static kdinr_status choose_omega(kd_track *track, kd_run *run, const kd_view *view,
                                 kdinr_error *error)
{
    kd_cut cut = {.elsewhere = true};
    int richest;
    kdinr_status status = KDINR_OK;

    if (run->options->omega_first == 0.0) {
        KD_TRY_DONE(find_richest(track, run, view, &richest, error));
        KD_TRY_DONE(make_cut(track, run, view, richest, &cut, error));
        if (!cut.constant) {
            const int holder = track->windows[track->window].holders[richest];
            KD_TRY_DONE(spread_cut(run->share, holder, &cut, error));
        }
        KD_TRY_DONE(kd_pilot_run(run, &cut, &track->plan, error));
    }
    kd_track_array(track)->omega_first = track->plan.teacher.omega_first;

done:
    kd_cut_free(&cut);
    return status;
}

static kd_teacher_task make_task(const kd_track *track, const kd_run *run, const kd_window *window,
                                 int t, int b, const kd_cut *cut)
{
    const double samples = track->plan.teacher_samples;
    kd_teacher *teacher = &window->teachers[t * track->n_bricks + b];
    kd_teacher_plan plan = {.shape = track->plan.teacher,
                            .stream = kd_track_stream(track, 1, window->first + t, b),
                            .cold_samples = track->plan.cold_samples};

    plan.schedule = (kd_schedule){.samples = samples,
                                  .batch = kd_plan_batch(run->options, samples),
                                  .rate = run->options->teacher_rate,
                                  .work = samples * kd_plan_teacher_cost(&track->plan)};
    if (t > 0 && run->options->warm_start && !track->plan.keeps) {
        plan.previous = teacher - track->n_bricks;
    }
    return (kd_teacher_task){cut, plan, window->holders[b], teacher};
}

/* Has step t of a window a teacher? Where the window's data is kept only the middle one has, for
 * the student to start from. */
static bool wants_teacher(const kd_track *track, const kdinr_options *options,
                          const kd_window *window, int t)
{
    const int left = options->n_steps - window->first, most = track->plan.window;
    const int n_steps = options->n_steps > 0 && left < most ? left : most;

    return !track->plan.keeps || (!options->direct && t == n_steps / 2);
}

/* What stands for a step without a teacher. */
static void describe_cut(const kd_cut *cut, kd_teacher *teacher)
{
    memset(teacher, 0, sizeof *teacher);
    memcpy(teacher->range, cut->range, sizeof teacher->range);
    teacher->present = cut->n_present > 0;
}

/* The data, until the student is trained. */
static void keep_values(const kd_track *track, kd_cut *cut, float **values)
{
    if (!track->plan.keeps || cut->constant || cut->elsewhere) return;
    *values = cut->values;
    cut->values = NULL;
}

/* Bricks whose teachers are trained together. */
typedef struct group {
    kd_teacher_task *tasks; /* [most], owned */
    kd_cut **cuts;          /* [most] of the tasks, owned, but not what they point to */
    float ***values;        /* [most] where the data go afterwards, likewise */
    kd_cut *fresh;          /* [most] cuts that wait for nothing else, owned */
    size_t n, most;
    size_t size; /* bytes of the cuts */
} group;

static void free_group(group *g)
{
    for (size_t i = 0; g->fresh != NULL && i < g->most; i++) {
        kd_cut_free(&g->fresh[i]);
    }
    free(g->tasks);
    free(g->cuts);
    free(g->values);
    free(g->fresh);
}

static kdinr_status make_group(const kd_track *track, const kd_run *run, size_t n_teachers,
                               group *g, kdinr_error *error)
{
    kd_net net;

    kd_net_layout(&track->plan.teacher, &net);
    g->most = kd_train_count(run, &net, kd_plan_batch(run->options, track->plan.teacher_samples));
    if (g->most > n_teachers) g->most = n_teachers;
    g->tasks = calloc(g->most, sizeof *g->tasks);
    g->cuts = calloc(g->most, sizeof(kd_cut *));
    g->values = calloc(g->most, sizeof(float **));
    g->fresh = calloc(g->most, sizeof *g->fresh);
    if (g->tasks == NULL || g->cuts == NULL || g->values == NULL || g->fresh == NULL) {
        return kd_fail_memory(error, g->most * sizeof *g->tasks, "bricks of a time step");
    }
    return KDINR_OK;
}

static kdinr_status train_group(const kd_track *track, kd_run *run, group *g, kdinr_error *error)
{
    if (g->n == 0) return KDINR_OK;
    KD_TRY(kd_teacher_train(run, g->tasks, g->n, error));
    for (size_t i = 0; i < g->n; i++) {
        keep_values(track, g->cuts[i], g->values[i]);
        kd_cut_free(g->cuts[i]);
    }
    g->n = g->size = 0;
    return KDINR_OK;
}

/* The teacher of step t and brick b joins the group. */
static void join_group(const kd_track *track, const kd_run *run, const kd_window *window, int t,
                       int b, kd_cut *cut, group *g)
{
    g->tasks[g->n] = make_task(track, run, window, t, b, cut);
    g->values[g->n] = &window->values[t * track->n_bricks + b];
    g->cuts[g->n++] = cut;
    if (cut->elsewhere) return;
    g->size += cut->brick->n * ((size_t)cut->n_components * sizeof *cut->values + 1);
}

/* The cut of brick b, the group's next: its teacher joins the group or, if several windows are
 * open, is trained when they are closed; or the data alone is kept. */
static void push_brick(const kd_track *track, kd_run *run, group *g, int b)
{
    const kd_window *window = &track->windows[track->window];
    const int t = window->n_steps, slot = t * track->n_bricks + b;
    const bool wanted = wants_teacher(track, run->options, window, t);
    kd_cut *cut = &g->fresh[g->n];

    for (size_t i = 0; i < cut->blocks.n && !cut->elsewhere; i++) {
        window->entropy[b][i] += cut->entropy[i];
        window->present[b][i] += cut->present[i];
    }
    if (wanted && track->n_windows > 1) {
        window->cuts[slot] = *cut;
        memset(cut, 0, sizeof *cut);
        return;
    }
    if (wanted) {
        join_group(track, run, window, t, b, cut, g);
        return;
    }
    describe_cut(cut, &window->teachers[slot]);
    keep_values(track, cut, &window->values[slot]);
    kd_cut_free(cut);
}

kdinr_status kd_teachers_push(kd_track *track, kd_run *run, const kd_view *view, kdinr_error *error)
{
    group g = {0};
    kdinr_status status = KDINR_OK;

    run->stage = "teachers";
    if (track->model->n_steps == 1) KD_TRY(choose_omega(track, run, view, error));
    KD_TRY_DONE(make_group(track, run, (size_t)track->n_bricks, &g, error));
    for (int b = 0; b < track->n_bricks; b++) {
        KD_TRY_DONE(make_cut(track, run, view, b, &g.fresh[g.n], error));
        push_brick(track, run, &g, b);
        if (g.n == g.most || g.size >= MOST_BYTES) KD_TRY_DONE(train_group(track, run, &g, error));
    }
    status = train_group(track, run, &g, error);

done:
    free_group(&g);
    return status;
}

/* A teacher that starts from the one before waits for it. */
static kdinr_status catch_up(const kd_track *track, kd_run *run, const kd_window *window, group *g,
                             kdinr_error *error)
{
    for (int b = 0; b < track->n_bricks; b++) {
        for (int t = 0; t < window->n_steps; t++) {
            const int slot = t * track->n_bricks + b;

            if (!wants_teacher(track, run->options, window, t)) continue;
            join_group(track, run, window, t, b, &window->cuts[slot], g);
            if (!track->plan.keeps || g->n == g->most) KD_TRY(train_group(track, run, g, error));
        }
    }
    return KDINR_OK;
}

kdinr_status kd_teachers_catch_up(kd_track *track, kd_run *run, int n, kdinr_error *error)
{
    group g = {0};
    kdinr_status status = KDINR_OK;

    if (track->n_windows == 1 || track->no_networks || n == 0) return KDINR_OK;
    run->stage = "teachers";
    KD_TRY_DONE(make_group(track, run, (size_t)n * (size_t)track->n_bricks, &g, error));
    for (int i = 0; i < n; i++) {
        KD_TRY_DONE(catch_up(track, run, &track->windows[i], &g, error));
    }
    status = train_group(track, run, &g, error);

done:
    free_group(&g);
    return status;
}
