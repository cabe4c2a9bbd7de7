/* Entropy-of-blocks sampling (core/sampler.c, sec. III-C). */
#include "check.h"

#include "kdm.h"
#include "rng.h"
#include "sampler.h"

enum { N = 8, N_SAMPLES = N * N * N, N_DRAWS = 200000 };

static const int cube[3] = {N, N, N};

static kd_sampler *make(const kd_blocks *blocks, const float *entropy, const float *present,
                        kdinr_sampling kind, double epsilon)
{
    kd_sampler *sampler;
    kdinr_error error;

    check_ok(kd_sampler_create(blocks, entropy, present, kind, epsilon, &sampler, &error), error);
    return sampler;
}

/* How often each of the 8 blocks of edge 4 was drawn, as fractions. */
static void count_blocks(const kd_sampler *sampler, const uint8_t *classes, double fractions[8])
{
    const uint64_t key = kd_rng_key(1, 2);

    memset(fractions, 0, 8 * sizeof *fractions);
    for (uint64_t k = 0; k < N_DRAWS; k++) {
        int index[3];

        kd_sampler_draw(sampler, key, k, classes, index);
        fractions[index[0] / 4 + 2 * (index[1] / 4) + 4 * (index[2] / 4)] += 1.0 / N_DRAWS;
    }
}

static void sampler_entropy_of_known_blocks(void **state)
{
    const int dims[3] = {4, 2, 1};
    const kd_blocks blocks = kd_sampler_blocks(dims, 2);
    /* block 0: one value; block 1: four values */
    const float values[8] = {0.5f, 0.5f, -1.0f, -0.5f, 0.5f, 0.5f, 0.0f, 1.0f};
    const uint8_t classes[8] = {0};
    float entropy[2] = {0, 0}, present[2] = {0, 0};

    (void)state;
    assert_int_equal(blocks.n, 2);
    kd_sampler_entropy(&blocks, values, classes, 1, entropy);
    kd_sampler_present(&blocks, classes, present);
    check_near(entropy[0], 0.0, 1e-7);
    check_near(entropy[1], log(4.0), 1e-6);
    check_near(present[1], 4.0, 0.0);
}

static void sampler_follows_equation_2(void **state)
{
    const kd_blocks blocks = kd_sampler_blocks(cube, 4);
    const float entropy[8] = {0, 1, 2, 3, 0, 0, 0, 4};
    const float present[8] = {64, 64, 64, 64, 64, 64, 64, 64};
    double fractions[8];

    (void)state;
    for (int relative = 0; relative < 2; relative++) {
        const double epsilon = relative ? -0.1 : 0.01, added = relative ? 0.1 / 8.0 : 0.01;
        kd_sampler *sampler = make(&blocks, entropy, present, KDINR_SAMPLING_ENTROPY, epsilon);

        count_blocks(sampler, NULL, fractions);
        for (int b = 0; b < 8; b++) {
            check_near(fractions[b], ((double)entropy[b] / 10.0 + added) / (1.0 + 8.0 * added),
                       0.005);
        }
        kd_sampler_free(sampler);
    }
}

static void sampler_constant_volume_draws_uniformly(void **state)
{
    const kd_blocks blocks = kd_sampler_blocks(cube, 4);
    const float entropy[8] = {0}, present[8] = {64, 64, 64, 64, 64, 64, 64, 64};
    kd_sampler *sampler = make(&blocks, entropy, present, KDINR_SAMPLING_ENTROPY, 0.01);
    double fractions[8];

    (void)state;
    count_blocks(sampler, NULL, fractions);
    for (int b = 0; b < 8; b++) {
        check_near(fractions[b], 0.125, 0.005);
    }
    kd_sampler_free(sampler);
}

static void sampler_never_draws_missing_samples(void **state)
{
    const kd_blocks blocks = kd_sampler_blocks(cube, 4);
    float entropy[8] = {0}, present[8] = {0}, values[N_SAMPLES];
    uint8_t classes[N_SAMPLES];
    const uint64_t key = kd_rng_key(3, 4);

    (void)state;
    for (int i = 0; i < N_SAMPLES; i++) {
        values[i] = (float)(i % 7) / 7.0f;
        classes[i] =
            i % N < 5 ? KD_MISSING_NAN : KD_MISSING_NONE; /* the left half is all missing */
    }
    kd_sampler_entropy(&blocks, values, classes, 1, entropy);
    kd_sampler_present(&blocks, classes, present);
    kd_sampler *sampler = make(&blocks, entropy, present, KDINR_SAMPLING_UNIFORM, 0.01);
    for (uint64_t k = 0; k < 10000; k++) {
        int index[3];

        kd_sampler_draw(sampler, key, k, classes, index);
        assert_true(index[0] >= 5);
    }
    kd_sampler_free(sampler);
}

static void sampler_uniform_is_uniform_over_ragged_blocks(void **state)
{
    const int dims[3] = {5, 1, 1}; /* blocks of 4 and 1 samples */
    const kd_blocks blocks = kd_sampler_blocks(dims, 4);
    const float entropy[2] = {0, 0}, present[2] = {4, 1};
    const uint64_t key = kd_rng_key(5, 6);
    double fractions[5] = {0};
    kd_sampler *sampler = make(&blocks, entropy, present, KDINR_SAMPLING_UNIFORM, 0.01);

    (void)state;
    for (uint64_t k = 0; k < N_DRAWS; k++) {
        int index[3];

        kd_sampler_draw(sampler, key, k, NULL, index);
        fractions[index[0]] += 1.0 / N_DRAWS;
    }
    for (int i = 0; i < 5; i++) {
        check_near(fractions[i], 0.2, 0.005);
    }
    kd_sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_entropy_of_known_blocks),
        cmocka_unit_test(sampler_follows_equation_2),
        cmocka_unit_test(sampler_constant_volume_draws_uniformly),
        cmocka_unit_test(sampler_never_draws_missing_samples),
        cmocka_unit_test(sampler_uniform_is_uniform_over_ragged_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
