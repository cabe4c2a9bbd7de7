/* Checks of kdinr_options and their one-line record in the file. */
#ifndef KD_OPTIONS_H
#define KD_OPTIONS_H

#include "kdinr.h"

/** Is every option within its range?
 *  errors  ARGUMENT (the message names the option, what was found and what is allowed) */
kdinr_status kd_options_check(const kdinr_options *options, kdinr_error *error);

/** Version, preset, seed and every option that differs from the preset's default.
 *  text  out, ended by 0, cut off if it does not fit */
void kd_options_describe(const kdinr_options *options, char *text, size_t size);

enum { KD_OPTIONS_MAX = 64 };

/** One number among the options. */
typedef struct kd_option {
    const char *name;
    double value;
} kd_option;

/** All that decides the file's bytes, as numbers, always in the same order: every option but
 *  n_threads, what concerns files and what follows training.
 *  list     out
 *  returns  how many there are */
int kd_options_list(const kdinr_options *options, kd_option list[KD_OPTIONS_MAX]);

#endif
