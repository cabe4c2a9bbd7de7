/* Little-endian bytes, in and out, for whatever is stored: a reader that never leaves its bounds
 * and a writer that grows. Both remember their first failure, so that a run of fields is read or
 * written in straight lines and checked once, before any value is used. Used by kdm*.c and
 * entropy.c. */
#ifndef KD_BYTES_H
#define KD_BYTES_H

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"

/** Bytes being read. Reading past the end gives zeros and is remembered. */
typedef struct kd_reader {
    const uint8_t *bytes;
    size_t size;
    size_t at;        /* next byte, at most size */
    size_t missing;   /* bytes that the first failed read needed; 0: none failed */
    const char *what; /* named in messages: "section META" */
} kd_reader;

static inline kd_reader kd_reader_open(const uint8_t *bytes, size_t size, const char *what)
{
    const kd_reader reader = {.bytes = bytes, .size = size, .what = what};
    return reader;
}

static inline size_t kd_reader_left(const kd_reader *reader)
{
    return reader->size - reader->at;
}

/** The next n bytes, or NULL if fewer are left. They belong to whoever owns the reader's bytes. */
static inline const uint8_t *kd_get_bytes(kd_reader *reader, size_t n)
{
    if (reader->missing > 0) return NULL;
    if (n > kd_reader_left(reader)) {
        reader->missing = n;
        return NULL;
    }
    reader->at += n;
    return reader->bytes + (reader->at - n);
}

static inline uint64_t kd_get_integer(kd_reader *reader, size_t n_bytes)
{
    const uint8_t *bytes = kd_get_bytes(reader, n_bytes);
    uint64_t value = 0;

    for (size_t i = n_bytes; bytes != NULL && i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static inline uint8_t kd_get_u8(kd_reader *reader)
{
    return (uint8_t)kd_get_integer(reader, 1);
}

static inline uint16_t kd_get_u16(kd_reader *reader)
{
    return (uint16_t)kd_get_integer(reader, 2);
}

static inline uint32_t kd_get_u32(kd_reader *reader)
{
    return (uint32_t)kd_get_integer(reader, 4);
}

static inline uint64_t kd_get_u64(kd_reader *reader)
{
    return kd_get_integer(reader, 8);
}

static inline float kd_get_f32(kd_reader *reader)
{
    const uint32_t bits = kd_get_u32(reader);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double kd_get_f64(kd_reader *reader)
{
    const uint64_t bits = kd_get_u64(reader);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/** A stored count as int; what does not fit becomes INT_MAX, which no rule allows. */
static inline int kd_get_count(kd_reader *reader)
{
    const uint32_t count = kd_get_u32(reader);

    return count < INT_MAX ? (int)count : INT_MAX;
}

/** Did every read so far find its bytes?
 *  errors  FORMAT */
static inline kdinr_status kd_reader_check(const kd_reader *reader, kdinr_error *error)
{
    if (reader->missing == 0) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "%s: %zu bytes needed at byte %zu, %zu left",
                   reader->what, reader->missing, reader->at, kd_reader_left(reader));
}

/** kd_reader_check, and nothing may be left.
 *  errors  FORMAT */
static inline kdinr_status kd_reader_finish(const kd_reader *reader, kdinr_error *error)
{
    KD_TRY(kd_reader_check(reader, error));
    if (kd_reader_left(reader) == 0) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "%s: it should end at byte %zu, but has %zu",
                   reader->what, reader->at, reader->size);
}

/** Can n things, each of which takes at least `each` bytes, be there?
 *  errors  FORMAT */
static inline kdinr_status kd_reader_room(const kd_reader *reader, uint64_t n, uint64_t each,
                                          const char *things, kdinr_error *error)
{
    if (n <= kd_reader_left(reader) / each) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT,
                   "%s: %llu %s need at least %llu bytes each, %zu are left", reader->what,
                   (unsigned long long)n, things, (unsigned long long)each, kd_reader_left(reader));
}

/** Zeroed memory for n things of `size` bytes, owned by the caller.
 *  memory  the address of the pointer to set; NULL on failure
 *  errors  MEMORY */
static inline kdinr_status kd_allocate(size_t n, size_t size, const char *what, void *memory,
                                       kdinr_error *error)
{
    void *room = calloc(n > 0 ? n : 1, size); /* calloc refuses n * size that does not fit */

    memcpy(memory, &room, sizeof room);
    if (room != NULL) return KDINR_OK;
    return kd_fail_memory(error, n > SIZE_MAX / size ? SIZE_MAX : n * size, what);
}

/** Bytes being written; start from all zeros. `bytes` is owned by whoever owns the writer. */
typedef struct kd_writer {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed; /* memory ran out; what was written until then is still there */
} kd_writer;

/** Room for n more bytes, counted as written; NULL if there is no memory. */
static inline uint8_t *kd_put_room(kd_writer *writer, size_t n)
{
    if (writer->failed) return NULL;
    if (n > writer->capacity - writer->size) {
        const size_t wanted = writer->size + n;
        const size_t capacity = wanted < SIZE_MAX / 2 ? 2 * wanted : wanted;
        uint8_t *bytes = wanted < n ? NULL : realloc(writer->bytes, capacity);

        writer->failed = bytes == NULL;
        if (writer->failed) return NULL;
        writer->bytes = bytes;
        writer->capacity = capacity;
    }
    writer->size += n;
    return writer->bytes + (writer->size - n);
}

static inline void kd_put_bytes(kd_writer *writer, const void *bytes, size_t n)
{
    uint8_t *room = kd_put_room(writer, n);

    if (room != NULL && n > 0) memcpy(room, bytes, n);
}

static inline void kd_put_integer(kd_writer *writer, uint64_t value, size_t n_bytes)
{
    uint8_t *room = kd_put_room(writer, n_bytes);

    for (size_t i = 0; room != NULL && i < n_bytes; i++) {
        room[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline void kd_put_u8(kd_writer *writer, uint8_t value)
{
    kd_put_integer(writer, value, 1);
}

static inline void kd_put_u16(kd_writer *writer, uint16_t value)
{
    kd_put_integer(writer, value, 2);
}

static inline void kd_put_u32(kd_writer *writer, uint32_t value)
{
    kd_put_integer(writer, value, 4);
}

static inline void kd_put_u64(kd_writer *writer, uint64_t value)
{
    kd_put_integer(writer, value, 8);
}

static inline void kd_put_f32(kd_writer *writer, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    kd_put_u32(writer, bits);
}

static inline void kd_put_f64(kd_writer *writer, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    kd_put_u64(writer, bits);
}

/** Was there memory for everything?
 *  errors  MEMORY */
static inline kdinr_status kd_writer_check(const kd_writer *writer, const char *what,
                                           kdinr_error *error)
{
    return writer->failed ? kd_fail_memory(error, writer->size, what) : KDINR_OK;
}

#endif
