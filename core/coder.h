/* The adaptive binary range coder: yes/no decisions to bytes and back. Before: a model (entropy.c,
 * residual_code.c) walks its numbers and asks for one decision after the other. The same walk packs
 * and unpacks: packing it is told the answers and writes bytes, unpacking it reads bytes and is
 * told the answers. core/FORMAT.md section 4.1 has the exact rules. */
#ifndef KD_CODER_H
#define KD_CODER_H

#include "bytes.h"

enum { KD_CODER_MOST = 255 };

/* Packing narrows the interval [low, low + range) once per decision, in proportion to the
 * probability of what was decided; the bytes written are the leading digits of a number in it.
 * Unpacking follows the same intervals: `code` is where that number lies, counted from low. */
typedef struct kd_coder {
    bool unpacking;
    uint32_t range;
    uint32_t limit; /* decisions after which a context stops slowing its adaption; 0..255 */
    uint16_t rates[KD_CODER_MOST + 1]; /* how far a context moves after n decisions, of 2^16 */
    uint32_t low;                      /* packing */
    kd_writer out;
    uint32_t code; /* unpacking */
    const uint8_t *in;
    size_t in_size, in_at; /* in_at runs past in_size: zeros follow the end */
} kd_coder;

/* What a situation has seen so far. */
typedef struct kd_context {
    uint32_t probability; /* that the answer is yes, of 2^32 */
    uint32_t n;           /* decisions seen, up to the coder's limit */
} kd_context;

#define KD_CODER_SMALLEST (UINT32_C(1) << 24)

static inline void kd_coder_reset(kd_context *contexts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        contexts[i] = (kd_context){UINT32_C(1) << 31, 0};
    }
}

static inline uint8_t kd_coder_next(kd_coder *coder)
{
    const size_t at = coder->in_at++;

    return at < coder->in_size ? coder->in[at] : 0;
}

static inline kd_coder kd_coder_pack(uint32_t limit)
{
    kd_coder coder = {.range = UINT32_MAX, .limit = limit};

    for (uint32_t n = 0; n <= limit; n++) { /* once, as dividing takes longer than all else */
        coder.rates[n] = (uint16_t)((UINT32_C(1) << 17) / (2 * n + 3));
    }
    return coder;
}

static inline kd_coder kd_coder_unpack(const uint8_t *bytes, size_t size, uint32_t limit)
{
    kd_coder coder = kd_coder_pack(limit);

    coder.unpacking = true;
    coder.in = bytes;
    coder.in_size = size;
    for (int i = 0; i < 4; i++) {
        coder.code = coder.code << 8 | kd_coder_next(&coder);
    }
    return coder;
}

/* Add to low; a carry runs back through the bytes already written. */
static inline void kd_coder_raise(kd_coder *coder, uint32_t by)
{
    const uint32_t before = coder->low;

    coder->low += by;
    if (coder->low >= before) return;
    for (size_t i = coder->out.size; i-- > 0 && ++coder->out.bytes[i] == 0;) {
    }
}

static inline void kd_coder_shift(kd_coder *coder)
{
    coder->range <<= 8;
    if (coder->unpacking) {
        coder->code = coder->code << 8 | kd_coder_next(coder);
    } else {
        kd_put_u8(&coder->out, (uint8_t)(coder->low >> 24));
        coder->low <<= 8;
    }
}

/* Code one decision whose answer "yes" owns the first `yes` of the interval's `range` numbers.
 * `answer` is what to pack; returned is what was packed or unpacked. */
static inline bool kd_coder_decide(kd_coder *coder, uint32_t yes, bool answer)
{
    if (coder->unpacking) answer = coder->code < yes;
    if (answer) {
        coder->range = yes;
    } else {
        coder->range -= yes;
        if (coder->unpacking) {
            coder->code -= yes;
        } else {
            kd_coder_raise(coder, yes);
        }
    }
    while (coder->range < KD_CODER_SMALLEST) {
        kd_coder_shift(coder);
    }
    return answer;
}

/* A context learns: the first answers move the probability by 2/3, 2/5, 2/7, ... of the way, later
 * ones by 2 / (2 limit + 3). */
static inline void kd_coder_learn(const kd_coder *coder, kd_context *seen, bool answer)
{
    const uint64_t rate = coder->rates[seen->n];

    if (answer) {
        seen->probability += (uint32_t)(((UINT32_MAX - seen->probability) * rate) >> 16);
    } else {
        seen->probability -= (uint32_t)((seen->probability * rate) >> 16);
    }
    if (seen->n < coder->limit) seen->n++;
}

/* Code a decision by its context. */
static inline bool kd_coder_bit(kd_coder *coder, kd_context *seen, bool answer)
{
    const uint32_t probability = seen->probability >> 16;
    const uint64_t yes = ((uint64_t)coder->range * (probability > 0 ? probability : 1)) >> 16;

    answer = kd_coder_decide(coder, (uint32_t)yes, answer);
    kd_coder_learn(coder, seen, answer);
    return answer;
}

/* Code a decision by the mean of two contexts. */
static inline bool kd_coder_pair(kd_coder *coder, kd_context *one, kd_context *other, bool answer)
{
    const uint32_t probability = ((one->probability >> 1) + (other->probability >> 1)) >> 16;
    const uint64_t yes = ((uint64_t)coder->range * (probability > 0 ? probability : 1)) >> 16;

    answer = kd_coder_decide(coder, (uint32_t)yes, answer);
    kd_coder_learn(coder, one, answer);
    kd_coder_learn(coder, other, answer);
    return answer;
}

/* Code a decision of which nothing is known. */
static inline bool kd_coder_even(kd_coder *coder, bool answer)
{
    return kd_coder_decide(coder, coder->range >> 1, answer);
}

/* End packing: one byte names a number inside the interval, since range is at least 2^24. Zeros at
 * the end need not be stored. */
static inline void kd_coder_finish(kd_coder *coder)
{
    kd_coder_raise(coder, KD_CODER_SMALLEST - 1);
    kd_put_u8(&coder->out, (uint8_t)(coder->low >> 24));
    while (coder->out.size > 0 && coder->out.bytes[coder->out.size - 1] == 0) {
        coder->out.size--;
    }
}

/* Hand out what was packed. */
static inline kdinr_status kd_coder_give(kd_coder *coder, uint8_t **packed, size_t *packed_size,
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
static inline kdinr_status kd_coder_check(const kd_coder *coder, size_t padded_size,
                                          const char *what, kdinr_error *error)
{
    if (coder->in_size <= coder->in_at || coder->in_size <= padded_size) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "%s: %zu bytes, of which only %zu are used", what,
                   coder->in_size, coder->in_at);
}

#endif
