/* kdinr_estimate: sizes follow the ratio, times are positive, and what cannot be is refused
 * with the encoder's words. */
#include "check.h"
#include "series.h"

static const kdinr_array ARRAY = {.name = "wind", .n_components = 1};

static void estimate_follows_the_ratio(void **state)
{
    const kdinr_volume volume = series_volume((const int[3]){64, 48, 32}, &ARRAY);
    kdinr_options options = kdinr_options_default();
    double size, seconds;
    kdinr_error error;

    (void)state;
    options.n_steps = 10;
    options.n_threads = 1;
    options.ratio = 200.0;
    check_ok(kdinr_estimate(&options, &volume, &size, &seconds, &error), error);
    check_near(size, 64.0 * 48 * 32 * 4 * 10 / 200, 1e-6);
    assert_true(seconds > 0.0 && isfinite(seconds));
}

static void estimate_refuses_what_the_encoder_refuses(void **state)
{
    const kdinr_volume volume = series_volume((const int[3]){8, 8, 8}, &ARRAY);
    kdinr_options options = kdinr_options_default();
    double size = -1.0, seconds = -1.0;
    kdinr_error error;

    (void)state;
    options.ratio = 1e6;
    check_fails(kdinr_estimate(&options, &volume, &size, &seconds, &error), KDINR_ERROR_DATA,
                "largest possible ratio", error);
    options.ratio = 0.5;
    check_fails(kdinr_estimate(&options, &volume, &size, &seconds, &error), KDINR_ERROR_ARGUMENT,
                "ratio", error);
    assert_true(size == -1.0 && seconds == -1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimate_follows_the_ratio),
        cmocka_unit_test(estimate_refuses_what_the_encoder_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
