/* Codes, missing-value maps and plain bytes to bytes and back. */
#include "check.h"

#include "entropy.h"
#include "rng.h"

static void bytes_round_trip(void **state)
{
    uint8_t bytes[1000], back[1000], *packed;
    kdinr_error error;
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i % 10);
    }
    check_ok(kd_entropy_pack_bytes(bytes, sizeof bytes, &packed, &size, &error), error);
    assert_in_range(size, 1, 100);
    check_ok(kd_entropy_unpack_bytes(packed, size, back, sizeof back, "bytes", &error), error);
    assert_memory_equal(bytes, back, sizeof bytes);
    check_fails(kd_entropy_unpack_bytes(packed, size, back, 999, "these", &error),
                KDINR_ERROR_FORMAT, "these", error);
    check_fails(kd_entropy_unpack_bytes(packed, size - 1, back, 1000, "these", &error),
                KDINR_ERROR_FORMAT, "these", error);
    free(packed);
    check_ok(kd_entropy_pack_bytes(bytes, 999, &packed, &size, &error), error);
    check_fails(kd_entropy_unpack_bytes(packed, size, back, 1000, "these", &error),
                KDINR_ERROR_FORMAT, "unpacks to 999 bytes, expected 1000", error);
    free(packed);
}

/* Pack and unpack; returns the packed size. */
static size_t codes_round_trip(const kd_entropy_tensor *tensors, size_t n_tensors)
{
    kd_entropy_tensor back[64];
    uint8_t *packed;
    kdinr_error error;
    size_t size;

    check_ok(kd_entropy_pack_codes(tensors, n_tensors, &packed, &size, &error), error);
    for (size_t i = 0; i < n_tensors; i++) {
        back[i] = tensors[i];
        back[i].codes = calloc(tensors[i].n + 1, sizeof(int16_t));
        assert_non_null(back[i].codes);
    }
    check_ok(kd_entropy_unpack_codes(packed, size, back, n_tensors, &error), error);
    for (size_t i = 0; i < n_tensors; i++) {
        assert_memory_equal(back[i].codes, tensors[i].codes, tensors[i].n * sizeof(int16_t));
        free(back[i].codes);
    }
    free(packed);
    return size;
}

/* Normally distributed codes. Returns their entropy in bytes, from their own mean square. */
static double fill_normal(int16_t *codes, size_t n, double sigma, uint64_t key)
{
    double squares = 0.0;

    for (size_t i = 0; i < n; i++) {
        const double u = (double)kd_rng_unit(kd_rng_at(key, 2 * i)) + 1e-9;
        const double v = (double)kd_rng_unit(kd_rng_at(key, 2 * i + 1));
        const double normal = sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
        codes[i] = (int16_t)fmax(-32767.0, fmin(32767.0, nearbyint(sigma * normal)));
        squares += (double)codes[i] * codes[i];
    }
    return (double)n * (0.5 * log2(squares / (double)n) + 2.0471) /
           8.0; /* 2.0471 = log2(2 pi e) / 2 */
}

static void codes_of_every_magnitude_round_trip(void **state)
{
    static int16_t all[65535];
    const kd_entropy_tensor tensor = {255, all, 65535, false};

    (void)state;
    for (int i = 0; i < 65535; i++) {
        all[i] = (int16_t)(i - 32767);
    }
    assert_in_range(codes_round_trip(&tensor, 1), 1, 140000);
}

/* As many below 0 as from 0 on, all equally likely. */
static void codes_folded_round_trip(void **state)
{
    static int16_t codes[4000];

    (void)state;
    for (int bits = 1; bits <= 9; bits++) {
        const kd_entropy_tensor tensor = {1, codes, 4000, true};

        for (uint64_t i = 0; i < 4000; i++) {
            codes[i] = (int16_t)((int)kd_rng_below(kd_rng_at(5, i), 1u << bits) - (1 << bits) / 2);
        }
        const size_t size = codes_round_trip(&tensor, 1);
        print_message("%d bits: %.3f\n", bits, (double)size * 8.0 / 4000.0);
        assert_true((double)size < 500.0 * bits + 30.0);
    }
    const kd_entropy_tensor ends = {1, (int16_t[]){32767, -32768, 0, -1}, 4, true};
    (void)codes_round_trip(&ends, 1);
}

static void codes_none_or_one_round_trip(void **state)
{
    int16_t codes[1] = {0};

    (void)state;
    assert_in_range(codes_round_trip(NULL, 0), 0, 1);
    for (int value = -32767; value <= 32767; value += 37) {
        codes[0] = (int16_t)value;
        assert_in_range(codes_round_trip(&(kd_entropy_tensor){0, codes, 1, false}, 1), 1, 7);
    }
}

static void codes_all_zero_are_padded(void **state)
{
    static int16_t codes[100001];
    const kd_entropy_tensor tensor = {0, codes, 100001, false};
    uint8_t *packed;
    kdinr_error error;
    size_t size;

    (void)state;
    assert_int_equal(codes_round_trip(&tensor, 1), 100000 / KD_ENTROPY_CODES_PER_BYTE + 1);
    check_ok(kd_entropy_pack_codes(&tensor, 1, &packed, &size, &error), error);
    check_fails(kd_entropy_unpack_codes(packed, size - 1, &tensor, 1, &error), KDINR_ERROR_FORMAT,
                "cannot hold 100001 codes", error);
    free(packed);
}

static void codes_bytes_left_over_are_refused(void **state)
{
    int16_t codes[100] = {1, 2, 3};
    const uint8_t bytes[1000] = {0};

    (void)state;
    kdinr_error error;
    check_fails(kd_entropy_unpack_codes(bytes, sizeof bytes,
                                        &(kd_entropy_tensor){0, codes, 100, false}, 1, &error),
                KDINR_ERROR_FORMAT, "1000 bytes", error);
}

/* Against the entropy of the distribution the codes come from. */
static void codes_cost_little_above_their_entropy(void **state)
{
    static int16_t codes[60000];
    const size_t sizes[] = {5000, 20000, 60000};
    const double sigmas[] = {4.0, 15.0, 50.0, 200.0};

    (void)state;
    for (size_t a = 0; a < 3; a++) {
        for (size_t b = 0; b < 4; b++) {
            const kd_entropy_tensor tensor = {0, codes, sizes[a], false};
            const double ideal = fill_normal(codes, sizes[a], sigmas[b], a * 10 + b);
            const double size = (double)codes_round_trip(&tensor, 1);

            print_message("%6zu codes, sigma %3.0f: %.0f bytes, %+.2f %% of the entropy\n",
                          sizes[a], sigmas[b], size, 100.0 * (size / ideal - 1.0));
            assert_true(size < 1.015 * ideal);
        }
    }
}

static void codes_of_tensors_keep_their_scales_apart(void **state)
{
    static int16_t codes[20000];
    kd_entropy_tensor tensors[20];
    double ideal = 0.0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        const double sigma = i % 2 == 0 ? 100.0 : 5.0;
        tensors[i] = (kd_entropy_tensor){i % 2, codes + 1000 * i, 1000, false};
        ideal += fill_normal(tensors[i].codes, 1000, sigma, (uint64_t)i);
    }
    assert_true((double)codes_round_trip(tensors, 20) < 1.01 * ideal);
}

static size_t mask_round_trip(const uint8_t *classes, const int dims[3])
{
    const size_t n = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    uint8_t *packed, *back = malloc(n);
    kdinr_error error;
    size_t size;

    assert_non_null(back);
    memset(back, 0xFF, n);
    check_ok(kd_entropy_pack_mask(classes, dims, &packed, &size, &error), error);
    check_ok(kd_entropy_unpack_mask(packed, size, dims, back, &error), error);
    assert_memory_equal(back, classes, n);
    free(packed);
    free(back);
    return size;
}

static void mask_of_any_content_round_trips(void **state)
{
    static uint8_t classes[13 * 11 * 7];
    const int shapes[][3] = {{13, 11, 7}, {1001, 1, 1}, {1, 1001, 1}, {1, 1, 1001}, {1, 1, 1}};

    (void)state;
    for (uint64_t kind = 0; kind < 4; kind++) { /* random, rare, all of one class, nothing */
        for (uint64_t i = 0; i < sizeof classes; i++) {
            const uint32_t random = kd_rng_below(kd_rng_at(kind, i), kind == 0 ? 5 : 500);
            classes[i] = (uint8_t)(kind == 3 ? 0 : kind == 2 ? 4 : random < 5 ? random : 0);
        }
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            (void)mask_round_trip(classes, shapes[s]);
        }
    }
}

static void mask_of_a_ball_is_small(void **state)
{
    static uint8_t classes[40 * 40 * 40];
    const int dims[3] = {40, 40, 40};

    (void)state;
    for (int i = 0; i < 40 * 40 * 40; i++) {
        const int x = i % 40 - 20, y = i / 40 % 40 - 20, z = i / 1600 - 20;
        classes[i] = x * x + y * y + z * z < 200 ? 2 : 0;
    }
    assert_in_range(mask_round_trip(classes, dims), 1, 600);
    memset(classes, 1, sizeof classes);
    assert_in_range(mask_round_trip(classes, dims), 0, 100);
}

static void mask_bytes_left_over_are_refused(void **state)
{
    static const uint8_t bytes[200];
    uint8_t classes[8];
    const int dims[3] = {2, 2, 2};
    kdinr_error error;

    (void)state;
    check_fails(kd_entropy_unpack_mask(bytes, sizeof bytes, dims, classes, &error),
                KDINR_ERROR_FORMAT, "200 bytes", error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_round_trip),
        cmocka_unit_test(codes_of_every_magnitude_round_trip),
        cmocka_unit_test(codes_folded_round_trip),
        cmocka_unit_test(codes_none_or_one_round_trip),
        cmocka_unit_test(codes_all_zero_are_padded),
        cmocka_unit_test(codes_bytes_left_over_are_refused),
        cmocka_unit_test(codes_cost_little_above_their_entropy),
        cmocka_unit_test(codes_of_tensors_keep_their_scales_apart),
        cmocka_unit_test(mask_of_any_content_round_trips),
        cmocka_unit_test(mask_of_a_ball_is_small),
        cmocka_unit_test(mask_bytes_left_over_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
