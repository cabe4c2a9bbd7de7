/* Sizes and budgets. The constants here are measured: tests/quality/README.md has the tables. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"
#include "status.h"

/* Students stay narrow (about 80 neurons): beyond that more bricks or windows, so that the cost of
 * a sample does not grow with the data. Below about 10,000 parameters bricks lose quality. */
#define MOST_PARAMS    40000.0
#define BITS_PER_PARAM 5.75 /* more, narrower weights lose, and so do fewer, finer ones */
#define NETWORK_BYTES  12.0 /* shape and range of one network in the file, */
#define RANGE_BYTES    8.0  /* of each further component the range, */
#define LAYER_BYTES    2.0  /* of each quantised layer two steps; */
#define SECTION_BYTES  16.0 /* and of section MODE or CLUS, besides a byte an array */
/* Modes of time that students read, where networks have at least so many bytes: smaller ones lose
 * more by their columns and tables than they gain. */
#define MODES             2
#define LEAST_MODES_BYTES 5000.0

/* What separate networks take in one stream can be a little more than each alone: then some are
 * rounded once more, plainly. */
#define CODES_SHARE 0.999

#define STEP_WEIGHT 2 /* a step counts like this many samples when choosing what to split */

/* Samples to draw with effort normal. Where one step at a time is in memory the student knows its
 * teachers only: they need about the same whatever the window, and it sees half as many samples
 * again as it would of the data itself. */
#define WINDOW_SAMPLES        24e6  /* for the steps of a window, */
#define MOST_DRAWS            300.0 /* but of each sample only so many */
#define TEACHER_SAMPLES       4e6   /* of one step in memory, but */
#define TEACHERS_SAMPLES      200e6 /* for those of a long window; */
#define LONG_TEACHER_SAMPLES  2e6   /* yet so many of each, */
#define LEAST_TEACHER_SAMPLES 1e5   /* and of any, with any effort */

#define LEAST_BATCH_SAMPLES 12e6 /* trainings of up to this many have batches of 512 */

/* Residual blocks, or SIREN's layers after the first; of the compared networks as their authors'
 * programs have it. */
enum {
    EVEN_DEPTH = 3,
    BOTTLENECK_DEPTH = 2,
    PAPER_DEPTH = 5,
    COORDNET_DEPTH = 10,
    SIREN_DEPTH = 3,
    NEURCOMP_DEPTH = 7
};

enum {
    UNKNOWN_STEPS = 16,
    LEAST_BRICK = 16, /* samples along an axis, when chosen by us */
    LEAST_WINDOW = 6,
    MOST_WINDOW = 64,
    WIDE_TEACHER = 64,
};

int kd_plan_steps(const kdinr_options *options)
{
    return options->n_steps > 0 ? options->n_steps : UNKNOWN_STEPS;
}

double kd_plan_bits(const kdinr_options *options)
{
    switch (options->weights) {
    case KDINR_WEIGHTS_FLOAT32:
    case KDINR_WEIGHTS_CLUSTERED: /* counted in floats, see float_count */
        return 32.0;
    case KDINR_WEIGHTS_FLOAT16:
        return 16.0;
    default:
        return BITS_PER_PARAM;
    }
}

/* Bits that entropy coding is expected to save of a clustered weight's: a little more than if
 * weights were distributed normally, as measured. Where it saves less there will be fewer centres.
 */
static double saved_bits(int bits)
{
    return fmax(0.0, 0.4 * (1.0 - exp2(2.0 - bits)));
}

/* What the parameters of a network take, in units of kd_plan_bits: their number, or of CLUSTERED
 * ones, whose hidden matrices take less, that of floats of the same size. */
static double float_count(const kdinr_options *options, const kd_net_shape *shape)
{
    const int bits = options->cluster_bits;
    double n_bits = 0.0;
    kd_net net;

    if (options->weights != KDINR_WEIGHTS_CLUSTERED) return (double)kd_net_count(shape);
    kd_net_layout(shape, &net);
    for (int tensor = 0; tensor < 2 * net.n_layers; tensor++) {
        const bool clustered = kd_kdm_clustered(&net, tensor, bits);
        size_t n;

        (void)kd_net_tensor(&net, tensor, &n);
        n_bits += clustered ? 32.0 * exp2(bits) + (double)n * (bits - saved_bits(bits))
                            : 32.0 * (double)n;
    }
    return n_bits / 32.0;
}

/* The widest network for `params` of these units. */
static int width_for(const kdinr_options *options, const kd_net_shape *shape, double params)
{
    kd_net_shape trial = *shape;

    if (options->weights != KDINR_WEIGHTS_CLUSTERED) return kd_net_width_for(shape, params);
    for (trial.width = 2; trial.width < KD_NET_MAX_WIDTH; trial.width++) {
        kd_net_shape wider = trial;

        wider.width++;
        if (float_count(options, &wider) > params) break;
    }
    return trial.width;
}

/* Short trainings want many steps, long ones little noise: a step of four times the samples draws
 * twice as many. */
size_t kd_plan_batch(const kdinr_options *options, double samples)
{
    const double larger = fmax(1.0, fmin(8.0, sqrt(samples / LEAST_BATCH_SAMPLES)));

    return options->batch > 0 ? (size_t)options->batch : 64 * (size_t)(8.0 * larger);
}

static double effort_factor(kdinr_effort effort)
{
    return effort == KDINR_EFFORT_LOW ? 0.25 : effort == KDINR_EFFORT_HIGH ? 4.0 : 1.0;
}

static kdinr_status check_bricks(const int bricks[3], const int samples[3], kdinr_error *error)
{
    for (int axis = 0; axis < 3; axis++) {
        const int most = samples[axis] < 4 ? 1 : (samples[axis] - 1) / 2;

        if (bricks[axis] > most) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "%d bricks along %c, but its %d samples allow at most %d", bricks[axis],
                           'x' + axis, samples[axis], most);
        }
    }
    return KDINR_OK;
}

/* Split the longest axis (time counted as an axis) until a student is small enough. */
static void split(const kdinr_options *options, const int samples[3], double params_in_all,
                  kd_plan *plan)
{
    const int n_steps = kd_plan_steps(options);
    const bool fixed_bricks = options->bricks[0] > 0, fixed_window = options->window > 0;
    int counts[4] = {1, 1, 1, 1};

    if (fixed_bricks) memcpy(counts, options->bricks, 3 * sizeof *counts);
    counts[3] = fixed_window ? (n_steps + options->window - 1) / options->window
                             : (n_steps + MOST_WINDOW - 1) / MOST_WINDOW;
    while (params_in_all / counts[0] / counts[1] / counts[2] / counts[3] > MOST_PARAMS) {
        int longest = -1;
        double most = 0.0;

        for (int axis = 0; axis < 4; axis++) {
            const bool fixed = axis < 3 ? fixed_bricks : fixed_window;
            const double n = axis < 3 ? samples[axis] : n_steps;
            const double length = n / counts[axis] * (axis < 3 ? 1.0 : STEP_WEIGHT);
            const bool thin = n / (counts[axis] + 1) < (axis < 3 ? LEAST_BRICK : LEAST_WINDOW);

            if (fixed || thin || counts[axis] >= KD_KDM_MAX_BRICKS || length <= most) continue;
            most = length;
            longest = axis;
        }
        if (longest < 0) break;
        counts[longest]++;
    }
    memcpy(plan->bricks, counts, sizeof plan->bricks);
    plan->window = fixed_window ? options->window : (n_steps + counts[3] - 1) / counts[3];
}

/* Is there memory for a window's steps, as float32? */
static bool keeps_steps(const kdinr_options *options, const kd_plan_input *input,
                        const kd_plan *plan)
{
    const int n_steps = kd_plan_steps(options);
    const int n_open = plan->window < n_steps ? plan->window : n_steps;
    const int n_bricks = plan->bricks[0] * plan->bricks[1] * plan->bricks[2];
    const double n = (double)input->samples[0] * input->samples[1] * input->samples[2];
    const double bytes = n * input->n_components * (double)sizeof(float) * n_open;

    /* the teacher of a whole step has it in memory anyway */
    if (n_open * n_bricks == 1 && options->preset == KDINR_PRESET_DEFAULT) return true;
    return options->direct || bytes * input->n_arrays <= options->window_memory;
}

/* Samples of a teacher and a student, where no epochs were asked for.
 *  n       samples of a brick in one step
 *  window  steps */
static void effort_budget(const kdinr_options *options, double n, double window, kd_plan *plan)
{
    const double effort = effort_factor(options->effort), step = MOST_DRAWS * n;
    const double all = fmin(WINDOW_SAMPLES, step * window) * effort;

    if (plan->keeps) {
        plan->student_samples = 2.0 * all;
        plan->teacher_samples = all / window * 0.75;
    } else {
        const double enough = fmin(TEACHER_SAMPLES, TEACHERS_SAMPLES / window);
        const double least = fmax(WINDOW_SAMPLES / window, LONG_TEACHER_SAMPLES);

        plan->student_samples = 3.0 * all;
        plan->teacher_samples = fmin(fmax(enough, least), step) * effort;
    }
    plan->teacher_samples = fmax(plan->teacher_samples, LEAST_TEACHER_SAMPLES);
    plan->cold_samples = 4.0 * plan->teacher_samples;
}

/* How many samples are drawn. The number of optimiser steps decides the quality of nets this small,
 * not how often each sample is seen; tiny series need fewer. */
static void budget(const kdinr_options *options, const int samples[3], kd_plan *plan)
{
    const double bricks = (double)plan->bricks[0] * plan->bricks[1] * plan->bricks[2];
    const double n = (double)samples[0] * samples[1] * samples[2] / bricks;
    const double window =
        plan->window < kd_plan_steps(options) ? plan->window : kd_plan_steps(options);

    if (options->epochs > 0) {
        const double edge = options->block_size;
        const double per_epoch = options->sampling_rate * ceil(n / (edge * edge * edge));

        plan->teacher_samples = options->epochs * per_epoch;
        plan->cold_samples = plan->teacher_samples;
        plan->student_samples = plan->teacher_samples * window;
    } else {
        effort_budget(options, n, window, plan);
    }
    if (options->teacher_samples > 0) {
        plan->teacher_samples = options->teacher_samples;
        plan->cold_samples = options->teacher_samples * (options->warm_start ? 4.0 : 1.0);
    }
    if (options->student_samples > 0) plan->student_samples = options->student_samples;
}

static int default_depth(const kdinr_options *options)
{
    switch (options->network) {
    case KDINR_NETWORK_COORDNET:
        return COORDNET_DEPTH;
    case KDINR_NETWORK_SIREN:
        return SIREN_DEPTH;
    case KDINR_NETWORK_NEURCOMP:
        return NEURCOMP_DEPTH;
    default:
        return options->preset == KDINR_PRESET_PAPER  ? PAPER_DEPTH
               : options->blocks == KDINR_BLOCKS_EVEN ? EVEN_DEPTH
                                                      : BOTTLENECK_DEPTH;
    }
}

static kd_form form_of(const kdinr_options *options)
{
    switch (options->network) {
    case KDINR_NETWORK_COORDNET:
        return KD_FORM_KDINR;
    case KDINR_NETWORK_SIREN:
        return KD_FORM_SIREN;
    case KDINR_NETWORK_NEURCOMP:
        return KD_FORM_EVEN;
    default:
        return options->blocks == KDINR_BLOCKS_EVEN ? KD_FORM_EVEN : KD_FORM_KDINR;
    }
}

/* A teacher as narrow as a narrow student knows its step hardly better than that. */
static int teacher_width(int student)
{
    const int twice = 2 * student < WIDE_TEACHER ? 2 * student : WIDE_TEACHER;

    return twice > student ? twice : student;
}

/* The smallest student there can be. */
static kd_net_shape least_shape(const kdinr_options *options, int n_modes, int n_outputs)
{
    const kd_form form = form_of(options);
    const bool bottleneck = options->blocks == KDINR_BLOCKS_BOTTLENECK;

    return (kd_net_shape){.n_inputs = 4 + n_modes,
                          .n_outputs = n_outputs,
                          .width = 2,
                          .depth = options->depth > 0 ? options->depth : 1,
                          .block_layers = form == KD_FORM_SIREN ? 1
                                          : bottleneck          ? 3
                                                                : 2,
                          .omega_first = (float)options->omega_first,
                          .omega_hidden = (float)options->omega_hidden,
                          .form = form};
}

/* Depth and width of the middle student for its share of the parameters. Without quantisation the
 * file's size hangs on the shape alone, so the depth is free to come close to the share. */
static void choose_shape(const kdinr_options *options, double params, kd_net_shape *shape)
{
    const int wanted = options->depth > 0 ? options->depth : default_depth(options);
    double best = INFINITY;

    shape->depth = wanted;
    shape->width = options->width > 0 ? options->width : width_for(options, shape, params);
    if (options->depth > 0 || options->width > 0 || options->weights == KDINR_WEIGHTS_QUANTISED ||
        options->network != KDINR_NETWORK_KDINR) {
        return;
    }
    const kd_net_shape middle = *shape;
    for (int depth = wanted > 2 ? wanted - 2 : 1; depth <= wanted + 4; depth++) {
        kd_net_shape trial = middle;

        trial.depth = depth;
        trial.width = width_for(options, &trial, params);
        const double gap = params - float_count(options, &trial);
        if (gap >= 0.0 && gap < best) {
            best = gap;
            *shape = trial;
        }
    }
}

/* The budget leaves too little for the smallest network: say which ratio would do. What the file
 * spends besides networks is the difference between the data over the ratio and step_bytes. */
static kdinr_status fail_ratio(const kdinr_options *options, const kd_plan_input *input,
                               double least_bytes, kdinr_error *error)
{
    const double n_steps = kd_plan_steps(options);
    const double besides = input->data_bytes / options->ratio - input->step_bytes;
    const double possible = input->data_bytes / (besides + least_bytes);

    return kd_fail(
        error, KDINR_ERROR_DATA,
        "array \"%s\": a ratio of %g leaves %.0f bytes for its %.0f steps, less than its "
        "smallest network; the largest possible ratio is about %.3g",
        input->name, options->ratio, fmax(0.0, input->step_bytes * n_steps), n_steps,
        fmax(1.0, possible));
}

/* bytes: of a network */
static int choose_modes(const kdinr_options *options, double bytes, int n_steps)
{
    const bool small = options->width == 0 && bytes < LEAST_MODES_BYTES;
    const int chosen = small ? 0 : MODES;

    return kd_modes_count(options->modes < 0 ? chosen : options->modes, n_steps);
}

/* Of a network in the file, besides its parameters and modes. */
static double network_bytes(const kdinr_options *options, const kd_net_shape *least)
{
    const bool stepped = options->weights == KDINR_WEIGHTS_QUANTISED;
    kd_net_shape shape = *least;
    kd_net net;

    shape.depth = options->depth > 0 ? options->depth : default_depth(options);
    kd_net_layout(&shape, &net);
    return NETWORK_BYTES + RANGE_BYTES * (shape.n_outputs - 1) +
           (stepped ? LAYER_BYTES * net.n_layers : 0.0);
}

kdinr_status kd_plan_make(const kdinr_options *options, const kd_plan_input *input, kd_plan *plan,
                          kdinr_error *error)
{
    const double n_steps = kd_plan_steps(options), bits = kd_plan_bits(options);
    const bool clustered = options->weights == KDINR_WEIGHTS_CLUSTERED;
    const double rough_bits = clustered ? options->cluster_bits + 1.0 : bits;

    memset(plan, 0, sizeof *plan);
    if (options->bricks[0] > 0) KD_TRY(check_bricks(options->bricks, input->samples, error));
    split(options, input->samples,
          options->width > 0 ? 0.0 : input->step_bytes * n_steps * 8.0 / rough_bits, plan);
    const double n_open = fmin(plan->window, n_steps);
    const double networks = (double)plan->bricks[0] * plan->bricks[1] * plan->bricks[2] / n_open;
    plan->n_modes = choose_modes(options, input->step_bytes / networks, (int)n_open);
    const int n_sections = (plan->n_modes > 0) + clustered;
    const double sections = n_sections * (SECTION_BYTES / input->n_arrays + 1.0);
    kd_net_shape student = least_shape(options, plan->n_modes, input->n_components);
    plan->network_bytes = network_bytes(options, &student);
    const double each = plan->network_bytes + plan->n_modes * n_open;
    plan->keeps = keeps_steps(options, input, plan);
    budget(options, input->samples, plan);
    const double least = float_count(options, &student);
    plan->params_per_step = (input->step_bytes - sections / n_steps - each * networks) * 8.0 / bits;
    plan->fixed_params = (input->fixed_bytes + sections) * 8.0 / bits;
    /* the smallest network is of use with half the bits and more */
    const double least_bytes = (least * bits / 16.0 + each) * networks;
    if (options->width == 0 && !input->constant && input->step_bytes < least_bytes) {
        return fail_ratio(options, input, least_bytes, error);
    }
    choose_shape(options, plan->params_per_step / networks, &student);
    plan->student = student;
    plan->teacher = student;
    plan->teacher.n_inputs = 3;
    if (!plan->keeps && options->preset == KDINR_PRESET_DEFAULT &&
        options->blocks == KDINR_BLOCKS_EVEN) {
        plan->teacher.width = teacher_width(student.width);
    }
    return KDINR_OK;
}

kd_net_shape kd_plan_student_shape(const kd_plan *plan, int width)
{
    kd_net_shape shape = plan->student;

    shape.width = width;
    return shape;
}

double kd_plan_teacher_cost(const kd_plan *plan)
{
    return (double)kd_net_count(&plan->teacher) / (double)kd_net_count(&plan->student);
}

double kd_plan_bytes(const kdinr_options *options, const kd_plan *plan)
{
    const double n_bricks = (double)plan->bricks[0] * plan->bricks[1] * plan->bricks[2];
    const double n_steps = kd_plan_steps(options), n_windows = ceil(n_steps / plan->window);
    const double bytes = float_count(options, &plan->student) * kd_plan_bits(options) / 8.0;

    return n_bricks * (n_windows * (bytes + plan->network_bytes) + n_steps * plan->n_modes);
}

int kd_plan_teachers(const kdinr_options *options, const kd_plan *plan, int n_steps)
{
    if (!plan->keeps) return n_steps;
    return options->direct ? 0 : (n_steps + plan->window - 1) / plan->window;
}

/* Parameters of a window's students together. */
static double window_params(const kdinr_options *options, const kd_plan *plan,
                            const kd_plan_window *window)
{
    const double missing = 1.0 - (double)window->n_pushed / kd_plan_steps(options);
    const double unpaid = window->n_steps < plan->window && missing > 0.0 ? missing : 0.0;
    /* a short window's networks take as many bytes as a whole one's but for parameters, modes */
    const double short_of =
        fmax(0.0, 1.0 - window->n_steps / fmin(plan->window, kd_plan_steps(options)));
    const double aside = window->aside + plan->network_bytes * window->n_bricks * short_of;

    return fmax(0.0, plan->params_per_step * window->n_steps - plan->fixed_params * unpaid -
                         aside * 8.0 / kd_plan_bits(options));
}

void kd_plan_students(const kdinr_options *options, const kd_plan *plan,
                      const kd_plan_window *window, const double *weights,
                      kd_plan_student *students)
{
    const int n_steps = window->n_steps, n_bricks = window->n_bricks;
    const double all = window_params(options, plan, window);
    const bool rounded = options->width == 0 && options->weights == KDINR_WEIGHTS_QUANTISED;
    const kd_net_shape shape = kd_plan_student_shape(plan, plan->student.width);
    double sum = 0.0;

    for (int i = 0; i < n_bricks; i++) {
        sum += sqrt(weights[i]);
    }
    const bool short_window = n_steps * 8 < plan->window * 7;
    for (int i = 0; i < n_bricks; i++) {
        const double even = 1.0 / n_bricks;
        /* an eighth is dealt out evenly: teachers say nothing of what the student will find hard */
        const double share = sum > 0.0 ? 0.875 * sqrt(weights[i]) / sum + 0.125 * even : even;
        const double params = all * share;
        const int width = width_for(options, &shape, params);
        const int middle = plan->student.width;

        students[i].bytes =
            rounded ? fmax(1.0, CODES_SHARE * params * kd_plan_bits(options) / 8.0) : 0.0;
        students[i].width = middle;
        if (options->width > 0 || (n_bricks == 1 && !short_window)) continue;
        /* a student as wide as its teacher can start from it */
        if (abs(width - middle) * 12 > middle) students[i].width = width;
    }
}
