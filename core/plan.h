/* From the one number the user gives, the ratio, to everything else: bricks, windows, widths,
 * sample budgets. Used by track.c at the first step and at the end of each
 * window. */
#ifndef KD_PLAN_H
#define KD_PLAN_H

#include "teacher.h"

/** How one array is compressed. */
typedef struct kd_plan {
    int bricks[3];
    int window;             /* steps per window; the last one may have fewer */
    kd_net_shape student;   /* width and depth are the middle ones of the students */
    kd_net_shape teacher;   /* 3 inputs, else the same; but where steps are not kept wider than a
                               narrow student */
    int n_modes;            /* of time, inputs of the students beside time */
    double params_per_step; /* budget of all students of a window, divided by its steps */
    double network_bytes;   /* of a network, besides its parameters and modes */
    double fixed_params;    /* what kd_plan_input.fixed_bytes would buy */
    double teacher_samples; /* per teacher after a warm start */
    double cold_samples;    /* per teacher from random weights */
    double student_samples; /* per student */
    bool keeps;             /* are a window's steps kept in memory until it is trained? */
} kd_plan;

/** Bits that one stored parameter is expected to take, when the ratio decides; of CLUSTERED weights
 *  those of a float, in whose number their networks are counted. */
double kd_plan_bits(const kdinr_options *options);

/** Samples per optimiser step of a training that draws `samples` in all. */
size_t kd_plan_batch(const kdinr_options *options, double samples);

/** What planning looks at. */
typedef struct kd_plan_input {
    int samples[3]; /* of the array, per axis */
    const char *name;
    int n_components;
    double data_bytes;  /* of the array's samples in one step */
    double step_bytes;  /* bytes the file may spend on this array for one step, after its part of */
    double fixed_bytes; /* what does not grow with the steps, spread over the expected steps */
    bool constant;      /* the first step is: it may never need a network */
    int n_arrays;       /* that share options->window_memory */
} kd_plan_input;

/** Plan one array.
 *  errors  ARGUMENT (bricks that would be thinner than two samples), DATA (the ratio leaves less
 *          than the smallest network; the message names the largest possible ratio) */
kdinr_status kd_plan_make(const kdinr_options *options, const kd_plan_input *input, kd_plan *plan,
                          kdinr_error *error);

/** Steps that are expected in all: options->n_steps, or 16 when not known. */
int kd_plan_steps(const kdinr_options *options);

/** Teachers of a brick in `n_steps` steps: one for each or, where the steps are kept, one for each
 *  window, or none with options->direct. */
int kd_plan_teachers(const kdinr_options *options, const kd_plan *plan, int n_steps);

/** What a sample costs a teacher, about, in samples of a student. */
double kd_plan_teacher_cost(const kd_plan *plan);

/** Bytes of the file that all networks of the middle width take, about. */
double kd_plan_bytes(const kdinr_options *options, const kd_plan *plan);

/** The shape of a student as wide as `width`. */
kd_net_shape kd_plan_student_shape(const kd_plan *plan, int width);

/** How large one student is. */
typedef struct kd_plan_student {
    int width;
    double bytes; /* that its codes may take; 0: as many as they need */
} kd_plan_student;

/** A window whose students are about to be trained. */
typedef struct kd_plan_window {
    int n_steps;
    int n_pushed; /* steps up to its last one; if that is the series' last one and comes before it
                     was expected, this window pays the rest of fixed_params */
    double aside; /* bytes of its that go to what was not known before */
    int n_bricks;
} kd_plan_window;

/** Sizes of a window's students: parameters go where errors are, so that the slope of error
 * against parameters is equal. With error_i * n_i ~ weight_i / P_i that is P_i ~ sqrt(weight_i).
 *  weights   [n_bricks] squared error of the brick's teachers times samples, >= 0
 *  students  out [n_bricks] */
void kd_plan_students(const kdinr_options *options, const kd_plan *plan,
                      const kd_plan_window *window, const double *weights,
                      kd_plan_student *students);

#endif
