/* Surveys of bricks, and missing-value maps: each process has the part of a map that its bricks
 * need; the root packs the whole. */
#include "survey.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "deal.h"
#include "entropy.h"
#include "pieces.h"
#include "share.h"
#include "status.h"

#define MASK_BYTES 24.0 /* a missing-value map takes in the file, besides its own */

/* ---- the first step ---- */

/* One process's part of it. */
typedef struct glance {
    double range[KD_KDM_MAX_COMPONENTS][2];
    bool present, missing; /* are there any samples that are? */
} glance;

static kd_map *map_create(const kd_box *box, kdinr_error *error)
{
    const size_t n = kd_bricks_count(box);
    kd_map *map = malloc(sizeof *map + n);

    if (map == NULL) {
        (void)kd_fail_memory(error, n, "missing-value map");
        return NULL;
    }
    map->n_users = 1;
    map->box = *box;
    return map;
}

/* Collective. The root packs the map that all have together.
 *  mask  out, on the root alone */
static kdinr_status pack_map(kd_share *share, const kd_map *map, const int samples[3],
                             kd_mask *mask, kdinr_error *error)
{
    const size_t n = (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
    const bool root = kd_share_is_root(share);
    uint8_t *whole = NULL;
    kdinr_status status;

    if (share == NULL) {
        return kd_entropy_pack_mask(map->classes, samples, &mask->bytes, &mask->size, error);
    }
    if (root) whole = calloc(n, 1);
    if (root && whole == NULL) return kd_fail_memory(error, n, "missing-value map");
    KD_TRY_DONE(kd_pieces_collect(share, &map->box, map->classes, samples, 1, whole, error));
    if (root) status = kd_entropy_pack_mask(whole, samples, &mask->bytes, &mask->size, error);

done:
    free(whole);
    return status;
}

/* Do the present samples of all processes' parts differ? */
static bool any_varies(const glance *glances, int n_ranks, int n_components)
{
    for (int c = 0; c < n_components; c++) {
        const double *first = NULL;

        for (int rank = 0; rank < n_ranks; rank++) {
            const double *range = glances[rank].range[c];

            if (!glances[rank].present) continue;
            if (first == NULL) first = range;
            if (range[1] > range[0] || range[0] != first[0]) return true;
        }
    }
    return false;
}

kdinr_status kd_survey_first(kd_share *share, const kd_view *view, const int samples[3],
                             kd_first_look *look, kdinr_error *error)
{
    const int n_ranks = kd_share_n_ranks(share);
    glance *all = calloc((size_t)n_ranks, sizeof *all), mine = {.present = false};
    kd_map *map = map_create(&view->box, error);
    kd_mask mask = {NULL, 0};
    bool missing = false;
    kdinr_status status;

    if (map == NULL || all == NULL) {
        status = kd_fail_memory(error, kd_bricks_count(&view->box), "missing-value map");
        goto done;
    }
    const size_t n_present = kd_volume_classify(view, &view->box, map->classes);
    mine.present = n_present > 0;
    mine.missing = n_present < kd_bricks_count(&view->box);
    kd_volume_range(view, &view->box, map->classes, mine.range);
    KD_TRY_DONE(kd_share_gather(share, &mine, sizeof mine, all, error));
    for (int rank = 0; rank < n_ranks; rank++) {
        missing = missing || all[rank].missing;
    }
    if (missing) KD_TRY_DONE(pack_map(share, map, samples, &mask, error));
    kd_share_of(share, 0);
    KD_TRY_DONE(kd_share_bytes(share, &mask.size, sizeof mask.size, error));
    KD_TRY_DONE(kd_share_exchange(share, NULL, error));
    look->mask_bytes = mask.size > 0 ? (double)mask.size + MASK_BYTES : 0.0;
    look->constant = !any_varies(all, n_ranks, view->array->n_components);

done:
    free(mask.bytes);
    kd_map_release(map);
    free(all);
    return status;
}

/* ---- a step ---- */

/* One brick of this process. */
static kdinr_status survey_brick(const kd_track *track, const kd_view *view, int b, bool hashed,
                                 kdinr_error *error)
{
    const kd_brick *brick = &track->bricks[b];
    kd_survey *survey = &track->surveys[b];
    const kd_map *last = track->last_map, *fresh = track->fresh;
    uint8_t *classes = malloc(brick->n);

    if (classes == NULL) return kd_fail_memory(error, brick->n, "missing-value map");
    survey->n_own = kd_volume_cut_classes(fresh, &brick->own, classes);
    survey->n_present = kd_volume_cut_classes(fresh, &brick->box, classes);
    kd_volume_range(view, &brick->box, classes, survey->range);
    free(classes);
    if (hashed) survey->hash = kd_volume_hash_values(view, &brick->box);
    survey->map_stays = last != NULL && memcmp(&last->box, &fresh->box, sizeof last->box) == 0 &&
                        memcmp(last->classes, fresh->classes, kd_bricks_count(&fresh->box)) == 0;
    return KDINR_OK;
}

kdinr_status kd_survey_step(kd_track *track, const kd_run *run, const kd_view *view,
                            kdinr_error *error)
{
    const kd_window *window = &track->windows[track->window];
    const int rank = kd_share_rank(run->share);
    const kd_box box = kd_deal_box(track, rank);

    KD_TRY(kd_volume_check_box(view, &box, rank, error));
    track->fresh = map_create(&box, error);
    if (track->fresh == NULL) return KDINR_ERROR_MEMORY;
    (void)kd_volume_classify(view, &box, track->fresh->classes);
    memset(track->surveys, 0, (size_t)track->n_bricks * sizeof *track->surveys);
    for (int b = 0; b < track->n_bricks; b++) {
        if (window->holders[b] == rank) {
            KD_TRY(survey_brick(track, view, b, run->part != NULL, error));
        }
        kd_share_of(run->share, window->holders[b]);
        KD_TRY(kd_share_bytes(run->share, &track->surveys[b], sizeof *track->surveys, error));
    }
    return KDINR_OK;
}

uint64_t kd_survey_hash(const kd_track *track, uint64_t hash)
{
    for (int b = 0; b < track->n_bricks; b++) {
        hash = XXH64(&track->surveys[b].hash, sizeof track->surveys[b].hash, hash);
    }
    return hash;
}

/* ---- the series ---- */

static void widen_series_range(kd_track *track)
{
    kd_model_array *array = kd_track_array(track);
    bool first = track->model->n_steps == 1;

    for (int b = 0; b < track->n_bricks; b++) {
        const kd_survey *survey = &track->surveys[b];

        if (survey->n_present == 0) continue;
        for (int c = 0; c < array->n_components; c++) {
            double *series = array->range[c];

            if (first || survey->range[c][0] < series[0]) series[0] = survey->range[c][0];
            if (first || survey->range[c][1] > series[1]) series[1] = survey->range[c][1];
        }
        first = false;
    }
}

/* Collective. The root's packed map to all. */
static kdinr_status spread_mask(kd_share *share, kd_mask *mask, kdinr_error *error)
{
    kd_share_of(share, 0);
    KD_TRY(kd_share_bytes(share, &mask->size, sizeof mask->size, error));
    KD_TRY(kd_share_exchange(share, NULL, error));
    if (mask->bytes == NULL) mask->bytes = malloc(mask->size + 1);
    if (mask->bytes == NULL) return kd_fail_memory(error, mask->size, "missing-value maps");
    return kd_share_move(share, 0, KD_SHARE_ALL, mask->bytes, mask->size, error);
}

/* Append a map to the model's; if it is the latest one after all (then its holder has changed),
 * leave it. */
static kdinr_status append_mask(kd_model_array *array, kd_mask *mask, kdinr_error *error)
{
    const kd_mask *last = array->n_masks > 0 ? &array->masks[array->n_masks - 1] : NULL;

    if (last != NULL && last->size == mask->size &&
        memcmp(last->bytes, mask->bytes, mask->size) == 0) {
        return KDINR_OK;
    }
    kd_mask *masks = realloc(array->masks, ((size_t)array->n_masks + 1) * sizeof *masks);
    if (masks == NULL) return kd_fail_memory(error, sizeof *masks, "missing-value maps");
    array->masks = masks;
    masks[array->n_masks++] = *mask;
    mask->bytes = NULL;
    return KDINR_OK;
}

/* Collective. A map that is not the one of the step before. */
static kdinr_status add_map(kd_track *track, kd_share *share, kdinr_error *error)
{
    kd_mask mask = {NULL, 0};
    kdinr_status status;

    KD_TRY_DONE(pack_map(share, track->fresh, track->samples, &mask, error));
    KD_TRY_DONE(spread_mask(share, &mask, error));
    KD_TRY_DONE(append_mask(kd_track_array(track), &mask, error));
    kd_map_release(track->last_map);
    track->last_map = track->fresh;
    track->fresh = NULL;

done:
    free(mask.bytes);
    return status;
}

static kdinr_status fail_empty(const kd_track *track, kdinr_error *error)
{
    return kd_fail(
        error, KDINR_ERROR_DATA,
        "array \"%s\" has no value at step %d: all %zu samples are NaN, infinite or fill",
        kd_track_array(track)->name, track->model->n_steps - 1, track->n_samples);
}

/* Samples of the step that are not missing, and whether the map of the step before will do. */
static size_t count_present(const kd_track *track, bool *map_stays)
{
    size_t n_present = 0;

    *map_stays = true;
    for (int b = 0; b < track->n_bricks; b++) {
        n_present += (size_t)track->surveys[b].n_own;
        *map_stays = *map_stays && track->surveys[b].map_stays;
    }
    return n_present;
}

kdinr_status kd_survey_finish(kd_track *track, kd_run *run, kdinr_error *error)
{
    kd_model_array *array = kd_track_array(track);
    kd_window *window = &track->windows[track->window];
    const int step = track->model->n_steps - 1;
    bool map_stays;
    const size_t n_present = count_present(track, &map_stays);

    if (n_present == 0) return fail_empty(track, error);
    widen_series_range(track);
    track->quality[step].n_present = (double)n_present;
    array->step_masks[step] = -1;
    if (n_present < track->n_samples) {
        if (!map_stays) KD_TRY(add_map(track, run->share, error));
        array->step_masks[step] = array->n_masks - 1;
        window->maps[window->n_steps] = track->last_map;
        if (track->last_map != NULL) track->last_map->n_users++;
    }
    kd_map_release(track->fresh);
    track->fresh = NULL;
    return KDINR_OK;
}
