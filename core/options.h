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

#endif
