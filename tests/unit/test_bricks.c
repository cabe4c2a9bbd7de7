/* Geometry of bricks and windows (core/bricks.c). */
#include "check.h"

#include "bricks.h"

static void bricks_weights_sum_to_one_everywhere(void **state)
{
    (void)state;
    for (int n = 5; n <= 200; n += 13) {
        for (int bricks = 1; bricks <= (n - 1) / 2 && bricks <= 9; bricks++) {
            for (int i = 0; i <= 1000; i++) {
                const double p = (n - 1) * i / 1000.0;
                double sum = 0.0;

                for (int j = 0; j < bricks; j++) {
                    const kd_interval interval = kd_bricks_interval(n, bricks, j);
                    const float weight = kd_bricks_weight(&interval, p);

                    if (weight > 0.0f) {
                        assert_true(p >= interval.low - 1e-9 && p <= interval.high + 1e-9);
                        assert_true(fabs((double)kd_bricks_local(&interval, p)) <= 1.000001);
                    }
                    sum += (double)weight;
                }
                check_near(sum, 1.0, 1e-6);
            }
        }
    }
}

static void bricks_weight_is_one_half_on_a_border(void **state)
{
    const kd_interval left = kd_bricks_interval(101, 2, 0), right = kd_bricks_interval(101, 2, 1);

    (void)state;
    check_near(kd_bricks_weight(&left, 50.0), 0.5, 1e-7);
    check_near(kd_bricks_weight(&right, 50.0), 0.5, 1e-7);
    check_near(kd_bricks_weight(&left, 48.0), 1.0, 1e-7);
    check_near(kd_bricks_weight(&right, 52.0), 1.0, 1e-7);
}

static void bricks_cover_all_samples(void **state)
{
    const int samples[3] = {30, 9, 1}, counts[3] = {4, 2, 1};
    bool seen[30] = {false};
    kdinr_error error;

    (void)state;
    for (int index = 0; index < 8; index++) {
        kd_brick brick;

        check_ok(kd_bricks_make(samples, counts, index, &brick, &error), error);
        for (int x = brick.box.first[0]; x <= brick.box.last[0]; x++) {
            seen[x] = true;
        }
        assert_int_equal(brick.dims[2], 1);
        check_near(brick.local[2][0], 0.0, 0.0);
        kd_bricks_free(&brick);
    }
    for (int x = 0; x < 30; x++) {
        assert_true(seen[x]);
    }
}

static void bricks_position_spans_points_and_cells(void **state)
{
    (void)state;
    check_near(kd_bricks_position(KDINR_POINTS, 11, 11, 3), 3.0, 1e-12);
    check_near(kd_bricks_position(KDINR_POINTS, 11, 21, 20), 10.0, 1e-12);
    check_near(kd_bricks_position(KDINR_POINTS, 11, 1, 0), 5.0, 1e-12);
    check_near(kd_bricks_position(KDINR_CELLS, 10, 10, 3), 3.0, 1e-12);
    check_near(kd_bricks_position(KDINR_CELLS, 10, 20, 0), -0.25, 1e-12);
    check_near(kd_bricks_position(KDINR_CELLS, 10, 20, 19), 9.25, 1e-12);
}

static void bricks_step_follows_uneven_times(void **state)
{
    const double times[] = {-1.0, 0.0, 10.0, 11.0};

    (void)state;
    check_near(kd_bricks_step(times, 4, -5.0), 0.0, 0.0);
    check_near(kd_bricks_step(times, 4, -0.5), 0.5, 1e-12);
    check_near(kd_bricks_step(times, 4, 0.0), 1.0, 0.0);
    check_near(kd_bricks_step(times, 4, 5.0), 1.5, 1e-12);
    check_near(kd_bricks_step(times, 4, 11.0), 3.0, 0.0);
    check_near(kd_bricks_step(times, 4, 99.0), 3.0, 0.0);
    check_near(kd_bricks_step(times, 1, 99.0), 0.0, 0.0);
}

static void bricks_windows_blend_between_windows(void **state)
{
    const int starts[] = {0, 3, 4, 8};
    kd_window_part parts[2];

    (void)state;
    assert_int_equal(kd_bricks_windows(starts, 3, 1.0, parts), 1);
    assert_int_equal(parts[0].window, 0);
    check_near(parts[0].local, 0.0, 1e-7);
    assert_int_equal(kd_bricks_windows(starts, 3, 2.25, parts), 2);
    check_near(parts[0].weight, 0.75, 1e-7);
    check_near(parts[0].local, 1.0, 1e-7);
    assert_int_equal(parts[1].window, 1);
    check_near(parts[1].local, 0.0, 1e-7); /* a window of one step */
    assert_int_equal(kd_bricks_windows(starts, 3, 3.5, parts), 2);
    assert_int_equal(parts[1].window, 2);
    check_near(parts[1].local, -1.0, 1e-7);
    assert_int_equal(kd_bricks_windows(starts, 3, 7.0, parts), 1);
    check_near(parts[0].local, 1.0, 1e-7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bricks_weights_sum_to_one_everywhere),
        cmocka_unit_test(bricks_weight_is_one_half_on_a_border),
        cmocka_unit_test(bricks_cover_all_samples),
        cmocka_unit_test(bricks_position_spans_points_and_cells),
        cmocka_unit_test(bricks_step_follows_uneven_times),
        cmocka_unit_test(bricks_windows_blend_between_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
