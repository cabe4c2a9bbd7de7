/* Sizes and budgets (core/plan.c). */
#include "check.h"

#include "plan.h"

static const kd_plan_input INPUT = {.samples = {64, 64, 64},
                                    .name = "wind",
                                    .n_components = 1,
                                    .data_bytes = 64.0 * 64 * 64 * 4,
                                    .step_bytes = 64.0 * 64 * 64 * 4 / 1000,
                                    .n_arrays = 1};

/* Effort low, `n_steps` steps, of which one at a time is in memory or all are. */
static kd_plan make_plan(const kd_plan_input *input, int n_steps, bool keeps)
{
    kdinr_options options = kdinr_options_default();
    kdinr_error error;
    kd_plan plan;

    options.effort = KDINR_EFFORT_LOW;
    options.n_steps = n_steps;
    if (!keeps) options.window_memory = 0.0;
    check_ok(kd_plan_make(&options, input, &plan, &error), error);
    assert_int_equal(plan.keeps, keeps);
    return plan;
}

/* Samples of all teachers and students. */
static double count_all(const kd_plan *plan, int n_steps)
{
    kdinr_options options = kdinr_options_default();
    const int n_windows = (n_steps + plan->window - 1) / plan->window;
    const int n_bricks = plan->bricks[0] * plan->bricks[1] * plan->bricks[2];
    const int n_cold = n_windows, n_teachers = kd_plan_teachers(&options, plan, n_steps);

    return n_bricks * (n_cold * plan->cold_samples + (n_teachers - n_cold) * plan->teacher_samples +
                       n_windows * plan->student_samples);
}

static void plan_of_kept_steps_divides_one_budget(void **state)
{
    (void)state;
    for (int n_steps = 4; n_steps <= 16; n_steps *= 2) {
        const kd_plan plan = make_plan(&INPUT, n_steps, true);

        assert_int_equal(plan.window, n_steps);
        check_near(plan.student_samples, 12e6, 1.0);
        check_near(plan.teacher_samples, 4.5e6 / n_steps, 1.0);
        check_near(plan.cold_samples, 18e6 / n_steps, 4.0);
    }
}

static void plan_of_one_step_in_memory_gives_each_teacher_enough(void **state)
{
    (void)state;
    check_near(make_plan(&INPUT, 2, false).teacher_samples, 3e6, 1.0);
    for (int n_steps = 8; n_steps <= 32; n_steps *= 2) {
        const kd_plan plan = make_plan(&INPUT, n_steps, false);

        assert_int_equal(plan.window, n_steps);
        check_near(plan.student_samples, 18e6, 1.0);
        check_near(plan.teacher_samples, 1e6, 1.0);
        check_near(plan.cold_samples, 4.0 * plan.teacher_samples, 1.0);
        assert_int_equal(kd_plan_teachers(&(kdinr_options){0}, &plan, n_steps), n_steps);
    }
}

/* All teachers of a long window share a budget, of which each has at least half of the above. */
static void plan_of_one_step_in_memory_stays_within_a_budget(void **state)
{
    kdinr_options options = kdinr_options_default();
    kd_plan_input input = INPUT;
    kdinr_error error;
    kd_plan plan;

    (void)state;
    options.n_steps = 1000;
    options.window_memory = 0.0;
    options.window = 80;
    check_ok(kd_plan_make(&options, &INPUT, &plan, &error), error);
    check_near(plan.teacher_samples, 2.5e6, 1.0);
    options.window = 1000;
    input.step_bytes *= 0.9; /* bricks so few that none is seen too often */
    check_ok(kd_plan_make(&options, &input, &plan, &error), error);
    check_near(plan.teacher_samples, 2e6, 1.0);
}

/* What a window learns late that the file must spend is taken from its students; a size is kept to
 * even where nothing is left. */
static void plan_students_pay_for_what_comes_late(void **state)
{
    kdinr_options options = kdinr_options_default();
    const double weights[] = {1.0, 1.0};
    kd_plan_student students[2], poorer[2];
    kdinr_error error;
    kd_plan plan;

    (void)state;
    options.n_steps = 10;
    check_ok(kd_plan_make(&options, &INPUT, &plan, &error), error);
    kd_plan_window window = {.n_steps = 10, .n_pushed = 10, .n_bricks = 2};
    kd_plan_students(&options, &plan, &window, weights, students);
    window.aside = 80.0;
    kd_plan_students(&options, &plan, &window, weights, poorer);
    check_near(students[0].bytes + students[1].bytes - poorer[0].bytes - poorer[1].bytes, 80.0,
               1.0);
    window.aside = 0.0;
    assert_int_equal(plan.n_modes, 2);
    window.n_steps = 9; /* what its networks take besides parameters grows, but not their modes */
    kd_plan_students(&options, &plan, &window, weights, poorer);
    const double paid = 0.1 * (students[0].bytes + students[1].bytes);
    check_near(students[0].bytes + students[1].bytes - poorer[0].bytes - poorer[1].bytes,
               paid + 0.1 * 2 * plan.network_bytes, 1.0);
    window.n_steps = 10;
    window.aside = 1e9;
    kd_plan_students(&options, &plan, &window, weights, poorer);
    check_near(poorer[0].bytes, 1.0, 0.0);
    options.width = 8;
    kd_plan_students(&options, &plan, &window, weights, poorer);
    check_near(poorer[0].bytes, 0.0, 0.0); /* any size */
}

/* The only step of a window is in memory anyway. */
static void plan_of_a_single_step_keeps_it(void **state)
{
    kdinr_options options = kdinr_options_default();
    kdinr_error error;
    kd_plan plan;

    (void)state;
    options.window_memory = 0.0;
    for (int n_steps = 1; n_steps <= 2; n_steps++) {
        options.n_steps = n_steps;
        check_ok(kd_plan_make(&options, &INPUT, &plan, &error), error);
        assert_int_equal(plan.keeps, n_steps == 1);
    }
    options.window = 1;
    check_ok(kd_plan_make(&options, &INPUT, &plan, &error), error);
    assert_true(plan.keeps);
    options.bricks[0] = options.bricks[1] = options.bricks[2] = 2; /* one at a time is in memory */
    check_ok(kd_plan_make(&options, &INPUT, &plan, &error), error);
    assert_false(plan.keeps);
}

/* Up to 64 neurons. */
static void plan_of_narrow_students_has_wider_teachers(void **state)
{
    kd_plan_input input = INPUT;

    (void)state;
    input.step_bytes = 100.0;
    kd_plan plan = make_plan(&input, 16, false);
    assert_in_range(plan.student.width, 2, 31);
    assert_int_equal(plan.teacher.width, 2 * plan.student.width);
    assert_int_equal(plan.teacher.n_inputs, 3);
    plan = make_plan(&input, 16, true); /* the student starts from its only teacher */
    assert_int_equal(plan.teacher.width, plan.student.width);
    input.step_bytes = 1000.0;
    plan = make_plan(&input, 16, false);
    assert_in_range(plan.student.width, 33, 64);
    assert_int_equal(plan.teacher.width, 64);
    input.step_bytes = 1500.0;
    plan = make_plan(&input, 16, false);
    assert_in_range(plan.student.width, 65, 1024);
    assert_int_equal(plan.teacher.width, plan.student.width);
}

/* 300 draws of a sample, a quarter of them with effort low. */
static void plan_of_tiny_steps_draws_each_sample_so_often(void **state)
{
    kd_plan_input input = INPUT;

    (void)state;
    for (int axis = 0; axis < 3; axis++) {
        input.samples[axis] = 16;
    }
    kd_plan plan = make_plan(&input, 16, false);
    check_near(plan.teacher_samples, 4096 * 75, 1.0);
    check_near(plan.student_samples, 3.0 * 16 * 4096 * 75, 1.0);
    plan = make_plan(&input, 16, true);
    check_near(plan.student_samples, 2.0 * 16 * 4096 * 75, 1.0);
    input.samples[0] = 2;
    plan = make_plan(&input, 16, false);
    check_near(plan.teacher_samples, 1e5, 1.0);
}

/* Where there is more than one network, twice the steps are twice the samples, kept or not. */
static void plan_grows_linearly_with_the_steps(void **state)
{
    (void)state;
    for (int keeps = 0; keeps <= 1; keeps++) {
        const kd_plan first = make_plan(&INPUT, 128, keeps);
        const kd_plan twice = make_plan(&INPUT, 256, keeps);

        assert_int_equal(first.window, twice.window);
        check_near(count_all(&twice, 256) / count_all(&first, 128), 2.0, 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_of_kept_steps_divides_one_budget),
        cmocka_unit_test(plan_of_one_step_in_memory_gives_each_teacher_enough),
        cmocka_unit_test(plan_of_one_step_in_memory_stays_within_a_budget),
        cmocka_unit_test(plan_students_pay_for_what_comes_late),
        cmocka_unit_test(plan_of_a_single_step_keeps_it),
        cmocka_unit_test(plan_of_narrow_students_has_wider_teachers),
        cmocka_unit_test(plan_of_tiny_steps_draws_each_sample_so_often),
        cmocka_unit_test(plan_grows_linearly_with_the_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
