/* What feedback.c knows of a network before it rounds: what each layer reads at all places, what
 * the outputs make of its answers, and Cholesky's L of each group of rows. Private to feedback.c
 * and feedback_layers.c, which fills it. */
#ifndef KD_FEEDBACK_LAYERS_H
#define KD_FEEDBACK_LAYERS_H

#include "cpu/threads.h"
#include "feedback.h"

enum { KD_FEEDBACK_NUMBERS = 4 * KD_NET_MAX_WIDTH + 1 }; /* of a row, at most */

/** What is known of one layer before rounding. */
typedef struct kd_known_layer {
    int m;           /* numbers in a row: n_in + 1 */
    int *order;      /* [m] which comes where; number n_in is the bias */
    int n_groups;    /* of rows that share an H */
    float *squares;  /* [n][n_out] g^2, summed over the outputs */
    float *weights;  /* [n_groups][n] their mean over a group's rows */
    double *factors; /* [n_groups][m][m] L */
    float *inputs;   /* [n][n_in] what it reads */
    float *rounded;  /* [n][n_in] the same once all layers before are rounded */
} kd_known_layer;

struct kd_feedback {
    const kd_net *net;
    const float *params; /* before rounding */
    size_t n;
    kd_threads *threads;
    kd_known_layer layers[KD_NET_MAX_LAYERS + 1]; /* the last reads the outputs, and is none */
    float *x;        /* [n][most numbers] of a layer, in the order of rounding */
    float *lacks;    /* likewise: what x was before rounding, less x */
    float *memory;   /* what all that points into, owned */
    int *orders;     /* likewise, owned */
    double *factors; /* likewise, owned */
    double *scratch; /* [threads][n_scratch], owned */
    size_t n_scratch;
};

/** The first of the rows that share H number `group` of layer l. */
int kd_feedback_first_row(const kd_feedback *feedback, int l, int group);

/** Set x and lacks to what layer l reads.
 *  rounded  are the layers before it? */
void kd_feedback_gather(kd_feedback *feedback, int l, bool rounded);

/** All places through layer l, for the one that follows, with rounded parameters. */
void kd_feedback_pass(kd_feedback *feedback, int l, const float *params);

#endif
