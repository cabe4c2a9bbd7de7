/* How large networks below a bound should be (core/guess.c). */
#include "check.h"

#include <unistd.h>

#include "guess.h"
#include "rng.h"
#include "series.h"

enum { NX = 24, NY = 20, NZ = 16, N = NX * NY * NZ, N_STEPS = 9 };

static const char *const path = "test_guess.kdm";

/* Noise that does not move: the first step takes much, a later one nothing beside the one before.
 * With `moves` every step is noise of its own. */
static void fill(int t, bool moves, float *values)
{
    for (uint64_t i = 0; i < N; i++) {
        values[i] = (float)kd_rng_unit(kd_rng_at(moves ? 1 + (uint64_t)t : 1, i));
    }
}

static void guess(int n_steps, bool moves, kd_guess *found)
{
    static float values[N];
    const int samples[3] = {NX, NY, NZ};
    const kdinr_array array = {
        .name = "noise", .type = KDINR_FLOAT32, .n_components = 1, .values = values};
    kdinr_options options = kdinr_options_default();
    kdinr_error error;

    options.max_error = 0.01;
    memset(found, 0, sizeof *found);
    for (int t = 0; t < n_steps; t++) {
        fill(t, moves, values);
        check_ok(kd_guess_step(&options, &array, samples, found, &error), error);
    }
    kd_guess_free(found);
}

static void guess_knows_what_steps_have_in_common(void **state)
{
    kd_guess one, same, other;

    (void)state;
    guess(1, false, &one);
    guess(2, false, &same);
    guess(2, true, &other);
    assert_true(one.data == 4.0 * N);
    assert_true(one.first > 0.0 && same.first == one.first && other.first == one.first);
    assert_true(kd_guess_alone(&one, 100) == one.first);
    assert_true(same.next < 0.05 * same.first);
    check_near(kd_guess_alone(&same, 100), (same.first + 7.0 * same.next) / 8.0, 1e-9);
    check_near(kd_guess_alone(&same, 2), (same.first + same.next) / 2.0, 1e-9);
    check_near(other.next / other.first, 1.0, 0.1);
}

static void guess_gives_networks_a_fifth_of_what_residuals_take(void **state)
{
    (void)state;
    check_near(kd_guess_ratio(1e6, 1e4), 500.0, 1e-9);
    check_near(kd_guess_ratio(1e6, 1e6 / 20.1), 100.5, 1e-9);
    assert_true(kd_guess_ratio(1e6, 1e6 / 19.9) == 0.0);
    assert_true(kd_guess_ratio(1e12, 0.0) == 1e6);
}

/* ---- the encoder's looks ---- */

static bool trained; /* networks, by the latest encoder */

static bool watch(void *user, double fraction, const char *stage)
{
    (void)user;
    trained = trained || (fraction > 0.0 && fraction < 1.0 && strcmp(stage, "student") == 0);
    return true;
}

static void open_bounded(double ratio, kdinr_encoder **encoder)
{
    kdinr_options options = series_options();
    kdinr_error error;

    options.n_steps = N_STEPS;
    options.ratio = ratio;
    options.max_error = 0.01;
    options.teacher_samples = options.student_samples = 2000.0;
    options.bricks[0] = options.bricks[1] = options.bricks[2] = 1;
    options.progress = watch;
    trained = false;
    check_ok(kdinr_encoder_open(&options, encoder, &error), error);
}

/* Bytes of the file, with looks at two steps from `from` on, or none. */
static uint64_t compress(int from, char *provenance, size_t size)
{
    static float values[N];
    const kdinr_array array = {
        .name = "noise", .type = KDINR_FLOAT32, .n_components = 1, .values = values};
    const kdinr_volume volume = series_volume((const int[3]){NX, NY, NZ}, &array);
    kdinr_encoder *encoder;
    kdinr_decoder *decoder;
    kdinr_error error;

    open_bounded(0.0, &encoder);
    for (int t = from; from >= 0 && t < from + 2; t++) {
        fill(t, false, values);
        check_ok(kdinr_encoder_look(encoder, &volume, &error), error);
    }
    for (int k = 0; k < 2 * N_STEPS; k++) {
        fill(k % N_STEPS, false, values);
        check_ok(k < N_STEPS ? kdinr_encoder_push(encoder, &volume, k % N_STEPS, &error)
                             : kdinr_encoder_verify(encoder, &volume, k % N_STEPS, &error),
                 error);
    }
    check_ok(kdinr_encoder_finish(encoder, path, &error), error);
    kdinr_encoder_close(encoder);
    check_ok(kdinr_decoder_open(path, NULL, &decoder, &error), error);
    const uint64_t bytes = kdinr_decoder_info(decoder)->file_size;
    (void)snprintf(provenance, size, "%s", kdinr_decoder_info(decoder)->provenance);
    kdinr_decoder_close(decoder);
    (void)unlink(path);
    return bytes;
}

/* By the first step there is no use in networks. By two there might be, but noise is nothing that
 * they could learn. */
static void looks_decide_about_networks(void **state)
{
    char without[512], with[512];

    (void)state;
    const uint64_t size = compress(-1, without, sizeof without);
    assert_false(trained);
    assert_true(compress(3, with, sizeof with) == size);
    assert_true(trained);
    assert_string_equal(with, without);
}

static void looks_come_first_and_agree(void **state)
{
    static float values[N];
    kdinr_array array = {
        .name = "noise", .type = KDINR_FLOAT32, .n_components = 1, .values = values};
    kdinr_volume volume = series_volume((const int[3]){NX, NY, NZ}, &array);
    kdinr_encoder *encoder;
    kdinr_error error;

    (void)state;
    fill(0, false, values);
    open_bounded(0.0, &encoder);
    check_ok(kdinr_encoder_push(encoder, &volume, 0.0, &error), error);
    check_fails(kdinr_encoder_look(encoder, &volume, &error), KDINR_ERROR_ARGUMENT,
                "before plan and the first push", error);
    kdinr_encoder_close(encoder);

    open_bounded(0.0, &encoder);
    check_ok(kdinr_encoder_look(encoder, &volume, &error), error);
    volume.dims[2] = NZ - 1;
    check_fails(kdinr_encoder_look(encoder, &volume, &error), KDINR_ERROR_ARGUMENT,
                "7200 samples of 1 components, in the step before it had 7680 of 1", error);
    check_fails(kdinr_encoder_push(encoder, &volume, 0.0, &error), KDINR_ERROR_ARGUMENT,
                "can only be closed", error);
    kdinr_encoder_close(encoder);

    open_bounded(0.0, &encoder);
    volume.n_arrays = 0;
    check_fails(kdinr_encoder_look(encoder, &volume, &error), KDINR_ERROR_ARGUMENT, "arrays",
                error);
    kdinr_encoder_close(encoder);

    open_bounded(100.0, &encoder); /* nothing to guess: the size is given */
    volume.n_arrays = 1;
    for (int k = 0; k < 2; k++) {
        volume.dims[2] = NZ - k;
        check_ok(kdinr_encoder_look(encoder, &volume, &error), error);
    }
    kdinr_encoder_close(encoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guess_knows_what_steps_have_in_common),
        cmocka_unit_test(guess_gives_networks_a_fifth_of_what_residuals_take),
        cmocka_unit_test(looks_decide_about_networks),
        cmocka_unit_test(looks_come_first_and_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
