/* Entropy-of-blocks sampling, sec. III-C. Drawing is O(1): Walker's alias table over the blocks. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draw.h"
#include "kdm.h"
#include "status.h"

enum { N_BINS = 256, MAX_EDGE = 16 };

struct kd_sampler {
    float *keep;        /* [n] probability of staying in the column that was hit */
    uint32_t *alias;    /* [n] the other block of the column */
    kd_chooser chooser; /* that and the blocks, as draw.h wants it */
};

kd_blocks kd_sampler_blocks(const int dims[3], int edge)
{
    kd_blocks blocks = {.edge = edge, .n = 1};

    for (int axis = 0; axis < 3; axis++) {
        blocks.dims[axis] = dims[axis];
        blocks.counts[axis] = (dims[axis] + edge - 1) / edge;
        blocks.n *= (size_t)blocks.counts[axis];
    }
    return blocks;
}

/* Values to histogram bins; returns how many. */
static int gather_bins(const kd_blocks *blocks, size_t block, const float *values,
                       const uint8_t *classes, int n_components, uint8_t *bins)
{
    int first[3], size[3], n = 0;

    kd_draw_bounds(blocks->dims, blocks->counts, blocks->edge, block, first, size);
    for (int z = first[2]; z < first[2] + size[2]; z++) {
        for (int y = first[1]; y < first[1] + size[1]; y++) {
            const size_t row =
                ((size_t)z * (size_t)blocks->dims[1] + (size_t)y) * (size_t)blocks->dims[0];

            for (int x = first[0]; x < first[0] + size[0]; x++) {
                if (classes[row + (size_t)x] != KD_MISSING_NONE) continue;
                const float v = values[(row + (size_t)x) * (size_t)n_components];
                const float bin = (v + 1.0f) * 0.5f * (N_BINS - 1) + 0.5f;
                bins[n++] = (uint8_t)(bin < 0.0f ? 0.0f : bin > N_BINS - 1 ? N_BINS - 1 : bin);
            }
        }
    }
    return n;
}

/* Eq. 1 for one component of one block. */
static float block_entropy(const uint8_t *bins, int n)
{
    uint16_t histogram[N_BINS] = {0};
    float entropy = 0.0f;

    for (int i = 0; i < n; i++) {
        histogram[bins[i]]++;
    }
    for (int i = 0; i < n; i++) {
        const uint16_t count = histogram[bins[i]];

        if (count == 0) continue; /* this bin was counted */
        const float p = (float)count / (float)n;
        entropy -= p * logf(p);
        histogram[bins[i]] = 0;
    }
    return entropy;
}

void kd_sampler_entropy(const kd_blocks *blocks, const float *values, const uint8_t *classes,
                        int n_components, float *entropy)
{
    uint8_t bins[MAX_EDGE * MAX_EDGE * MAX_EDGE];

    for (size_t block = 0; block < blocks->n; block++) {
        for (int c = 0; c < n_components; c++) {
            const int n = gather_bins(blocks, block, values + c, classes, n_components, bins);

            entropy[block] += block_entropy(bins, n) / (float)n_components;
        }
    }
}

void kd_sampler_present(const kd_blocks *blocks, const uint8_t *classes, float *present)
{
    const int edge = blocks->edge;
    const size_t nx = (size_t)blocks->counts[0], ny = (size_t)blocks->counts[1];

    for (int z = 0; z < blocks->dims[2]; z++) {
        for (int y = 0; y < blocks->dims[1]; y++) {
            const size_t row = ((size_t)(z / edge) * ny + (size_t)(y / edge)) * nx;

            for (int x = 0; x < blocks->dims[0]; x++) {
                present[row + (size_t)(x / edge)] += *classes++ == KD_MISSING_NONE ? 1.0f : 0.0f;
            }
        }
    }
}

/* Walker's method (Vose's variant): columns of equal mass, each shared by two blocks. */
static void build_alias(kd_sampler *sampler, size_t n, double *mass, uint32_t *stack)
{
    size_t n_small = 0, n_large = 0;
    double sum = 0.0;

    for (size_t i = 0; i < n; i++) {
        sum += mass[i];
    }
    for (size_t i = 0; i < n; i++) {
        mass[i] *= (double)n / sum;
        sampler->keep[i] = 1.0f;
        sampler->alias[i] = (uint32_t)i;
        if (mass[i] < 1.0) {
            stack[n_small++] = (uint32_t)i;
        } else {
            stack[n - ++n_large] = (uint32_t)i;
        }
    }
    while (n_small > 0 && n_large > 0) {
        const uint32_t small = stack[--n_small];
        const uint32_t large = stack[n - n_large];

        sampler->keep[small] = (float)mass[small];
        sampler->alias[small] = large;
        mass[large] -= 1.0 - mass[small];
        if (mass[large] < 1.0) {
            n_large--;
            stack[n_small++] = large;
        }
    }
}

/* Eq. 2. A block with few present samples is drawn as often as a full one: a strait or an island's
 * shore is hard, and few samples are all there is to learn it from. */
static void block_masses(const kd_blocks *blocks, const float *entropy, const float *present,
                         kdinr_sampling kind, double epsilon, double *mass)
{
    double sum = 0.0;

    for (size_t i = 0; i < blocks->n; i++) {
        sum += entropy[i];
    }
    epsilon = epsilon < 0.0 ? -epsilon / (double)blocks->n : epsilon;
    for (size_t i = 0; i < blocks->n; i++) {
        if (kind == KDINR_SAMPLING_UNIFORM) {
            mass[i] = present[i];
        } else {
            mass[i] = present[i] <= 0.0f ? 0.0 : sum > 0.0 ? entropy[i] / sum + epsilon : 1.0;
        }
    }
}

kdinr_status kd_sampler_create(const kd_blocks *blocks, const float *entropy, const float *present,
                               kdinr_sampling kind, double epsilon, kd_sampler **sampler,
                               kdinr_error *error)
{
    const size_t n = blocks->n;
    kd_sampler *made = calloc(1, sizeof *made);
    double *mass = malloc(n * sizeof *mass);
    uint32_t *stack = malloc(n * sizeof *stack);

    *sampler = NULL;
    if (made != NULL) {
        made->keep = malloc(n * sizeof *made->keep);
        made->alias = malloc(n * sizeof *made->alias);
    }
    if (made == NULL || mass == NULL || stack == NULL || made->keep == NULL ||
        made->alias == NULL) {
        kd_sampler_free(made);
        free(mass);
        free(stack);
        return kd_fail_memory(error, n * 20, "sampling table");
    }
    block_masses(blocks, entropy, present, kind, epsilon, mass);
    build_alias(made, n, mass, stack);
    made->chooser =
        (kd_chooser){.edge = blocks->edge, .n_blocks = n, .keep = made->keep, .alias = made->alias};
    memcpy(made->chooser.dims, blocks->dims, sizeof blocks->dims);
    memcpy(made->chooser.counts, blocks->counts, sizeof blocks->counts);
    free(mass);
    free(stack);
    *sampler = made;
    return KDINR_OK;
}

void kd_sampler_draw(const kd_sampler *sampler, uint64_t key, uint64_t counter,
                     const uint8_t *classes, int index[3])
{
    _Static_assert(KD_MISSING_NONE == 0, "kd_draw_try asks for class 0");
    kd_draw_sample(&sampler->chooser, key, counter, classes, index);
}

kd_supply kd_sampler_supply(const kd_sampler *sampler, const kd_brick *brick, uint64_t key,
                            int n_answers, const kd_answer *answers)
{
    return (kd_supply){.chooser = sampler->chooser,
                       .axes = {brick->local[0], brick->local[1], brick->local[2]},
                       .key = key,
                       .n_answers = n_answers,
                       .answers = answers};
}

void kd_sampler_free(kd_sampler *sampler)
{
    if (sampler == NULL) return;
    free(sampler->keep);
    free(sampler->alias);
    free(sampler);
}
