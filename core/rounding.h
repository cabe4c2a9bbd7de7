/* From a trained student's parameters to multiples of units: which units keep to a size, or to a
 * loss, and the rounding. Before: distill.c, at the end of a training. After: quant.c finds that
 * the parameters are multiples, and stores how many. */
#ifndef KD_ROUNDING_H
#define KD_ROUNDING_H

#include "kdinr.h"
#include "net.h"
#include "train.h"

/** A trained network, places that stand for its whole brick, and what it learnt there. */
typedef struct kd_rounding_places {
    const kd_net *net;
    const float *coords;  /* [n][net->n_inputs] */
    const float *targets; /* [n][net->n_outputs] */
    size_t n;             /* 1 and more */
    const kd_run *run;    /* its threads, and its callback, which may cancel */
} kd_rounding_places;

/** What rounding must keep to. */
typedef struct kd_rounding_aim {
    double size; /* bytes that the codes may take; 0: any */
    double drop; /* without a size: dB that the network's error may grow by, about */
} kd_rounding_aim;

/** Choose units and round, with error feedback (feedback.h).
 *  params  in/out [n_params]
 *  units   out [2 * n_layers]
 *  mse     out mean squared change of the outputs, at the places
 *  errors  MEMORY, CANCELLED */
kdinr_status kd_rounding_apply(const kd_rounding_places *places, const kd_rounding_aim *aim,
                               float *params, float *units, double *mse, kdinr_error *error);

#endif
