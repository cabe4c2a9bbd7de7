/* Make the checksums of a damaged .kdm right again, so that tests reach the parser behind them. */
#ifndef REPAIR_H
#define REPAIR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <xxhash.h>

static inline uint64_t repair_get(const uint8_t *bytes, int n)
{
    uint64_t value = 0;

    while (n-- > 0) {
        value = value << 8 | bytes[n];
    }
    return value;
}

static inline void repair_put(uint8_t *bytes, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/** Recompute the checksums of the sections that lie inside the file, and of the header. */
static inline void repair(uint8_t *bytes, size_t size)
{
    enum { HEADER = 28, ENTRY = 16, CHECKSUM = 24 };

    if (size < HEADER) return;
    const uint64_t n = repair_get(bytes + 12, 4);
    if (n > (size - HEADER) / ENTRY) return;
    const size_t head = HEADER + (size_t)n * ENTRY;
    uint64_t at = head;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *entry = bytes + HEADER + i * ENTRY;
        const uint64_t length = repair_get(entry + 8, 8);
        if (length > size - at) break;
        repair_put(entry + 4, XXH32(bytes + at, (size_t)length, 0), 4);
        at += length;
    }
    memset(bytes + CHECKSUM, 0, 4);
    repair_put(bytes + CHECKSUM, XXH32(bytes, head, 0), 4);
}

/** dst[size] = the bytes with the right file size and checksums; false if there is no header. */
static inline bool repair_copy(const uint8_t *bytes, size_t size, uint8_t *dst)
{
    if (size < 28) return false;
    memcpy(dst, bytes, size);
    repair_put(dst + 16, size, 8);
    repair(dst, size);
    return true;
}

#endif
