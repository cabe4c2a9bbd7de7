/* Numbers to bytes and back. Before: quant.c (codes) and encode.c (missing-value maps). After:
 * kdm.c. A model (code_number, code_class) walks the numbers and asks the range coder for one
 * decision after the other. The same walk packs and unpacks: packing it is told the numbers and
 * writes bytes, unpacking it reads bytes and is told the numbers. */
#include "entropy.h"

#include <assert.h>
#include <zstd.h>

#include "coder.h"

enum { ZSTD_LEVEL = 19 };

/* ---- plain bytes ---- */

kdinr_status kd_entropy_pack_bytes(const uint8_t *bytes, size_t size, uint8_t **packed,
                                   size_t *packed_size, kdinr_error *error)
{
    const size_t capacity = ZSTD_compressBound(size);
    uint8_t *room = malloc(capacity);

    *packed = NULL;
    if (room == NULL) return kd_fail_memory(error, capacity, "compression");
    *packed_size = ZSTD_compress(room, capacity, bytes, size, ZSTD_LEVEL);
    if (ZSTD_isError(*packed_size)) {
        free(room); /* the room is large enough, so only memory can be short */
        return kd_fail(error, KDINR_ERROR_MEMORY, "compressing %zu bytes: %s", size,
                       ZSTD_getErrorName(*packed_size));
    }
    *packed = room;
    return KDINR_OK;
}

kdinr_status kd_entropy_unpack_bytes(const uint8_t *packed, size_t packed_size, uint8_t *bytes,
                                     size_t size, const char *what, kdinr_error *error)
{
    const size_t found = ZSTD_decompress(bytes, size, packed, packed_size);

    if (ZSTD_isError(found)) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s: %zu bytes do not unpack to %zu: %s", what,
                       packed_size, size, ZSTD_getErrorName(found));
    }
    if (found != size) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s: unpacks to %zu bytes, expected %zu", what,
                       found, size);
    }
    return KDINR_OK;
}

/* ---- codes of weights ---- */

enum { CODE_LIMIT = 255, MAX_BITS = 15 };

/* A code is its number of bits, the two bits below the leading one, the other bits and the sign,
 * which a folded one always has.
 * How many bits there are depends on the tensor's scale, so every tensor learns that for itself. */
typedef struct code_model {
    kd_context longer[KD_ENTROPY_MAX_TENSORS][MAX_BITS]; /* [tensor][j]: more than j bits? */
    kd_context second[MAX_BITS + 1];                     /* [bits]: the bit below the leading one */
    kd_context third[MAX_BITS + 1][2];                   /* [bits][second] */
} code_model;

static void reset_code_model(code_model *model)
{
    kd_coder_reset(&model->longer[0][0], KD_ENTROPY_MAX_TENSORS * MAX_BITS);
    kd_coder_reset(model->second, MAX_BITS + 1);
    kd_coder_reset(&model->third[0][0], (MAX_BITS + 1) * 2);
}

/* How far out a code is. */
static unsigned code_magnitude(const kd_entropy_tensor *tensor, int number)
{
    return (unsigned)(tensor->folded && number < 0 ? -1 - number : abs(number));
}

static int code_number(kd_coder *coder, code_model *model, const kd_entropy_tensor *tensor,
                       int number)
{
    const unsigned magnitude = code_magnitude(tensor, number);
    int bits = 0;
    unsigned found = 1;

    while (bits < MAX_BITS &&
           kd_coder_bit(coder, &model->longer[tensor->index][bits], magnitude >> bits > 0)) {
        bits++;
    }
    if (bits == 0 && !tensor->folded) return 0;
    if (bits == 0) found = 0;
    for (int shift = bits - 2; shift >= 0; shift--) {
        const bool bit = magnitude >> shift & 1;
        kd_context *seen = found == 1 ? &model->second[bits] : &model->third[bits][found & 1];

        found =
            found << 1 | (found < 4 ? kd_coder_bit(coder, seen, bit) : kd_coder_even(coder, bit));
    }
    if (!kd_coder_even(coder, number < 0)) return (int)found;
    return tensor->folded ? -1 - (int)found : -(int)found;
}

static size_t count_codes(const kd_entropy_tensor *tensors, size_t n_tensors)
{
    size_t n = 0;

    for (size_t i = 0; i < n_tensors; i++) {
        n += tensors[i].n;
    }
    return n;
}

static size_t smallest_size(size_t n_codes)
{
    return n_codes / KD_ENTROPY_CODES_PER_BYTE + (n_codes % KD_ENTROPY_CODES_PER_BYTE > 0);
}

kdinr_status kd_entropy_pack_codes(const kd_entropy_tensor *tensors, size_t n_tensors,
                                   uint8_t **packed, size_t *packed_size, kdinr_error *error)
{
    const size_t smallest = smallest_size(count_codes(tensors, n_tensors));
    kd_coder coder = kd_coder_pack(CODE_LIMIT);
    code_model model;

    *packed = NULL;
    reset_code_model(&model);
    for (size_t i = 0; i < n_tensors; i++) {
        assert(tensors[i].index >= 0 && tensors[i].index < KD_ENTROPY_MAX_TENSORS);
        for (size_t k = 0; k < tensors[i].n; k++) {
            assert(code_magnitude(&tensors[i], tensors[i].codes[k]) <= KD_ENTROPY_MAX_MAGNITUDE);
            (void)code_number(&coder, &model, &tensors[i], tensors[i].codes[k]);
        }
    }
    kd_coder_finish(&coder);
    while (coder.out.size < smallest && !coder.out.failed) {
        kd_put_u8(&coder.out, 0);
    }
    return kd_coder_give(&coder, packed, packed_size, "packed codes", error);
}

kdinr_status kd_entropy_unpack_codes(const uint8_t *packed, size_t packed_size,
                                     const kd_entropy_tensor *tensors, size_t n_tensors,
                                     kdinr_error *error)
{
    const size_t n_codes = count_codes(tensors, n_tensors);
    const size_t smallest = smallest_size(n_codes);
    kd_coder coder = kd_coder_unpack(packed, packed_size, CODE_LIMIT);
    code_model model;

    if (packed_size < smallest) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "packed codes: %zu bytes cannot hold %zu codes, which need at least %zu",
                       packed_size, n_codes, smallest);
    }
    reset_code_model(&model);
    for (size_t i = 0; i < n_tensors; i++) {
        for (size_t k = 0; k < tensors[i].n; k++) {
            tensors[i].codes[k] = (int16_t)code_number(&coder, &model, &tensors[i], 0);
        }
    }
    return kd_coder_check(&coder, smallest, "packed codes", error);
}

/* ---- missing-value maps ---- */

enum { MASK_LIMIT = 127, N_NEIGHBOURS = 9, N_CLASSES = 5 };

/* A sample is whether it is missing and, if so, which of the four classes it has. */
typedef struct mask_model {
    kd_context missing[1 << N_NEIGHBOURS];
    kd_context high[N_CLASSES];   /* [class of the missing sample before] */
    kd_context low[N_CLASSES][2]; /* [class of the missing sample before][high] */
    uint8_t before;
} mask_model;

static void reset_mask_model(mask_model *model)
{
    kd_coder_reset(model->missing, 1 << N_NEIGHBOURS);
    kd_coder_reset(model->high, N_CLASSES);
    kd_coder_reset(&model->low[0][0], N_CLASSES * 2);
    model->before = 0;
}

/* The rows around row (y,z) that are coded before it, NULL outside the grid. */
typedef struct mask_rows {
    const uint8_t *own, *above;                          /* y and y - 1 of slice z */
    const uint8_t *before, *before_above, *before_below; /* y, y - 1 and y + 1 of slice z - 1 */
} mask_rows;

static const uint8_t *row_at(const uint8_t *classes, const int dims[3], int y, int z)
{
    if (y < 0 || y >= dims[1] || z < 0) return NULL;
    return classes + ((size_t)z * (size_t)dims[1] + (size_t)y) * (size_t)dims[0];
}

static mask_rows rows_around(const uint8_t *classes, const int dims[3], int y, int z)
{
    const mask_rows rows = {row_at(classes, dims, y, z), row_at(classes, dims, y - 1, z),
                            row_at(classes, dims, y, z - 1), row_at(classes, dims, y - 1, z - 1),
                            row_at(classes, dims, y + 1, z - 1)};
    return rows;
}

static unsigned missing_at(const uint8_t *row, int x, int n)
{
    return row != NULL && x >= 0 && x < n && row[x] != 0;
}

/* Which neighbours of sample x of a row are missing, as a number: those before it in its own slice,
 * and a cross in the slice before. Outside the grid nothing is missing. */
static unsigned missing_neighbours(const mask_rows *rows, int x, int n)
{
    return missing_at(rows->own, x - 1, n) | missing_at(rows->above, x - 1, n) << 1 |
           missing_at(rows->above, x, n) << 2 | missing_at(rows->above, x + 1, n) << 3 |
           missing_at(rows->before, x - 1, n) << 4 | missing_at(rows->before, x, n) << 5 |
           missing_at(rows->before, x + 1, n) << 6 | missing_at(rows->before_above, x, n) << 7 |
           missing_at(rows->before_below, x, n) << 8;
}

static uint8_t code_class(kd_coder *coder, mask_model *model, unsigned pattern, uint8_t class)
{
    const unsigned rank = class > 0 ? class - 1u : 0u;

    assert(class < N_CLASSES);
    if (!kd_coder_bit(coder, &model->missing[pattern], class > 0)) return 0;
    const bool high = kd_coder_bit(coder, &model->high[model->before], rank >> 1 & 1);
    const bool low = kd_coder_bit(coder, &model->low[model->before][high], rank & 1);
    model->before = (uint8_t)(1 + 2 * high + low);
    return model->before;
}

/* Pack from `classes`, or unpack into `unpacked`; the neighbours come from `classes` either way. */
static void code_mask(kd_coder *coder, const uint8_t *classes, const int dims[3], uint8_t *unpacked)
{
    mask_model model;
    size_t i = 0;

    reset_mask_model(&model);
    for (int z = 0; z < dims[2]; z++) {
        for (int y = 0; y < dims[1]; y++) {
            const mask_rows rows = rows_around(classes, dims, y, z);
            for (int x = 0; x < dims[0]; x++, i++) {
                const unsigned pattern = missing_neighbours(&rows, x, dims[0]);
                const uint8_t class = unpacked == NULL ? classes[i] : 0;
                const uint8_t coded = code_class(coder, &model, pattern, class);

                if (unpacked != NULL) unpacked[i] = coded;
            }
        }
    }
}

kdinr_status kd_entropy_pack_mask(const uint8_t *classes, const int dims[3], uint8_t **packed,
                                  size_t *packed_size, kdinr_error *error)
{
    kd_coder coder = kd_coder_pack(MASK_LIMIT);

    *packed = NULL;
    code_mask(&coder, classes, dims, NULL);
    kd_coder_finish(&coder);
    return kd_coder_give(&coder, packed, packed_size, "packed missing-value map", error);
}

kdinr_status kd_entropy_unpack_mask(const uint8_t *packed, size_t packed_size, const int dims[3],
                                    uint8_t *classes, kdinr_error *error)
{
    kd_coder coder = kd_coder_unpack(packed, packed_size, MASK_LIMIT);

    code_mask(&coder, classes, dims, classes);
    return kd_coder_check(&coder, 0, "packed missing-value map", error);
}
