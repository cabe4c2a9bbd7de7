/* KD-INR: compress a time series of volumes into small neural networks, and read it back.
 *
 * The only public header. Whole use, compress then read (errors left out):
 *
 *   kdinr_options options = kdinr_options_default();
 *   kdinr_encoder_open(&options, &encoder, &error);
 *   for each step:  kdinr_encoder_push(encoder, &volume, time, &error);     one step in memory
 *   for each step:  kdinr_encoder_verify(encoder, &volume, time, &error);   optional second pass
 *   kdinr_encoder_finish(encoder, "out.kdm", &error);
 *   kdinr_encoder_close(encoder);
 *
 *   kdinr_decoder_open("out.kdm", &options, &decoder, &error);
 *   kdinr_request request = kdinr_request_default(kdinr_decoder_info(decoder), array);
 *   kdinr_decoder_read(decoder, &request, values, &error);
 *   kdinr_decoder_close(decoder);
 *
 * Method: J. Han, H. Zheng, C. Bi, "KD-INR", IEEE TVCG 2024. What differs is said where it differs.
 * Threads: one handle is used by one thread at a time; distinct handles are independent. */
#ifndef KDINR_H
#define KDINR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KDINR_API __attribute__((visibility("default")))
#else
#define KDINR_API
#endif

#define KDINR_VERSION "0.1.0"

/** Outcome of a call. Numbers are fixed. */
typedef enum kdinr_status {
    KDINR_OK = 0,
    KDINR_ERROR_ARGUMENT = 1, /**< an argument or option is outside what its docstring allows */
    KDINR_ERROR_MEMORY = 2,   /**< an allocation failed, or a size exceeds the stated limit */
    KDINR_ERROR_IO = 3,       /**< the operating system refused to open, read or write a file */
    KDINR_ERROR_FORMAT = 4,   /**< the file is not a .kdm, or is damaged */
    KDINR_ERROR_VERSION = 5,  /**< the file needs a newer reader */
    KDINR_ERROR_DATA = 6,     /**< the volume cannot be compressed as asked (all NaN, wrong size) */
    KDINR_ERROR_BACKEND = 7,  /**< the compute backend is absent or failed */
    KDINR_ERROR_TRAINING = 8, /**< the networks did not learn the data; no file was written */
    KDINR_CANCELLED = 9       /**< the progress callback returned false */
} kdinr_status;

/** Where a failed call leaves its message: one sentence that names what was found and allowed. */
typedef struct kdinr_error {
    kdinr_status status;
    char message[512];
} kdinr_error;

/** Value types of arrays. Numbers are fixed: they are stored in files. */
typedef enum kdinr_type {
    KDINR_FLOAT32 = 0,
    KDINR_FLOAT64 = 1,
    KDINR_UINT8 = 2,
    KDINR_INT8 = 3,
    KDINR_UINT16 = 4,
    KDINR_INT16 = 5,
    KDINR_UINT32 = 6,
    KDINR_INT32 = 7,
    KDINR_UINT64 = 8,
    KDINR_INT64 = 9
} kdinr_type;

/** Bytes of one value of `type`; 0 if `type` is not a kdinr_type. */
KDINR_API size_t kdinr_type_size(kdinr_type type);

/** "float32", "uint8", ...; "unknown" if `type` is not a kdinr_type. */
KDINR_API const char *kdinr_type_name(kdinr_type type);

/** Whether values sit on grid points or in cells (as in VTK). Numbers are fixed. */
typedef enum kdinr_association { KDINR_POINTS = 0, KDINR_CELLS = 1 } kdinr_association;

/** One array of a step. Values: x fastest, components of one sample together.
 *  A point array has dims[0]*dims[1]*dims[2] samples, a cell array prod(max(dims[i]-1, 1)). */
typedef struct kdinr_array {
    const char *name; /**< 1..255 bytes, UTF-8 */
    kdinr_type type;
    int n_components; /**< 1..9 */
    kdinr_association association;
    const void *values; /**< [n_samples][n_components]; not kept after the call */
    bool has_fill;      /**< samples equal to fill_value are missing, as NaN always is */
    double fill_value;  /**< of float32 samples the float32 nearest to it is meant */
} kdinr_array;

/** One time step on a uniform or rectilinear grid. Physical position of point (i,j,k), counted from
 *  `first`: origin + direction * ((i,j,k) * spacing), as vtkImageData does; or, on a rectilinear
 *  grid, (axes[0][i], axes[1][j], axes[2][k]), counted from 0, and origin, spacing and direction
 *  are the default ones. */
typedef struct kdinr_volume {
    int dims[3];  /**< points in x, y, z, each 1..2^20 */
    int first[3]; /**< index of the first point (VTK extents need not start at 0) */
    double origin[3];
    double spacing[3];
    double direction[9];       /**< row major; identity unless the grid is rotated */
    int n_arrays;              /**< 1..64 */
    const kdinr_array *arrays; /**< [n_arrays] */
    const double *axes[3];     /**< [dims[i]] each, strictly increasing or strictly decreasing; all
                                    NULL: uniform. Samples are compressed by their index */
    const int *extents; /**< [n_arrays][6] x0,x1,y0,y1,z0,z1 inclusive, from 0: the samples of
                             each array that `values` has, and no others; x1 < x0: none.
                             NULL: all. For processes that share a file: kdinr_share */
} kdinr_volume;

/** A volume with unit spacing, zero origin, identity direction and no arrays. */
KDINR_API kdinr_volume kdinr_volume_default(void);

typedef enum kdinr_preset {
    KDINR_PRESET_DEFAULT = 0, /**< what our measurements recommend */
    KDINR_PRESET_PAPER = 1    /**< the paper to the letter */
} kdinr_preset;

/** What kind of network stands for the data. All but the first are the methods that the paper
 *  compares with (Table III), for comparisons: they are made to the same size in bytes, learn the
 *  data itself and use Adam. kdinr_options_for() has their settings. Numbers are fixed. */
typedef enum kdinr_network {
    KDINR_NETWORK_KDINR = 0,
    KDINR_NETWORK_COORDNET = 1, /**< Han and Wang, 2023: residual blocks of two layers of 4m; the
                                     encoder is KD-INR's, not its residual blocks, and the last
                                     layer linear */
    KDINR_NETWORK_SIREN = 2,    /**< Sitzmann et al., 2020: layers of m neurons */
    KDINR_NETWORK_NEURCOMP = 3  /**< Lu et al., 2021: blocks h + f(h) of two layers of m. Its
                                     clustered weights and its loss on gradients are options that
                                     all networks have: weights, gradient_weight */
} kdinr_network;

/** Blocks of network KDINR, with which it also changes what comes before them. Numbers are fixed.
 */
typedef enum kdinr_blocks {
    KDINR_BLOCKS_EVEN = 0,       /**< one width m throughout: a layer of m neurons, then blocks
                                      h + f(h) of two layers of m. Better at equal bytes than the
                                      paper's two, which are: */
    KDINR_BLOCKS_BOTTLENECK = 1, /**< an encoder m, 2m, 4m (Table I), blocks 4m-m-m-4m that average
                                      (h + f(h)) / 2; Fig. 3 */
    KDINR_BLOCKS_PLAIN = 2       /**< the same with blocks 4m-4m-4m */
} kdinr_blocks;

typedef enum kdinr_effort {
    KDINR_EFFORT_LOW = 0,
    KDINR_EFFORT_NORMAL = 1,
    KDINR_EFFORT_HIGH = 2
} kdinr_effort;
typedef enum kdinr_sampling {
    KDINR_SAMPLING_ENTROPY = 0,
    KDINR_SAMPLING_UNIFORM = 1
} kdinr_sampling;
typedef enum kdinr_optimizer { KDINR_OPTIMIZER_MUON = 0, KDINR_OPTIMIZER_ADAM = 1 } kdinr_optimizer;
/** How a backend that has a choice (cuda) multiplies while it trains. Sums are 32 bits wide. Mixed
 * and 16 are for bottleneck and plain blocks, m up to 128; others train in 32 bits instead. */
typedef enum kdinr_precision {
    KDINR_PRECISION_AUTO = 0,  /**< mixed */
    KDINR_PRECISION_32 = 1,    /**< all in 32 bits */
    KDINR_PRECISION_TF32 = 2,  /**< factors rounded to 11 of 24 places */
    KDINR_PRECISION_MIXED = 3, /**< forward as good as 32 bits, backward in fp16 */
    KDINR_PRECISION_16 = 4     /**< both in fp16 */
} kdinr_precision;
typedef enum kdinr_decay { KDINR_DECAY_COSINE = 0, KDINR_DECAY_HALVING = 1 } kdinr_decay;
typedef enum kdinr_weights {
    KDINR_WEIGHTS_QUANTISED = 0, /**< integer codes, entropy coded, step chosen per tensor */
    KDINR_WEIGHTS_FLOAT16 = 1,
    KDINR_WEIGHTS_FLOAT32 = 2,
    KDINR_WEIGHTS_CLUSTERED = 3 /**< each hidden matrix: 2^cluster_bits centres that k-means finds,
                                     and for each weight the number of its centre, entropy coded;
                                     all else float32. NeurComp's, Lu et al., 2021, sec. 3.3 */
} kdinr_weights;

/** Called during long work with the fraction done, 0..1, and what is being done ("teachers" and
 *  "student" share one count; "checking" and "decoding" have their own). Returning false ends the
 *  call with KDINR_CANCELLED. */
typedef bool (*kdinr_progress)(void *user, double fraction, const char *stage);

/** Several processes that share the work of one file, MPI ranks for example. Each has an encoder of
 *  its own, with the same options, and all make the same calls for the same steps; each trains a
 *  part of the networks. The file is that of one process alone, byte for byte, and is written by
 *  rank 0, whose `part` it is too. A call that fails in one process, or is cancelled there, fails
 *  in all, with the same message, once they are done with the networks they are at. Shared are
 *  bricks and arrays, and, where there are fewer of them than processes, windows: as many are
 *  collected before they are trained, by processes that keep the data of one brick of each window
 *  meanwhile. With one brick of one array in one window there is nothing to gain.
 *  A process may be given whole steps, or (kdinr_volume.extents) of each only what it needs, the
 *  bricks that it trains: before the first push all call kdinr_encoder_plan, each with the part of
 *  the first step that it happens to have; then kdinr_encoder_push_extent and
 *  kdinr_encoder_verify_extent say what everyone needs. What is missing of a step, as packed maps,
 *  goes through rank 0. */
typedef struct kdinr_share {
    int rank, n_ranks; /**< rank is 0..n_ranks-1 */
    /** Gather `size` bytes from each process to all; size is the same on all.
     *  mine  in [size]
     *  all   out [n_ranks][size]
     *  Returning false ends the call with KDINR_ERROR_IO; all processes must see that. */
    bool (*exchange)(void *user, const void *mine, size_t size, void *all);
    void *user;
} kdinr_share;

/** All GPUs of the machine; see kdinr_options. */
#define KDINR_DEVICES_ALL UINT64_MAX

/** dB by which a file may miss options.psnr, if that lets it be smaller. */
#define KDINR_PSNR_TOLERANCE 0.3

/** Everything the encoder and decoder can be told. Start from kdinr_options_default() or
 *  kdinr_options_paper(). A field that says "0: ..." is chosen by the encoder when left 0. */
typedef struct kdinr_options {
    /* How small, and how the domain is split. */
    double ratio; /**< data bytes / file bytes asked for, 1..1e6; default 500. With max_error: of
                       the networks alone; 0: as it makes the file smallest, often none at all */
    double max_error; /**< no stored sample of any step is off by more than this, whichever backend
                        decodes it: what the networks miss is coded on top; 0: no bound. In the
                        array's unit, or if max_error_relative of each component's range over the
                        series. Holds for values decoded in the array's own type or a wider one.
                        All steps must then be verified, in the order they were pushed */
    bool max_error_relative;
    bool residuals_alone; /**< with max_error: train no networks at all */
    double psnr; /**< dB: the smallest file that has it, within 0.3 dB, over all steps of the worst
                    array; 1..200, 0: not asked. Instead of ratio and max_error, which are then not
                    looked at. Only kdinr_compress_series can: it takes several passes */
    int width;   /**< m: neurons of the first layer, 2..256; 0: from ratio. Sec. III-B, Table I */
    int depth;   /**< d: residual blocks (SIREN: layers after the first), 1..32; 0: chosen */
    int bricks[3]; /**< bricks along x, y, z, 1..64 each; 0: chosen */
    int window;    /**< time steps per student, 1..1024; 0: chosen */
    int n_steps;   /**< steps that will be pushed, if known; 0: not known (assumes 16 when planning)
                    */
    int modes;     /**< of time, 0..4: how the data mostly moves, as its leading principal
                        components along time, which students read beside time; 0 in the paper.
                        Default -1: 2, or 0 in networks of less than 5,000 bytes */

    /* The network. */
    kdinr_network network;
    kdinr_blocks blocks; /**< of network KDINR alone; the others have their own and say EVEN */
    double omega_first;  /**< first-layer frequency, 0.1..1000; 0: short pilot on the first step */
    double omega_hidden; /**< hidden frequency, 0.1..1000; default 30 */

    /* Training, both stages. */
    kdinr_preset preset; /**< recorded in the file; set by the two constructors below */
    kdinr_effort effort; /**< scales the sample budgets: low 1/4, normal 1, high 4 */
    kdinr_optimizer optimizer;
    kdinr_decay decay; /**< cosine to 1 % after 2 % warm-up, or halved every epochs/4 */
    int batch;  /**< samples per optimiser step, 1..2^20; 0: chosen from the number of samples */
    int epochs; /**< of the paper's schedule; 0: sample budgets below apply. Sec. IV: 400 */
    double teacher_samples;   /**< samples per teacher, 0: chosen (or from epochs) */
    double student_samples;   /**< samples per student, 0: chosen (or from epochs) */
    double teacher_rate;      /**< learning rate of stage 1, 1e-7..1 */
    double student_rate;      /**< learning rate of stage 2, 1e-7..1 */
    double matrix_rate_scale; /**< Muon's rate on hidden matrices = this times the rate above times
                                   64 / neurons, but at most times 4 */
    double gradient_weight; /**< of the loss on gradients, 1e-12..1e6; default 0: there is none. The
                                 loss is the mean of (f - v)^2 plus this times the mean of
                                 (df/da - dv/da)^2 over the axes a = x, y, z of the coordinates,
                                 -1..1 across a brick. Needs `direct`. With each sample that is
                               drawn its neighbour along each axis is learnt, too, and derivatives
                               are differences between them: four times the work. Lu et al., 2021,
                                 sec. 3.2, who differentiate the network */
    bool warm_start; /**< teacher t from t-1; student, if as wide, from the middle one, in part */
    bool direct;     /**< study option: no teachers at all; keeps a whole window in memory,
                          whatever window_memory says */
    double window_memory; /**< bytes, 0..1e18, in which a window's steps, as float32, may be kept
                             until stage 2; if they fit, students learn the data itself and only the
                               middle step has a teacher, from which they start. Default 2^30.
                               0: one step in memory at a time, every step has a teacher, which
                               is up to twice as wide, if narrower than 64 neurons, as the
                               student. A single step that is one brick is kept in any case */
    uint64_t seed;

    /* Sampling, Sec. III-C. */
    kdinr_sampling sampling;
    int block_size;       /**< edge of entropy blocks: 2, 4, 8 or 16 */
    double sampling_rate; /**< blocks drawn per epoch / blocks, 0.01..1; used with epochs */
    double epsilon;       /**< eq. 2; negative: -epsilon / number of blocks */

    /* Stored weights. */
    kdinr_weights weights;
    /** dB of its PSNR that QUANTISED weights may cost a network, 0.001..6; default 0.2. Where a
     * width is given and no size, each matrix and bias has as few bits as the outputs' derivatives
     * allow. Where the file has a size, that says how many, and this is not looked at. */
    double quantisation_drop;
    int cluster_bits; /**< of CLUSTERED weights, 1..9; default 9. A matrix with fewer weights than
                         pay for its centres, which with 9 bits are 713, stays float32 */

    /* Keeping. */
    const char *part; /**< file that keeps every network as soon as it is trained, so that a run
                           that was ended can go on; finish removes it. NULL: none is kept */
    bool resume;      /**< go on from `part`, if it is there, by pushing the same steps again: the
                           file gets the same bytes as without the interruption */
    bool keep_bad;    /**< write the file even if the networks did not learn the data */

    /* Running. */
    int n_threads;             /**< 0: as many as the machine has */
    const char *backend;       /**< "auto", "cpu", "reference", "cuda" */
    uint64_t devices;          /**< of backend "cuda": the GPUs of this machine that share the
                                    networks that are trained at the same time, those of several
                                    bricks: bit k for device k, KDINR_DEVICES_ALL for all, 0 for
                                    the first. All else is done by the first of them. Devices of
                                    one kind leave the file as it would be of one alone */
    kdinr_precision precision; /**< of training; decoding is as good as 32 bits */
    uint64_t memory_limit;     /**< bytes that one read may take, the caller's values included;
                                    0: what the machine has, at most 64 GiB */
    kdinr_progress progress;   /**< may be NULL */
    void *progress_user;

    const kdinr_share *share; /**< other processes at the same file; NULL: none. Copied by open */
} kdinr_options;

/** The recommended settings, every field filled. */
KDINR_API kdinr_options kdinr_options_default(void);

/** The paper's settings: Adam 1e-4 / 1e-5 halved every 100 of 400 epochs, omega 30, sampling rate
 *  0.5, 4x4x4 blocks, epsilon 0.01, no warm start, one brick, one window, float32 weights, no
 *  window memory.
 *  Not stated in the paper and chosen by us: depth 5, batch 512, residual form (x + f(x)) / 2. */
KDINR_API kdinr_options kdinr_options_paper(void);

/** The preset's settings for another network, if `network` is not KDINR: learns the data itself,
 *  uniform sampling, Adam, first frequency 30. Learning rate: the paper preset's 1e-4 for all (as
 *  sec. IV has it); with the default preset that of the network's own authors: CoordNet 1e-5, SIREN
 *  1e-4, NeurComp 5e-5; NeurComp's weights are then CLUSTERED, with nine bits as its authors have
 *  them; their program's loss on gradients has the weight 0. Everything else is the preset's. */
KDINR_API kdinr_options kdinr_options_for(kdinr_preset preset, kdinr_network network);

/* ---- encoder ---- */

typedef struct kdinr_encoder kdinr_encoder;

/** Start a series. *encoder is NULL on failure.
 *  errors  ARGUMENT (the message names the option and its range, or that with which `part` was
 *          made), BACKEND, MEMORY, IO, FORMAT (`part` is damaged, or no such file) */
KDINR_API kdinr_status kdinr_encoder_open(const kdinr_options *options, kdinr_encoder **encoder,
                                          kdinr_error *error);

/** Which steps, of options->n_steps, kdinr_encoder_look should be given: returns how many, 0 or 2.
 *  steps  out: their numbers, counted from 0 */
KDINR_API int kdinr_encoder_looks(const kdinr_encoder *encoder, int steps[2]);

/** Look at a step, which is not pushed thereby. With max_error and ratio 0 the size of the networks
 *  is guessed from the steps that were looked at, if any were, else from the first. With other
 *  options it only checks the volume. Before plan and the first push.
 *  volume  all processes' `extents` together cover each array
 *  errors  ARGUMENT, MEMORY, IO. After a failure only kdinr_encoder_close is allowed */
KDINR_API kdinr_status kdinr_encoder_look(kdinr_encoder *encoder, const kdinr_volume *volume,
                                          kdinr_error *error);

/** Plan from the first step, which is not pushed thereby. For processes that share a file and are
 *  given parts of steps (kdinr_share); else push does it. Once, before the first push.
 *  volume  all processes' `extents` together cover each array
 *  errors  ARGUMENT, DATA (the ratio is too high), MEMORY, IO. After a failure only
 *          kdinr_encoder_close is allowed */
KDINR_API kdinr_status kdinr_encoder_plan(kdinr_encoder *encoder, const kdinr_volume *volume,
                                          kdinr_error *error);

/** Which samples of an array process `rank` must have of the step that is pushed next. It may
 *  change from step to step.
 *  extent  out, as in kdinr_volume.extents
 *  errors  ARGUMENT (nothing was planned, or out of range) */
KDINR_API kdinr_status kdinr_encoder_push_extent(const kdinr_encoder *encoder, int array, int rank,
                                                 int extent[6], kdinr_error *error);

/** The same of each step that is verified. With max_error rank 0 needs whole steps, the others
 *  nothing. */
KDINR_API kdinr_status kdinr_encoder_verify_extent(const kdinr_encoder *encoder, int array,
                                                   int rank, int extent[6], kdinr_error *error);

/** Stage 1 for one time step: one teacher per array and brick. When the step completes a window,
 *  stage 2 for that window. Of `volume` a few thousand sample values are kept, or all if the
 *  window fits into options->window_memory.
 *  time    must be greater than that of the step before
 *  errors  ARGUMENT (grid or arrays differ from the first step's; with `resume`, the step from
 *          the one that `part` was made from), DATA, MEMORY, IO (`part`), CANCELLED. After a
 *          failure only kdinr_encoder_close is allowed; `part` stays if it holds anything. */
KDINR_API kdinr_status kdinr_encoder_push(kdinr_encoder *encoder, const kdinr_volume *volume,
                                          double time, kdinr_error *error);

/** Second pass, optional: compare what will be written with the original step and record its
 *  exact PSNR and maximum error in the file. The first call completes stage 2 and fixes the
 *  networks: no push afterwards. Steps that are not verified are recorded from samples kept by
 *  push and marked as estimates.
 *  time    one of the pushed times
 *  errors  as push */
KDINR_API kdinr_status kdinr_encoder_verify(kdinr_encoder *encoder, const kdinr_volume *volume,
                                            double time, kdinr_error *error);

/** Complete stage 2, quantise to the size asked for and write the file: under a temporary name in
 *  the same folder, synced, renamed. On failure nothing is left but `part`, and an older file is
 *  untouched.
 *  errors  DATA (no step was pushed), IO, MEMORY, CANCELLED, TRAINING (also: in some window the
 *          error is no better than a constant's, unless keep_bad) */
KDINR_API kdinr_status kdinr_encoder_finish(kdinr_encoder *encoder, const char *path,
                                            kdinr_error *error);

/** Release. NULL is fine. */
KDINR_API void kdinr_encoder_close(kdinr_encoder *encoder);

/** What compressing a series like `volume` would give and take on this machine, from the plan and
 *  a few trial steps: some hundredths of a second, and nothing is read.
 *  volume     grid and arrays of a step; values are not looked at and may be NULL
 *  options    n_steps must be set
 *  file_size  out bytes: the data's over options->ratio or, with options->width, what networks of
 *             that width take, good to a fifth but where they are nearly exact
 *  seconds    out for both stages and one check of every sample; good to a factor of about 2
 *  errors     ARGUMENT, DATA (the ratio is too high; the message names the largest possible),
 *             BACKEND, MEMORY. On failure the outputs are untouched. */
KDINR_API kdinr_status kdinr_estimate(const kdinr_options *options, const kdinr_volume *volume,
                                      double *file_size, double *seconds, kdinr_error *error);

/* ---- a whole series at once ---- */

/** How the search for options->psnr went; nothing is searched without it. */
typedef struct kdinr_search_report {
    int n_bounds;   /**< files of residuals alone that were made */
    int n_networks; /**< trainings, or sizes too small for any network */
    char miss[256]; /**< why the file that was kept is not within 0.3 dB; "": it is */
} kdinr_search_report;

/** Steps that can be had as often as needed. */
typedef struct kdinr_series {
    int n_steps;
    /** Fill *volume and *time (preset to k) of step k, 0..n_steps-1. What *volume points to must
     * stay until the next call. A failure ends the work with its status. */
    kdinr_status (*step)(void *user, int k, kdinr_volume *volume, double *time, kdinr_error *error);
    void *user;
    kdinr_search_report *report; /**< out, may be NULL */
} kdinr_series;

/** Look, push, verify and finish in one call; with options->psnr, search for the file that has it.
 * If it cannot be had within 0.3 dB (steps of an integer type may be too coarse) the smallest file
 * that has more is written, or what comes nearest if none has, and series->report says why. What
 * was reached is in the file: kdinr_array_info.psnr_overall. errors  ARGUMENT, DATA, IO, TRAINING,
 * MEMORY, CANCELLED. On failure nothing is left and an older file is untouched */
KDINR_API kdinr_status kdinr_compress_series(const kdinr_options *options,
                                             const kdinr_series *series, const char *path,
                                             kdinr_error *error);

/* ---- decoder ---- */

typedef struct kdinr_decoder kdinr_decoder;

/** What one array of a file is. */
typedef struct kdinr_array_info {
    const char *name;
    kdinr_type type; /**< of the data that was compressed */
    int n_components;
    kdinr_association association;
    double range[9][2]; /**< minimum and maximum per component over the series */
    bool has_missing;   /**< some samples are NaN or fill; restored by decode */
    bool has_fill;      /**< a fill value was declared: it means missing */
    double fill_value;
    int bricks[3];
    int n_windows;
    double omega_first;     /**< the frequency that was used */
    uint64_t n_networks;    /**< that hold parameters (constant bricks have none); 0 until the
                                 networks were read: kdinr_decoder_load */
    uint64_t n_parameters;  /**< of all its networks; likewise */
    const float *psnr;      /**< [n_steps] dB, peak = range of the series; +inf: exact */
    const float *max_error; /**< [n_steps] in the array's unit */
    bool quality_exact;     /**< measured at every sample, not estimated */
    double psnr_overall;    /**< from the mean of the steps' squared errors */
    bool has_bound;         /**< no stored sample is off by more than bound[component]; like what
                                 follows false or 0 until kdinr_decoder_load */
    double bound[9];
    bool bound_alone; /**< residuals alone keep the bound, the networks are not asked */
} kdinr_array_info;

/** What a file says of itself. Owned by the decoder. */
typedef struct kdinr_info {
    int version_major, version_minor;
    int dims[3];
    int first[3];
    double origin[3], spacing[3], direction[9];
    const double *axes[3]; /**< of a rectilinear grid, as in kdinr_volume; NULL: uniform */
    int n_steps;
    const double *times; /**< [n_steps], increasing */
    int n_arrays;
    const kdinr_array_info *arrays; /**< [n_arrays] */
    uint64_t file_size;             /**< bytes */
    uint64_t data_size;             /**< bytes of the data the file stands for */
    const char *provenance;         /**< version, preset, options and seed, one line */
} kdinr_info;

/** One part of one array at one time. Start from kdinr_request_default(). */
typedef struct kdinr_request {
    int array;       /**< 0..n_arrays-1 */
    int dims[3];     /**< points in x, y, z that span the stored bounds: any resolution */
    int extent[6];   /**< x0,x1,y0,y1,z0,z1 inclusive, in samples of `dims`, from 0 */
    double time;     /**< any; outside the series the nearest step answers */
    kdinr_type type; /**< of `values`; integers are rounded and clamped */
} kdinr_request;

/** Is this a .kdm file that this library can read? Reads a few bytes, silent. */
KDINR_API bool kdinr_can_read(const char *path);

/** Open a file; reads and checks the header and the description only, so its cost does not
 *  depend on the number of voxels. *decoder is NULL on failure. `options` may be NULL; used are
 *  n_threads, backend, memory_limit, progress.
 *  errors  IO, FORMAT, VERSION, MEMORY, BACKEND */
KDINR_API kdinr_status kdinr_decoder_open(const char *path, const kdinr_options *options,
                                          kdinr_decoder **decoder, kdinr_error *error);

/** Never NULL for an open decoder. */
KDINR_API const kdinr_info *kdinr_decoder_info(const kdinr_decoder *decoder);

/** Read and check the networks now rather than at the first kdinr_decoder_read.
 *  errors  IO, FORMAT (also: the file changed since it was opened), MEMORY */
KDINR_API kdinr_status kdinr_decoder_load(kdinr_decoder *decoder, kdinr_error *error);

/** The whole array at the stored resolution, first step, float32. */
KDINR_API kdinr_request kdinr_request_default(const kdinr_info *info, int array);

/** Number of samples per axis that `request->dims` has for the array (cells: dims-1, at least 1).
 */
KDINR_API void kdinr_request_samples(const kdinr_info *info, const kdinr_request *request,
                                     int samples[3]);

/** Would kdinr_decoder_read accept this request? Asked before the memory for `values` is had.
 *  size    out bytes that `values` must have; untouched on failure; may be NULL
 *  errors  ARGUMENT (the message names the allowed extent), MEMORY (decoding takes more than
 *          memory_limit; the message has both figures) */
KDINR_API kdinr_status kdinr_decoder_check(const kdinr_decoder *decoder,
                                           const kdinr_request *request, size_t *size,
                                           kdinr_error *error);

/** Where the points along an axis lie, for a rectilinear grid: at another resolution than the
 *  stored one, the stored points are interpolated linearly by their index.
 *  points  out [request->dims[axis]] */
KDINR_API void kdinr_request_axis(const kdinr_info *info, const kdinr_request *request, int axis,
                                  double *points);

/** Which samples of a request are missing: those that kdinr_decoder_read fills with NaN, infinity
 *  or the fill value.
 *  missing  out [nz][ny][nx] 1: missing, else 0
 *  errors   as kdinr_decoder_read */
KDINR_API kdinr_status kdinr_decoder_missing(kdinr_decoder *decoder, const kdinr_request *request,
                                             uint8_t *missing, kdinr_error *error);

/** Decode. The same sample has the same bits whatever the extent and the number of threads.
 *  values  out [nz][ny][nx][n_components] of request->type, for the extent
 *  errors  ARGUMENT (the message names the allowed extent), FORMAT, MEMORY, CANCELLED.
 *          On failure the content of `values` is unspecified. */
KDINR_API kdinr_status kdinr_decoder_read(kdinr_decoder *decoder, const kdinr_request *request,
                                          void *values, kdinr_error *error);

/** Replace the progress callback. */
KDINR_API void kdinr_decoder_set_progress(kdinr_decoder *decoder, kdinr_progress progress,
                                          void *user);

/** Release. NULL is fine. */
KDINR_API void kdinr_decoder_close(kdinr_decoder *decoder);

/* ---- backends ---- */

/** Name of compiled-in backend `i`, or NULL past the last. *reason says why it cannot run here,
 *  or is NULL if it can. */
KDINR_API const char *kdinr_backend_name(int i, const char **reason);

#ifdef __cplusplus
}
#endif
#endif
