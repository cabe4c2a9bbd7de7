/* Fuzz target: the part that --resume reads. Any bytes as a part, as they are and as records behind
 * a right head; then the calls of a small encoder. Nothing may crash, and no parameter that is
 * taken may be unsound. */
#define _GNU_SOURCE

#include "fuzz.h"

#include <xxhash.h>

#include "part_series.h"
#include "repair.h"

enum { RECORD_HEAD = 12 };

/* What an encoder does with its part. */
static void resume(const char *path)
{
    const kdinr_options options = part_series_options(path, true);
    kdinr_error error = {KDINR_OK, ""};
    kd_part *part;

    if (kd_part_open(&options, "cpu", &part, &error) != KDINR_OK) {
        expect(part == NULL && error.message[0] != '\0');
        return;
    }
    part_series_run(part);
    kd_part_close(part, false);
}

/* The file = a right head, then the bytes as records with right checksums: a byte for the kind, one
 * for the size, the content. */
static void fill_records(const memory_file *file, const uint8_t *bytes, size_t size)
{
    const kdinr_options options = part_series_options(file->path, false);
    uint8_t record[RECORD_HEAD + 255 + 8];
    kd_part *part;
    kdinr_error error;

    expect(ftruncate(file->file, 0) == 0);
    expect(kd_part_open(&options, "cpu", &part, &error) == KDINR_OK);
    kd_part_close(part, false);
    off_t at = lseek(file->file, 0, SEEK_END);
    while (size >= 2) {
        const size_t n = bytes[1] < size - 2 ? bytes[1] : size - 2, head = RECORD_HEAD;

        repair_put(record, bytes[0], 4);
        repair_put(record + 4, n, 8);
        memcpy(record + head, bytes + 2, n);
        repair_put(record + head + n, XXH64(record, head + n, 0), 8);
        expect(pwrite(file->file, record, head + n + 8, at) == (ssize_t)(head + n + 8));
        at += (off_t)(head + n + 8);
        bytes += n + 2;
        size -= n + 2;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const memory_file file = memory_file_open();

    memory_file_fill(&file, bytes, size);
    resume(file.path);
    fill_records(&file, bytes, size);
    resume(file.path);
    (void)close(file.file);
    return 0;
}
