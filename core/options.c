/* Defaults, ranges and the record of options. One table holds the name and range of every number,
 * so that checks, messages and provenance cannot disagree. */
#include "options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "status.h"

kdinr_options kdinr_options_default(void)
{
    const kdinr_options options = {.ratio = 500,
                                   .modes = -1,
                                   .omega_hidden = 30,
                                   .preset = KDINR_PRESET_DEFAULT,
                                   .effort = KDINR_EFFORT_NORMAL,
                                   .optimizer = KDINR_OPTIMIZER_MUON,
                                   .decay = KDINR_DECAY_COSINE,
                                   .teacher_rate = 1e-3,
                                   .student_rate = 1e-3,
                                   .matrix_rate_scale = 0.25,
                                   .warm_start = true,
                                   .window_memory = 1 << 30,
                                   .seed = 1,
                                   .sampling = KDINR_SAMPLING_ENTROPY,
                                   .block_size = 4,
                                   .sampling_rate = 0.5,
                                   .epsilon = -0.1,
                                   .weights = KDINR_WEIGHTS_QUANTISED,
                                   .quantisation_drop = 0.2,
                                   .cluster_bits = 9,
                                   .backend = "auto"};
    return options;
}

kdinr_options kdinr_options_paper(void)
{
    kdinr_options options = kdinr_options_default();

    options.preset = KDINR_PRESET_PAPER;
    options.blocks = KDINR_BLOCKS_BOTTLENECK;
    options.modes = 0;
    options.bricks[0] = options.bricks[1] = options.bricks[2] = 1;
    options.window = 1024;
    options.omega_first = 30;
    options.optimizer = KDINR_OPTIMIZER_ADAM;
    options.decay = KDINR_DECAY_HALVING;
    options.epochs = 400;
    options.teacher_rate = 1e-4;
    options.student_rate = 1e-5;
    options.warm_start = false;
    options.window_memory = 0;
    options.batch = 512;
    options.epsilon = 0.01;
    options.weights = KDINR_WEIGHTS_FLOAT32;
    return options;
}

/* Learning rates of the networks' own authors, from their programs; SIREN's from its paper. */
static double own_rate(kdinr_network network)
{
    return network == KDINR_NETWORK_COORDNET ? 1e-5 : network == KDINR_NETWORK_SIREN ? 1e-4 : 5e-5;
}

kdinr_options kdinr_options_for(kdinr_preset preset, kdinr_network network)
{
    const bool paper = preset == KDINR_PRESET_PAPER;
    kdinr_options options = paper ? kdinr_options_paper() : kdinr_options_default();

    if (network == KDINR_NETWORK_KDINR) return options;
    options.network = network;
    options.blocks = KDINR_BLOCKS_EVEN;
    options.modes = 0;
    options.omega_first = 30;
    options.optimizer = KDINR_OPTIMIZER_ADAM;
    options.teacher_rate = paper ? options.teacher_rate : own_rate(network);
    options.student_rate = options.teacher_rate;
    options.warm_start = false;
    options.direct = true;
    options.sampling = KDINR_SAMPLING_UNIFORM;
    if (network == KDINR_NETWORK_NEURCOMP && !paper) options.weights = KDINR_WEIGHTS_CLUSTERED;
    return options;
}

/* A number among the options: where it is, what it may be. */
typedef struct number {
    const char *name;
    size_t offset;
    bool is_int;
    bool zero_too; /* 0 is allowed besides low..high: chosen by the encoder */
    double low, high;
} number;

#define INTEGER(field, zero, low, high)                                                            \
    {                                                                                              \
#field, offsetof(kdinr_options, field), true, zero, low, high                              \
    }
#define REAL(field, zero, low, high)                                                               \
    {                                                                                              \
#field, offsetof(kdinr_options, field), false, zero, low, high                             \
    }

static const number numbers[] = {
    REAL(ratio, true, 1, 1e6),
    REAL(max_error, true, 1e-300, 1e300),
    INTEGER(width, true, 2, 256),
    INTEGER(depth, true, 1, 32),
    INTEGER(bricks[0], true, 1, 64),
    INTEGER(bricks[1], true, 1, 64),
    INTEGER(bricks[2], true, 1, 64),
    INTEGER(window, true, 1, 1024),
    INTEGER(modes, false, -1, KD_NET_MAX_MODES),
    INTEGER(n_steps, true, 1, 1 << 20),
    INTEGER(network, false, 0, 3),
    INTEGER(blocks, false, 0, 2),
    REAL(omega_first, true, 0.1, 1000),
    REAL(omega_hidden, false, 0.1, 1000),
    INTEGER(preset, false, 0, 1),
    INTEGER(effort, false, 0, 2),
    INTEGER(optimizer, false, 0, 1),
    INTEGER(decay, false, 0, 1),
    INTEGER(batch, true, 1, 1 << 20),
    INTEGER(epochs, true, 1, 1e6),
    REAL(teacher_samples, true, 1, 1e15),
    REAL(student_samples, true, 1, 1e15),
    REAL(teacher_rate, false, 1e-7, 1),
    REAL(student_rate, false, 1e-7, 1),
    REAL(matrix_rate_scale, false, 1e-3, 1e3),
    REAL(gradient_weight, true, 1e-12, 1e6),
    REAL(window_memory, true, 1, 1e18),
    INTEGER(sampling, false, 0, 1),
    INTEGER(block_size, false, 2, 16),
    REAL(sampling_rate, false, 0.01, 1),
    REAL(epsilon, false, -1e6, 1e6),
    INTEGER(weights, false, 0, 3),
    REAL(quantisation_drop, false, 0.001, 6),
    INTEGER(cluster_bits, false, 1, 9),
    INTEGER(precision, false, 0, 4),
    INTEGER(n_threads, true, 1, 1024),
};

static double get(const kdinr_options *options, const number *n)
{
    const char *at = (const char *)options + n->offset;
    double value;
    int integer;

    if (n->is_int) {
        memcpy(&integer, at, sizeof integer);
        return integer;
    }
    memcpy(&value, at, sizeof value);
    return value;
}

kdinr_status kd_options_check(const kdinr_options *options, kdinr_error *error)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const number *n = &numbers[i];
        const double value = get(options, n);

        if (n->zero_too && value == 0.0) continue;
        if (!(value >= n->low && value <= n->high)) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT, "option %s is %g, allowed are %g to %g%s",
                           n->name, value, n->low, n->high, n->zero_too ? ", or 0" : "");
        }
    }
    if ((options->block_size & (options->block_size - 1)) != 0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option block_size is %d, allowed are 2, 4, 8 and 16", options->block_size);
    }
    if (options->network != KDINR_NETWORK_KDINR && options->blocks != KDINR_BLOCKS_EVEN) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option blocks is %d, but network %d has its own: only network %d may",
                       (int)options->blocks, (int)options->network, KDINR_NETWORK_KDINR);
    }
    if (options->gradient_weight != 0.0 && !options->direct) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option gradient_weight is %g, which needs direct: teachers have no loss on "
                       "gradients",
                       options->gradient_weight);
    }
    if (options->psnr != 0.0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option psnr is %g: it takes several passes over the series, which only "
                       "kdinr_compress_series can make",
                       options->psnr);
    }
    if (options->ratio == 0.0 && options->max_error == 0.0) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option ratio is 0, which needs max_error; otherwise allowed are 1 to 1e6");
    }
    const int given =
        (options->bricks[0] > 0) + (options->bricks[1] > 0) + (options->bricks[2] > 0);
    if (given != 0 && given != 3) {
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "option bricks is %d,%d,%d: give all three counts, or 0,0,0 to let them be chosen",
            options->bricks[0], options->bricks[1], options->bricks[2]);
    }
    if (options->backend == NULL) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option backend is NULL, \"auto\" is the default");
    }
    return KDINR_OK;
}

void kd_options_describe(const kdinr_options *options, char *text, size_t size)
{
    const kdinr_options base = kdinr_options_for(options->preset, options->network);
    int used = snprintf(text, size, "kdinr %s seed=%llu", KDINR_VERSION,
                        (unsigned long long)options->seed);

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && used >= 0 && (size_t)used < size;
         i++) {
        const number *n = &numbers[i];

        /* neither changes the result */
        if (n->offset == offsetof(kdinr_options, n_threads) ||
            n->offset == offsetof(kdinr_options, n_steps)) {
            continue;
        }
        const bool always = (n->offset == offsetof(kdinr_options, ratio) && options->width == 0) ||
                            (n->offset == offsetof(kdinr_options, network) &&
                             options->network != KDINR_NETWORK_KDINR);
        if (!always && get(options, n) == get(&base, n) &&
            n->offset != offsetof(kdinr_options, preset)) {
            continue;
        }
        if (n->offset == offsetof(kdinr_options, preset) &&
            options->preset == KDINR_PRESET_DEFAULT) {
            continue;
        }
        used += snprintf(text + used, size - (size_t)used, " %s=%g", n->name, get(options, n));
    }
    if (options->max_error_relative && used >= 0 && (size_t)used < size) {
        used += snprintf(text + used, size - (size_t)used, " max_error_relative=1");
    }
    const bool cold = options->warm_start != base.warm_start;
    if (used >= 0 && (size_t)used < size) {
        snprintf(text + used, size - (size_t)used, "%s%s",
                 cold ? (options->warm_start ? " warm_start=1" : " warm_start=0") : "",
                 options->direct == base.direct ? ""
                 : options->direct              ? " direct=1"
                                                : " direct=0");
    }
}

int kd_options_list(const kdinr_options *options, kd_option list[KD_OPTIONS_MAX])
{
    const kd_option others[] = {{"seed", (double)(options->seed >> 32)},
                                {"seed", (double)(options->seed & UINT32_MAX)},
                                {"warm_start", options->warm_start},
                                {"direct", options->direct},
                                {"max_error_relative", options->max_error_relative},
                                {"residuals_alone", options->residuals_alone}};
    int n = 0;

    _Static_assert(sizeof numbers / sizeof *numbers + sizeof others / sizeof *others <=
                       KD_OPTIONS_MAX,
                   "room for all options");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].offset == offsetof(kdinr_options, n_threads)) continue;
        list[n++] = (kd_option){numbers[i].name, get(options, &numbers[i])};
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        list[n++] = others[i];
    }
    return n;
}

const char *kdinr_backend_name(int i, const char **reason)
{
    const kd_backend *const *list = kd_backend_list();

    for (int k = 0; list[k] != NULL; k++) {
        if (k != i) continue;
        const char *why = NULL;
        if (list[k]->available(&why)) why = NULL;
        if (reason != NULL) *reason = why;
        return list[k]->name;
    }
    return NULL;
}
