/* Which ratio networks should be tried at next, so that they come to have a PSNR. Used by search.c,
 * which makes the files; here is only the arithmetic.
 *
 * The PSNR of networks falls by 5 to 15 dB when the ratio grows ten-fold, and two trainings of the
 * same size differ by 0.2 dB. The first ratio follows from that of residuals alone; from there the
 * line through the two trials next to the target leads on, and never out of the bracket; after four
 * trials brackets are halved. */
#ifndef KD_AIM_H
#define KD_AIM_H

#include <stdbool.h>

enum { KD_AIM_MOST = 8 }; /* trials */

/** Networks that were tried. */
typedef struct kd_aim_trial {
    double asked; /* ratio; the file's may be a tenth higher where networks are small */
    double ratio; /* of the file; asked, if it could not be made */
    double psnr;  /* dB; -INFINITY: there can be no such networks, or they learned nothing */
} kd_aim_trial;

typedef struct kd_aim {
    double target; /* dB */
    double alone;  /* ratio of residuals alone, > 1: networks that need a lower one have lost */
    int n;
    kd_aim_trial trials[KD_AIM_MOST];
} kd_aim;

/** The ratio to try next.
 *  errors  false: no further trial is worth its time */
bool kd_aim_next(const kd_aim *aim, double *ratio);

#endif
