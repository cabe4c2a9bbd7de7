/* Hidden weights to numbers of a few centres (k-means), as NeurComp's authors store them (Lu et
 * al., 2021). Beside quant.c, which is better at equal bytes: there what one weight loses others
 * make up for. Before: settle.c. After: kdm.c. */
#ifndef KD_CLUSTER_H
#define KD_CLUSTER_H

#include "quant.h"

/** Numbers to a few centres, with the least sum of squared distances that Lloyd's iteration finds
 *  from the centres that would be best if the numbers were many. It is deterministic.
 *  values     [n], finite, n >= n_centres
 *  n_centres  1..2^bits; others repeat the first and the last
 *  centres    out [2^bits], ascending; two can be equal if values are
 *  codes      out [n] number of the nearest centre, less 2^bits / 2
 *  errors     MEMORY */
kdinr_status kd_cluster_values(const float *values, size_t n, size_t n_centres, int bits,
                               float *centres, int16_t *codes, kdinr_error *error);

/** Make all items' networks CLUSTERED, with 2^bits centres for each matrix. Arrays must have
 *  cluster_bits already, networks no parameters of their own.
 *  added   out [n_items] mean squared output error that this is expected to add
 *  errors  MEMORY */
kdinr_status kd_cluster_apply(const kd_quant_item *items, size_t n_items, int bits, double *added,
                              kdinr_error *error);

/** What a file is to become. */
typedef struct kd_cluster_aim {
    size_t size;   /* bytes that it may have */
    double *added; /* out [n_items], see kd_cluster_apply */
} kd_cluster_aim;

/** The same with fewer centres, at least two, if the packed model would otherwise be too large:
 *  widths are planned with the bytes that codes are expected to take.
 *  errors  DATA (two are too many), MEMORY */
kdinr_status kd_cluster_fit(const kd_model *model, const kd_quant_item *items, size_t n_items,
                            int bits, const kd_cluster_aim *aim, kdinr_error *error);

#endif
