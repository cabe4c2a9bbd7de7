/* Stage 2: all teachers of one brick and window into one student of (x,y,z,t) (sec. III-D, eq. 4).
 * Before: teacher.c. After: rounding.c. Where the data is gone by now, the teachers answer; where
 * there was memory to keep it, the student learns the data itself, and starts from a teacher. */
#ifndef KD_DISTILL_H
#define KD_DISTILL_H

#include "teacher.h"

/** One brick of one window: who answers, and where to ask. */
typedef struct kd_lesson {
    int n_steps;
    int n_components;
    const kd_teacher *const *teachers; /* [n_steps] */
    const uint8_t *const *classes; /* [n_steps][n] kd_missing of the brick; NULL: none missing */
    const float *const *values;    /* [n_steps][n][n_components] in the teacher's range: data that
                                      was kept, which is then learnt; NULL where a teacher answers */
    const kd_brick *brick;
    kd_blocks blocks;
    const float *entropy, *present; /* [blocks.n], summed over the window's steps */
    int trainer; /* process that trains; the others need no classes, values, entropy and present */
} kd_lesson;

/** What stage 2 leaves of a brick and window. */
typedef struct kd_student {
    kd_net net;
    float *params; /* [net.n_params], owned; NULL: constant */
    int8_t *modes; /* [n_steps][net.n_inputs - 4] of time, owned; NULL: constant, or none */
    float range[KD_KDM_MAX_COMPONENTS][2];
    double sensitivity[KD_KDM_MAX_TENSORS]; /* see kd_quant_measure */
    double added; /* mean squared output error that clustering of weights is expected to add */
    kd_outcome outcome;
} kd_student;

/** [2 * net.n_layers] what the student's parameters are multiples of; NULL: they were not rounded.
 */
static inline const float *kd_student_units(const kd_student *student)
{
    return student->outcome.n_units > 0 ? student->outcome.units : NULL;
}

/** How to train one student. */
typedef struct kd_student_plan {
    kd_net_shape shape;
    kd_schedule schedule;
    double size;     /* bytes its codes may take; 0: options->quantisation_drop says what its
                        rounding may cost. Students that are not QUANTISED are not rounded */
    uint64_t stream; /* of random numbers, unique to (array, window, brick) */
} kd_student_plan;

/** One student to train. */
typedef struct kd_distill_task {
    kd_lesson lesson;
    kd_student_plan plan;
    kd_student *student; /* out */
} kd_distill_task;

/** Train n students. With options->warm_start one starts between random weights and the middle
 *  teacher's, if the shapes agree. When no teacher has a network and all ranges agree, the student
 *  is a constant.
 *  errors  as kd_train */
kdinr_status kd_distill_train(kd_run *run, const kd_distill_task *tasks, size_t n,
                              kdinr_error *error);

/** Free what the student owns. */
void kd_student_free(kd_student *student);

#endif
