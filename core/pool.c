/* Samples of stage 2; pool.h. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "modes.h"
#include "rng.h"
#include "status.h"

enum { MODE_PLACES = 4096 };

static kdinr_status allocate(kd_pool *p, kdinr_error *error)
{
    const size_t n_steps = (size_t)p->lesson->n_steps, nc = (size_t)p->lesson->n_components;

    p->learnt = malloc(n_steps * sizeof *p->learnt);
    p->answerers = calloc(n_steps, sizeof *p->answerers);
    p->coords = malloc(p->n * (size_t)p->student->net.n_inputs * sizeof *p->coords);
    p->targets = malloc(p->n * nc * sizeof *p->targets);
    p->asked = malloc(p->n * 3 * sizeof *p->asked);
    p->answers = malloc(p->n * nc * sizeof *p->answers);
    p->at = malloc(p->n * sizeof *p->at);
    if (p->learnt == NULL || p->answerers == NULL || p->coords == NULL || p->targets == NULL ||
        p->asked == NULL || p->answers == NULL || p->at == NULL) {
        return kd_fail_memory(error, p->n * (14 + 2 * nc) * sizeof(float), "distillation pool");
    }
    return KDINR_OK;
}

/* What is learnt of step t: its data or else its teacher's answers, re-mapped from the step's range
 * to the window's. */
static kd_answer describe_answer(const kd_pool *p, int t)
{
    const kd_lesson *lesson = p->lesson;
    const kd_teacher *teacher = lesson->teachers[t];
    kd_answer answer = {.classes = lesson->classes[t],
                        .values = lesson->values[t],
                        .net = teacher->params == NULL ? NULL : &teacher->net,
                        .params = teacher->params};

    for (int c = 0; c < lesson->n_components; c++) {
        const double to[2] = {p->student->range[c][0], p->student->range[c][1]};
        kd_teacher_remap(teacher->range[c], to, &answer.scale[c], &answer.offset[c]);
    }
    return answer;
}

static kdinr_status open_teachers(kd_pool *p, kdinr_error *error)
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
static void place(const kd_pool *p, size_t n, const int index[3])
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
static size_t choose_rows(kd_pool *p, uint64_t first, size_t draw, const uint8_t *classes)
{
    const size_t n_draws = p->n / p->n_group;
    size_t n = 0;

    for (; draw < n_draws; draw += (size_t)p->n_active) {
        int index[3], neighbour[3];

        kd_sampler_draw(p->sampler, p->key, first + draw, classes, index);
        place(p, n++, index);
        for (int axis = 0; axis + 1 < (int)p->n_group; axis++) {
            find_neighbour(p->lesson->brick, classes, index, axis, neighbour);
            place(p, n++, neighbour);
        }
    }
    return n;
}

/* p->answers = what the data says at the chosen places, or else the teacher of active step i. */
static kdinr_status ask(kd_pool *p, int i, size_t n, kdinr_error *error)
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
static void scatter(kd_pool *p, size_t draw, const kd_answer *learnt, size_t n)
{
    const size_t nc = (size_t)p->lesson->n_components, n_active = (size_t)p->n_active;
    const size_t n_inputs = (size_t)p->student->net.n_inputs;

    for (size_t i = 0; i < n; i++) {
        const size_t row = (draw + i / p->n_group * n_active) * p->n_group + i % p->n_group;
        float *to = p->coords + row * n_inputs;

        memcpy(to, p->asked + i * 3, 3 * sizeof *to);
        memcpy(to + 3, learnt->times, (n_inputs - 3) * sizeof *to);
        for (size_t c = 0; c < nc; c++) {
            const float a = p->answers[i * nc + c];
            const float answer = a < -1.0f ? -1.0f : a > 1.0f ? 1.0f : a;

            p->targets[row * nc + c] = (float)(answer * learnt->scale[c] + learnt->offset[c]);
        }
    }
}

/* Fill the pool with samples first .. first + n - 1. */
static kdinr_status fill(kd_pool *p, uint64_t first, kdinr_error *error)
{
    const uint64_t first_draw = first / p->n_group;

    for (int i = 0; i < p->n_active; i++) {
        const size_t n_active = (size_t)p->n_active;
        const size_t draw = ((size_t)i + n_active - (size_t)(first_draw % n_active)) % n_active;
        const size_t n = choose_rows(p, first_draw, draw, p->learnt[i].classes);

        KD_TRY(ask(p, i, n, error));
        scatter(p, draw, &p->learnt[i], n);
    }
    p->first = first;
    return KDINR_OK;
}

kdinr_status kd_pool_draw(void *user, uint64_t first, size_t n, float *coords, float *targets,
                          kdinr_error *error)
{
    kd_pool *p = user;
    const size_t nc = (size_t)p->lesson->n_components;
    const size_t n_inputs = (size_t)p->student->net.n_inputs;

    if (p->first == UINT64_MAX || first < p->first || first + n > p->first + p->n) {
        KD_TRY(fill(p, first, error));
    }
    memcpy(coords, p->coords + (first - p->first) * n_inputs, n * n_inputs * sizeof *coords);
    memcpy(targets, p->targets + (first - p->first) * nc, n * nc * sizeof *targets);
    return KDINR_OK;
}

/* ---- modes of time ---- */

/* Places that stand for the brick, present or not. */
static void choose_places(kd_pool *p, size_t n)
{
    const kd_brick *brick = p->lesson->brick;

    for (size_t k = 0; k < n; k++) {
        int index[3];

        for (int axis = 0; axis < 3; axis++) {
            const uint64_t bits = kd_rng_at(p->key, 3 * k + (uint64_t)axis);
            index[axis] = (int)kd_rng_below(bits, (uint32_t)brick->dims[axis]);
        }
        place(p, k, index);
    }
}

/* What active step i says there, on the student's scale.
 *  said     out [n_components][n_steps][n], this step's rows of it
 *  missing  out [n_steps][n], likewise */
static kdinr_status ask_places(kd_pool *p, int i, size_t n, float *said, uint8_t *missing,
                               kdinr_error *error)
{
    const kd_answer *learnt = &p->learnt[i];
    const size_t nc = (size_t)p->lesson->n_components, n_steps = (size_t)p->lesson->n_steps;

    KD_TRY(ask(p, i, n, error));
    for (size_t k = 0; k < n; k++) {
        missing[k] = learnt->classes != NULL ? learnt->classes[p->at[k]] : 0;
        for (size_t c = 0; c < nc; c++) {
            said[c * n_steps * n + k] =
                (float)(p->answers[k * nc + c] * learnt->scale[c] + learnt->offset[c]);
        }
    }
    return KDINR_OK;
}

/* The student's modes from what all steps say at the same n places. Steps without present samples
 * are missing.
 *  said, missing  scratch as above
 *  sums           scratch [n_steps][n_steps], 0 */
static kdinr_status find_modes(kd_pool *p, size_t n, float *said, uint8_t *missing, double *sums,
                               kdinr_error *error)
{
    const size_t n_steps = (size_t)p->lesson->n_steps;
    const size_t n_modes = (size_t)p->student->net.n_inputs - 4;
    int i = 0;

    memset(missing, 1, n_steps * n);
    choose_places(p, n);
    for (size_t t = 0; t < n_steps; t++) {
        if (!p->lesson->teachers[t]->present) continue;
        KD_TRY(ask_places(p, i++, n, said + t * n, missing + t * n, error));
    }
    for (size_t c = 0; c < (size_t)p->lesson->n_components; c++) {
        KD_TRY(kd_modes_add(said + c * n_steps * n, missing, n, n_steps, sums, error));
    }
    return kd_modes_find(sums, n_steps, n_modes, p->student->modes, error);
}

/* Tell all steps' answers the times that they are at. */
static void place_in_time(kd_pool *p)
{
    const int n_steps = p->lesson->n_steps;
    int i = 0;

    for (int t = 0; t < n_steps; t++) {
        if (!p->lesson->teachers[t]->present) continue;
        kd_modes_inputs(p->student->modes, p->student->net.n_inputs - 4, n_steps, t,
                        kd_bricks_local_time(0, n_steps - 1, t), p->learnt[i++].times);
    }
}

static kdinr_status make_modes(kd_pool *p, kdinr_error *error)
{
    const size_t n_steps = (size_t)p->lesson->n_steps, nc = (size_t)p->lesson->n_components;
    const size_t n = p->n < MODE_PLACES ? p->n : MODE_PLACES;
    float *said = calloc(nc * n_steps * n, sizeof *said);
    uint8_t *missing = malloc(n_steps * n);
    double *sums = calloc(n_steps * n_steps, sizeof *sums);
    kdinr_status status;

    if (said == NULL || missing == NULL || sums == NULL) {
        status = kd_fail_memory(error, n_steps * (4 * nc * n + 8 * n_steps), "modes");
    } else {
        status = find_modes(p, n, said, missing, sums, error);
    }
    free(said);
    free(missing);
    free(sums);
    return status;
}

size_t kd_pool_count_modes(const kd_pool *p)
{
    return (size_t)p->lesson->n_steps * (size_t)(p->student->net.n_inputs - 4);
}

/* ---- opening ---- */

kdinr_status kd_pool_open(kd_pool *p, kdinr_error *error)
{
    const kdinr_options *options = p->run->options;
    const kd_lesson *lesson = p->lesson;

    KD_TRY(allocate(p, error));
    KD_TRY(open_teachers(p, error));
    if (kd_pool_count_modes(p) > 0) KD_TRY(make_modes(p, error));
    place_in_time(p);
    KD_TRY(kd_sampler_create(&lesson->blocks, lesson->entropy, lesson->present, options->sampling,
                             options->epsilon, &p->sampler, error));
    p->supply = kd_sampler_supply(p->sampler, lesson->brick, p->key, p->n_active, p->learnt);
    return KDINR_OK;
}

kdinr_status kd_pool_spread(kd_pool *p, size_t n_rows, kdinr_error *error)
{
    kd_sampler_free(p->sampler);
    p->sampler = NULL;
    KD_TRY(kd_sampler_create(&p->lesson->blocks, p->lesson->entropy, p->lesson->present,
                             KDINR_SAMPLING_UNIFORM, 0.0, &p->sampler, error));
    p->n = n_rows;
    return fill(p, 0, error);
}

void kd_pool_free(kd_pool *p)
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
