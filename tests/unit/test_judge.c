/* Networks that learned nothing: seen as such, and only they. */
#include "check.h"

#include <unistd.h>

#include "judge.h"
#include "series.h"

enum { N_STEPS = 4 };

/* One array of two windows of two steps; each step's original has this mean and spread. */
typedef struct fixture {
    kd_quality quality[N_STEPS];
    int starts[3];
    kd_model_array array;
    kd_model model;
    kd_track track;
} fixture;

static void set_step(fixture *f, int t, double mean, double deviation, double mse)
{
    f->quality[t] = (kd_quality){.squares = {mse}, .n_present = 100.0};
    f->quality[t].first[0] = mean - 7.0; /* whatever the first sample was */
    f->quality[t].means[0] = 7.0;
    f->quality[t].spreads[0] = 49.0 + deviation * deviation;
}

static void set_up(fixture *f)
{
    memset(f, 0, sizeof *f);
    for (int w = 0; w < 3; w++) {
        f->starts[w] = 2 * w;
    }
    f->array = (kd_model_array){.name = (char *)"speed", .n_components = 1, .n_windows = 2};
    f->array.window_starts = f->starts;
    f->array.range[0][1] = 10.0;
    f->model = (kd_model){.n_steps = N_STEPS, .n_arrays = 1, .arrays = &f->array};
    f->track = (kd_track){.model = &f->model, .quality = f->quality};
    for (int t = 0; t < N_STEPS; t++) {
        set_step(f, t, 5.0, 2.0, 0.01);
    }
}

static void judge_accepts_what_was_learned(void **state)
{
    fixture f;
    kdinr_error error;

    (void)state;
    set_up(&f);
    check_ok(kd_judge_array(&f.track, &error), error);
    for (int t = 0; t < N_STEPS; t++) {
        set_step(&f, t, 5.0, 2.0, 0.89 * 4.0);
    }
    check_ok(kd_judge_array(&f.track, &error), error);
}

static void judge_names_a_window_that_collapsed(void **state)
{
    fixture f;
    kdinr_error error;

    (void)state;
    set_up(&f);
    set_step(&f, 2, 5.0, 2.0, 4.0);
    set_step(&f, 3, 5.0, 2.0, 4.0);
    check_fails(kd_judge_array(&f.track, &error), KDINR_ERROR_TRAINING,
                "array \"speed\": at steps 2 to 3 the networks reach 14.0 dB, a constant value "
                "14.0 dB",
                error);
}

static void judge_counts_change_in_time_as_variance(void **state)
{
    fixture f;
    kdinr_error error;

    (void)state;
    set_up(&f);
    for (int t = 0; t < N_STEPS; t++) { /* flat in space; the error is above the step's variance */
        set_step(&f, t, t % 2 == 0 ? 3.0 : 7.0, 0.1, 0.1);
    }
    check_ok(kd_judge_array(&f.track, &error), error);
}

static void judge_is_lenient_where_little_happens(void **state)
{
    fixture f;
    kdinr_error error;

    (void)state;
    set_up(&f);
    set_step(&f, 0, 5.0, 0.01, 0.01); /* a quiet start, 40 dB of the series' range all the same */
    set_step(&f, 1, 5.0, 0.01, 0.01);
    check_ok(kd_judge_array(&f.track, &error), error);
    f.array.range[0][1] = 0.0; /* constant: rounding is no failure */
    set_step(&f, 0, 5.0, 0.0, 1e-9);
    check_ok(kd_judge_array(&f.track, &error), error);
}

/* From outside: noise, with and without keep_bad, verified and estimated. */
static void judge_refuses_noise_unless_told(void **state)
{
    enum { N = 16 * 16 * 16 };
    const int dims[3] = {16, 16, 16};
    static float values[N];
    const kdinr_array array = {"noise", KDINR_FLOAT32, 1, KDINR_POINTS, values, false, 0.0};
    const kdinr_volume volume = series_volume(dims, &array);
    kdinr_options options = series_options();
    kdinr_error error;

    (void)state;
    for (int i = 0; i < N; i++) {
        values[i] = kd_rng_unit(kd_rng_at(1, (uint64_t)i));
    }
    options.n_steps = 1;
    options.ratio = 25;
    options.student_samples = options.teacher_samples;
    for (int round = 0; round < 3; round++) {
        kdinr_encoder *encoder;

        unlink("test_judge.kdm");
        options.keep_bad = round == 2;
        check_ok(kdinr_encoder_open(&options, &encoder, &error), error);
        check_ok(kdinr_encoder_push(encoder, &volume, 0.0, &error), error);
        if (round > 0) check_ok(kdinr_encoder_verify(encoder, &volume, 0.0, &error), error);
        if (round < 2) {
            check_fails(kdinr_encoder_finish(encoder, "test_judge.kdm", &error),
                        KDINR_ERROR_TRAINING, "did not learn the data", error);
        } else {
            check_ok(kdinr_encoder_finish(encoder, "test_judge.kdm", &error), error);
        }
        assert_int_equal(access("test_judge.kdm", F_OK) == 0, round == 2);
        kdinr_encoder_close(encoder);
    }
    unlink("test_judge.kdm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judge_accepts_what_was_learned),
        cmocka_unit_test(judge_names_a_window_that_collapsed),
        cmocka_unit_test(judge_counts_change_in_time_as_variance),
        cmocka_unit_test(judge_is_lenient_where_little_happens),
        cmocka_unit_test(judge_refuses_noise_unless_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
