/* What the writer (kdm.c) and the reader (kdm_read.c) of a .kdm share: the numbers of the layout
 * and the rules a model must keep. core/FORMAT.md explains every number here. */
#ifndef KD_KDM_LAYOUT_H
#define KD_KDM_LAYOUT_H

#include "bytes.h"
#include "entropy.h"
#include "kdm.h"

#define KD_MAGIC "\x89KDM\r\n\x1a\n"

enum {
    KD_MAGIC_SIZE = 8,
    KD_CHECKSUM_AT = 24,
    KD_HEADER_SIZE = 28,
    KD_SECTION_SIZE = 16, /* one entry of the section table */
    KD_MAX_SECTIONS = 64,
    KD_NETS_PER_BYTE = 64 /* bytes of network records that one packed byte may stand for */
};

/* META, the model's flags. */
enum {
    KD_META_FIRST = 1,
    KD_META_ORIGIN = 2,
    KD_META_SPACING = 4,
    KD_META_DIRECTION = 8,
    KD_META_TIMES_SHIFT = 4, /* two bits: how the times are stored */
    KD_META_RESERVED = 0xC0
};
typedef enum kd_times_form {
    KD_TIMES_INDEX = 0,   /* 0, 1, 2, ... */
    KD_TIMES_UNIFORM = 1, /* start + k * step */
    KD_TIMES_LIST = 2
} kd_times_form;

/* META, an array's flags. */
enum {
    KD_ARRAY_CELLS = 1,
    KD_ARRAY_FILL = 2,
    KD_ARRAY_RANGE_FLOAT64 = 4,
    KD_ARRAY_PLAIN_BLOCKS = 8,
    KD_ARRAY_OMEGA_HIDDEN = 16,
    KD_ARRAY_WINDOW_LIST = 32,
    KD_ARRAY_MASKS = 64,
    KD_ARRAY_QUALITY_EXACT = 128
};
#define KD_OMEGA_HIDDEN 30.0f /* when the flag is not set */

enum { KD_PSNR_INFINITE = 32767, KD_PSNR_NONE = -32768, KD_MAX_ERROR_INFINITE = 0x7F80 };

/* NETS. */
typedef enum kd_nets_packing { KD_NETS_RAW = 0, KD_NETS_ZSTD = 1 } kd_nets_packing;

/* MASK: which map belongs to which step. */
typedef enum kd_steps_form {
    KD_STEPS_ALL_FIRST = 0, /* every step has map 0 */
    KD_STEPS_OWN = 1,       /* step k has map k */
    KD_STEPS_LIST = 2
} kd_steps_form;

/* AXES: how the points of one axis are stored. */
typedef enum kd_axis_form {
    KD_AXIS_UNIFORM = 0, /* start, step */
    KD_AXIS_FLOAT32 = 1,
    KD_AXIS_FLOAT64 = 2
} kd_axis_form;

/** Tensors of one network that is not constant. */
int kd_tensor_count(const kd_model_array *array, const kd_network *network);

/** The codes of the QUANTISED and CLUSTERED ones of `n` networks as kd_entropy wants them. *tensors
 * is owned by the caller, NULL on failure. first   in file order, over all arrays; `n` may reach
 * beyond the last errors  MEMORY */
kdinr_status kd_list_tensors(const kd_model *model, size_t first, size_t n,
                             kd_entropy_tensor **tensors, size_t *n_tensors, kdinr_error *error);

/** How many codes these have. */
size_t kd_count_codes(const kd_model *model, size_t first, size_t n);

/** The nearest float16 as bits (ties to even; overflow to infinity), and back. */
uint16_t kd_float16_bits(float value);
float kd_float16_value(uint16_t bits);

/** Free what kd_kdm_load_networks adds to an array. */
void kd_free_loaded(kd_model_array *array);

/* An open file whose header and section table are in order (kdm_open.c). */
typedef struct kd_section {
    char id[5];
    uint32_t checksum;
    uint64_t start, size; /* in the file */
} kd_section;

typedef struct kd_source {
    const char *path;
    int file;
    uint64_t size;
    unsigned minor;    /* version */
    uint32_t checksum; /* of the header */
    int n_sections;
    kd_section sections[KD_MAX_SECTIONS];
} kd_source;

/** Open a file and read its header and section table. `path` must outlive `from`. Close `from` only
 *  after success.
 *  errors  IO, FORMAT, VERSION */
kdinr_status kd_source_open(const char *path, kd_source *from, kdinr_error *error);

/** Read a whole section and check its bytes; an absent one has none. *bytes is owned by the caller,
 *  NULL on failure.
 *  errors  IO, FORMAT, MEMORY */
kdinr_status kd_source_read(const kd_source *from, const char *id, uint8_t **bytes, size_t *size,
                            kdinr_error *error);

void kd_source_close(const kd_source *from);

/** kd_source_open for the file that a model was read from.
 *  errors  IO, FORMAT (also: the file has changed since) */
kdinr_status kd_source_open_again(const char *path, const kd_model *model, kd_source *from,
                                  kdinr_error *error);

/** The section of that name, or NULL. */
const kd_section *kd_source_find(const kd_source *from, const char *id);

/** Read one pack of section CODE and check its bytes. *bytes is owned by the caller, NULL on
 *  failure.
 *  errors  IO, FORMAT, MEMORY */
kdinr_status kd_source_read_pack(const kd_source *from, const kd_pack *pack, uint8_t **bytes,
                                 kdinr_error *error);

/** Section AXES (kdm_axes.c): write it, nothing for a uniform grid; read it, if it is there.
 *  errors  MEMORY; IO, FORMAT, MEMORY */
kdinr_status kd_write_axes(kd_writer *writer, const kd_model *model, kdinr_error *error);
kdinr_status kd_read_axes(const kd_source *from, kd_model *model, kdinr_error *error);

/** A section with a u8 for each array (kdm_form.c): write it, nothing if all are 0; read it, and
 *  hand each number to `take`, 0 if the section is not there.
 *  errors  MEMORY; IO, FORMAT, MEMORY, those of `take` */
kdinr_status kd_write_each(kd_writer *writer, const kd_model *model,
                           int (*number_of)(const kd_model_array *array), kdinr_error *error);
kdinr_status kd_read_each(const kd_source *from, const char *id, kd_model *model,
                          kdinr_status (*take)(kd_model *model, int a, int number,
                                               kdinr_error *error),
                          kdinr_error *error);

/** Section FORM (kdm_form.c): write it, nothing if all networks have form 0; read it, if it is
 *  there.
 *  errors  MEMORY; IO, FORMAT, MEMORY */
kdinr_status kd_write_forms(kd_writer *writer, const kd_model *model, kdinr_error *error);
kdinr_status kd_read_forms(const kd_source *from, kd_model *model, kdinr_error *error);

/** Section MODE (kdm_form.c): write it, nothing if no array has modes; read it, if it is there.
 *  errors  MEMORY; IO, FORMAT, MEMORY */
kdinr_status kd_write_modes(kd_writer *writer, const kd_model *model, kdinr_error *error);
kdinr_status kd_read_modes(const kd_source *from, kd_model *model, kdinr_error *error);

/** Section CLUS (kdm_cluster.c): write it, nothing if no network is CLUSTERED; read it, if it is
 *  there.
 *  errors  MEMORY; IO, FORMAT, MEMORY */
kdinr_status kd_write_clusters(kd_writer *writer, const kd_model *model, kdinr_error *error);
kdinr_status kd_read_clusters(const kd_source *from, kd_model *model, kdinr_error *error);

/** dst[n_params] = the parameters of a CLUSTERED network (kdm_cluster.c). */
void kd_expand_clusters(const kd_model_array *array, const kd_network *network, float *dst);

/** Section PACK (kdm_pack.c), with the section CODE that belongs to it: write both; read the table
 *  of packs, if it is there.
 *  errors  ARGUMENT (a pack is too long), MEMORY; IO, FORMAT, MEMORY */
kdinr_status kd_write_packs(kd_writer *code, kd_writer *table, const kd_model *model,
                            kdinr_error *error);
kdinr_status kd_read_packs(const kd_source *from, kd_model *model, kdinr_error *error);

/* Section RESI (kdm_residual.c). */

/** Has any array a bound? Then the file has section RESI and needs a reader of version 1.1. */
bool kd_has_bound(const kd_model *model);

/** Append the section's content; nothing if no array has a bound.
 *  errors  ARGUMENT (a bound breaks a rule, or a stream is too long), MEMORY */
kdinr_status kd_write_residuals(kd_writer *writer, const kd_model *model, kdinr_error *error);

/** Read the section into the arrays; an absent one says that no array has a bound.
 *  errors  IO, FORMAT, MEMORY */
kdinr_status kd_read_residuals(const kd_source *from, kd_model *model, kdinr_error *error);

/** Free the residuals of an array. */
void kd_free_residuals(kd_model_array *array);

/* The rules (kdm_check.c). Each writes one message and returns `status` if a rule is broken: FORMAT
 * from the reader, ARGUMENT from the writer, so that no file is written that cannot be read. In the
 * order of the file; later ones rely on earlier ones. */

/** Grid, provenance, number of steps and of arrays; not the times. */
kdinr_status kd_check_model(const kd_model *model, kdinr_status status, kdinr_error *error);

/** Times: finite and increasing. */
kdinr_status kd_check_times(const kd_model *model, kdinr_status status, kdinr_error *error);

/** Form and layers of a block of array `a`. */
kdinr_status kd_check_form(const kd_model *model, int a, kdinr_status status, kdinr_error *error);

/** Array `a` without its lists (windows, quality, masks, networks). */
kdinr_status kd_check_array(const kd_model *model, int a, kdinr_status status, kdinr_error *error);

/** Window starts and quality of array `a`. */
kdinr_status kd_check_lists(const kd_model *model, int a, kdinr_status status, kdinr_error *error);

/** Which map belongs to which step of array `a`. */
kdinr_status kd_check_step_masks(const kd_model *model, int a, kdinr_status status,
                                 kdinr_error *error);

/** Kind, width, depth and ranges of network `n` of array `a`; not its modes and parameters. */
kdinr_status kd_check_network(const kd_model *model, int a, size_t n, kdinr_status status,
                              kdinr_error *error);

/** Modes of network `n` of array `a`. */
kdinr_status kd_check_modes(const kd_model *model, int a, size_t n, kdinr_status status,
                            kdinr_error *error);

/** Bound, unit, base and group of array `a` (kdm_residual.c). */
kdinr_status kd_check_bound(const kd_model *model, int a, kdinr_status status, kdinr_error *error);

/** Packs, if there are any: how many networks each has, and of which kinds (kdm_pack.c). */
kdinr_status kd_check_packs(const kd_model *model, kdinr_status status, kdinr_error *error);

/** Bits of the codes of CLUSTERED networks of array `a` (kdm_cluster.c). */
kdinr_status kd_check_cluster_bits(const kd_model *model, int a, kdinr_status status,
                                   kdinr_error *error);

/** Centres and codes of network `n` of array `a`, which is CLUSTERED (kdm_cluster.c). */
kdinr_status kd_check_clusters(const kd_model *model, int a, size_t n, kdinr_status status,
                               kdinr_error *error);

/** Parameters of network `n` of array `a`: codes in range, floats finite, centres in order. */
kdinr_status kd_check_params(const kd_model *model, int a, size_t n, kdinr_status status,
                             kdinr_error *error);

#endif
