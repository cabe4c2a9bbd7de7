/* A file to its sections: header, section table, checksums. Before: a path. After: kdm_read.c makes
 * sense of what the sections say. Every byte may be hostile: a length is compared with the bytes
 * that are left before memory is asked for. */
#define _POSIX_C_SOURCE 200809L /* open, pread, fstat */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "bytes.h"
#include "kdm_layout.h"

static kdinr_status fail_io(const kd_source *from, const char *action, kdinr_error *error)
{
    return kd_fail(error, KDINR_ERROR_IO, "cannot %s %s: %s", action, from->path, strerror(errno));
}

/* Read exactly `size` bytes at `start`. */
static kdinr_status read_at(const kd_source *from, uint64_t start, uint8_t *bytes, size_t size,
                            kdinr_error *error)
{
    while (size > 0) {
        const ssize_t n = pread(from->file, bytes, size, (off_t)start);

        if (n < 0 && errno != EINTR) return fail_io(from, "read", error);
        if (n == 0) {
            return kd_fail(error, KDINR_ERROR_FORMAT,
                           "%s ends at byte %llu, %zu more were expected", from->path,
                           (unsigned long long)start, size);
        }
        if (n > 0) {
            bytes += n;
            start += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return KDINR_OK;
}

static kdinr_status check_version(unsigned major, unsigned minor, kdinr_error *error)
{
    if (major == 0) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "format version 0.%u does not exist", minor);
    }
    if (major > KD_KDM_MAJOR) {
        return kd_fail(error, KDINR_ERROR_VERSION,
                       "the file has format version %u.%u, this library reads up to %d.x: a newer "
                       "one is needed",
                       major, minor, KD_KDM_MAJOR);
    }
    return KDINR_OK;
}

/* A section that this library does not know: may it be passed over? */
static kdinr_status check_unknown(const kd_section *one, unsigned minor, kdinr_error *error)
{
    const bool optional = one->id[0] >= 'a' && one->id[0] <= 'z';

    if (minor <= KD_KDM_MINOR) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section \"%s\" does not exist in format %d.%u",
                       one->id, KD_KDM_MAJOR, minor);
    }
    if (optional) return KDINR_OK;
    return kd_fail(
        error, KDINR_ERROR_VERSION,
        "the file has format version %d.%u and a section \"%s\" that this library, which "
        "reads %d.%d, does not know",
        KD_KDM_MAJOR, minor, one->id, KD_KDM_MAJOR, KD_KDM_MINOR);
}

const kd_section *kd_source_find(const kd_source *from, const char *id)
{
    for (int i = 0; i < from->n_sections; i++) {
        if (memcmp(from->sections[i].id, id, 4) == 0) return &from->sections[i];
    }
    return NULL;
}

/* Does this section exist in format 1.minor? */
static bool is_known(const char *id, unsigned minor)
{
    return memcmp(id, "META", 4) == 0 || memcmp(id, "NETS", 4) == 0 || memcmp(id, "CODE", 4) == 0 ||
           memcmp(id, "MASK", 4) == 0 ||
           (minor >= 1 && (memcmp(id, "RESI", 4) == 0 || memcmp(id, "AXES", 4) == 0)) ||
           (minor >= 2 && memcmp(id, "FORM", 4) == 0) ||
           (minor >= 3 && memcmp(id, "PACK", 4) == 0) ||
           (minor >= 4 && (memcmp(id, "MODE", 4) == 0 || memcmp(id, "CLUS", 4) == 0));
}

/* The table's next entry, which starts at `start` of the file. */
static kdinr_status read_entry(kd_reader *reader, kd_source *from, unsigned minor, uint64_t start,
                               kdinr_error *error)
{
    kd_section *one = &from->sections[from->n_sections];
    const uint8_t *id = kd_get_bytes(reader, 4);

    one->checksum = kd_get_u32(reader);
    one->size = kd_get_u64(reader);
    one->start = start;
    KD_TRY(kd_reader_check(reader, error));
    for (int i = 0; i < 4; i++) {
        if (id[i] < 0x21 || id[i] > 0x7E) {
            return kd_fail(error, KDINR_ERROR_FORMAT, "section %d: byte 0x%02X in its name",
                           from->n_sections, id[i]);
        }
    }
    memcpy(one->id, id, 4);
    one->id[4] = '\0';
    if (!is_known(one->id, minor)) KD_TRY(check_unknown(one, minor, error));
    if (kd_source_find(from, one->id) != NULL) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section \"%s\" is there twice", one->id);
    }
    if (one->size > from->size - start) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section \"%s\": %llu bytes declared, %llu left",
                       one->id, (unsigned long long)one->size,
                       (unsigned long long)(from->size - start));
    }
    from->n_sections++;
    return KDINR_OK;
}

static kdinr_status read_table(kd_reader *reader, kd_source *from, unsigned minor,
                               uint32_t n_sections, kdinr_error *error)
{
    uint64_t start = reader->size;

    for (uint32_t i = 0; i < n_sections; i++) {
        KD_TRY(read_entry(reader, from, minor, start, error));
        start += from->sections[i].size;
    }
    if (kd_source_find(from, "META") == NULL || kd_source_find(from, "NETS") == NULL) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "section \"%s\" is missing",
                       kd_source_find(from, "META") == NULL ? "META" : "NETS");
    }
    if (start == from->size) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT, "the sections end at byte %llu, the file at %llu",
                   (unsigned long long)start, (unsigned long long)from->size);
}

/* What the header says of sizes, once its magic and version are known to be right. */
static kdinr_status check_sizes(const kd_source *from, uint32_t n_sections, uint64_t file_size,
                                kdinr_error *error)
{
    if (file_size != from->size) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s has %llu bytes, its header says %llu",
                       from->path, (unsigned long long)from->size, (unsigned long long)file_size);
    }
    if (n_sections < 1 || n_sections > KD_MAX_SECTIONS) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%lu sections, allowed are 1 to %d",
                       (unsigned long)n_sections, KD_MAX_SECTIONS);
    }
    if (KD_HEADER_SIZE + (uint64_t)n_sections * KD_SECTION_SIZE > from->size) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "a table of %lu sections does not fit %llu bytes",
                       (unsigned long)n_sections, (unsigned long long)from->size);
    }
    return KDINR_OK;
}

static kdinr_status read_head(kd_source *from, kdinr_error *error)
{
    uint8_t head[KD_HEADER_SIZE + KD_MAX_SECTIONS * KD_SECTION_SIZE] = {0};
    kd_reader fields = kd_reader_open(head, KD_HEADER_SIZE, "header");

    if (from->size < KD_HEADER_SIZE) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "%s has %llu bytes, the header alone has %d",
                       from->path, (unsigned long long)from->size, KD_HEADER_SIZE);
    }
    KD_TRY(read_at(from, 0, head, KD_HEADER_SIZE, error));
    if (memcmp(kd_get_bytes(&fields, KD_MAGIC_SIZE), KD_MAGIC, KD_MAGIC_SIZE) != 0) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "%s is not a .kdm file: it starts %02X %02X %02X %02X", from->path, head[0],
                       head[1], head[2], head[3]);
    }
    const unsigned major = kd_get_u16(&fields), minor = kd_get_u16(&fields);
    KD_TRY(check_version(major, minor, error));
    from->minor = minor;
    const uint32_t n_sections = kd_get_u32(&fields);
    const uint64_t file_size = kd_get_u64(&fields);
    const uint32_t checksum = kd_get_u32(&fields);
    KD_TRY(check_sizes(from, n_sections, file_size, error));
    const size_t table_size = n_sections * (size_t)KD_SECTION_SIZE;
    KD_TRY(read_at(from, KD_HEADER_SIZE, head + KD_HEADER_SIZE, table_size, error));
    memset(head + KD_CHECKSUM_AT, 0, 4);
    from->checksum = XXH32(head, KD_HEADER_SIZE + table_size, 0);
    if (from->checksum != checksum) {
        return kd_fail(error, KDINR_ERROR_FORMAT, "header: checksum %08lX, its bytes give %08lX",
                       (unsigned long)checksum, (unsigned long)from->checksum);
    }
    kd_reader table = kd_reader_open(head, KD_HEADER_SIZE + table_size, "section table");
    (void)kd_get_bytes(&table, KD_HEADER_SIZE);
    from->minor = minor;
    return read_table(&table, from, minor, n_sections, error);
}

kdinr_status kd_source_open(const char *path, kd_source *from, kdinr_error *error)
{
    struct stat about;
    kdinr_status status;

    *from = (kd_source){.path = path};
    from->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (from->file < 0) return fail_io(from, "open", error);
    if (fstat(from->file, &about) != 0) {
        status = fail_io(from, "open", error);
    } else if (!S_ISREG(about.st_mode)) {
        status = kd_fail(error, KDINR_ERROR_IO, "%s is not a file", path);
    } else {
        from->size = (uint64_t)about.st_size;
        status = read_head(from, error);
    }
    if (status != KDINR_OK) (void)close(from->file);
    return status;
}

void kd_source_close(const kd_source *from)
{
    (void)close(from->file);
}

kdinr_status kd_source_open_again(const char *path, const kd_model *model, kd_source *from,
                                  kdinr_error *error)
{
    KD_TRY(kd_source_open(path, from, error));
    if (from->checksum == model->checksum && from->size == model->file_size) return KDINR_OK;
    kd_source_close(from);
    return kd_fail(error, KDINR_ERROR_FORMAT, "%s has changed since it was opened", path);
}

/* `size` bytes at `start` that must have this checksum. */
static kdinr_status read_checked(const kd_source *from, uint64_t start, uint64_t size,
                                 uint32_t checksum, const char *what, uint8_t **bytes,
                                 kdinr_error *error)
{
    *bytes = NULL;
    if (size >= SIZE_MAX) return kd_fail_memory(error, SIZE_MAX, what);
    uint8_t *room = malloc((size_t)size + 1);
    if (room == NULL) return kd_fail_memory(error, (size_t)size, what);
    kdinr_status status = read_at(from, start, room, (size_t)size, error);
    const uint32_t found = status == KDINR_OK ? XXH32(room, (size_t)size, 0) : 0;
    if (status == KDINR_OK && found != checksum) {
        status = kd_fail(error, KDINR_ERROR_FORMAT,
                         "section \"%s\": checksum %08lX, its bytes give %08lX", what,
                         (unsigned long)checksum, (unsigned long)found);
    }
    if (status != KDINR_OK) {
        free(room);
        return status;
    }
    *bytes = room;
    return KDINR_OK;
}

kdinr_status kd_source_read(const kd_source *from, const char *id, uint8_t **bytes, size_t *size,
                            kdinr_error *error)
{
    const kd_section *one = kd_source_find(from, id);

    *bytes = NULL;
    *size = 0;
    if (one == NULL) return KDINR_OK;
    KD_TRY(read_checked(from, one->start, one->size, one->checksum, one->id, bytes, error));
    *size = (size_t)one->size;
    return KDINR_OK;
}

kdinr_status kd_source_read_pack(const kd_source *from, const kd_pack *pack, uint8_t **bytes,
                                 kdinr_error *error)
{
    const kd_section *code = kd_source_find(from, "CODE");
    const uint64_t start = code == NULL ? 0 : code->start + pack->start;

    return read_checked(from, start, pack->size, pack->checksum, "CODE, a pack", bytes, error);
}

bool kd_kdm_can_read(const char *path)
{
    uint8_t start[KD_MAGIC_SIZE + 4];
    kd_source from = {.path = path};
    bool readable = false;

    from.file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (from.file < 0) return false;
    if (read_at(&from, 0, start, sizeof start, NULL) == KDINR_OK) {
        kd_reader fields = kd_reader_open(start, sizeof start, "header");
        const uint8_t *magic = kd_get_bytes(&fields, KD_MAGIC_SIZE);
        const unsigned major = kd_get_u16(&fields), minor = kd_get_u16(&fields);

        readable = memcmp(magic, KD_MAGIC, KD_MAGIC_SIZE) == 0 &&
                   check_version(major, minor, NULL) == KDINR_OK;
    }
    (void)close(from.file);
    return readable;
}
