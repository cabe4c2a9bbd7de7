/* Which first-layer frequency learns a brick of the first step fastest. */
#include "pilot.h"

#include <math.h>

#include "share.h"
#include "status.h"

enum {
    PILOT_WIDTH = 16,
    PILOT_BATCH = 1024,
    PILOT_STEPS = 300,      /* at most, for each frequency; */
    LEAST_PILOT_STEPS = 40, /* else all together draw half as many samples as a cold teacher */
};

/* Long trainings want lower frequencies than the pilot's short ones do. */
#define PILOT_SHARE 0.7f

/* None is lower than 6: a pilot that chose 4 by chance cost viscousfingers 1.4 dB. */
static const float pilot_omegas[] = {6, 8, 11, 15, 20, 30};

enum { N_OMEGAS = sizeof pilot_omegas / sizeof *pilot_omegas };

/* A short training from one frequency. */
static kd_teacher_task try_omega(const kd_run *run, const kd_cut *cut, const kd_plan *plan,
                                 float omega, kd_teacher *teacher)
{
    const double steps = fmax(
        LEAST_PILOT_STEPS, fmin(PILOT_STEPS, plan->cold_samples / (2.0 * N_OMEGAS * PILOT_BATCH)));
    kd_teacher_plan trial = {.shape = plan->teacher, .stream = UINT64_C(0x70696C6F74)};

    trial.shape.omega_first = omega;
    if (trial.shape.width > PILOT_WIDTH) trial.shape.width = PILOT_WIDTH;
    trial.cold_samples = floor(steps) * PILOT_BATCH;
    trial.schedule = (kd_schedule){.samples = trial.cold_samples,
                                   .batch = PILOT_BATCH,
                                   .rate = run->options->teacher_rate,
                                   .stands_for_wider = true};
    return (kd_teacher_task){cut, trial, KD_TRAIN_ANYWHERE, teacher};
}

kdinr_status kd_pilot_run(kd_run *run, const kd_cut *cut, kd_plan *plan, kdinr_error *error)
{
    kd_teacher teachers[N_OMEGAS] = {0};
    kd_teacher_task tasks[N_OMEGAS];
    int best = 0;
    kdinr_status status = KDINR_OK;

    plan->teacher.omega_first = plan->student.omega_first = 10.0f;
    if (cut->constant) return KDINR_OK;
    for (int i = 0; i < N_OMEGAS; i++) {
        tasks[i] = try_omega(run, cut, plan, pilot_omegas[i], &teachers[i]);
    }
    KD_TRY_DONE(kd_teacher_train(run, tasks, N_OMEGAS, error));
    KD_TRY_DONE(kd_share_exchange(run->share, run->part, error));
    for (int i = 1; i < N_OMEGAS; i++) {
        if (teachers[i].outcome.loss < teachers[best].outcome.loss) best = i;
    }
    plan->teacher.omega_first = PILOT_SHARE * pilot_omegas[best];
    plan->student.omega_first = plan->teacher.omega_first;

done:
    for (int i = 0; i < N_OMEGAS; i++) {
        kd_teacher_free(&teachers[i]);
    }
    return status;
}
