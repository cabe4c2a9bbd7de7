/* The flags of the command line, as one table: each row says which commands take the flag, what
 * must follow it, where in kd_settings it goes and what it is for. The usage text is printed from
 * the same table. Before: main.c has picked the command. After: the command reads kd_settings. */
#include "main.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What follows a flag. For a CHOICE the row's `argument` lists the words, in the order of the enum
 * that they stand for; a whole number whose `argument` ends in "|auto" takes that word for 0. */
typedef enum flag_kind { SWITCH, TEXT, WHOLE, NUMBER, LONG_WHOLE, CHOICE, YES_NO } flag_kind;

typedef struct flag {
    unsigned commands; /* kd_command bits */
    const char *name;
    const char *argument; /* NULL: nothing follows */
    flag_kind kind;
    int n;         /* WHOLE and NUMBER: how many, comma-separated */
    size_t offset; /* in kd_settings */
    const char *help;
} flag;

#define AT(field)     offsetof(kd_settings, field)
#define OPTION(field) (offsetof(kd_settings, options) + offsetof(kdinr_options, field))
#define RUNNERS       (KD_COMPRESS | KD_DECODE | KD_EVAL)
#define TYPES         "f32|f64|u8|i8|u16|i16|u32|i32|u64|i64"

#define PRESETS  "default|paper"
#define NETWORKS "kdinr|coordnet|siren|neurcomp"

static const flag flags[] = {
    {KD_COMPRESS, "-o", "OUT.kdm", TEXT, 1, AT(output), "file to write"},
    {KD_COMPRESS, "--dims", "X,Y,Z", WHOLE, 3, AT(dims), "points of the grid"},
    {KD_COMPRESS, "--type", TYPES, CHOICE, 1, AT(type), "of the values (f32)"},
    {KD_COMPRESS, "--components", "N", WHOLE, 1, AT(components), "values per sample, together (1)"},
    {KD_COMPRESS, "--cells", NULL, SWITCH, 1, AT(cells), "values sit in cells, not on points"},
    {KD_COMPRESS, "--name", "NAME", TEXT, 1, AT(name), "of the array (values)"},
    {KD_COMPRESS, "--fill", "V", NUMBER, 1, AT(fill), "this value means missing, as NaN does"},
    {KD_COMPRESS, "--origin", "a,b,c", NUMBER, 3, AT(origin),
     "position of the first point (0,0,0)"},
    {KD_COMPRESS, "--spacing", "a,b,c", NUMBER, 3, AT(spacing), "between points (1,1,1)"},
    {KD_COMPRESS, "--times", "t0,t1,...", TEXT, 1, AT(times), "time of each file (0,1,2,...)"},
    {KD_COMPRESS, "--time-step", "DT", NUMBER, 1, AT(time_step), "times are 0, DT, 2 DT, ... (1)"},

    {KD_COMPRESS, "--ratio", "R", NUMBER, 1, AT(ratio), "data bytes / file bytes (500)"},
    {KD_COMPRESS, "--max-error", "E|Er|P%", TEXT, 1, AT(max_error),
     "no sample off by more: E, E times the range, or P % of it"},
    {KD_COMPRESS, "--residuals-alone", NULL, SWITCH, 1, OPTION(residuals_alone),
     "with --max-error: train no networks"},
    {KD_COMPRESS, "--psnr", "DB", NUMBER, 1, AT(psnr), "the smallest file that has it"},
    {KD_COMPRESS, "--width", "M", WHOLE, 1, OPTION(width),
     "neurons of the first layer (from ratio)"},
    {KD_COMPRESS, "--depth", "D", WHOLE, 1, OPTION(depth), "residual blocks"},
    {KD_COMPRESS, "--bricks", "NX,NY,NZ|auto", WHOLE, 3, OPTION(bricks), "networks along x, y, z"},
    {KD_COMPRESS, "--window", "N|auto", WHOLE, 1, OPTION(window), "time steps per student"},
    {KD_COMPRESS, "--preset", PRESETS, CHOICE, 1, OPTION(preset), "where settings start"},
    {KD_COMPRESS, "--network", NETWORKS, CHOICE, 1, OPTION(network),
     "for comparisons: a method of the paper's Table III"},
    {KD_COMPRESS, "--effort", "low|normal|high", CHOICE, 1, OPTION(effort),
     "1/4, 1 or 4 times the training"},
    {KD_COMPRESS, "--seed", "N", LONG_WHOLE, 1, OPTION(seed), "of the random numbers"},
    {KD_COMPRESS, "--no-verify", NULL, SWITCH, 1, AT(no_verify),
     "estimate the quality, skip the second pass"},
    {KD_COMPRESS, "--resume", NULL, SWITCH, 1, OPTION(resume),
     "go on from OUT.kdm.part, which an ended run leaves"},
    {KD_COMPRESS, "--no-part", NULL, SWITCH, 1, AT(no_part), "keep nothing to resume from"},
    {KD_COMPRESS, "--keep-bad", NULL, SWITCH, 1, OPTION(keep_bad),
     "write the file even if nothing was learned"},

    {KD_COMPRESS, "--blocks", "even|bottleneck|plain", CHOICE, 1, OPTION(blocks),
     "one width m, or the paper's 4m-m-m-4m or 4m-4m-4m"},
    {KD_COMPRESS, "--omega", "V|auto", NUMBER, 1, OPTION(omega_first),
     "frequency of the first layer"},
    {KD_COMPRESS, "--omega-hidden", "V", NUMBER, 1, OPTION(omega_hidden),
     "frequency of the others"},
    {KD_COMPRESS, "--modes", "0..4", WHOLE, 1, OPTION(modes),
     "of time, that students read beside time (2, 0 in small files)"},
    {KD_COMPRESS, "--optimizer", "muon|adam", CHOICE, 1, OPTION(optimizer),
     "of the hidden matrices"},
    {KD_COMPRESS, "--decay", "cosine|halving", CHOICE, 1, OPTION(decay), "of the learning rates"},
    {KD_COMPRESS, "--batch", "N", WHOLE, 1, OPTION(batch), "samples per optimiser step"},
    {KD_COMPRESS, "--epochs", "N", WHOLE, 1, OPTION(epochs), "of the paper's schedule"},
    {KD_COMPRESS, "--teacher-samples", "N", NUMBER, 1, OPTION(teacher_samples),
     "samples per teacher"},
    {KD_COMPRESS, "--student-samples", "N", NUMBER, 1, OPTION(student_samples),
     "samples per student"},
    {KD_COMPRESS, "--teacher-rate", "R", NUMBER, 1, OPTION(teacher_rate),
     "learning rate of stage 1"},
    {KD_COMPRESS, "--student-rate", "R", NUMBER, 1, OPTION(student_rate),
     "learning rate of stage 2"},
    {KD_COMPRESS, "--matrix-rate-scale", "S", NUMBER, 1, OPTION(matrix_rate_scale),
     "Muon's rate / the rate"},
    {KD_COMPRESS, "--gradient-weight", "L", NUMBER, 1, OPTION(gradient_weight),
     "of a loss on gradients, with --direct or --network (0)"},
    {KD_COMPRESS, "--warm-start", "no|yes", YES_NO, 1, OPTION(warm_start),
     "start from the step before"},
    {KD_COMPRESS, "--window-memory", "BYTES", NUMBER, 1, OPTION(window_memory),
     "steps kept until their student is trained (2^30)"},
    {KD_COMPRESS, "--direct", NULL, SWITCH, 1, OPTION(direct), "study: no teachers at all"},
    {KD_COMPRESS, "--precision", "auto|32|tf32|mixed|16", CHOICE, 1, OPTION(precision),
     "of products in training, on cuda (mixed)"},
    {KD_COMPRESS, "--sampling", "entropy|uniform", CHOICE, 1, OPTION(sampling),
     "how voxels are drawn"},
    {KD_COMPRESS, "--block-size", "2|4|8|16", WHOLE, 1, OPTION(block_size),
     "edge of entropy blocks"},
    {KD_COMPRESS, "--sampling-rate", "R", NUMBER, 1, OPTION(sampling_rate),
     "blocks per epoch / blocks"},
    {KD_COMPRESS, "--epsilon", "E", NUMBER, 1, OPTION(epsilon),
     "eq. 2; negative: -E / number of blocks"},
    {KD_COMPRESS, "--weights", "quantised|float16|float32|clustered", CHOICE, 1, OPTION(weights),
     "as stored"},
    {KD_COMPRESS, "--quantisation-drop", "DB", NUMBER, 1, OPTION(quantisation_drop),
     "that rounding weights may cost, with --width (0.2)"},
    {KD_COMPRESS, "--cluster-bits", "B", WHOLE, 1, OPTION(cluster_bits),
     "clustered weights: 2^B centres a matrix, 1 to 9 (9)"},

    {KD_DECODE, "-o", "OUT.raw", TEXT, 1, AT(output), "file to write, x fastest"},
    {KD_DECODE, "--type", "float32|own", CHOICE, 1, AT(own_type),
     "of the values written (float32)"},
    {KD_DECODE | KD_EVAL, "--array", "NAME", TEXT, 1, AT(array), "which array (the first)"},
    {KD_DECODE, "--time", "T", NUMBER, 1, AT(time), "any time, between steps too"},
    {KD_DECODE, "--step", "K", WHOLE, 1, AT(step), "a stored step, from 0 (0)"},
    {KD_DECODE, "--dims", "X,Y,Z", WHOLE, 3, AT(dims),
     "points across the stored bounds (as stored)"},
    {KD_DECODE, "--extent", "x0,x1,y0,y1,z0,z1", WHOLE, 6, AT(extent),
     "samples wanted, inclusive (all)"},
    {RUNNERS, "--memory-limit", "BYTES", LONG_WHOLE, 1, OPTION(memory_limit),
     "for one decode (the machine's, at most 64 GiB)"},
    {KD_INFO, "--backends", NULL, SWITCH, 1, AT(backends),
     "list what can compute here; takes no file"},
    {KD_INFO | KD_EVAL, "--json", NULL, SWITCH, 1, AT(json), "for programs"},
    {RUNNERS, "--threads", "N", WHOLE, 1, OPTION(n_threads), "0: all (0)"},
    {RUNNERS, "--backend", "NAME", TEXT, 1, OPTION(backend),
     "auto, or one of kdinr info --backends"},
    {RUNNERS, "--devices", "all|K,...", TEXT, 1, AT(devices),
     "GPUs, from 0, that share the networks (0)"},
    {RUNNERS, "--quiet", NULL, SWITCH, 1, AT(quiet), "print nothing but failures"},
    {RUNNERS | KD_INFO, "--help", NULL, SWITCH, 1, AT(help), "this text"},
};
enum { N_FLAGS = sizeof flags / sizeof flags[0] };

/* A command's name and the lines above its flags. */
static const struct {
    kd_command command;
    const char *name, *files, *help;
} commands[] = {
    {KD_COMPRESS, "compress", "-o OUT.kdm --dims X,Y,Z [flags] FILE...",
     "Compress a time series: one raw little-endian file per time step, x fastest."},
    {KD_DECODE, "decode", "IN.kdm -o OUT.raw [flags]",
     "Write one time step, or a part of it, at any time and resolution."},
    {KD_INFO, "info", "IN.kdm [--json]", "Say what a file holds and how good it is."},
    {KD_EVAL, "eval", "IN.kdm FILE... [flags]",
     "Compare with the original files: PSNR (peak: range of the series), RMSE, maximum error."},
};

static const char *command_name(kd_command command)
{
    int i = 0;

    while (commands[i].command != command) {
        i++;
    }
    return commands[i].name;
}

void kd_options_usage(kd_command command, FILE *file)
{
    int row = 0;

    while (commands[row].command != command) {
        row++;
    }
    fprintf(file, "kdinr %s %s\n%s\n\n", commands[row].name, commands[row].files,
            commands[row].help);
    for (int i = 0; i < N_FLAGS; i++) {
        const char *argument = flags[i].argument != NULL ? flags[i].argument : "";
        const int space = (int)(30 - strlen(flags[i].name) - 1);

        if ((flags[i].commands & (unsigned)command) == 0) continue;
        fprintf(file, "  %s %-*s %s\n", flags[i].name, space, argument, flags[i].help);
    }
}

int kd_options_numbers(const char *text, double *values, int max)
{
    int n = 0;

    for (;; text++) {
        char *end;
        double value;

        value = strtod(text, &end);
        if (end == text || !isfinite(value) || n == max) return 0;
        values[n++] = value;
        text = end;
        if (*text == '\0') return n;
        if (*text != ',') return 0;
    }
}

/* Exactly n numbers, whole ones if `whole`. */
static bool read_numbers(const flag *f, const char *text, bool whole, double *values)
{
    const char *argument_end = f->argument + strlen(f->argument);
    const bool takes_auto =
        argument_end - f->argument > 5 && strcmp(argument_end - 5, "|auto") == 0;

    if (takes_auto && strcmp(text, "auto") == 0) {
        memset(values, 0, (size_t)f->n * sizeof *values);
        return true;
    }
    if (kd_options_numbers(text, values, f->n) != f->n) return false;
    for (int i = 0; whole && i < f->n; i++) {
        if (values[i] != floor(values[i]) || fabs(values[i]) > INT_MAX) return false;
    }
    return true;
}

/* Place of `text` in the list of words "a|b|c", or -1. */
static int read_choice(const char *words, const char *text)
{
    const size_t length = strlen(text);

    for (int i = 0; words != NULL; i++) {
        const size_t word = strcspn(words, "|");

        if (word == length && memcmp(words, text, word) == 0) return i;
        words = words[word] == '|' ? words + word + 1 : NULL;
    }
    return -1;
}

static bool read_long_whole(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* Store what follows a flag that is no SWITCH where the flag's row says. False: the text is not
 * what is needed. */
static bool store(const flag *f, const char *text, kd_settings *settings)
{
    char *field = (char *)settings + f->offset;
    double numbers[6];
    uint64_t long_whole;
    int choice;

    switch (f->kind) {
    case TEXT:
        memcpy(field, &text, sizeof text);
        return text[0] != '\0';
    case WHOLE:
        if (!read_numbers(f, text, true, numbers)) return false;
        for (int i = 0; i < f->n; i++) {
            memcpy(field + (size_t)i * sizeof(int), &(int){(int)numbers[i]}, sizeof(int));
        }
        return true;
    case NUMBER:
        if (!read_numbers(f, text, false, numbers)) return false;
        memcpy(field, numbers, (size_t)f->n * sizeof(double));
        return true;
    case LONG_WHOLE:
        if (!read_long_whole(text, &long_whole)) return false;
        memcpy(field, &long_whole, sizeof long_whole);
        return true;
    case CHOICE:
        choice = read_choice(f->argument, text);
        memcpy(field, &choice, sizeof choice);
        return choice >= 0;
    case YES_NO:
        choice = read_choice(f->argument, text);
        memcpy(field, &(bool){choice == 1}, sizeof(bool));
        return choice >= 0;
    case SWITCH: /* nothing follows */
        break;
    }
    return false;
}
_Static_assert(sizeof(kdinr_preset) == sizeof(int), "a CHOICE is stored as int");

/* The row of the flag that `argument` is, given as "--flag" or "--flag=value"; NULL if there is
 * none. *value is what follows the '=', or NULL. */
static const flag *find_flag(kd_command command, const char *argument, const char **value)
{
    const size_t length = strcspn(argument, "=");

    *value = argument[length] == '=' ? argument + length + 1 : NULL;
    for (int i = 0; i < N_FLAGS; i++) {
        if ((flags[i].commands & (unsigned)command) != 0 && strlen(flags[i].name) == length &&
            memcmp(flags[i].name, argument, length) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

/* Print what is wrong with the command line. */
__attribute__((format(printf, 2, 3))) static int complain(kd_command command, const char *format,
                                                          ...)
{
    va_list arguments;

    fprintf(stderr, "kdinr %s: ", command_name(command));
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see kdinr %s --help\n", command_name(command));
    return KD_EXIT_USAGE;
}

/* The flag at arguments[*i] and what follows it. */
static int read_flag(kd_command command, const char **arguments, int n, int *i,
                     kd_settings *settings)
{
    const char *value;
    const flag *f = find_flag(command, arguments[*i], &value);

    if (f == NULL) return complain(command, "there is no flag %s", arguments[*i]);
    if (f->kind == SWITCH) {
        if (value != NULL) return complain(command, "%s takes no value", f->name);
        memcpy((char *)settings + f->offset, &(bool){true}, sizeof(bool));
        return KD_EXIT_OK;
    }
    if (value == NULL) {
        if (*i + 1 == n) return complain(command, "%s needs %s", f->name, f->argument);
        value = arguments[++*i];
    }
    if (!store(f, value, settings)) {
        return complain(command, "%s needs %s, found '%s'", f->name, f->argument, value);
    }
    return KD_EXIT_OK;
}

/* Which of the words follows flag `name`, wherever it is; 0 without the flag or such a word. */
static int find_choice(const char *name, const char *words, const char **arguments, int n)
{
    int found = 0;

    for (int i = 0; i < n; i++) {
        const size_t length = strcspn(arguments[i], "=");
        const char *value = arguments[i][length] == '=' ? arguments[i] + length + 1
                            : i + 1 < n                 ? arguments[i + 1]
                                                        : "";

        if (length != strlen(name) || memcmp(arguments[i], name, length) != 0) continue;
        const int choice = read_choice(words, value);
        found = choice < 0 ? 0 : choice;
    }
    return found;
}

/* The options of preset and network; flags then change them, whatever their order. */
static kdinr_options preset_options(const char **arguments, int n)
{
    return kdinr_options_for((kdinr_preset)find_choice("--preset", PRESETS, arguments, n),
                             (kdinr_network)find_choice("--network", NETWORKS, arguments, n));
}

/* --max-error: a number, with r times the range, with % hundredths of it. Without --ratio the
 * networks are as large as pays. */
static int read_max_error(kd_command command, kd_settings *settings)
{
    kdinr_options *options = &settings->options;
    char *end;

    if (settings->max_error == NULL) return KD_EXIT_OK;
    options->max_error = strtod(settings->max_error, &end);
    options->max_error_relative = *end == 'r' || *end == '%';
    if (*end == '%') options->max_error /= 100.0;
    if (options->max_error_relative) end++;
    if (end == settings->max_error || *end != '\0' || !(options->max_error > 0.0) ||
        !isfinite(options->max_error)) {
        return complain(command, "--max-error needs E, Er or P%%, more than 0, found '%s'",
                        settings->max_error);
    }
    if (settings->no_verify) {
        return complain(command, "--max-error needs the second pass that --no-verify leaves out");
    }
    if (isnan(settings->ratio)) options->ratio = 0.0;
    return KD_EXIT_OK;
}

/* --devices: all, or numbers. */
static int read_devices(kd_command command, kd_settings *settings)
{
    const char *text = settings->devices;
    double numbers[64];

    if (text == NULL) return KD_EXIT_OK;
    if (strcmp(text, "all") == 0) {
        settings->options.devices = KDINR_DEVICES_ALL;
        return KD_EXIT_OK;
    }
    const int n = kd_options_numbers(text, numbers, 64);
    bool fits = n > 0;
    for (int i = 0; i < n; i++) {
        fits = fits && numbers[i] == floor(numbers[i]) && numbers[i] >= 0.0 && numbers[i] < 64.0;
        if (fits) settings->options.devices |= UINT64_C(1) << (int)numbers[i];
    }
    return fits ? KD_EXIT_OK
                : complain(command,
                           "--devices needs all, or numbers from 0 to 63 such as 0,2, found '%s'",
                           text);
}

int kd_options_parse(kd_command command, const char **arguments, int n, kd_settings *settings)
{
    *settings = (kd_settings){.options = preset_options(arguments, n),
                              .name = "values",
                              .components = 1,
                              .spacing = {1.0, 1.0, 1.0},
                              .time_step = 1.0,
                              .fill = (double)NAN,
                              .ratio = (double)NAN,
                              .psnr = (double)NAN,
                              .time = (double)NAN,
                              .step = -1,
                              .extent = {-1, -1, -1, -1, -1, -1},
                              .files = arguments};

    for (int i = 0; i < n; i++) {
        const bool is_flag = arguments[i][0] == '-' && arguments[i][1] != '\0';

        if (is_flag) {
            const int code = read_flag(command, arguments, n, &i, settings);
            if (code != KD_EXIT_OK) return code;
        } else {
            arguments[settings->n_files++] = arguments[i];
        }
    }
    if (!isnan(settings->ratio)) settings->options.ratio = settings->ratio;
    if (!isnan(settings->psnr)) {
        if (!isnan(settings->ratio) || settings->max_error != NULL || settings->no_verify ||
            settings->options.resume) {
            return complain(command, "--psnr cannot be combined with --ratio, --max-error, "
                                     "--no-verify or --resume");
        }
        settings->options.psnr = settings->psnr;
    }
    const int code = read_devices(command, settings);
    return code != KD_EXIT_OK ? code : read_max_error(command, settings);
}
