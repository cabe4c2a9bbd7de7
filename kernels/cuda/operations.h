/* The operations of path 1: single precision, products by cuBLAS, all else by kernels of our own.
 * Each enqueues its work on the lane's stream and returns; nothing here waits. Matrices lie as in
 * kd_net, rows of samples as [rows][neurons]. Every sum has a fixed order, so that the same input
 * gives the same bits. backend_cuda.cu and batch.cu call them in the order forward, loss, backward,
 * muon, adam. */
#ifndef KD_CUDA_OPERATIONS_H
#define KD_CUDA_OPERATIONS_H

#include "backend.h"
#include "cuda/lane.h"

/** What one pass of `rows` samples through the network reads and writes; all in device memory. */
typedef struct kd_cuda_pass {
    int rows;
    const float *coords;               /* [rows][n_inputs] */
    float *outputs[KD_NET_MAX_LAYERS]; /* [rows][n_out], the residual is already in it */
    float *slopes[KD_NET_MAX_LAYERS];  /* [rows][n_out]; NULL: not wanted */
    float *by[3];                      /* [rows][widest layer] derivatives of the loss; training */
    float *column_sums;                /* [KD_CUDA_MAX_RUNS][widest layer]; training */
    double *losses;                    /* [KD_CUDA_MAX_BLOCKS]; training */
} kd_cuda_pass;

/** Runs of rows whose sums are formed apart and then added, at most. */
enum { KD_CUDA_MAX_RUNS = 64 };

/** What a step's optimisers need to know, in device memory. */
typedef struct kd_cuda_rates {
    float adam;         /* rate / (1 - 0.9^k) in step k */
    float root_of_bias; /* 1 / sqrt(1 - 0.999^k) */
    float matrix;       /* rate of hidden matrices with Muon */
    float unused;
} kd_cuda_rates;

/** One hidden matrix as Muon moves it. */
typedef struct kd_cuda_matrix {
    unsigned weights; /* offset in the parameters */
    int n_out, n_in;
    unsigned x; /* offset in scratch: the update [smaller][larger of n_out, n_in] */
} kd_cuda_matrix;

/** Hidden matrices of one shape, one after the other in `matrices` and in scratch. */
typedef struct kd_cuda_group {
    int rows, columns; /* the smaller and the larger dimension */
    int first, count;
    size_t x; /* offset in scratch of the first one's update */
} kd_cuda_group;

/** Where Muon finds its matrices and scratch. */
typedef struct kd_cuda_muon_plan {
    kd_cuda_group groups[4];
    int n_groups, n_matrices;
    size_t n_x;       /* floats of all updates */
    size_t n_square;  /* floats of the largest group's square matrices */
    size_t n_scratch; /* 2 n_x + 2 n_square */
    kd_cuda_matrix matrices[KD_NET_MAX_LAYERS];
} kd_cuda_muon_plan;

/** Fill pass->outputs, and slopes where there are any (omega * cos of the sine's argument).
 *  params  in  [n_params]; weights as products use them
 *  errors  BACKEND */
kdinr_status kd_cuda_forward(const kd_cuda_lane *lane, const kd_net *net, const float *d_params,
                             const kd_cuda_pass *pass, kdinr_error *error);

/** Squared misses of the answers, and pass->by[0] [rows][n_outputs] = scale * miss.
 *  targets  in      [rows][n_outputs]
 *  add      in      false: *d_loss starts at 0
 *  d_loss   in/out  sum of the squares
 *  errors   BACKEND */
kdinr_status kd_cuda_loss(const kd_cuda_lane *lane, const kd_net *net, const kd_cuda_pass *pass,
                          const float *d_targets, float scale, bool add, double *d_loss,
                          kdinr_error *error);

/** Let the misses of each group of rows in pass->by[0] pull at each other: the loss on gradients.
 *  rows of the pass are whole groups
 *  errors   BACKEND */
kdinr_status kd_cuda_pull(const kd_cuda_lane *lane, const kd_net *net, const kd_cuda_pass *pass,
                          double gradient_weight, kdinr_error *error);

/** From pass->by[0] to the gradient of all parameters.
 *  add       in      false: the gradient starts at 0
 *  gradient  in/out  [n_params]
 *  errors    BACKEND */
kdinr_status kd_cuda_backward(const kd_cuda_lane *lane, const kd_net *net, const float *d_params,
                              const kd_cuda_pass *pass, bool add, float *d_gradient,
                              kdinr_error *error);

/** What the optimisers work on, in device memory: networks of one shape, one after the other. */
typedef struct kd_cuda_moved {
    int n_networks;
    size_t n_params;
    const kd_cuda_rates *rates;     /* [n_networks] */
    const unsigned char *hidden;    /* [n_params] what Muon moves; NULL: nothing */
    const kd_cuda_matrix *matrices; /* [plan.n_matrices] */
    const float *gradient;          /* [n_networks][n_params], as are: */
    float *first, *second; /* running means of the gradient (Muon: momentum) and of its square */
    float *params;
    float *scratch; /* [n_networks][plan.n_scratch] */
} kd_cuda_moved;

/** One Adam step on the parameters whose `hidden` is 0 (Kingma and Ba, 2015).
 *  errors  BACKEND */
kdinr_status kd_cuda_adam(const kd_cuda_lane *lane, const kd_cuda_moved *moved, kdinr_error *error);

/** Find the hidden matrices of `net` and lay out their scratch. */
void kd_cuda_muon_plan_make(const kd_net *net, kd_cuda_muon_plan *plan);

/** One Muon step on all hidden matrices, as kd_step says (Jordan et al., 2024).
 *  alike   in  products whose bits do not depend on n_networks; else cuBLAS, for one network
 *  errors  BACKEND */
kdinr_status kd_cuda_muon(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                          const kd_cuda_moved *moved, bool alike, kdinr_error *error);

/** Is every hidden matrix small enough for kd_cuda_orthogonal? */
bool kd_cuda_orthogonal_fits(const kd_cuda_muon_plan *plan);

/** kd_cuda_muon and kd_cuda_adam in one launch; scratch is not used.
 *  errors  BACKEND */
kdinr_status kd_cuda_orthogonal(const kd_cuda_lane *lane, const kd_cuda_muon_plan *plan,
                                const kd_cuda_moved *moved, kdinr_error *error);

/** Products of small matrices [rows][columns], many of one shape: c = a b, or with `polynomial`
 *  c = 3.4445 I - 4.7750 a + 2.0315 a b. Matrix i of network j lies at a + j network + i a_next,
 *  and so on. */
typedef struct kd_cuda_product {
    unsigned n_networks, n_matrices; /* of each */
    unsigned rows, columns, n;       /* of c; n: columns of a, rows of b */
    const float *a, *b;
    float *c;
    size_t network, a_next, b_next, c_next; /* floats */
    bool b_transposed;                      /* b lies as [columns][n] */
    bool polynomial;
} kd_cuda_product;

/** Each element is one sum in the order of n.
 *  errors  BACKEND */
kdinr_status kd_cuda_multiply(const kd_cuda_lane *lane, const kd_cuda_product *product,
                              kdinr_error *error);

#endif
