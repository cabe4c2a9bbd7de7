/* Encoders that share the work of one file: it is that of one encoder alone, however many there are
 * and whatever each is given. */
#define PROCESSES "test_share"

#include "processes.h"

static void share_any_number_of_processes_writes_the_file_of_one(void **state)
{
    const kdinr_options options = small_options();

    (void)state;
    write_alone(&options);
    for (int n_ranks = 1; n_ranks <= MOST_RANKS; n_ranks++) {
        check_file_is_that_of_one(&options, n_ranks);
    }
}

static void share_more_processes_than_bricks_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1; /* of two arrays */
    write_alone(&options);
    for (int n_ranks = 2; n_ranks <= MOST_RANKS; n_ranks++) {
        check_file_is_that_of_one(&options, n_ranks);
    }
    options.max_error = 0.5;
    write_alone(&options);
    check_file_is_that_of_one(&options, MOST_RANKS);
}

/* With all steps kept, as above, and with a teacher for each. */
static void share_every_way_to_train_writes_the_file_of_one(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        kdinr_options options = small_options();

        options.bricks[0] = 1 + way % 2;
        options.window_memory = 0;
        if (way / 2 == 1) {
            options.width = 0;
            options.ratio = 8;
            options.window_memory = 1 << 20;
        }
        write_alone(&options);
        check_file_is_that_of_one(&options, 2);
        check_file_is_that_of_one(&options, MOST_RANKS);
    }
}

static void share_one_brick_and_one_window_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1;
    options.window = N_STEPS;
    write_alone(&options);
    check_file_is_that_of_one(&options, 3);
}

/* Two arrays of two bricks that overlap by a few of nine samples: two processes are given one array
 * each, four one brick each; for the second pass, equally many layers. */
static void share_parts_of_steps_are_small(void **state)
{
    const kdinr_options options = small_options();

    (void)state;
    write_alone(&options);
    assert_int_equal(check_file(&options, 1, true), 2 * N);
    assert_int_equal(check_file(&options, 2, true), 2 * NX * NY * ((NZ + 1) / 2));
    assert_int_equal(check_file(&options, 4, true), 7 * NY * NZ);
}

/* Missing samples change, and the process that sees them changes too. */
static void share_maps_that_come_back_are_stored_as_by_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.bricks[0] = 1;
    options.window = 1;
    for (int period = 1; period <= 3; period++) {
        holes_period = period;
        write_alone(&options);
        for (int n_ranks = 2; n_ranks <= MOST_RANKS; n_ranks++) {
            check_file_is_that_of_one(&options, n_ranks);
        }
    }
    holes_period = N_STEPS;
}

static void share_with_a_bound_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.max_error = 0.5;
    write_alone(&options);
    check_file_is_that_of_one(&options, 2);
    options.ratio = 0.0; /* chosen from the first step, */
    write_alone(&options);
    check_file_is_that_of_one(&options, 3);
    looks_first = true; /* from two */
    write_alone(&options);
    check_file_is_that_of_one(&options, 3);
    looks_first = false;
}

static void share_with_a_psnr_writes_the_file_of_one(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    options.psnr = 30.0;
    write_alone(&options);
    check_file_is_that_of_one(&options, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_any_number_of_processes_writes_the_file_of_one),
        cmocka_unit_test(share_more_processes_than_bricks_writes_the_file_of_one),
        cmocka_unit_test(share_every_way_to_train_writes_the_file_of_one),
        cmocka_unit_test(share_one_brick_and_one_window_writes_the_file_of_one),
        cmocka_unit_test(share_parts_of_steps_are_small),
        cmocka_unit_test(share_maps_that_come_back_are_stored_as_by_one),
        cmocka_unit_test(share_with_a_bound_writes_the_file_of_one),
        cmocka_unit_test(share_with_a_psnr_writes_the_file_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
