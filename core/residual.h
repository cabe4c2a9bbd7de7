/* What the networks miss, coded so that no stored sample is off by more than a bound. Before:
 * field.c says what the networks answer, the caller has the original. After: kdm.c stores the
 * streams, decode.c adds them to the networks' answers.
 *
 * A sample's level is the number of units that lie between the networks' answer and the original.
 * Levels are predicted (residual_predict.c) and the errors of prediction, rounded to multiples of a
 * quantum of some units, are range coded with what surrounds them as context. What cannot be coded
 * within the bound (rounding to the array's type, values beyond reason) is stored as it is. */
#ifndef KD_RESIDUAL_H
#define KD_RESIDUAL_H

#include "kdm.h"

enum {
    KD_RESIDUAL_QUANTUM = 16,            /* units per quantum in the finest passes */
    KD_RESIDUAL_SAMPLES_PER_BYTE = 16384 /* at most; streams are padded with zeros to reach it */
};

/** A sample stored as it is. */
typedef struct kd_exact {
    size_t i;      /* component * n + sample */
    uint64_t bits; /* of the value in its type, low bytes */
} kd_exact;

/** One step's residual. */
typedef struct kd_residual {
    size_t n; /* samples per component */
    int n_components;
    int32_t *levels;   /* [n_components][n], owned */
    uint8_t *activity; /* [n_components][n] how large the errors of prediction were, owned */
    kd_exact *exact;   /* [n_exact], i ascending, owned */
    size_t n_exact, capacity;
} kd_residual;

/** Room for one step of an array; all levels are 0.
 *  errors  MEMORY */
kdinr_status kd_residual_create(const int samples[3], int n_components, kd_residual *residual,
                                kdinr_error *error);

/** Free what it owns and zero it. */
void kd_residual_free(kd_residual *residual);

/** What is to be coded. */
typedef struct kd_residual_source {
    const kdinr_array *array; /* the original */
    const uint8_t *classes;   /* [n] kd_missing; NULL: nothing is missing */
    const float *answers;     /* [n][n_components] of the networks; NULL: base instead */
    double room;              /* by which another decoder's answers may differ */
    const kd_bound *bound;
} kd_residual_source;

/** The value of one component of a sample, in double, as a decoder gives it for the array's own
 *  type (rounded to that type). */
double kd_residual_value(kdinr_type type, double answer, int32_t level, double unit);

/** Code one step.
 *  before    the step before, NULL if this one does without
 *  finer     0..3: how much finer coarse lattices are quantised
 *  residual  out, created: what a decoder will find
 *  stream    out, its bytes owned by the caller, NULL on failure
 *  errors    MEMORY */
kdinr_status kd_residual_pack(const kd_residual_source *source, const int samples[3], int finer,
                              const kd_residual *before, kd_residual *residual, kd_stream *stream,
                              kdinr_error *error);

/** Decode one step. On failure the content of *residual is unspecified.
 *  errors  FORMAT, MEMORY */
kdinr_status kd_residual_unpack(const kd_stream *stream, kdinr_type type, const int samples[3],
                                const uint8_t *classes, const kd_residual *before,
                                kd_residual *residual, kdinr_error *error);

#endif
