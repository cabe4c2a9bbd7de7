/* What compression did to the data: squared and maximum error of a step, exact (second pass over
 * the data) or estimated (from rows of samples kept when the step was pushed). Before: field.c
 * decodes. After: encode.c records PSNR and maximum error in the file. */
#ifndef KD_MEASURE_H
#define KD_MEASURE_H

#include "field.h"
#include "volume.h"

/** Errors of one step of one array; present samples only. */
typedef struct kd_quality {
    double squares[KD_KDM_MAX_COMPONENTS]; /* mean squared error per component */
    double first[KD_KDM_MAX_COMPONENTS];   /* a value of the original; means are taken from it */
    double means[KD_KDM_MAX_COMPONENTS];   /* of the original, less `first` */
    double spreads[KD_KDM_MAX_COMPONENTS]; /* mean square of the original less `first` */
    double n_present;                      /* samples of the whole step that are present */
    double max_error;
    bool exact;
} kd_quality;

/** Rows of samples kept of a step. */
typedef struct kd_kept {
    int n_rows, length;
    int (*starts)[3]; /* [n_rows] first sample of each row, owned */
    double *values;   /* [n_rows][length][n_components], owned */
    uint8_t *classes; /* [n_rows][length], owned */
} kd_kept;

/** Collective. Keep up to 64 rows of up to 64 samples along x.
 *  view     what this process has of the step; all have each sample together
 *  samples  of the array, per axis
 *  errors   MEMORY, as kd_share_exchange */
kdinr_status kd_measure_keep(const kd_view *view, const int samples[3], uint64_t key,
                             struct kd_share *share, kd_kept *kept, kdinr_error *error);

/** Compare kept rows with what the field says at step s. Sets all but n_present.
 *  errors  MEMORY, BACKEND */
kdinr_status kd_measure_kept(kd_field *field, int n_components, const kd_kept *kept, double s,
                             kd_quality *quality, kdinr_error *error);

/** The box of samples that process `rank` compares: a run of slabs of a few rows. */
kd_box kd_measure_box(const int samples[3], int rank, int n_ranks);

/** Collective. Compare a whole step, a slab at a time.
 *  view    what this process has of the step
 *  errors  ARGUMENT (the view lacks samples of kd_measure_box), MEMORY, BACKEND, CANCELLED */
kdinr_status kd_measure_step(kd_field *field, const kd_view *view, double s, kd_quality *quality,
                             kd_run *run, kdinr_error *error);

/** Free what kept owns. */
void kd_measure_release(kd_kept *kept);

/** PSNR in dB, rounded to 0.01, of a mean squared error relative to the squared peak; INFINITY for
 *  0. Peak: the range of the series (sec. IV names PSNR; the peak is our convention). */
double kd_measure_psnr(double relative_mse);

/** Mean over components of squares[c] / range^2 (a component with an empty range counts only its
 *  errors: 0 if exact, else its square). */
double kd_measure_relative(const kd_quality *quality, const double range[][2], int n_components);

#endif
