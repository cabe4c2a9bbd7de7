/* Comparing original and decoded samples. */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "share.h"
#include "status.h"
#include "volume.h"

enum { KEPT_ROWS = 64, KEPT_LENGTH = 64, SLAB_SAMPLES = 1 << 20 };

/* A class: another process has the sample. */
enum { ELSEWHERE = UINT8_MAX };

/* ---- rows that are kept ---- */

static kdinr_status allocate_rows(kd_kept *kept, size_t nc, kdinr_error *error)
{
    const size_t n = (size_t)kept->n_rows * (size_t)kept->length;

    kept->starts = malloc((size_t)kept->n_rows * sizeof *kept->starts);
    kept->values = calloc(n * nc, sizeof *kept->values);
    kept->classes = malloc(n);
    if (kept->starts != NULL && kept->values != NULL && kept->classes != NULL) return KDINR_OK;
    kd_measure_release(kept);
    return kd_fail_memory(error, n * nc * sizeof(double), "kept samples");
}

/* What the view has of a row. */
static void keep_row(const kd_view *view, const kd_kept *kept, int row)
{
    const int *start = kept->starts[row], *first = view->box.first, *last = view->box.last;
    const size_t nc = (size_t)view->array->n_components, at = (size_t)(row * kept->length);
    const int end = start[0] + kept->length - 1;
    const kd_box box = {{start[0] > first[0] ? start[0] : first[0], start[1], start[2]},
                        {end < last[0] ? end : last[0], start[1], start[2]}};

    memset(kept->classes + at, ELSEWHERE, (size_t)kept->length);
    if (kd_bricks_count(&box) == 0 || !kd_bricks_inside(&box, &view->box)) return;
    const size_t to = at + (size_t)(box.first[0] - start[0]);
    const size_t from =
        kd_bricks_row(&view->box, start[1], start[2]) + (size_t)(box.first[0] - first[0]);
    (void)kd_volume_classify(view, &box, kept->classes + to);
    for (size_t i = 0; i < kd_bricks_count(&box) * nc; i++) {
        kept->values[to * nc + i] =
            kd_volume_value(view->array->values, view->array->type, from * nc + i);
    }
}

/* Collective. What other processes have of the rows. */
static kdinr_status merge_rows(kd_share *share, kd_kept *kept, size_t nc, kdinr_error *error)
{
    const size_t n = (size_t)kept->n_rows * (size_t)kept->length;
    const size_t tuple = nc * sizeof *kept->values, size = n * (1 + tuple);
    const int n_ranks = kd_share_n_ranks(share);
    char *mine = malloc(size), *all = malloc((size_t)n_ranks * size);
    kdinr_status status = KDINR_OK;

    if (mine == NULL || all == NULL) {
        status = kd_fail_memory(error, (size_t)n_ranks * size, "kept samples");
        goto done;
    }
    memcpy(mine, kept->classes, n);
    memcpy(mine + n, kept->values, n * tuple);
    KD_TRY_DONE(kd_share_gather(share, mine, size, all, error));
    for (int rank = 0; rank < n_ranks; rank++) {
        const char *classes = all + (size_t)rank * size, *values = classes + n;

        for (size_t i = 0; i < n; i++) {
            if (kept->classes[i] != ELSEWHERE || (uint8_t)classes[i] == ELSEWHERE) continue;
            kept->classes[i] = (uint8_t)classes[i];
            memcpy(kept->values + i * nc, values + i * tuple, tuple);
        }
    }

done:
    free(mine);
    free(all);
    return status;
}

kdinr_status kd_measure_keep(const kd_view *view, const int samples[3], uint64_t key,
                             struct kd_share *share, kd_kept *kept, kdinr_error *error)
{
    const size_t nc = (size_t)view->array->n_components;

    kept->length = samples[0] < KEPT_LENGTH ? samples[0] : KEPT_LENGTH;
    kept->n_rows = KEPT_ROWS;
    KD_TRY(allocate_rows(kept, nc, error));
    for (int row = 0; row < kept->n_rows; row++) {
        int *start = kept->starts[row];

        for (int axis = 0; axis < 3; axis++) {
            const int places = axis == 0 ? samples[0] - kept->length + 1 : samples[axis];
            const uint64_t bits = kd_rng_at(key, (uint64_t)(row * 3 + axis));
            start[axis] = (int)kd_rng_below(bits, (uint32_t)places);
        }
        keep_row(view, kept, row);
    }
    return share == NULL ? KDINR_OK : merge_rows(share, kept, nc, error);
}

void kd_measure_release(kd_kept *kept)
{
    free(kept->starts);
    free(kept->values);
    free(kept->classes);
    memset(kept, 0, sizeof *kept);
}

/* One component of a sample. */
static void add_error(kd_quality *quality, size_t c, double original, float decoded)
{
    const double difference = original - (double)decoded;

    const double offset = original - quality->first[c];
    quality->means[c] += offset;
    quality->spreads[c] += offset * offset;
    quality->squares[c] += difference * difference;
    quality->max_error = fmax(quality->max_error, fabs(difference));
}

static void finish_means(kd_quality *quality, size_t nc, double n)
{
    for (size_t c = 0; c < nc && n > 0.0; c++) {
        quality->squares[c] /= n;
        quality->means[c] /= n;
        quality->spreads[c] /= n;
    }
}

kdinr_status kd_measure_kept(kd_field *field, int n_components, const kd_kept *kept, double s,
                             kd_quality *quality, kdinr_error *error)
{
    const size_t nc = (size_t)n_components, length = (size_t)kept->length;
    float *values = malloc(length * nc * sizeof *values);
    double n = 0.0;
    kdinr_status status = KDINR_OK;

    if (values == NULL) {
        return kd_fail_memory(error, length * nc * sizeof *values, "row of samples");
    }
    *quality = (kd_quality){.n_present = quality->n_present};
    for (int row = 0; row < kept->n_rows; row++) {
        const int *start = kept->starts[row];
        const int extent[6] = {start[0], start[0] + kept->length - 1, start[1], start[1], start[2],
                               start[2]};

        KD_TRY_DONE(kd_field_read(field, kd_field_stored(field), extent, s, values, NULL, error));
        for (size_t i = 0; i < length; i++) {
            const size_t at = (size_t)row * length + i;

            if (kept->classes[at] != KD_MISSING_NONE) continue;
            n += 1.0;
            for (size_t c = 0; c < nc; c++) {
                const double original = kept->values[at * nc + c];

                if (n == 1.0) quality->first[c] = original;
                add_error(quality, c, original, values[i * nc + c]);
            }
        }
    }
    finish_means(quality, nc, n);

done:
    free(values);
    return status;
}

/* ---- a whole step ---- */

/* How a step is cut into slabs, rows of one xy plane each. */
typedef struct slabs {
    int n_y;       /* rows of a slab, at most */
    int per_plane; /* slabs of a plane */
    int n;
} slabs;

static slabs cut_slabs(const int samples[3])
{
    const int most = SLAB_SAMPLES / samples[0];
    slabs cut = {.n_y = most > samples[1] ? samples[1] : most > 0 ? most : 1};

    cut.per_plane = (samples[1] + cut.n_y - 1) / cut.n_y;
    cut.n = cut.per_plane * samples[2];
    return cut;
}

static kd_box slab_box(const int samples[3], const slabs *cut, int i)
{
    const int z = i / cut->per_plane, y = i % cut->per_plane * cut->n_y;
    const int last_y = y + cut->n_y <= samples[1] ? y + cut->n_y - 1 : samples[1] - 1;

    return (kd_box){{0, y, z}, {samples[0] - 1, last_y, z}};
}

/* Slabs are dealt by runs: rank r has those from first_slab(r) to first_slab(r + 1) - 1. */
static int first_slab(const slabs *cut, int rank, int n_ranks)
{
    return (int)((int64_t)rank * cut->n / n_ranks);
}

kd_box kd_measure_box(const int samples[3], int rank, int n_ranks)
{
    const slabs cut = cut_slabs(samples);
    kd_box box = kd_bricks_none;

    for (int i = first_slab(&cut, rank, n_ranks); i < first_slab(&cut, rank + 1, n_ranks); i++) {
        const kd_box slab = slab_box(samples, &cut, i);
        kd_bricks_unite(&box, &slab);
    }
    return box;
}

/* A step to be compared. */
typedef struct comparison {
    kd_field *field;
    const kd_view *view;
    double s;
    kd_run *run;
    slabs cut;
    int first, end;   /* slabs of this process */
    uint8_t *classes; /* [samples of a slab] */
    float *values;    /* [samples of a slab][n_components] decoded */
} comparison;

/* Sums over a slab; sums of several slabs can be added. */
static kdinr_status compare_slab(const comparison *work, int i, kd_quality *sums,
                                 kdinr_error *error)
{
    const int *samples = kd_field_stored(work->field);
    const kdinr_array *array = work->view->array;
    const kd_box box = slab_box(samples, &work->cut, i);
    const int extent[6] = {0, samples[0] - 1, box.first[1], box.last[1], box.first[2], box.last[2]};
    const size_t nc = (size_t)array->n_components, n = kd_bricks_count(&box);
    const size_t from = kd_bricks_row(&work->view->box, box.first[1], box.first[2]);

    KD_TRY(kd_field_read(work->field, samples, extent, work->s, work->values, work->run, error));
    (void)kd_volume_classify(work->view, &box, work->classes);
    for (size_t k = 0; k < n; k++) {
        if (work->classes[k] != KD_MISSING_NONE) continue;
        sums->n_present += 1.0;
        for (size_t c = 0; c < nc; c++) {
            add_error(sums, c, kd_volume_value(array->values, array->type, (from + k) * nc + c),
                      work->values[k * nc + c]);
        }
    }
    return KDINR_OK;
}

/* The first sample of a process that is present. */
typedef struct present_sample {
    bool found;
    double values[KD_KDM_MAX_COMPONENTS];
} present_sample;

static present_sample find_present(const comparison *work)
{
    const kdinr_array *array = work->view->array;
    const size_t nc = (size_t)array->n_components;
    present_sample sample = {.found = false};

    for (int i = work->first; i < work->end; i++) {
        const kd_box box = slab_box(kd_field_stored(work->field), &work->cut, i);
        size_t at = 0;

        if (kd_volume_classify(work->view, &box, work->classes) == 0) continue;
        while (work->classes[at] != KD_MISSING_NONE) {
            at++;
        }
        at += kd_bricks_row(&work->view->box, box.first[1], box.first[2]);
        for (size_t c = 0; c < nc; c++) {
            sample.values[c] = kd_volume_value(array->values, array->type, at * nc + c);
        }
        sample.found = true;
        break;
    }
    return sample;
}

/* Collective. A value that all slabs take their means from: the step's first that is present. */
static kdinr_status find_first(const comparison *work, kd_quality *quality, kdinr_error *error)
{
    const int n_ranks = kd_share_n_ranks(work->run->share);
    const present_sample mine = find_present(work);
    present_sample *all = malloc((size_t)n_ranks * sizeof *all);
    int rank = 0;

    if (all == NULL) return kd_fail_memory(error, (size_t)n_ranks * sizeof *all, "processes");
    const kdinr_status status = kd_share_gather(work->run->share, &mine, sizeof mine, all, error);
    while (status == KDINR_OK && rank + 1 < n_ranks && !all[rank].found) {
        rank++;
    }
    if (status == KDINR_OK) memcpy(quality->first, all[rank].values, sizeof quality->first);
    free(all);
    return status;
}

/* The sums of all slabs, in their order whoever made them. */
static void add_slabs(const kd_quality *sums, int n_slabs, size_t nc, kd_quality *quality)
{
    for (int i = 0; i < n_slabs; i++) {
        quality->n_present += sums[i].n_present;
        quality->max_error = fmax(quality->max_error, sums[i].max_error);
        for (size_t c = 0; c < nc; c++) {
            quality->squares[c] += sums[i].squares[c];
            quality->means[c] += sums[i].means[c];
            quality->spreads[c] += sums[i].spreads[c];
        }
    }
    finish_means(quality, nc, quality->n_present);
}

/* All slabs, each by the process that has it. */
static kdinr_status compare(const comparison *work, kd_quality *sums, const kd_quality *start,
                            kdinr_error *error)
{
    const int *samples = kd_field_stored(work->field);
    kd_share *share = work->run->share;

    for (int rank = 0; rank < kd_share_n_ranks(share); rank++) {
        const int end = first_slab(&work->cut, rank + 1, kd_share_n_ranks(share));

        kd_share_of(share, rank);
        for (int i = first_slab(&work->cut, rank, kd_share_n_ranks(share)); i < end; i++) {
            const kd_box box = slab_box(samples, &work->cut, i);

            sums[i] = *start;
            if (kd_share_has(share)) {
                KD_TRY(compare_slab(work, i, &sums[i], error));
            } else {
                KD_TRY(kd_run_advance(work->run, (double)kd_bricks_count(&box), error));
            }
            KD_TRY(kd_share_bytes(share, &sums[i], sizeof sums[i], error));
        }
    }
    return kd_share_exchange(share, work->run->part, error);
}

kdinr_status kd_measure_step(kd_field *field, const kd_view *view, double s, kd_quality *quality,
                             kd_run *run, kdinr_error *error)
{
    const int *samples = kd_field_stored(field);
    const int rank = kd_share_rank(run->share), n_ranks = kd_share_n_ranks(run->share);
    const size_t nc = (size_t)view->array->n_components;
    const kd_box box = kd_measure_box(samples, rank, n_ranks);
    comparison work = {.field = field, .view = view, .s = s, .run = run, .cut = cut_slabs(samples)};
    const size_t n = (size_t)samples[0] * (size_t)work.cut.n_y;
    kdinr_status status = KDINR_OK;

    KD_TRY(kd_volume_check_box(view, &box, rank, error));
    work.first = first_slab(&work.cut, rank, n_ranks);
    work.end = first_slab(&work.cut, rank + 1, n_ranks);
    kd_quality *sums = calloc((size_t)work.cut.n, sizeof *sums);
    work.values = malloc(n * nc * sizeof *work.values);
    work.classes = malloc(n);
    if (sums == NULL || work.values == NULL || work.classes == NULL) {
        status = kd_fail_memory(error, n * nc * 4, "decoded slab");
        goto done;
    }
    memset(quality, 0, sizeof *quality);
    KD_TRY_DONE(find_first(&work, quality, error));
    KD_TRY_DONE(compare(&work, sums, quality, error));
    quality->exact = true;
    add_slabs(sums, work.cut.n, nc, quality);

done:
    free(sums);
    free(work.values);
    free(work.classes);
    return status;
}

double kd_measure_psnr(double relative_mse)
{
    if (!(relative_mse > 0.0)) return INFINITY;
    return nearbyint(-1000.0 * log10(relative_mse)) / 100.0;
}

double kd_measure_relative(const kd_quality *quality, const double range[][2], int n_components)
{
    double sum = 0.0;

    for (int c = 0; c < n_components; c++) {
        const double peak = range[c][1] - range[c][0];

        sum += quality->squares[c] / (peak > 0.0 ? peak * peak : 1.0);
    }
    return sum / n_components;
}
