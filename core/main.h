/* The command line `kdinr`, a thin shell over kdinr.h. main.c picks the command, main_options.c
 * reads its flags, main_compress.c, main_decode.c, main_info.c and main_eval.c carry it out;
 * main_files.c reads and writes raw files for them. */
#ifndef KD_MAIN_H
#define KD_MAIN_H

#include <stdio.h>

#include "kdinr.h"

/** Exit codes of the program. */
enum { KD_EXIT_OK = 0, KD_EXIT_FAILURE = 1, KD_EXIT_USAGE = 2 };

/** The commands, as bits: a flag says which of them take it. */
typedef enum kd_command { KD_COMPRESS = 1, KD_DECODE = 2, KD_INFO = 4, KD_EVAL = 8 } kd_command;

/** Everything that the flags say. What a flag does not set keeps the value in brackets. */
typedef struct kd_settings {
    kdinr_options options;        /* [the preset's] */
    const char *output;           /* [NULL] */
    const char *name;             /* of the array to compress ["values"] */
    const char *array;            /* to decode or evaluate [NULL: the first] */
    int dims[3];                  /* points [0,0,0: not given] */
    int type;                     /* kdinr_type of raw files [KDINR_FLOAT32] */
    int own_type;                 /* decode into the stored type instead of float32 [0] */
    int components;               /* [1] */
    bool cells;                   /* the values sit in cells [false] */
    double origin[3], spacing[3]; /* [0,0,0] [1,1,1] */
    const char *times;            /* comma-separated list [NULL] */
    double time_step;             /* [1] */
    double fill;                  /* [NAN: none] */
    double ratio;                 /* [NAN: not given] */
    double psnr;                  /* [NAN: not given] */
    const char *max_error;        /* as given [NULL] */
    const char *devices;          /* as given [NULL] */
    double time;                  /* [NAN: not given] */
    int step;                     /* [-1: not given] */
    int extent[6];                /* [-1,...: not given] */
    bool no_part;                 /* keep nothing to resume from [false] */
    bool no_verify, quiet, json, backends, help;
    const char **files; /* [n_files], the arguments that are not flags */
    int n_files;
} kd_settings;

/* ---- main_options.c ---- */

/** Read the flags of `command` into *settings. On failure a message that says what was found and
 *  what is allowed is on stderr.
 *  arguments  [n], without the program's and the command's name; files are moved to the front
 *  returns    KD_EXIT_OK or KD_EXIT_USAGE */
int kd_options_parse(kd_command command, const char **arguments, int n, kd_settings *settings);

/** Read a comma-separated list of finite numbers.
 *  values   out [max]
 *  returns  how many there are, 0 if the text is anything else or there are more than `max` */
int kd_options_numbers(const char *text, double *values, int max);

/** Print what `command` does and its flags. */
void kd_options_usage(kd_command command, FILE *file);

/* ---- the commands: each returns the exit code, its message printed ---- */

int kd_main_compress(const kd_settings *settings);
int kd_main_decode(const kd_settings *settings);
int kd_main_info(const kd_settings *settings);
int kd_main_eval(const kd_settings *settings);

/* ---- main_files.c ---- */

/** Print "kdinr: message" on stderr.
 *  returns  KD_EXIT_USAGE if something was asked for that cannot be, else KD_EXIT_FAILURE */
int kd_main_report(const kdinr_error *error);

/** Does a raw file hold exactly `size` bytes?
 *  shape   how `size` comes about, for the message
 *  errors  IO, DATA */
kdinr_status kd_main_check_raw(const char *path, size_t size, const char *shape,
                               kdinr_error *error);

/** Read a raw file of exactly `size` bytes.
 *  errors  IO */
kdinr_status kd_main_read_raw(const char *path, void *values, size_t size, kdinr_error *error);

/** Write a raw file under a temporary name in the same folder, sync, rename; straight into `path`
 * if that is a device or a pipe. On failure nothing is left and an older file is untouched. errors
 * IO */
kdinr_status kd_main_write_raw(const char *path, const void *values, size_t size,
                               kdinr_error *error);

/** Could a file be made at `path`? Asked before long work.
 *  errors  IO */
kdinr_status kd_main_check_output(const char *path, kdinr_error *error);

/** Index of the array called `name`, 0 if `name` is NULL.
 *  errors  ARGUMENT (the message lists the names there are) */
kdinr_status kd_main_find_array(const kdinr_info *info, const char *name, int *array,
                                kdinr_error *error);

/** Samples of a request's whole array: those of all axes multiplied. */
size_t kd_main_count(const kdinr_info *info, const kdinr_request *request);

/** Seconds since some fixed moment. */
double kd_main_seconds(void);

/** Print a number as JSON has it: null if it is not finite. */
void kd_main_json_number(double value);

/** Print a text as JSON has it, quotes and all. */
void kd_main_json_text(const char *text);

/** Print [a, b, ...]. */
void kd_main_json_list(const double *values, int n);

#endif
