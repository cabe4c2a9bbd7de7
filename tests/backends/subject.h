/* What the backend tests run: a subject, that is a backend or one way of computing it has, does
 * everything it can on one network and one batch, into guarded memory. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include "cpu/backend_cpu.h"
#include "nets.h"

/* Root mean square difference allowed of values, loss and gradient, relative to the reference's
 * root mean square. Single precision gives 1e-6 after some twenty layers. */
#define EXACT_TOLERANCE 1e-5

enum { MAX_SUBJECTS = 16, TRAIN_STEPS = 4 };

/* What is tested: a backend, or one instruction set of the cpu backend. */
typedef struct subject {
    const kd_backend *backend;
    const kd_cpu_kernels *path; /* NULL: as backend->open chooses */
    kdinr_precision precision;
} subject;

/* A network with parameters, a batch, and what a subject made of them. */
typedef struct experiment {
    kd_net net;
    size_t n;
    float *params, *coords, *targets; /* without guards: sanitizers see reads past their ends */
    double loss, train_loss;
    float *values, *gradient, *trained; /* guarded */
} experiment;

/** Networks whose blocks sum or pass nothing by, and whose layers all have one width. */
enum { N_OTHER_FORMS = 5 };
extern const net_case other_forms[N_OTHER_FORMS];

/** The name of the only backend to test, or NULL. */
extern const char *wanted;

/** All subjects that run here, the reference left out. Returns how many. */
int list_subjects(subject subjects[MAX_SUBJECTS]);

/** Backends that can round what they multiply, with each precision. Returns how many. */
int list_rounding_subjects(subject subjects[MAX_SUBJECTS]);

/** An open instance; config->precision is the subject's. */
void *open_subject(const subject *s, const kd_net *net, const kd_backend_config *config);

/** n floats with guard words on either side; free_guarded checks that they are untouched. */
float *guarded(size_t n);
void free_guarded(float *values, size_t n);

/** Of the n differences a - b, or of a where b is NULL. */
double root_mean_square(const float *a, const float *b, size_t n);

/** A network of `shape` and n random samples. */
void make_inputs(experiment *e, const net_case *shape, size_t n);
void free_inputs(experiment *e);

/** How many values the batch has. */
size_t value_count(const experiment *e);

/** n_steps optimiser steps on the batch; *loss is the last one's. */
void train(const subject *s, void *state, const experiment *e, int n_steps, double *loss);

/** Everything a subject can do, with n_threads threads; `trained` after n_steps steps. */
void run_subject(const subject *s, experiment *e, int n_threads, kdinr_optimizer optimizer,
                 int n_steps);
void free_outputs(experiment *e);

/** Cases of test_backends.c that live in files of their own. */
void grid_has_the_values_of_its_samples(void **unused);
void sample_has_same_bits_alone_and_in_any_place(void **unused);
void rounded_sample_has_same_bits_alone_and_in_any_place(void **unused);
void groups_gradient_equals_finite_differences(void **unused);
void groups_agree_with_reference(void **unused);
void groups_must_be_whole(void **unused);
void supply_gives_the_hosts_samples(void **unused);
void supply_trains_as_its_batches_do(void **unused);
void supply_trains_together_as_alone(void **unused);

#endif
