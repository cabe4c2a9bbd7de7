/* The container: a model (everything a .kdm says) to bytes and back, and bytes to disk and back.
 * Before: encode.c fills a kd_model. After: decode.c reads one. Only kdm*.c touch .kdm
 * bytes; core/FORMAT.md is the specification of those bytes. */
#ifndef KD_KDM_H
#define KD_KDM_H

#include "backend.h"
#include "kdinr.h"
#include "net.h"

enum {
    KD_KDM_MAJOR = 1,
    KD_KDM_MINOR = 4,
    KD_KDM_MAX_DIM = 1 << 20, /* points per axis */
    KD_KDM_MAX_STEPS = 1 << 20,
    KD_KDM_MAX_ARRAYS = 64,
    KD_KDM_MAX_NAME = 255, /* bytes, without the 0 */
    KD_KDM_MAX_COMPONENTS = 9,
    KD_KDM_MAX_BRICKS = 64,        /* per axis */
    KD_KDM_MAX_NETWORKS = 1 << 20, /* windows * bricks of one array */
    KD_KDM_MAX_PROVENANCE = 4096,  /* bytes, without the 0 */
    KD_KDM_MAX_TENSORS = KD_NET_MAX_TENSORS
};

/** How one brick of one window is represented. Numbers are stored. */
typedef enum kd_network_kind {
    KD_NETWORK_CONSTANT = 0,  /* every sample is range[c][0]; no parameters */
    KD_NETWORK_QUANTISED = 1, /* parameter = code * kd_kdm_step(steps[tensor]) */
    KD_NETWORK_FLOAT16 = 2,
    KD_NETWORK_FLOAT32 = 3,
    KD_NETWORK_CLUSTERED = 4 /* hidden matrices are numbers of centres, all else is float32 */
} kd_network_kind;

/** The student of one brick and one window. The tensors of a network are, in the order of its flat
 *  parameter block, weights then biases of each layer: tensor 2*layer and 2*layer + 1. */
typedef struct kd_network {
    kd_network_kind kind;
    int width, depth;                      /* m, d; 0 when constant */
    float range[KD_KDM_MAX_COMPONENTS][2]; /* values that outputs -1 and +1 stand for */
    uint8_t steps[KD_KDM_MAX_TENSORS];     /* QUANTISED: step codes, one a tensor */
    int8_t *modes; /* [steps of the window][array's n_modes] of time, as modes.h has them, owned;
                      NULL: none, or constant */
    /* what the file has of it (kd_kdm_stored), in the order of its tensors; both owned */
    int16_t *codes; /* QUANTISED: [n_params], within +-32767; CLUSTERED: of clustered matrices */
    float *params;  /* FLOAT16, FLOAT32: [n_params] (rounded if FLOAT16); CLUSTERED: the centres, in
                       ascending order, of clustered matrices, the parameters of other tensors */
} kd_network;

/** How many codes and floats the file has of a network. */
typedef struct kd_stored {
    size_t n_codes, n_floats;
} kd_stored;

/** What a sample is, when it is not a value the networks answer for. Numbers are stored. */
typedef enum kd_missing {
    KD_MISSING_NONE = 0,
    KD_MISSING_NAN = 1,
    KD_MISSING_FILL = 2,
    KD_MISSING_PLUS_INF = 3,
    KD_MISSING_MINUS_INF = 4
} kd_missing;

/** One missing-value map: a kd_missing per sample of the stored grid, packed by
 *  kd_entropy_pack_mask. */
typedef struct kd_mask {
    uint8_t *bytes; /* owned */
    size_t size;
} kd_mask;

/** One step's packed residual: kd_residual_pack. */
typedef struct kd_stream {
    uint8_t *bytes; /* owned */
    size_t size;
} kd_stream;

/** A bound on the error of an array, and how its residuals are stored. */
typedef struct kd_bound {
    double most[KD_KDM_MAX_COMPONENTS]; /* largest error of a stored sample, >= 0 */
    double unit[KD_KDM_MAX_COMPONENTS]; /* what one level is worth, >= 0 */
    double base[KD_KDM_MAX_COMPONENTS]; /* if `alone`: stands for the networks' answer */
    bool alone;                         /* the networks are not asked */
    int group; /* step k needs the residual of step k - 1 unless group divides k; 1..255 */
} kd_bound;

typedef struct kd_model_array {
    char *name; /* owned */
    kdinr_type type;
    int n_components;
    kdinr_association association;
    bool has_fill;
    double fill_value;
    double range[KD_KDM_MAX_COMPONENTS][2]; /* of the series, missing samples left out */
    int bricks[3];
    int n_windows;
    int *window_starts; /* [n_windows + 1]: window w holds steps [w]..[w + 1]-1; owned */
    int block_layers;   /* as in kd_net_shape, like: */
    kd_form form;
    int n_modes; /* of time, which its networks read beside it; 0..KD_NET_MAX_MODES */
    float omega_first, omega_hidden;
    int cluster_bits; /* of the codes of CLUSTERED networks, 1..9; 0: there are none; set with: */
    kd_network *networks; /* [n_windows][bricks z][bricks y][bricks x]; owned; NULL until loaded */
    int n_masks;          /* distinct missing-value maps; 0: nothing is missing */
    kd_mask *masks;       /* [n_masks], owned; NULL until loaded */
    int *step_masks;      /* [n_steps] index into masks, -1: nothing missing in this step; owned,
                             NULL when n_masks is 0 */
    float *psnr;          /* [n_steps] dB, multiples of 0.01; INFINITY: exact; owned */
    float *max_error;     /* [n_steps]; owned */
    double mse;           /* mean over steps and components of squared error / range^2 (float32) */
    bool quality_exact;
    bool has_bound; /* set with the networks: by kd_kdm_load_networks */
    kd_bound bound;
    kd_stream *residuals; /* [n_steps] if has_bound, owned; NULL until loaded */
} kd_model_array;

/** Where a pack of networks has its codes. */
typedef struct kd_pack {
    uint64_t start; /* in section CODE */
    uint32_t size, checksum;
} kd_pack;

/** Everything a .kdm says. */
typedef struct kd_model {
    int dims[3], first[3];
    double origin[3], spacing[3], direction[9];
    double *axes[3]; /* [dims[i]] each, where the points lie, owned; NULL: a uniform grid */
    int n_steps;
    double *times; /* [n_steps], increasing, owned */
    int n_arrays;
    kd_model_array *arrays; /* [n_arrays], owned */
    char *provenance;       /* owned */
    int pack_networks;      /* networks whose codes are one stream; 0: those of all are */
    kd_pack *packs;         /* of a file that has packs: their codes are loaded when they are asked
                               for; owned, else NULL; set by kd_kdm_load_networks */
    int minor;              /* version of the file; set by kd_kdm_load_info */
    uint64_t file_size;     /* likewise */
    uint32_t checksum;      /* of the header; likewise */
} kd_model;

/** The value of a step code: 2^(-code/8), as float. */
float kd_kdm_step(uint8_t code);

/** Round to the nearest float16 and back (ties to even; overflow to infinity). */
float kd_kdm_round_float16(float value);

/** Fill `net`'s layer table (widths, offsets, frequencies) for one network of an array, which must
 *  not be CONSTANT. */
void kd_kdm_net(const kd_model_array *array, const kd_network *network, kd_net *net);

/** dst[n_params] = the parameters that a decoder uses. */
void kd_kdm_params(const kd_model_array *array, const kd_network *network, float *dst);

/** Is this tensor of a CLUSTERED network stored as numbers of 2^bits centres, rather than as
 * floats? Hidden matrices are, unless that takes more bytes. */
bool kd_kdm_clustered(const kd_net *net, int tensor, int bits);

/** What a network has in the file. */
kd_stored kd_kdm_stored(const kd_model_array *array, const kd_network *network);

/** Samples per axis of an array on the model's grid: points, or cells = max(points - 1, 1). */
void kd_kdm_samples(const int dims[3], kdinr_association association, int samples[3]);

/** Networks of one array: windows times bricks. The array must have passed kd_check_array, or be
 *  one that the encoder fills. */
size_t kd_network_count(const kd_model_array *array);

/** Steps of the window that network n of an array belongs to. */
int kd_network_steps(const kd_model_array *array, size_t n);

/** Free what a network owns. */
void kd_network_release(kd_network *network);

/** Make a network that is one constant: the middle of the array's range. */
void kd_network_middle(const kd_model_array *array, kd_network *network);

/** Bytes of the data that the model stands for (in the arrays' own types). */
uint64_t kd_kdm_data_size(const kd_model *model);

/** Give the model a copy of a grid's axes; dims must be set. Nothing if axes[0] is NULL.
 *  errors  MEMORY */
kdinr_status kd_copy_axes(const double *const axes[3], kd_model *model, kdinr_error *error);

/** Are these the model's axes, or are there none in both? */
bool kd_same_axes(const double *const axes[3], const kd_model *model);

/** *size = bytes that the description of the grid takes in the file, with times as far as there
 * are. errors  MEMORY */
kdinr_status kd_size_grid(const kd_model *model, size_t *size, kdinr_error *error);

/** Bytes that times take in the file. */
size_t kd_size_times(const double *times, int n_steps);

/** *size = bytes that the axes take in the file. errors  MEMORY */
kdinr_status kd_size_axes(const kd_model *model, size_t *size, kdinr_error *error);

/** Axes, if there are any: finite, one way, and no other geometry beside them.
 *  errors  `status` */
kdinr_status kd_check_axes(const kd_model *model, kdinr_status status, kdinr_error *error);

/** Serialise. *bytes is owned by the caller (free), NULL on failure.
 *  errors  ARGUMENT (the model breaks a rule of core/FORMAT.md: no file is made that
 *          kd_kdm_load_* would refuse), MEMORY */
kdinr_status kd_kdm_pack(const kd_model *model, uint8_t **bytes, size_t *size, kdinr_error *error);

/** Write under a temporary name in path's folder, fsync, rename over path, fsync the folder. On
 *  failure no file is left and an older file at `path` is untouched.
 *  errors  IO (the message has the path and the system's reason) */
kdinr_status kd_kdm_save(const uint8_t *bytes, size_t size, const char *path, kdinr_error *error);

/** Called with the complete file under its temporary name; a failure ends kd_kdm_save_checked. */
typedef kdinr_status (*kd_kdm_check)(void *user, const char *path, kdinr_error *error);

/** kd_kdm_save, but what `check` refuses is not kept.
 *  errors  IO, and those of `check` */
kdinr_status kd_kdm_save_checked(const uint8_t *bytes, size_t size, const char *path,
                                 kd_kdm_check check, void *user, kdinr_error *error);

/** Is there a .kdm of a readable major version at `path`? Silent, allocates nothing. */
bool kd_kdm_can_read(const char *path);

/** Read header and description: everything but networks and masks. *model must be freed with
 *  kd_kdm_free whatever the outcome.
 *  errors  IO, FORMAT, VERSION, MEMORY */
kdinr_status kd_kdm_load_info(const char *path, kd_model *model, kdinr_error *error);

/** Decide whether the codes of the networks go into packs, by their number. */
void kd_kdm_choose_packs(kd_model *model);

/** Read networks and masks, but codes in packs, into a model that kd_kdm_load_info filled from the
 * same file. On failure the model is as before. errors  IO, FORMAT (also: the file changed since),
 * MEMORY */
kdinr_status kd_kdm_load_networks(const char *path, kd_model *model, kdinr_error *error);

/** Read the codes of network `n` of array `a`, with those of its pack, if they are still missing.
 *  path    the file that kd_kdm_load_networks has read
 *  errors  IO, FORMAT (also: the file changed since), MEMORY */
kdinr_status kd_kdm_load_codes(const char *path, const kd_model *model, int a, size_t n,
                               kdinr_error *error);

/** Free what the model owns and zero it. */
void kd_kdm_free(kd_model *model);

#endif
