/* Residuals at any place and time. Two steps' residuals are kept: those around the time asked for,
 * and in a series played forwards the step that the next one needs. A residual is unpacked whole,
 * however small the part that is read. core/FORMAT.md section 6.5 has the rules. */
#include "bounded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bricks.h"
#include "entropy.h"
#include "status.h"
#include "volume.h"

/* Positions this close to a stored sample or step count as that. */
#define SNAP 1e-9

struct kd_bounded {
    const kd_model_array *array;
    int stored[3];
    kd_residual residuals[2];
    int steps[2]; /* that residuals[] are of; -1: none */
    uint8_t *classes;
    int mask; /* that classes is of; -1: none */
};

kdinr_status kd_bounded_create(const kd_model *model, int a, uint64_t limit, kd_bounded **bounded,
                               kdinr_error *error)
{
    const kd_model_array *array = &model->arrays[a];
    kd_bounded *made = calloc(1, sizeof *made);
    kdinr_status status = KDINR_OK;

    *bounded = NULL;
    if (made == NULL) return kd_fail_memory(error, sizeof *made, "residuals");
    made->array = array;
    made->steps[0] = made->steps[1] = made->mask = -1;
    kd_kdm_samples(model->dims, array->association, made->stored);
    const double n = (double)made->stored[0] * made->stored[1] * made->stored[2];
    const double bytes = n * (1.0 + 10.0 * array->n_components);
    if (bytes > (double)limit) {
        status = kd_fail(error, KDINR_ERROR_MEMORY,
                         "residuals of two steps would take %.0f bytes, the limit is %.0f; raise "
                         "memory_limit",
                         bytes, (double)limit);
        goto done;
    }
    for (int i = 0; i < 2; i++) {
        KD_TRY_DONE(
            kd_residual_create(made->stored, array->n_components, &made->residuals[i], error));
    }
    if (array->n_masks > 0) {
        made->classes = malloc(made->residuals[0].n);
        if (made->classes == NULL) {
            status = kd_fail_memory(error, made->residuals[0].n, "missing-value map");
        }
    }

done:
    if (status != KDINR_OK) {
        kd_bounded_free(made);
        return status;
    }
    *bounded = made;
    return KDINR_OK;
}

void kd_bounded_free(kd_bounded *bounded)
{
    if (bounded == NULL) return;
    kd_residual_free(&bounded->residuals[0]);
    kd_residual_free(&bounded->residuals[1]);
    free(bounded->classes);
    free(bounded);
}

/* ---- steps ---- */

/* The missing-value map of a step, NULL if nothing is missing. */
static kdinr_status load_map(kd_bounded *bounded, int step, const uint8_t **classes,
                             kdinr_error *error)
{
    const kd_model_array *array = bounded->array;
    const int mask = array->n_masks == 0 ? -1 : array->step_masks[step];

    *classes = mask < 0 ? NULL : bounded->classes;
    if (mask < 0 || mask == bounded->mask) return KDINR_OK;
    bounded->mask = -1;
    KD_TRY(kd_entropy_unpack_mask(array->masks[mask].bytes, array->masks[mask].size,
                                  bounded->stored, bounded->classes, error));
    bounded->mask = mask;
    return KDINR_OK;
}

/* Unpack `step` into the place that does not hold the step before. */
static kdinr_status unpack_next(kd_bounded *bounded, int step, int *place, kdinr_error *error)
{
    const bool alone = step % bounded->array->bound.group == 0;
    const int before = bounded->steps[0] == step - 1 ? 0 : 1;
    const uint8_t *classes;

    *place = 1 - before;
    bounded->steps[*place] = -1;
    KD_TRY(load_map(bounded, step, &classes, error));
    KD_TRY(kd_residual_unpack(&bounded->array->residuals[step], bounded->array->type,
                              bounded->stored, classes, alone ? NULL : &bounded->residuals[before],
                              &bounded->residuals[*place], error));
    bounded->steps[*place] = step;
    return KDINR_OK;
}

/* The residual of a step; that of the step before stays if it was there. */
static kdinr_status load_step(kd_bounded *bounded, int step, const kd_residual **residual,
                              kdinr_error *error)
{
    int place = bounded->steps[0] == step ? 0 : 1;

    if (bounded->steps[place] != step) {
        int from = step - step % bounded->array->bound.group;

        for (int k = from; k < step; k++) {
            if (bounded->steps[0] == k || bounded->steps[1] == k) from = k + 1;
        }
        for (int k = from; k <= step; k++) {
            KD_TRY(unpack_next(bounded, k, &place, error));
        }
    }
    *residual = &bounded->residuals[place];
    return KDINR_OK;
}

/* ---- places ---- */

/* Between which stored samples one of the extent lies. */
typedef struct place {
    size_t low, high;
    double share; /* of high; 0: at a stored sample */
} place;

static place place_at(double position, int n)
{
    const double clamped = fmax(0.0, fmin(position, n - 1.0)), nearest = nearbyint(clamped);
    place found = {0};

    if (fabs(position - nearest) <= SNAP || clamped != position) {
        found.low = found.high = (size_t)nearest;
        return found;
    }
    found.low = (size_t)floor(clamped);
    found.high = found.low + 1;
    found.share = clamped - floor(clamped);
    return found;
}

/* Is a position that of a stored sample, rather than beyond the outermost one? */
static bool is_stored(double position, const place *p)
{
    return p->share == 0.0 && fabs(position - (double)p->low) <= SNAP;
}

/* The axes of a part. */
typedef struct axes {
    place *places[3];
    bool *stored[3];
    int n[3];
} axes;

static void free_axes(axes *all)
{
    for (int axis = 0; axis < 3; axis++) {
        free(all->places[axis]);
        free(all->stored[axis]);
    }
}

static kdinr_status list_axes(const kd_bounded *bounded, const kd_bounded_part *part, axes *all,
                              kdinr_error *error)
{
    memset(all, 0, sizeof *all);
    for (int axis = 0; axis < 3; axis++) {
        const int first = part->extent[2 * axis], n = part->extent[2 * axis + 1] - first + 1;

        all->n[axis] = n;
        all->places[axis] = malloc((size_t)n * sizeof *all->places[axis]);
        all->stored[axis] = malloc((size_t)n * sizeof *all->stored[axis]);
        if (all->places[axis] == NULL || all->stored[axis] == NULL) {
            free_axes(all);
            (void)kd_fail_memory(error, (size_t)n * sizeof(place), "axis of the extent");
            return KDINR_ERROR_MEMORY;
        }
        for (int i = 0; i < n; i++) {
            const double position = kd_bricks_position(
                bounded->array->association, bounded->stored[axis], part->samples[axis], first + i);

            all->places[axis][i] = place_at(position, bounded->stored[axis]);
            all->stored[axis][i] = is_stored(position, &all->places[axis][i]);
        }
    }
    return KDINR_OK;
}

/* ---- values ---- */

/* One component's level between stored samples: x first, then y, then z. */
static double level_at(const kd_bounded *bounded, const int32_t *levels, const place *const p[3])
{
    const size_t nx = (size_t)bounded->stored[0], ny = (size_t)bounded->stored[1];
    double faces[2];

    for (int k = 0; k < 2; k++) {
        const size_t z = k == 0 ? p[2]->low : p[2]->high;
        double rows[2];

        for (int j = 0; j < 2; j++) {
            const int32_t *row = levels + (z * ny + (j == 0 ? p[1]->low : p[1]->high)) * nx;
            const double low = row[p[0]->low], high = row[p[0]->high];
            rows[j] = low + (high - low) * p[0]->share;
        }
        faces[k] = rows[0] + (rows[1] - rows[0]) * p[1]->share;
    }
    return faces[0] + (faces[1] - faces[0]) * p[2]->share;
}

/* The sample among those stored as they are, or NULL. */
static const kd_exact *find_exact(const kd_residual *residual, size_t i)
{
    size_t low = 0, high = residual->n_exact;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (residual->exact[middle].i < i) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < residual->n_exact && residual->exact[low].i == i ? &residual->exact[low] : NULL;
}

/* The residuals that answer at a time. */
typedef struct moment {
    const kd_residual *low, *high; /* the same at a stored step */
    double share;
} moment;

/* Value of a component at a stored sample and step. */
static void store_exactly(const kd_bounded *bounded, const kd_residual *residual, size_t i, int c,
                          double answer, const kd_bounded_part *part, void *value)
{
    const kdinr_type type = bounded->array->type;
    const size_t at = (size_t)c * residual->n + i;
    const kd_exact *exact = find_exact(residual, at);

    if (exact == NULL) {
        const double unit = bounded->array->bound.unit[c];
        kd_volume_store(value, part->type, 0,
                        kd_residual_value(type, answer, residual->levels[at], unit));
    } else if (part->type == type) {
        memcpy(value, &exact->bits, kdinr_type_size(type));
    } else {
        kd_volume_store(value, part->type, 0, kd_volume_value(&exact->bits, type, 0));
    }
}

static void store_sample(const kd_bounded *bounded, const moment *when, const place *const p[3],
                         bool stored, const float *answers, const kd_bounded_part *part,
                         char *value)
{
    const kd_bound *bound = &bounded->array->bound;
    const size_t nx = (size_t)bounded->stored[0], ny = (size_t)bounded->stored[1];
    const size_t n = when->low->n, i = (p[2]->low * ny + p[1]->low) * nx + p[0]->low;

    for (int c = 0; c < bounded->array->n_components; c++) {
        const double answer = bound->alone ? bound->base[c] : (double)answers[c];

        if (stored) {
            store_exactly(bounded, when->low, i, c, answer, part, value);
        } else {
            const double low = level_at(bounded, when->low->levels + (size_t)c * n, p);
            const double high = level_at(bounded, when->high->levels + (size_t)c * n, p);
            const double level = low + (high - low) * when->share;

            kd_volume_store(value, part->type, 0, answer + level * bound->unit[c]);
        }
        value += kdinr_type_size(part->type);
    }
}

static kdinr_status load_moment(kd_bounded *bounded, double s, moment *when, kdinr_error *error)
{
    const int n_steps = bounded->array->window_starts[bounded->array->n_windows];
    const place p = place_at(s, n_steps);

    KD_TRY(load_step(bounded, (int)p.low, &when->low, error));
    when->high = when->low;
    when->share = p.share;
    return p.share > 0.0 ? load_step(bounded, (int)p.high, &when->high, error) : KDINR_OK;
}

kdinr_status kd_bounded_read(kd_bounded *bounded, const kd_bounded_part *part, const float *answers,
                             void *values, kdinr_error *error)
{
    const size_t nc = (size_t)bounded->array->n_components;
    const size_t sample_size = nc * kdinr_type_size(part->type);
    char *value = values;
    moment when;
    axes all;

    KD_TRY(load_moment(bounded, part->s, &when, error));
    KD_TRY(list_axes(bounded, part, &all, error));
    for (int z = 0; z < all.n[2]; z++) {
        for (int y = 0; y < all.n[1]; y++) {
            const bool row = when.share == 0.0 && all.stored[1][y] && all.stored[2][z];

            for (int x = 0; x < all.n[0]; x++) {
                const place *const p[3] = {&all.places[0][x], &all.places[1][y], &all.places[2][z]};

                store_sample(bounded, &when, p, row && all.stored[0][x], answers, part, value);
                value += sample_size;
                if (answers != NULL) answers += nc;
            }
        }
    }
    free_axes(&all);
    return KDINR_OK;
}
