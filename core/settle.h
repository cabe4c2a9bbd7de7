/* All students are there: give their parameters the bits that go into the file.
 * Before: window.c of every array. After: measure.c checks and kdm.c writes the very same networks.
 */
#ifndef KD_SETTLE_H
#define KD_SETTLE_H

#include "track.h"

/** One encoder's series, all windows closed. */
typedef struct kd_settle {
    const kdinr_options *options;
    kd_model *model;
    kd_track *tracks; /* [model->n_arrays] */
} kd_settle;

/** Quantise so that the file meets options->ratio; or, when a width was given, keep the units that
 * students were rounded to (rounding.h); or store floats, as options->weights says. Estimated
 * qualities in the tracks grow by the error this is expected to add.
 *  errors  DATA (the ratio cannot be met), MEMORY */
kdinr_status kd_settle_networks(const kd_settle *settle, kdinr_error *error);

#endif
