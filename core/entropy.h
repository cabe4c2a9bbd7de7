/* Numbers to bytes and back: codes of quantised weights, missing-value maps, and plain bytes.
 * Before: quant.c makes the codes, encode.c the maps. After: kdm.c stores what comes out.
 *
 * Codes and maps go through an adaptive binary range coder: every yes/no decision is coded with the
 * probability that the decisions before it, in the same situation (context), suggest. On trained
 * networks of 1,500 to 46,000 parameters it needs 1 to 12 % fewer bytes than zstd, whose tables
 * cost too much at this size and who cannot keep the tensors' scales apart; on a land mask half.
 * core/FORMAT.md has the exact rules. Plain bytes go through zstd. */
#ifndef KD_ENTROPY_H
#define KD_ENTROPY_H

#include "kdinr.h"

enum {
    KD_ENTROPY_MAX_TENSORS = 256, /* tensors with contexts of their own */
    KD_ENTROPY_MAX_MAGNITUDE = 32767,
    KD_ENTROPY_CODES_PER_BYTE = 64 /* at most; packed codes are padded with zeros to reach it */
};

/** Compress bytes with zstd (level 19). *packed is owned by the caller, NULL on failure.
 *  errors  MEMORY */
kdinr_status kd_entropy_pack_bytes(const uint8_t *bytes, size_t size, uint8_t **packed,
                                   size_t *packed_size, kdinr_error *error);

/** Undo kd_entropy_pack_bytes into exactly `size` bytes; anything else is damage.
 *  errors  FORMAT (the message names `what`, the sizes found and expected), MEMORY */
kdinr_status kd_entropy_unpack_bytes(const uint8_t *packed, size_t packed_size, uint8_t *bytes,
                                     size_t size, const char *what, kdinr_error *error);

/** The codes of one tensor. Tensors with the same index share their statistics. */
typedef struct kd_entropy_tensor {
    int index;      /* 0..KD_ENTROPY_MAX_TENSORS-1: its place in its network */
    int16_t *codes; /* [n], each within +-KD_ENTROPY_MAX_MAGNITUDE; only read when packing */
    size_t n;
    bool folded; /* -1 is as far out as 0, -2 as 1, and so on: as many codes below 0 as from 0 on */
} kd_entropy_tensor;

/** Compress the codes of all tensors into one stream. *packed is owned by the caller, NULL on
 *  failure.
 *  tensors  in [n_tensors]
 *  errors   MEMORY */
kdinr_status kd_entropy_pack_codes(const kd_entropy_tensor *tensors, size_t n_tensors,
                                   uint8_t **packed, size_t *packed_size, kdinr_error *error);

/** Undo kd_entropy_pack_codes.
 *  tensors  in [n_tensors], the same lengths and indices as when packing; their codes are filled
 *  errors   FORMAT (fewer bytes than the codes can have, or bytes left over) */
kdinr_status kd_entropy_unpack_codes(const uint8_t *packed, size_t packed_size,
                                     const kd_entropy_tensor *tensors, size_t n_tensors,
                                     kdinr_error *error);

/** Compress a missing-value map. *packed is owned by the caller, NULL on failure. It can have 0
 *  bytes and still be a map.
 *  classes  in [dims z][dims y][dims x], each a kd_missing (0..4)
 *  dims     samples per axis
 *  errors   MEMORY */
kdinr_status kd_entropy_pack_mask(const uint8_t *classes, const int dims[3], uint8_t **packed,
                                  size_t *packed_size, kdinr_error *error);

/** Undo kd_entropy_pack_mask.
 *  classes  out [dims z][dims y][dims x]
 *  errors   FORMAT (bytes left over), MEMORY */
kdinr_status kd_entropy_unpack_mask(const uint8_t *packed, size_t packed_size, const int dims[3],
                                    uint8_t *classes, kdinr_error *error);

#endif
