/* What the fuzz targets share: bytes as a file in memory, since the readers take paths, and
 * promises that are checked in every build. A source that includes this defines _GNU_SOURCE first.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/** A broken promise ends the search. */
static inline void expect(bool holds)
{
    if (!holds) abort();
}

/** A file that costs no disk; `path` names it. */
typedef struct memory_file {
    int file;
    char path[64];
} memory_file;

static inline memory_file memory_file_open(void)
{
    memory_file made = {.file = memfd_create("fuzz", 0)};

    expect(made.file >= 0);
    (void)snprintf(made.path, sizeof made.path, "/proc/self/fd/%d", made.file);
    return made;
}

/** Replace what the file holds. */
static inline void memory_file_fill(const memory_file *to, const uint8_t *bytes, size_t size)
{
    expect(ftruncate(to->file, 0) == 0 && pwrite(to->file, bytes, size, 0) == (ssize_t)size);
}

#endif
