/* Encoders that share the work of one file: a failure or a cancellation of one ends all with one
 * message; what was cancelled goes on; parts of steps that do not suffice are refused. */
#define PROCESSES "test_share_failures"

#include "processes.h"

#define PART OUT ".part"

static void check_part_fails(const process *one, kdinr_encoder *encoder, const int given[6],
                             const char *text)
{
    int extents[2][6] = {{0, NX - 1, 0, NY - 1, 0, NZ - 1}};
    kdinr_error error;
    step made;
    kdinr_volume volume = make_step(one, 0, &made);

    memcpy(extents[1], given, sizeof extents[1]);
    volume.extents = extents[0];
    check_fails(kdinr_encoder_push(encoder, &volume, 0, &error), KDINR_ERROR_ARGUMENT, text, error);
    kdinr_encoder_close(encoder);
}

static void share_parts_that_do_not_suffice_are_refused(void **state)
{
    const int outside[6] = {0, NX, 0, NY - 1, 0, NZ - 1}, part[6] = {0, 4, 0, NY - 1, 0, NZ - 1};
    const process alone = {.options = small_options(), .odd_step = -1};
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_part_fails(&alone, encoder, outside, "samples 0 to 9, 0 to 7, 0 to 6");
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_part_fails(&alone, encoder, part, "was given samples 0 to 4");
}

static void share_what_is_needed_is_asked_after_planning(void **state)
{
    const process alone = {.options = small_options(), .odd_step = -1};
    kdinr_encoder *encoder;
    kdinr_error error;
    int extent[6];
    step made;
    const kdinr_volume volume = make_step(&alone, 0, &made);

    (void)state;
    check_ok(kdinr_encoder_open(&alone.options, &encoder, &error), error);
    check_fails(kdinr_encoder_push_extent(encoder, 0, 0, extent, &error), KDINR_ERROR_ARGUMENT,
                "kdinr_encoder_plan", error);
    check_ok(kdinr_encoder_plan(encoder, &volume, &error), error);
    check_ok(kdinr_encoder_push_extent(encoder, 1, 0, extent, &error), error);
    assert_int_equal(count_samples(extent), N);
    check_fails(kdinr_encoder_verify_extent(encoder, 2, 0, extent, &error), KDINR_ERROR_ARGUMENT,
                "array 2 of 2", error);
    check_fails(kdinr_encoder_verify_extent(encoder, 0, 1, extent, &error), KDINR_ERROR_ARGUMENT,
                "process 1 of 1", error);
    check_fails(kdinr_encoder_plan(encoder, &volume, &error), KDINR_ERROR_ARGUMENT, "once", error);
    kdinr_encoder_close(encoder);
}

static void share_failure_of_one_ends_all_with_its_message(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    for (int k = 0; k < N_STEPS; k++) {
        prepare(&common, processes, 3, &options);
        processes[k % 3].odd_step = -2 - k;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "0 points along x");
    }
}

static void share_unknown_backend_on_one_ends_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    prepare(&common, processes, 2, &options);
    processes[1].options.backend = "abacus";
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "abacus");
}

static void share_unwritable_folder_on_root_ends_all(void **state)
{
    kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    options.part = "no_such_folder/x.part";
    prepare(&common, processes, 2, &options);
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_IO, "no_such_folder");
}

static void share_other_options_on_one_end_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    prepare(&common, processes, 2, &options);
    processes[1].options.width = 3;
    run_all(&common, processes);
    check_all_fail(&common, processes, KDINR_ERROR_ARGUMENT, "other steps or options");
}

static void share_broken_exchange_ends_all(void **state)
{
    const kdinr_options options = small_options();
    process processes[MOST_RANKS];
    world common;

    (void)state;
    for (int n = 0; n < 12; n++) {
        prepare(&common, processes, 2, &options);
        processes[0].broken_exchange = processes[1].broken_exchange = n;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_ERROR_IO, "2 processes");
    }
}

static void share_rank_out_of_range_is_refused(void **state)
{
    kdinr_options options = small_options();
    kdinr_share share = {2, 2, exchange, NULL};
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    options.share = &share;
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "rank 2 of 2",
                error);
    share = (kdinr_share){0, 2, NULL, NULL};
    check_fails(kdinr_encoder_open(&options, &encoder, &error), KDINR_ERROR_ARGUMENT, "exchange",
                error);
}

/* Cancelled in one process, the part goes on to the same file with any number of processes. */
static void check_cancelled_run_resumes(kdinr_options options)
{
    process processes[MOST_RANKS];
    world common;

    write_alone(&options);
    for (int rank = 0; rank < 3; rank++) {
        options.part = PART;
        options.resume = false;
        prepare(&common, processes, 3, &options);
        processes[rank].stop = 0.6;
        run_all(&common, processes);
        check_all_fail(&common, processes, KDINR_CANCELLED, "keeps what was trained");
        assert_int_equal(access(PART, F_OK), 0);
        options.resume = true;
        check_file_is_that_of_one(&options, rank + 1);
        assert_int_not_equal(access(PART, F_OK), 0);
    }
}

static void share_cancelled_run_resumes(void **state)
{
    kdinr_options options = small_options();

    (void)state;
    check_cancelled_run_resumes(options);
    options.bricks[0] = 1;
    check_cancelled_run_resumes(options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_parts_that_do_not_suffice_are_refused),
        cmocka_unit_test(share_what_is_needed_is_asked_after_planning),
        cmocka_unit_test(share_failure_of_one_ends_all_with_its_message),
        cmocka_unit_test(share_unknown_backend_on_one_ends_all),
        cmocka_unit_test(share_unwritable_folder_on_root_ends_all),
        cmocka_unit_test(share_other_options_on_one_end_all),
        cmocka_unit_test(share_broken_exchange_ends_all),
        cmocka_unit_test(share_rank_out_of_range_is_refused),
        cmocka_unit_test(share_cancelled_run_resumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
