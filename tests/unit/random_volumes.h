/* Small random series for the tests of max_error: constants, huge and tiny ranges, denormals, NaN
 * and fill values, axes of one voxel, all types. And the comparison with what was decoded. */
#ifndef RANDOM_VOLUMES_H
#define RANDOM_VOLUMES_H

#include "check.h"

#include "kdm.h"
#include "rng.h"
#include "volume.h"

enum { MOST_SAMPLES = 9 * 9 * 9, MOST_COMPONENTS = 3, MOST_STEPS = 3 };

typedef struct dice {
    uint64_t key, n;
} dice;

static inline double unit(dice *d)
{
    return (double)kd_rng_unit(kd_rng_at(d->key, d->n++));
}

static inline int below(dice *d, int n)
{
    return (int)kd_rng_below(kd_rng_at(d->key, d->n++), (uint32_t)n);
}

/* A random series of one array. */
typedef struct sample {
    kdinr_options options;
    kdinr_volume volume;
    kdinr_array array;
    int n_steps;
    size_t n; /* samples per step */
    char values[MOST_STEPS][MOST_SAMPLES * MOST_COMPONENTS * 8];
} sample;

enum { CONSTANT, SMOOTH, NOISE, HUGE_RANGE, TINY, DENORMAL, HEAVY_TAIL, OFFSET, STEPS, N_KINDS };

static inline double draw(dice *d, int kind, const int at[3], int t)
{
    const double wave = sin(0.4 * at[0] + 0.3 * at[1] * at[2] + 0.2 * t);

    switch (kind) {
    case CONSTANT:
        return 0.1;
    case SMOOTH:
        return 100.0 * wave;
    case NOISE:
        return 200.0 * unit(d) - 100.0;
    case HUGE_RANGE:
        return (unit(d) - 0.5) * 6e38;
    case TINY:
        return 1e-30 * wave;
    case DENORMAL:
        return below(d, 2) == 0 ? 1e-310 * wave : 1e-42 * unit(d);
    case HEAVY_TAIL:
        return pow(10.0, 60.0 * unit(d) - 30.0) * (below(d, 2) == 0 ? 1.0 : -1.0);
    case OFFSET:
        return 1e6 + wave;
    default:
        return below(d, 3) * 50.0;
    }
}

static inline void fill_step(dice *d, sample *s, int kind, bool missing, int t)
{
    const size_t nc = (size_t)s->array.n_components;
    int samples[3];

    kd_kdm_samples(s->volume.dims, s->array.association, samples);
    for (size_t i = 0; i < s->n; i++) {
        const int at[3] = {(int)i % samples[0], (int)i / samples[0] % samples[1],
                           (int)i / samples[0] / samples[1]};
        const bool gone = missing && i > 0 && below(d, 4) == 0;

        for (size_t c = 0; c < nc; c++) {
            double value = draw(d, kind, at, t);

            if (gone) value = s->array.has_fill ? s->array.fill_value : (double)NAN;
            kd_volume_store(s->values[t], s->array.type, i * nc + c, value);
        }
    }
}

/* Leaves array.values to be set. */
static inline void make_sample(dice *d, sample *s)
{
    const int kind = below(d, N_KINDS);
    const bool missing = below(d, 3) == 0;

    s->options = kdinr_options_default();
    s->options.n_threads = 1;
    s->options.ratio = 0.0;
    s->options.max_error_relative = below(d, 3) > 0;
    s->options.max_error =
        pow(10.0, -12.0 * unit(d)) * (s->options.max_error_relative ? 0.3 : 30.0);
    s->volume = kdinr_volume_default();
    s->volume.n_arrays = 1;
    s->volume.arrays = &s->array;
    s->array = (kdinr_array){.name = "a",
                             .type = (kdinr_type)below(d, 10),
                             .n_components = 1 + below(d, MOST_COMPONENTS),
                             .association = below(d, 2) == 0 ? KDINR_POINTS : KDINR_CELLS};
    s->array.has_fill = missing && (s->array.type > KDINR_FLOAT64 || below(d, 2) == 0);
    /* no float32 is -999.9 */
    s->array.fill_value = s->array.type <= KDINR_FLOAT64 ? -999.9 : 77.0;
    s->n = 1;
    for (int axis = 0; axis < 3; axis++) {
        s->volume.dims[axis] = below(d, 4) == 0 ? 1 : 1 + below(d, 9);
    }
    s->n = kd_volume_n_samples(&s->volume, &s->array);
    s->n_steps = 1 + below(d, MOST_STEPS);
    for (int t = 0; t < s->n_steps; t++) {
        fill_step(d, s, kind, missing, t);
    }
}

/* All samples of one decoded step against the original. */
static inline void check_step(const sample *s, int t, const double *bound, const void *decoded)
{
    const size_t nc = (size_t)s->array.n_components;
    const kdinr_type type = s->array.type;
    uint8_t classes[MOST_SAMPLES];
    kdinr_volume step = s->volume;
    kdinr_array array = s->array;

    array.values = s->values[t];
    step.arrays = &array;
    const kd_view view = kd_volume_view(&step, 0);
    (void)kd_volume_classify(&view, &view.box, classes);
    for (size_t i = 0; i < s->n * nc; i++) {
        const double original = kd_volume_value(array.values, type, i);
        const double found = kd_volume_value(decoded, type, i);
        const kd_missing class = (kd_missing)classes[i / nc];

        if (class == KD_MISSING_NAN) {
            assert_true(isnan(found));
        } else if (class == KD_MISSING_FILL) {
            assert_true(found == kd_volume_fill(type, s->array.fill_value));
        } else if (class == KD_MISSING_NONE && !(fabs(found - original) <= bound[i % nc])) {
            fail_msg("type %d, sample %zu of step %d: %.17g became %.17g, bound %g", (int)type, i,
                     t, original, found, bound[i % nc]);
        }
    }
}

#endif
