/* Stage 1, spatial compression. The source of batches is the sampler over the brick's samples. */
#include "teacher.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "status.h"

kd_cut kd_cut_describe(const kd_survey *survey, const kd_brick *brick, int n_components,
                       int block_edge)
{
    kd_cut cut = {.brick = brick,
                  .n_components = n_components,
                  .elsewhere = true,
                  .n_present = (size_t)survey->n_present,
                  .constant = true,
                  .blocks = kd_sampler_blocks(brick->dims, block_edge)};

    memcpy(cut.range, survey->range, sizeof cut.range);
    for (int c = 0; c < n_components; c++) {
        if (cut.range[c][1] > cut.range[c][0]) cut.constant = false;
    }
    return cut;
}

kdinr_status kd_cut_allocate(kd_cut *cut, kdinr_error *error)
{
    const size_t n_values = cut->brick->n * (size_t)cut->n_components;

    cut->classes = malloc(cut->brick->n);
    cut->values = malloc(n_values * sizeof *cut->values);
    cut->entropy = calloc(cut->blocks.n, sizeof *cut->entropy);
    cut->present = calloc(cut->blocks.n, sizeof *cut->present);
    if (cut->classes == NULL || cut->values == NULL || cut->entropy == NULL ||
        cut->present == NULL) {
        return kd_fail_memory(error, n_values * sizeof *cut->values, "brick of a time step");
    }
    cut->elsewhere = false;
    return KDINR_OK;
}

kdinr_status kd_cut_make(const kd_view *view, const kd_map *map, const kd_survey *survey,
                         const kd_brick *brick, int block_edge, kd_cut *cut, kdinr_error *error)
{
    *cut = kd_cut_describe(survey, brick, view->array->n_components, block_edge);
    KD_TRY(kd_cut_allocate(cut, error));
    (void)kd_volume_cut_classes(map, &brick->box, cut->classes);
    kd_sampler_present(&cut->blocks, cut->classes, cut->present);
    if (cut->constant) return KDINR_OK;
    kd_volume_normalise(view, &brick->box, cut->classes, (const double(*)[2])cut->range,
                        cut->values);
    kd_sampler_entropy(&cut->blocks, cut->values, cut->classes, cut->n_components, cut->entropy);
    return KDINR_OK;
}

void kd_cut_free(kd_cut *cut)
{
    free(cut->classes);
    free(cut->values);
    free(cut->entropy);
    free(cut->present);
    memset(cut, 0, sizeof *cut);
}

void kd_teacher_remap(const double from[2], const double to[2], double *scale, double *offset)
{
    const double length = to[1] - to[0];

    if (!(length > 0.0)) {
        *scale = *offset = 0.0;
        return;
    }
    *scale = (from[1] - from[0]) / length;
    *offset = (from[0] + from[1] - to[0] - to[1]) / length;
}

/* Batches of stage 1. */
typedef struct cut_source {
    const kd_cut *cut;
    const kd_sampler *sampler;
    uint64_t key;
} cut_source;

static kdinr_status draw_from_cut(void *user, uint64_t first, size_t n, float *coords,
                                  float *targets, kdinr_error *error)
{
    const cut_source *source = user;
    const kd_cut *cut = source->cut;
    const size_t nc = (size_t)cut->n_components;

    (void)error;
    for (size_t b = 0; b < n; b++) {
        int index[3];

        kd_sampler_draw(source->sampler, source->key, first + b, cut->classes, index);
        const size_t at = kd_bricks_at(cut->brick, index);

        kd_bricks_coords(cut->brick, index, coords + b * 3);
        memcpy(targets + b * nc, cut->values + at * nc, nc * sizeof *targets);
    }
    return KDINR_OK;
}

static kd_answer describe_answer(const kd_cut *cut)
{
    kd_answer answer = {.classes = cut->n_present < cut->brick->n ? cut->classes : NULL,
                        .values = cut->values};

    for (int c = 0; c < cut->n_components; c++) {
        answer.scale[c] = 1.0;
    }
    return answer;
}

/* Weights of the step before, its outputs re-mapped to this step's range. A range that changed more
 * than fourfold makes the old weights a bad start. */
static bool warm_start(const kd_teacher_plan *plan, const kd_cut *cut, kd_teacher *teacher)
{
    const kd_teacher *previous = plan->previous;
    double scale[KD_KDM_MAX_COMPONENTS], offset[KD_KDM_MAX_COMPONENTS];

    if (previous == NULL || previous->params == NULL) return false;
    for (int c = 0; c < cut->n_components; c++) {
        kd_teacher_remap(previous->range[c], cut->range[c], &scale[c], &offset[c]);
        if (scale[c] > 4.0 || scale[c] < 0.25) return false;
    }
    memcpy(teacher->params, previous->params, teacher->net.n_params * sizeof *teacher->params);
    kd_net_rescale(&teacher->net, scale, offset, teacher->params);
    return true;
}

/* What one training needs while it lasts. */
typedef struct lecture {
    kd_sampler *sampler; /* owned */
    cut_source user;
    kd_answer answer;
    kd_supply supply;
    kd_source source;
    kd_schedule schedule;
} lecture;

/* The batches, and the teacher's initial parameters. */
static kdinr_status prepare(const kd_run *run, const kd_teacher_task *task, lecture *made,
                            kdinr_error *error)
{
    const kdinr_options *options = run->options;
    const kd_cut *cut = task->cut;
    const kd_teacher_plan *plan = &task->plan;
    kd_teacher *teacher = task->teacher;

    kd_net_layout(&plan->shape, &teacher->net);
    teacher->params = malloc(teacher->net.n_params * sizeof *teacher->params);
    if (teacher->params == NULL) {
        return kd_fail_memory(error, teacher->net.n_params * sizeof *teacher->params, "teacher");
    }
    made->schedule = plan->schedule;
    if (!warm_start(plan, cut, teacher)) {
        made->schedule.samples = plan->cold_samples;
        kd_net_initialise(&teacher->net, plan->shape.omega_hidden, options->seed, plan->stream,
                          teacher->params);
    }
    made->user = (cut_source){cut, NULL, kd_rng_key(options->seed, ~plan->stream)};
    made->source = (kd_source){.draw = draw_from_cut, .user = &made->user};
    if (cut->elsewhere) return KDINR_OK;
    KD_TRY(kd_sampler_create(&cut->blocks, cut->entropy, cut->present, options->sampling,
                             options->epsilon, &made->sampler, error));
    made->answer = describe_answer(cut);
    made->user.sampler = made->sampler;
    made->supply = kd_sampler_supply(made->sampler, cut->brick, made->user.key, 1, &made->answer);
    made->source.supply = &made->supply;
    return KDINR_OK;
}

/* lectures, trainings: scratch [n] */
static kdinr_status train(kd_run *run, const kd_teacher_task *tasks, size_t n, lecture *lectures,
                          kd_training *trainings, kdinr_error *error)
{
    size_t n_trainings = 0;

    for (size_t i = 0; i < n; i++) {
        const kd_teacher_task *task = &tasks[i];
        kd_teacher *teacher = task->teacher;

        memcpy(teacher->range, task->cut->range, sizeof teacher->range);
        teacher->present = task->cut->n_present > 0;
        if (task->cut->constant) {
            KD_TRY(kd_run_advance(run, task->plan.schedule.work, error));
            continue;
        }
        KD_TRY(prepare(run, task, &lectures[i], error));
        trainings[n_trainings++] = (kd_training){.net = &teacher->net,
                                                 .source = &lectures[i].source,
                                                 .schedule = &lectures[i].schedule,
                                                 .params = teacher->params,
                                                 .outcome = &teacher->outcome,
                                                 .trainer = task->trainer};
    }
    return n_trainings == 0 ? KDINR_OK : kd_train(run, trainings, n_trainings, error);
}

kdinr_status kd_teacher_train(kd_run *run, const kd_teacher_task *tasks, size_t n,
                              kdinr_error *error)
{
    lecture *lectures = calloc(n, sizeof *lectures);
    kd_training *trainings = calloc(n, sizeof *trainings);
    kdinr_status status;

    for (size_t i = 0; i < n; i++) {
        memset(tasks[i].teacher, 0, sizeof *tasks[i].teacher);
    }
    if (lectures == NULL || trainings == NULL) {
        status = kd_fail_memory(error, n * sizeof *lectures, "teachers");
    } else {
        status = train(run, tasks, n, lectures, trainings, error);
    }
    for (size_t i = 0; i < n; i++) {
        if (lectures != NULL) kd_sampler_free(lectures[i].sampler);
        if (status != KDINR_OK) kd_teacher_free(tasks[i].teacher);
    }
    free(lectures);
    free(trainings);
    return status;
}

void kd_teacher_free(kd_teacher *teacher)
{
    free(teacher->params);
    teacher->params = NULL;
}
