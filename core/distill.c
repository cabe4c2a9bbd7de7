/* Stage 2, model aggregation: students start from teachers and are trained on what pool.c draws. */
#include "distill.h"

#include <stdlib.h>
#include <string.h>

#include "feedback.h"
#include "pool.h"
#include "quant.h"
#include "rng.h"
#include "rounding.h"
#include "share.h"
#include "status.h"

enum { POOL_ROWS = 1 << 15, PROBE_ROWS = 2048 };

/* A student that starts from a teacher has this share of the teacher's parameters, the rest of
 * random ones: more learns worse to move in time, less forgets what the teacher knew. */
static const float TEACHERS_SHARE = 0.6f;

/* Range of the window: the union of its steps'. Returns whether the student is a constant. */
static bool window_range(const kd_lesson *lesson, kd_student *student)
{
    bool first = true, constant = true;

    memset(student->range, 0, sizeof student->range);
    for (int t = 0; t < lesson->n_steps; t++) {
        if (!lesson->teachers[t]->present) continue;
        for (int c = 0; c < lesson->n_components; c++) {
            const float low = (float)lesson->teachers[t]->range[c][0];
            const float high = (float)lesson->teachers[t]->range[c][1];
            float *range = student->range[c];

            range[0] = first || low < range[0] ? low : range[0];
            range[1] = first || high > range[1] ? high : range[1];
            if (range[1] > range[0]) constant = false;
        }
        first = false;
    }
    return constant;
}

/* The teacher nearest to the middle of the window whose network has the student's shape. */
static const kd_teacher *middle_teacher(const kd_lesson *lesson, const kd_net *net)
{
    const int middle = lesson->n_steps / 2;

    for (int distance = 0; distance <= middle + 1; distance++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            const int t = middle + sign * distance;
            if (t < 0 || t >= lesson->n_steps) continue;
            const kd_teacher *teacher = lesson->teachers[t];
            if (teacher->params != NULL && teacher->net.width == net->width &&
                teacher->net.depth == net->depth) {
                return teacher;
            }
        }
    }
    return NULL;
}

/* Move the random network in params towards what the teacher knows of its step. */
static kdinr_status start_from(const kd_teacher *teacher, kd_student *student, kdinr_error *error)
{
    const kd_net *net = &student->net;
    float *known = malloc(net->n_params * sizeof *known);
    double scale[KD_KDM_MAX_COMPONENTS], offset[KD_KDM_MAX_COMPONENTS];

    if (known == NULL) return kd_fail_memory(error, net->n_params * sizeof *known, "student");
    kd_net_add_time(&teacher->net, teacher->params, net, known);
    for (size_t i = 0; i < net->n_params; i++) {
        student->params[i] += TEACHERS_SHARE * (known[i] - student->params[i]);
    }
    free(known);
    for (int c = 0; c < net->n_outputs; c++) {
        const double to[2] = {student->range[c][0], student->range[c][1]};
        kd_teacher_remap(teacher->range[c], to, &scale[c], &offset[c]);
    }
    kd_net_rescale(net, scale, offset, student->params);
    return KDINR_OK;
}

static kdinr_status initialise(const kd_run *run, const kd_lesson *lesson,
                               const kd_student_plan *plan, kd_student *student, kdinr_error *error)
{
    const kd_teacher *teacher = NULL;

    student->params = malloc(student->net.n_params * sizeof *student->params);
    if (student->params == NULL) {
        return kd_fail_memory(error, student->net.n_params * sizeof *student->params, "student");
    }
    kd_net_initialise(&student->net, plan->shape.omega_hidden, run->options->seed, plan->stream,
                      student->params);
    if (run->options->warm_start) teacher = middle_teacher(lesson, &student->net);
    return teacher == NULL ? KDINR_OK : start_from(teacher, student, error);
}

static kdinr_status round_student(void *user, float *params, kd_outcome *outcome,
                                  kdinr_error *error)
{
    kd_pool *p = user;
    const kdinr_options *options = p->run->options;
    const kd_rounding_aim aim = {p->plan->size, options->quantisation_drop};
    double mse;

    KD_TRY(kd_pool_spread(p, kd_feedback_places(&p->student->net), error));
    const kd_rounding_places places = {&p->student->net, p->coords, p->targets, p->n, p->run};
    KD_TRY(kd_rounding_apply(&places, &aim, params, outcome->units, &mse, error));
    outcome->loss += mse;
    return KDINR_OK;
}

/* How much it would hurt to round each tensor, plainly. */
static kdinr_status measure_sensitivity(kd_pool *p, kdinr_error *error)
{
    const kdinr_options *options = p->run->options;

    KD_TRY(kd_pool_spread(p, PROBE_ROWS, error));
    const kd_quant_probe probe = {p->run->backend,
                                  options,
                                  &p->student->net,
                                  p->student->params,
                                  p->coords,
                                  p->n,
                                  kd_rng_key(options->seed, p->plan->stream)};
    return kd_quant_measure(&probe, p->student->sensitivity, error);
}

static kdinr_status finish(void *user, kdinr_error *error)
{
    kd_pool *p = user;
    kd_student *student = p->student;

    if (p->here) KD_TRY(measure_sensitivity(p, error));
    kd_share_of(p->run->share, p->lesson->trainer);
    KD_TRY(kd_share_bytes(p->run->share, student->modes, kd_pool_count_modes(p), error));
    return kd_share_bytes(p->run->share, student->sensitivity, sizeof student->sensitivity, error);
}

/* The student's initial parameters and, where it is trained, the batches. */
static kdinr_status prepare(kd_pool *p, kdinr_error *error)
{
    const size_t batch = p->plan->schedule.batch * p->n_group;

    kd_net_layout(&p->plan->shape, &p->student->net);
    p->key = kd_rng_key(p->run->options->seed, ~p->plan->stream);
    p->n = batch > POOL_ROWS ? batch : POOL_ROWS / batch * batch;
    KD_TRY(initialise(p->run, p->lesson, p->plan, p->student, error));
    p->student->modes = calloc(kd_pool_count_modes(p) + 1, sizeof *p->student->modes);
    if (p->student->modes == NULL) return kd_fail_memory(error, kd_pool_count_modes(p), "modes");
    if (p->here) KD_TRY(kd_pool_open(p, error));
    p->source = (kd_source){.draw = kd_pool_draw,
                            .user = p,
                            .supply = p->n_group > 1 ? NULL : &p->supply,
                            .gradient_weight = p->run->options->gradient_weight};
    p->rounding = (kd_rounding){round_student, p};
    p->schedule = p->plan->schedule;
    p->schedule.batch = batch;
    p->schedule.samples *= (double)p->n_group;
    p->schedule.rounding =
        p->run->options->weights == KDINR_WEIGHTS_QUANTISED ? &p->rounding : NULL;
    return KDINR_OK;
}

/* pools, trainings: scratch [n] */
static kdinr_status train(kd_run *run, const kd_distill_task *tasks, size_t n, kd_pool *pools,
                          kd_training *trainings, kdinr_error *error)
{
    size_t n_trainings = 0;

    for (size_t i = 0; i < n; i++) {
        kd_student *student = tasks[i].student;
        kd_pool *p = &pools[i];

        *p = (kd_pool){.run = run,
                       .lesson = &tasks[i].lesson,
                       .plan = &tasks[i].plan,
                       .student = student,
                       .n_group = run->options->gradient_weight > 0.0 ? KD_GROUP_ROWS : 1,
                       .here = tasks[i].lesson.trainer == kd_share_rank(run->share),
                       .first = UINT64_MAX};
        if (window_range(p->lesson, student)) {
            KD_TRY(kd_run_advance(run, p->plan->schedule.work, error));
            continue;
        }
        KD_TRY(prepare(p, error));
        trainings[n_trainings++] = (kd_training){.net = &student->net,
                                                 .source = &p->source,
                                                 .schedule = &p->schedule,
                                                 .params = student->params,
                                                 .outcome = &student->outcome,
                                                 .trainer = p->lesson->trainer,
                                                 .finish = finish,
                                                 .user = p};
    }
    return n_trainings == 0 ? KDINR_OK : kd_train(run, trainings, n_trainings, error);
}

kdinr_status kd_distill_train(kd_run *run, const kd_distill_task *tasks, size_t n,
                              kdinr_error *error)
{
    kd_pool *pools = calloc(n, sizeof *pools);
    kd_training *trainings = calloc(n, sizeof *trainings);
    kdinr_status status;

    for (size_t i = 0; i < n; i++) {
        memset(tasks[i].student, 0, sizeof *tasks[i].student);
    }
    if (pools == NULL || trainings == NULL) {
        status = kd_fail_memory(error, n * sizeof *pools, "students");
    } else {
        status = train(run, tasks, n, pools, trainings, error);
    }
    for (size_t i = 0; i < n; i++) {
        if (pools != NULL) kd_pool_free(&pools[i]);
        if (status != KDINR_OK) kd_student_free(tasks[i].student);
    }
    free(pools);
    free(trainings);
    return status;
}

void kd_student_free(kd_student *student)
{
    free(student->params);
    free(student->modes);
    student->params = NULL;
    student->modes = NULL;
}
