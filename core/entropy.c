/* Numbers to bytes and back. Before: quant.c (codes) and encode.c (missing-value maps). After:
 * kdm.c. A model (code_number, code_class) walks the numbers and asks the range coder for one
 * decision after the other. The same walk packs and unpacks: packing it is told the numbers and
 * writes bytes, unpacking it reads bytes and is told the numbers. */
#include "entropy.h"

#include <assert.h>
#include <zstd.h>

#include "bytes.h"

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

/* ---- range coder ---- */

/* Packing narrows the interval [low, low + range) once per decision, in proportion to the
 * probability of what was decided; the bytes written are the leading digits of a number in it.
 * Unpacking follows the same intervals: `code` is where that number lies, counted from low. */
typedef struct range_coder {
    bool unpacking;
    uint32_t range;
    uint32_t limit; /* decisions after which a context stops slowing its adaption */
    uint32_t low;   /* packing */
    kd_writer out;
    uint32_t code; /* unpacking */
    const uint8_t *in;
    size_t in_size, in_at; /* in_at runs past in_size: zeros follow the end */
} range_coder;

/* What a situation has seen so far. */
typedef struct context {
    uint32_t probability; /* that the answer is yes, of 2^32 */
    uint32_t n;           /* decisions seen, up to the coder's limit */
} context;

static const uint32_t SMALLEST_RANGE = UINT32_C(1) << 24;

static void reset_contexts(context *contexts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        contexts[i] = (context){UINT32_C(1) << 31, 0};
    }
}

static uint8_t next_byte(range_coder *coder)
{
    const size_t at = coder->in_at++;

    return at < coder->in_size ? coder->in[at] : 0;
}

static range_coder open_packer(uint32_t limit)
{
    const range_coder coder = {.range = UINT32_MAX, .limit = limit};
    return coder;
}

static range_coder open_unpacker(const uint8_t *bytes, size_t size, uint32_t limit)
{
    range_coder coder = {
        .unpacking = true, .range = UINT32_MAX, .limit = limit, .in = bytes, .in_size = size};

    for (int i = 0; i < 4; i++) {
        coder.code = coder.code << 8 | next_byte(&coder);
    }
    return coder;
}

/* Add to low; a carry runs back through the bytes already written. */
static void raise_low(range_coder *coder, uint32_t by)
{
    const uint32_t before = coder->low;

    coder->low += by;
    if (coder->low >= before) return;
    for (size_t i = coder->out.size; i-- > 0 && ++coder->out.bytes[i] == 0;) {
    }
}

static void shift_byte(range_coder *coder)
{
    coder->range <<= 8;
    if (coder->unpacking) {
        coder->code = coder->code << 8 | next_byte(coder);
    } else {
        kd_put_u8(&coder->out, (uint8_t)(coder->low >> 24));
        coder->low <<= 8;
    }
}

/* Code one decision whose answer "yes" owns the first `yes` of the interval's `range` numbers.
 * `answer` is what to pack; returned is what was packed or unpacked. */
static bool code_decision(range_coder *coder, uint32_t yes, bool answer)
{
    if (coder->unpacking) answer = coder->code < yes;
    if (answer) {
        coder->range = yes;
    } else {
        coder->range -= yes;
        if (coder->unpacking) {
            coder->code -= yes;
        } else {
            raise_low(coder, yes);
        }
    }
    while (coder->range < SMALLEST_RANGE) {
        shift_byte(coder);
    }
    return answer;
}

/* Code a decision by its context, which learns: the first answers move the probability by 2/3, 2/5,
 * 2/7, ... of the way, later ones by 2 / (2 limit + 3). */
static bool code_bit(range_coder *coder, context *seen, bool answer)
{
    const uint32_t probability = seen->probability >> 16;
    const uint64_t rate = (UINT32_C(1) << 17) / (2 * seen->n + 3);
    const uint64_t yes = ((uint64_t)coder->range * (probability > 0 ? probability : 1)) >> 16;

    answer = code_decision(coder, (uint32_t)yes, answer);
    if (answer) {
        seen->probability += (uint32_t)(((UINT32_MAX - seen->probability) * rate) >> 16);
    } else {
        seen->probability -= (uint32_t)((seen->probability * rate) >> 16);
    }
    if (seen->n < coder->limit) seen->n++;
    return answer;
}

/* Code a decision of which nothing is known. */
static bool code_even(range_coder *coder, bool answer)
{
    return code_decision(coder, coder->range >> 1, answer);
}

/* End packing: one byte names a number inside the interval, since range is at least 2^24. Zeros at
 * the end need not be stored. */
static void finish_packer(range_coder *coder)
{
    raise_low(coder, SMALLEST_RANGE - 1);
    kd_put_u8(&coder->out, (uint8_t)(coder->low >> 24));
    while (coder->out.size > 0 && coder->out.bytes[coder->out.size - 1] == 0) {
        coder->out.size--;
    }
}

/* Hand out what was packed. */
static kdinr_status give_bytes(range_coder *coder, uint8_t **packed, size_t *packed_size,
                               const char *what, kdinr_error *error)
{
    const kdinr_status status = kd_writer_check(&coder->out, what, error);

    if (status != KDINR_OK) {
        free(coder->out.bytes);
        return status;
    }
    *packed = coder->out.bytes;
    *packed_size = coder->out.size;
    return KDINR_OK;
}

/* A packer never writes more than an unpacker reads, save for the padding of codes. */
static kdinr_status check_left_over(const range_coder *coder, size_t padded_size, const char *what,
                                    kdinr_error *error)
{
    if (coder->in_size <= coder->in_at || coder->in_size <= padded_size) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "%s: %zu bytes, of which only %zu are used", what,
                   coder->in_size, coder->in_at);
}

/* ---- codes of weights ---- */

enum { CODE_LIMIT = 255, MAX_BITS = 15 };

/* A code is its number of bits, the two bits below the leading one, the other bits and the sign.
 * How many bits there are depends on the tensor's scale, so every tensor learns that for itself. */
typedef struct code_model {
    context longer[KD_ENTROPY_MAX_TENSORS][MAX_BITS]; /* [tensor][j]: more than j bits? */
    context second[MAX_BITS + 1];                     /* [bits]: the bit below the leading one */
    context third[MAX_BITS + 1][2];                   /* [bits][second] */
} code_model;

static void reset_code_model(code_model *model)
{
    reset_contexts(&model->longer[0][0], KD_ENTROPY_MAX_TENSORS * MAX_BITS);
    reset_contexts(model->second, MAX_BITS + 1);
    reset_contexts(&model->third[0][0], (MAX_BITS + 1) * 2);
}

static int code_number(range_coder *coder, code_model *model, int tensor, int number)
{
    const unsigned magnitude = (unsigned)abs(number);
    int bits = 0;
    unsigned found = 1;

    while (bits < MAX_BITS &&
           code_bit(coder, &model->longer[tensor][bits], magnitude >> bits > 0)) {
        bits++;
    }
    if (bits == 0) return 0;
    for (int shift = bits - 2; shift >= 0; shift--) {
        const bool bit = magnitude >> shift & 1;
        context *seen = found == 1 ? &model->second[bits] : &model->third[bits][found & 1];

        found = found << 1 | (found < 4 ? code_bit(coder, seen, bit) : code_even(coder, bit));
    }
    return code_even(coder, number < 0) ? -(int)found : (int)found;
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
    range_coder coder = open_packer(CODE_LIMIT);
    code_model model;

    *packed = NULL;
    reset_code_model(&model);
    for (size_t i = 0; i < n_tensors; i++) {
        assert(tensors[i].index >= 0 && tensors[i].index < KD_ENTROPY_MAX_TENSORS);
        for (size_t k = 0; k < tensors[i].n; k++) {
            assert(abs(tensors[i].codes[k]) <= KD_ENTROPY_MAX_MAGNITUDE);
            (void)code_number(&coder, &model, tensors[i].index, tensors[i].codes[k]);
        }
    }
    finish_packer(&coder);
    while (coder.out.size < smallest && !coder.out.failed) {
        kd_put_u8(&coder.out, 0);
    }
    return give_bytes(&coder, packed, packed_size, "packed codes", error);
}

kdinr_status kd_entropy_unpack_codes(const uint8_t *packed, size_t packed_size,
                                     const kd_entropy_tensor *tensors, size_t n_tensors,
                                     kdinr_error *error)
{
    const size_t n_codes = count_codes(tensors, n_tensors);
    const size_t smallest = smallest_size(n_codes);
    range_coder coder = open_unpacker(packed, packed_size, CODE_LIMIT);
    code_model model;

    if (packed_size < smallest) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "packed codes: %zu bytes cannot hold %zu codes, which need at least %zu",
                       packed_size, n_codes, smallest);
    }
    reset_code_model(&model);
    for (size_t i = 0; i < n_tensors; i++) {
        for (size_t k = 0; k < tensors[i].n; k++) {
            tensors[i].codes[k] = (int16_t)code_number(&coder, &model, tensors[i].index, 0);
        }
    }
    return check_left_over(&coder, smallest, "packed codes", error);
}

/* ---- missing-value maps ---- */

enum { MASK_LIMIT = 127, N_NEIGHBOURS = 9, N_CLASSES = 5 };

/* A sample is whether it is missing and, if so, which of the four classes it has. */
typedef struct mask_model {
    context missing[1 << N_NEIGHBOURS];
    context high[N_CLASSES];   /* [class of the missing sample before] */
    context low[N_CLASSES][2]; /* [class of the missing sample before][high] */
    uint8_t before;
} mask_model;

static void reset_mask_model(mask_model *model)
{
    reset_contexts(model->missing, 1 << N_NEIGHBOURS);
    reset_contexts(model->high, N_CLASSES);
    reset_contexts(&model->low[0][0], N_CLASSES * 2);
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

static uint8_t code_class(range_coder *coder, mask_model *model, unsigned pattern, uint8_t class)
{
    const unsigned rank = class > 0 ? class - 1u : 0u;

    assert(class < N_CLASSES);
    if (!code_bit(coder, &model->missing[pattern], class > 0)) return 0;
    const bool high = code_bit(coder, &model->high[model->before], rank >> 1 & 1);
    const bool low = code_bit(coder, &model->low[model->before][high], rank & 1);
    model->before = (uint8_t)(1 + 2 * high + low);
    return model->before;
}

/* Pack from `classes`, or unpack into `unpacked`; the neighbours come from `classes` either way. */
static void code_mask(range_coder *coder, const uint8_t *classes, const int dims[3],
                      uint8_t *unpacked)
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
    range_coder coder = open_packer(MASK_LIMIT);

    *packed = NULL;
    code_mask(&coder, classes, dims, NULL);
    finish_packer(&coder);
    return give_bytes(&coder, packed, packed_size, "packed missing-value map", error);
}

kdinr_status kd_entropy_unpack_mask(const uint8_t *packed, size_t packed_size, const int dims[3],
                                    uint8_t *classes, kdinr_error *error)
{
    range_coder coder = open_unpacker(packed, packed_size, MASK_LIMIT);

    code_mask(&coder, classes, dims, classes);
    return check_left_over(&coder, 0, "packed missing-value map", error);
}
