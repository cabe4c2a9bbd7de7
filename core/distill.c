/* Stage 2, model aggregation. Samples are made a pool at a time, so that each teacher answers many
 * coordinates per call; batches are consecutive rows of the pool and mix all steps evenly. */
#include "distill.h"

#include <stdlib.h>
#include <string.h>

#include "quant.h"
#include "rng.h"
#include "share.h"
#include "status.h"

enum { POOL_ROWS = 1 << 15, PROBE_ROWS = 2048 };

/* A student that starts from a teacher has this share of the teacher's parameters, the rest of
 * random ones: more learns worse to move in time, less forgets what the teacher knew. */
static const float TEACHERS_SHARE = 0.6f;

/* Batches of stage 2. With a loss on gradients every draw gives a group of rows, see
 * kd_backend_config; row r belongs to draw r / n_group. */
typedef struct pool {
    kd_run *run;
    const kd_lesson *lesson;
    const kd_student_plan *plan;
    kd_student *student;
    kd_schedule schedule;
    kd_rounding rounding;
    kd_supply supply;
    kd_source source;
    kd_sampler *sampler;
    uint64_t key;
    size_t n_group;    /* rows of a draw: 1 or KD_GROUP_ROWS */
    int n_active;      /* steps that have present samples */
    kd_answer *learnt; /* [n_active] what is learnt of each */
    bool here;         /* is this the process that trains? */
    void **answerers;  /* [n_active] backend states of the teachers, NULL where there is none */
    uint64_t first;    /* row 0 of the pool is this sample; UINT64_MAX: empty */
    size_t n;          /* rows */
    float *coords;     /* [n][4] */
    float *targets;    /* [n][n_components] */
    float *asked;      /* [n][3] coordinates put to one teacher */
    float *answers;    /* [n][n_components] */
    size_t *at;        /* [n] sample indices in the brick */
} pool;

static void pool_free(pool *p)
{
    for (int i = 0; i < p->n_active; i++) {
        p->run->backend->close(p->answerers[i]);
    }
    kd_sampler_free(p->sampler);
    free(p->learnt);
    free(p->answerers);
    free(p->coords);
    free(p->targets);
    free(p->asked);
    free(p->answers);
    free(p->at);
}

static kdinr_status pool_allocate(pool *p, kdinr_error *error)
{
    const size_t n_steps = (size_t)p->lesson->n_steps, nc = (size_t)p->lesson->n_components;

    p->learnt = malloc(n_steps * sizeof *p->learnt);
    p->answerers = calloc(n_steps, sizeof *p->answerers);
    p->coords = malloc(p->n * 4 * sizeof *p->coords);
    p->targets = malloc(p->n * nc * sizeof *p->targets);
    p->asked = malloc(p->n * 3 * sizeof *p->asked);
    p->answers = malloc(p->n * nc * sizeof *p->answers);
    p->at = malloc(p->n * sizeof *p->at);
    if (p->learnt == NULL || p->answerers == NULL || p->coords == NULL || p->targets == NULL ||
        p->asked == NULL || p->answers == NULL || p->at == NULL) {
        return kd_fail_memory(error, p->n * (10 + 2 * nc) * sizeof(float), "distillation pool");
    }
    return KDINR_OK;
}

/* What is learnt of step t: its data or else its teacher's answers, re-mapped from the step's range
 * to the window's. */
static kd_answer describe_answer(const pool *p, int t)
{
    const kd_lesson *lesson = p->lesson;
    const kd_teacher *teacher = lesson->teachers[t];
    kd_answer answer = {.classes = lesson->classes[t],
                        .values = lesson->values[t],
                        .net = teacher->params == NULL ? NULL : &teacher->net,
                        .params = teacher->params,
                        .time = kd_bricks_local_time(0, lesson->n_steps - 1, t)};

    for (int c = 0; c < lesson->n_components; c++) {
        const double to[2] = {p->student->range[c][0], p->student->range[c][1]};
        kd_teacher_remap(teacher->range[c], to, &answer.scale[c], &answer.offset[c]);
    }
    return answer;
}

static kdinr_status pool_open_teachers(pool *p, kdinr_error *error)
{
    const kd_backend_config config = kd_backend_evaluation(p->run->options);

    for (int t = 0; t < p->lesson->n_steps; t++) {
        if (!p->lesson->teachers[t]->present) continue;
        const int i = p->n_active++;
        const kd_answer *answer = &p->learnt[i];

        p->learnt[i] = describe_answer(p, t);
        if (answer->net == NULL || answer->values != NULL) continue;
        KD_TRY(p->run->backend->open(answer->net, &config, &p->answerers[i], error));
        KD_TRY(p->run->backend->set_params(p->answerers[i], answer->params, error));
    }
    return KDINR_OK;
}

/* Where to ask for the n-th row of a step. */
static void pool_place(const pool *p, size_t n, const int index[3])
{
    kd_bricks_coords(p->lesson->brick, index, p->asked + n * 3);
    p->at[n] = kd_bricks_at(p->lesson->brick, index);
}

/* The sample next to `index` along an axis, or the one before it; `index` itself where both are
 * outside the brick or missing. */
static void find_neighbour(const kd_brick *brick, const uint8_t *classes, const int index[3],
                           int axis, int neighbour[3])
{
    for (int side = 1; side >= -1; side -= 2) {
        memcpy(neighbour, index, 3 * sizeof *index);
        neighbour[axis] += side;
        if (neighbour[axis] < 0 || neighbour[axis] >= brick->dims[axis]) continue;
        if (classes == NULL || classes[kd_bricks_at(brick, neighbour)] == KD_MISSING_NONE) return;
    }
    memcpy(neighbour, index, 3 * sizeof *index);
}

/* Draws draw, draw + n_active, ... of the pool belong to one step: choose where to ask. */
static size_t pool_choose(pool *p, uint64_t first, size_t draw, const uint8_t *classes)
{
    const size_t n_draws = p->n / p->n_group;
    size_t n = 0;

    for (; draw < n_draws; draw += (size_t)p->n_active) {
        int index[3], neighbour[3];

        kd_sampler_draw(p->sampler, p->key, first + draw, classes, index);
        pool_place(p, n++, index);
        for (int axis = 0; axis + 1 < (int)p->n_group; axis++) {
            find_neighbour(p->lesson->brick, classes, index, axis, neighbour);
            pool_place(p, n++, neighbour);
        }
    }
    return n;
}

/* p->answers = what the data says at the chosen places, or else the teacher of active step i. */
static kdinr_status pool_ask(pool *p, int i, size_t n, kdinr_error *error)
{
    const size_t nc = (size_t)p->lesson->n_components;

    if (p->answerers[i] != NULL) {
        return p->run->backend->evaluate(p->answerers[i], p->asked, n, p->answers, error);
    }
    const float *data = p->learnt[i].values;
    for (size_t k = 0; k < n; k++) {
        for (size_t c = 0; c < nc; c++) {
            p->answers[k * nc + c] = data == NULL ? -1.0f : data[p->at[k] * nc + c];
        }
    }
    return KDINR_OK;
}

/* Answers, re-mapped, into their rows. */
static void pool_scatter(pool *p, size_t draw, const kd_answer *learnt, size_t n)
{
    const size_t nc = (size_t)p->lesson->n_components, n_active = (size_t)p->n_active;

    for (size_t i = 0; i < n; i++) {
        const size_t row = (draw + i / p->n_group * n_active) * p->n_group + i % p->n_group;

        memcpy(p->coords + row * 4, p->asked + i * 3, 3 * sizeof *p->coords);
        p->coords[row * 4 + 3] = learnt->time;
        for (size_t c = 0; c < nc; c++) {
            const float a = p->answers[i * nc + c];
            const float answer = a < -1.0f ? -1.0f : a > 1.0f ? 1.0f : a;

            p->targets[row * nc + c] = (float)(answer * learnt->scale[c] + learnt->offset[c]);
        }
    }
}

static kdinr_status pool_fill(pool *p, uint64_t first, kdinr_error *error)
{
    const uint64_t first_draw = first / p->n_group;

    for (int i = 0; i < p->n_active; i++) {
        const size_t n_active = (size_t)p->n_active;
        const size_t draw = ((size_t)i + n_active - (size_t)(first_draw % n_active)) % n_active;
        const size_t n = pool_choose(p, first_draw, draw, p->learnt[i].classes);

        KD_TRY(pool_ask(p, i, n, error));
        pool_scatter(p, draw, &p->learnt[i], n);
    }
    p->first = first;
    return KDINR_OK;
}

static kdinr_status draw_from_pool(void *user, uint64_t first, size_t n, float *coords,
                                   float *targets, kdinr_error *error)
{
    pool *p = user;
    const size_t nc = (size_t)p->lesson->n_components;

    if (p->first == UINT64_MAX || first < p->first || first + n > p->first + p->n) {
        KD_TRY(pool_fill(p, first, error));
    }
    memcpy(coords, p->coords + (first - p->first) * 4, n * 4 * sizeof *coords);
    memcpy(targets, p->targets + (first - p->first) * nc, n * nc * sizeof *targets);
    return KDINR_OK;
}

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

/* How much each tensor's rounding would hurt, at the first rows of the pool. */
static kdinr_status probe_pool(const pool *p, const float *params, double *sensitivity,
                               kdinr_error *error)
{
    const kdinr_options *options = p->run->options;
    const kd_quant_probe probe = {p->run->backend,
                                  options,
                                  &p->student->net,
                                  params,
                                  p->coords,
                                  p->n < PROBE_ROWS ? p->n : PROBE_ROWS,
                                  kd_rng_key(options->seed, p->plan->stream)};
    return kd_quant_measure(&probe, sensitivity, error);
}

static kdinr_status choose_units(void *user, const float *params, float *units, kdinr_error *error)
{
    const pool *p = user;
    double sensitivity[KD_KDM_MAX_TENSORS];

    /* Nobody has filled the pool where the backend draws itself. */
    if (p->first == UINT64_MAX) KD_TRY(pool_fill(user, 0, error));
    KD_TRY(probe_pool(p, params, sensitivity, error));
    return kd_quant_units(&p->student->net, params, sensitivity, p->plan->size, units, error);
}

/* The same at places that stand for the whole brick. */
static kdinr_status measure_sensitivity(pool *p, kdinr_error *error)
{
    kd_sampler_free(p->sampler);
    p->sampler = NULL;
    KD_TRY(kd_sampler_create(&p->lesson->blocks, p->lesson->entropy, p->lesson->present,
                             KDINR_SAMPLING_UNIFORM, 0.0, &p->sampler, error));
    p->n = p->n < PROBE_ROWS ? p->n : PROBE_ROWS;
    KD_TRY(pool_fill(p, 0, error));
    return probe_pool(p, p->student->params, p->student->sensitivity, error);
}

static kdinr_status finish(void *user, kdinr_error *error)
{
    pool *p = user;
    kd_student *student = p->student;

    if (p->here) KD_TRY(measure_sensitivity(p, error));
    kd_share_of(p->run->share, p->lesson->trainer);
    return kd_share_bytes(p->run->share, student->sensitivity, sizeof student->sensitivity, error);
}

/* What the process that trains needs. */
static kdinr_status open_pool(pool *p, kdinr_error *error)
{
    const kdinr_options *options = p->run->options;
    const kd_lesson *lesson = p->lesson;

    KD_TRY(pool_allocate(p, error));
    KD_TRY(pool_open_teachers(p, error));
    KD_TRY(kd_sampler_create(&lesson->blocks, lesson->entropy, lesson->present, options->sampling,
                             options->epsilon, &p->sampler, error));
    p->supply = kd_sampler_supply(p->sampler, lesson->brick, p->key, p->n_active, p->learnt);
    return KDINR_OK;
}

/* The student's initial parameters and, where it is trained, the batches. */
static kdinr_status prepare(pool *p, kdinr_error *error)
{
    const size_t batch = p->plan->schedule.batch * p->n_group;

    kd_net_layout(&p->plan->shape, &p->student->net);
    p->key = kd_rng_key(p->run->options->seed, ~p->plan->stream);
    p->n = batch > POOL_ROWS ? batch : POOL_ROWS / batch * batch;
    KD_TRY(initialise(p->run, p->lesson, p->plan, p->student, error));
    if (p->here) KD_TRY(open_pool(p, error));
    p->source = (kd_source){.draw = draw_from_pool,
                            .user = p,
                            .supply = p->n_group > 1 ? NULL : &p->supply,
                            .gradient_weight = p->run->options->gradient_weight};
    p->rounding = (kd_rounding){choose_units, p};
    p->schedule = p->plan->schedule;
    p->schedule.batch = batch;
    p->schedule.samples *= (double)p->n_group;
    p->schedule.rounding = p->plan->size > 0.0 ? &p->rounding : NULL;
    return KDINR_OK;
}

/* pools, trainings: scratch [n] */
static kdinr_status train(kd_run *run, const kd_distill_task *tasks, size_t n, pool *pools,
                          kd_training *trainings, kdinr_error *error)
{
    size_t n_trainings = 0;

    for (size_t i = 0; i < n; i++) {
        kd_student *student = tasks[i].student;
        pool *p = &pools[i];

        *p = (pool){.run = run,
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
    pool *pools = calloc(n, sizeof *pools);
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
        if (pools != NULL) pool_free(&pools[i]);
        if (status != KDINR_OK) kd_student_free(tasks[i].student);
    }
    free(pools);
    free(trainings);
    return status;
}

void kd_student_free(kd_student *student)
{
    free(student->params);
    student->params = NULL;
}
