/* Networks to disk as they are trained, and back after an interruption. Before: encode.c says which
 * step is pushed, train.c asks before it trains. After: the same run, only faster. A part may be
 * hostile: whatever is not exactly what must come next ends it. */
#define _POSIX_C_SOURCE 200809L /* open, pread, ftruncate, fcntl */

#include "part.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "bytes.h"
#include "file.h"
#include "options.h"
#include "share.h"

#define MAGIC         "\x89KDP\r\n\x1a\n"
#define LARGEST_PARAM 1e6f /* no training ends near it */

enum { MAGIC_SIZE = 8, RECORD_HEAD = 12, CHECKSUM_SIZE = 8, NETWORK_HEAD = 32, STEP_SIZE = 16 };

typedef enum record_kind { RECORD_STEP = 1, RECORD_NETWORK = 2 } record_kind;

struct kd_part {
    char *path;     /* owned */
    int file;       /* negative: the root has it, and this is a copy of what it held */
    uint8_t *copy;  /* [size], owned; NULL where there is a file */
    bool replaying; /* records are taken; else they are added */
    bool holds;     /* there are records */
    uint64_t size;  /* of the file when it was opened */
    uint64_t at;    /* where the next record starts */
    int n_steps;    /* pushed so far */
};

/* ---- bytes ---- */

static void put_checksum(kd_writer *writer)
{
    const uint64_t checksum = writer->failed ? 0 : XXH64(writer->bytes, writer->size, 0);

    kd_put_u64(writer, checksum);
}

/* Is the checksum at the end of `size` bytes theirs? */
static bool is_whole(const uint8_t *bytes, size_t size)
{
    kd_reader end = kd_reader_open(bytes + (size - CHECKSUM_SIZE), CHECKSUM_SIZE, "part");

    return kd_get_u64(&end) == XXH64(bytes, size - CHECKSUM_SIZE, 0);
}

/* Read `size` bytes at `start`; *found tells whether they are there. */
static kdinr_status read_at(const kd_part *part, uint64_t start, uint8_t *bytes, size_t size,
                            bool *found, kdinr_error *error)
{
    *found = start <= part->size && size <= part->size - start;
    if (*found && part->file < 0) {
        memcpy(bytes, part->copy + start, size);
        return KDINR_OK;
    }
    while (*found && size > 0) {
        const ssize_t n = pread(part->file, bytes, size, (off_t)start);

        if (n < 0 && errno != EINTR) return kd_file_fail(error, "read", part->path);
        if (n == 0) *found = false;
        if (n > 0) {
            bytes += n;
            start += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return KDINR_OK;
}

/* Write what `writer` has at the end of the part, and free it. */
static kdinr_status append(kd_part *part, kd_writer *writer, kdinr_error *error)
{
    kdinr_status status = kd_writer_check(writer, "part", error);

    if (status == KDINR_OK && part->file >= 0) {
        status =
            kd_file_write(part->file, part->at, writer->bytes, writer->size, part->path, error);
    }
    if (status == KDINR_OK) part->at += writer->size;
    free(writer->bytes);
    return status;
}

/* ---- open ---- */

/* The head that this run's part has. */
static void put_head(kd_writer *writer, const kd_option *options, int n)
{
    kd_put_bytes(writer, MAGIC, MAGIC_SIZE);
    kd_put_u32(writer, XXH32(KDINR_VERSION, strlen(KDINR_VERSION), 0));
    kd_put_u32(writer, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        kd_put_f64(writer, options[i].value);
    }
    put_checksum(writer);
}

/* A head of the right size: was it made by this version with these options? */
static kdinr_status compare_head(const kd_part *part, const uint8_t *head, size_t size,
                                 const kd_option *options, int n, kdinr_error *error)
{
    kd_reader reader = kd_reader_open(head, size, "part");

    (void)kd_get_bytes(&reader, MAGIC_SIZE);
    const uint32_t version = kd_get_u32(&reader), n_found = kd_get_u32(&reader);
    if (version != XXH32(KDINR_VERSION, strlen(KDINR_VERSION), 0) || n_found != (uint32_t)n) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "%s was made by another version than " KDINR_VERSION
                       ": resume with that one, or start over without resume",
                       part->path);
    }
    if (!is_whole(head, size)) {
        return kd_fail(error, KDINR_ERROR_FORMAT,
                       "%s is damaged at its start: start over without resume", part->path);
    }
    for (int i = 0; i < n; i++) {
        const double found = kd_get_f64(&reader);

        if (found != options[i].value) {
            return kd_fail(error, KDINR_ERROR_ARGUMENT,
                           "option %s is not the one that %s was made with (%.9g now, %.9g then): "
                           "resume with the same options, or start over without resume",
                           options[i].name, part->path, options[i].value, found);
        }
    }
    return KDINR_OK;
}

/* Is the open file one of ours? What is not must not be overwritten. */
static kdinr_status check_magic(const kd_part *part, kdinr_error *error)
{
    const size_t size = part->size < MAGIC_SIZE ? (size_t)part->size : MAGIC_SIZE;
    uint8_t start[MAGIC_SIZE];
    bool found;

    KD_TRY(read_at(part, 0, start, size, &found, error));
    if (found && memcmp(start, MAGIC, size) == 0) return KDINR_OK;
    return kd_fail(error, KDINR_ERROR_FORMAT,
                   "%s is there, but no part of a compression: move it away", part->path);
}

static kdinr_status open_file(kd_part *part, kdinr_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat about;

    part->file = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (part->file < 0 || fstat(part->file, &about) != 0) {
        return kd_file_fail(error, "open", part->path);
    }
    if (!S_ISREG(about.st_mode)) {
        return kd_fail(error, KDINR_ERROR_IO, "%s is not a file", part->path);
    }
    if (fcntl(part->file, F_SETLK, &lock) != 0 && (errno == EACCES || errno == EAGAIN)) {
        return kd_fail(error, KDINR_ERROR_IO, "%s is in use by another run", part->path);
    }
    part->size = (uint64_t)about.st_size;
    return check_magic(part, error);
}

/* Use what is there, or start an empty part. A head that is cut short has nothing behind it. */
static kdinr_status start(kd_part *part, bool resume, const kd_option *options, int n,
                          kdinr_error *error)
{
    uint8_t found[MAGIC_SIZE + 8 + 8 * (KD_OPTIONS_MAX + 1) + CHECKSUM_SIZE];
    kd_writer head = {0};
    bool is_there = false;
    kdinr_status status;

    put_head(&head, options, n);
    KD_TRY_DONE(kd_writer_check(&head, "part", error));
    if (resume) KD_TRY_DONE(read_at(part, 0, found, head.size, &is_there, error));
    if (is_there) {
        KD_TRY_DONE(compare_head(part, found, head.size, options, n, error));
        part->at = head.size;
        part->replaying = true;
        part->holds = part->size > head.size;
    } else if (ftruncate(part->file, 0) != 0) {
        status = kd_file_fail(error, "write", part->path);
    } else {
        status = kd_file_write(part->file, 0, head.bytes, head.size, part->path, error);
        part->at = head.size;
    }

done:
    free(head.bytes);
    return status;
}

kdinr_status kd_part_open(const kdinr_options *options, const char *backend, kd_part **part,
                          kdinr_error *error)
{
    kd_option list[KD_OPTIONS_MAX + 1];
    int n = kd_options_list(options, list);
    kdinr_status status = KDINR_OK;

    *part = NULL;
    if (options->part == NULL) return KDINR_OK;
    list[n++] = (kd_option){"backend", XXH32(backend, strlen(backend), 0)};
    kd_part *made = calloc(1, sizeof *made);
    char *folder = malloc(strlen(options->part) + 2);
    if (made != NULL) {
        made->file = -1;
        made->path = strdup(options->part);
    }
    if (made == NULL || folder == NULL || made->path == NULL) {
        status = kd_fail_memory(error, sizeof *made + 2 * strlen(options->part), "part");
        goto done;
    }
    KD_TRY_DONE(open_file(made, error));
    KD_TRY_DONE(start(made, options->resume, list, n, error));
    kd_file_sync_folder(made->path, folder);
    *part = made;

done:
    free(folder);
    if (*part == NULL && made != NULL) {
        made->holds = true; /* what is there is not ours to remove */
        kd_part_close(made, false);
    }
    return status;
}

/* The records of the root's part, if it is to be used. */
static kdinr_status read_records(const kd_part *part, uint8_t **bytes, uint64_t *size,
                                 kdinr_error *error)
{
    bool found;

    if (part == NULL || !part->replaying) return KDINR_OK;
    *size = part->size - part->at;
    *bytes = malloc(*size + 1);
    if (*bytes == NULL) return kd_fail_memory(error, *size, "part");
    return read_at(part, part->at, *bytes, *size, &found, error);
}

/* Another process's part: it starts with the root's records and has no file. */
static kdinr_status make_copy(const char *path, uint64_t size, kd_part **part, kdinr_error *error)
{
    kd_part *made = calloc(1, sizeof *made);

    if (made != NULL) {
        made->file = -1;
        made->path = strdup(path);
        made->copy = malloc(size + 1);
        made->size = size;
        made->replaying = made->holds = size > 0;
    }
    if (made == NULL || made->path == NULL || made->copy == NULL) {
        kd_part_close(made, false);
        return kd_fail_memory(error, size + strlen(path), "part");
    }
    *part = made;
    return KDINR_OK;
}

kdinr_status kd_part_open_shared(const kdinr_options *options, const char *backend, kd_share *share,
                                 kd_part **part, kdinr_error *error)
{
    const bool root = kd_share_is_root(share);
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    kdinr_status status = KDINR_OK;

    *part = NULL;
    if (root) status = kd_part_open(options, backend, part, error);
    if (share == NULL || options->part == NULL) return status;
    if (status == KDINR_OK) status = read_records(*part, &bytes, &size, error);
    KD_TRY_DONE(kd_share_agree(share, status, error));
    kd_share_of(share, 0);
    KD_TRY_DONE(kd_share_bytes(share, &size, sizeof size, error));
    KD_TRY_DONE(kd_share_exchange(share, NULL, error));
    if (!root) KD_TRY_DONE(make_copy(options->part, size, part, error));
    kd_share_of(share, 0);
    uint8_t *records = root || *part == NULL ? bytes : (*part)->copy;
    KD_TRY_DONE(kd_share_bytes(share, records, size, error));
    KD_TRY_DONE(kd_share_exchange(share, NULL, error));

done:
    free(bytes);
    if (status != KDINR_OK) {
        kd_part_close(*part, false);
        *part = NULL;
    }
    return status;
}

void kd_part_close(kd_part *part, bool done)
{
    if (part == NULL) return;
    if (part->file >= 0) {
        if (done || !part->holds) (void)unlink(part->path);
        (void)close(part->file);
    }
    free(part->copy);
    free(part->path);
    free(part);
}

/* ---- records ---- */

/* What follows `at` is not what must come: cut it off, and add records from now on. */
static kdinr_status stop_replaying(kd_part *part, kdinr_error *error)
{
    part->replaying = false;
    if (part->file < 0) return KDINR_OK;
    return ftruncate(part->file, (off_t)part->at) == 0 ? KDINR_OK
                                                       : kd_file_fail(error, "write", part->path);
}

/* The content of the next record, if it is of this kind and size and whole; else NULL, and from now
 * on records are added. *record is owned by the caller. */
static kdinr_status next_record(kd_part *part, record_kind kind, size_t size, uint8_t **record,
                                kdinr_error *error)
{
    const size_t whole = RECORD_HEAD + size + CHECKSUM_SIZE;
    uint8_t *bytes = NULL;
    bool found;

    *record = NULL;
    if (!part->replaying) return KDINR_OK;
    found = whole <= part->size - part->at;
    if (found) {
        bytes = malloc(whole);
        if (bytes == NULL) return kd_fail_memory(error, whole, "part");
        const kdinr_status status = read_at(part, part->at, bytes, whole, &found, error);
        if (status != KDINR_OK) {
            free(bytes);
            return status;
        }
    }
    kd_reader head = kd_reader_open(bytes, found ? RECORD_HEAD : 0, "part");
    if (found && kd_get_u32(&head) == (uint32_t)kind && kd_get_u64(&head) == size &&
        is_whole(bytes, whole)) {
        *record = bytes;
        part->at += whole;
        return KDINR_OK;
    }
    free(bytes);
    return stop_replaying(part, error);
}

/* Give back the record that was taken last: it is of other work. */
static kdinr_status reject_record(kd_part *part, size_t size, kdinr_error *error)
{
    part->at -= RECORD_HEAD + size + CHECKSUM_SIZE;
    return stop_replaying(part, error);
}

static void put_record_head(kd_writer *writer, record_kind kind, size_t size)
{
    kd_put_u32(writer, (uint32_t)kind);
    kd_put_u64(writer, size);
}

/* ---- steps ---- */

kdinr_status kd_part_step(kd_part *part, uint64_t hash, double time, kdinr_error *error)
{
    uint8_t *record;
    kd_writer writer = {0};

    if (part == NULL || (part->file < 0 && !part->replaying)) return KDINR_OK;
    KD_TRY(next_record(part, RECORD_STEP, STEP_SIZE, &record, error));
    part->n_steps++;
    if (record != NULL) {
        kd_reader reader = kd_reader_open(record + RECORD_HEAD, STEP_SIZE, "part");
        const double time_then = kd_get_f64(&reader);
        const bool same = time_then == time && kd_get_u64(&reader) == hash;

        free(record);
        if (same) return KDINR_OK;
        return kd_fail(
            error, KDINR_ERROR_ARGUMENT,
            "step %d, at time %.9g, is not the one that %s was made from (at time %.9g): "
            "resume with the same data, or start over without resume",
            part->n_steps - 1, time, part->path, time_then);
    }
    put_record_head(&writer, RECORD_STEP, STEP_SIZE);
    kd_put_f64(&writer, time);
    kd_put_u64(&writer, hash);
    put_checksum(&writer);
    return append(part, &writer, error);
}

/* ---- networks ---- */

uint64_t kd_part_key(const kd_schedule *schedule, double matrix_scale, const float *params,
                     size_t n_params)
{
    const double about[5] = {schedule->samples, (double)schedule->batch, schedule->rate,
                             matrix_scale, (double)n_params};

    return XXH64(params, n_params * sizeof *params, XXH64(about, sizeof about, 0));
}

/* Of a trained network. */
static size_t record_size(size_t n_params, const kd_outcome *outcome)
{
    return NETWORK_HEAD + 4 * (n_params + (size_t)outcome->n_units);
}

/* Does the record hold the result of this very training? Then params and *outcome are set. */
static bool read_network(const uint8_t *content, uint64_t key, float *params, size_t n_params,
                         kd_outcome *outcome)
{
    kd_reader reader = kd_reader_open(content, record_size(n_params, outcome), "part");
    const bool is_it = kd_get_u64(&reader) == key;
    kd_outcome found = {.n_units = outcome->n_units};

    found.loss = kd_get_f64(&reader);
    found.variance = kd_get_f64(&reader);
    found.restarts = kd_get_count(&reader);
    found.rollbacks = kd_get_count(&reader);
    if (!is_it || !isfinite(found.loss) || !isfinite(found.variance) || found.loss < 0.0) {
        return false;
    }
    for (int i = 0; i < found.n_units; i++) {
        found.units[i] = kd_get_f32(&reader);
        if (!(found.units[i] > 0.0f && found.units[i] <= 1.0f)) return false;
    }
    kd_reader look = reader;
    for (size_t i = 0; i < n_params; i++) {
        if (!(fabsf(kd_get_f32(&look)) <= LARGEST_PARAM)) return false;
    }
    for (size_t i = 0; i < n_params; i++) {
        params[i] = kd_get_f32(&reader);
    }
    *outcome = found;
    return true;
}

kdinr_status kd_part_take(kd_part *part, uint64_t key, float *params, size_t n_params,
                          kd_outcome *outcome, bool *taken, kdinr_error *error)
{
    const size_t size = record_size(n_params, outcome);
    uint8_t *record = NULL;

    *taken = false;
    if (part == NULL) return KDINR_OK;
    KD_TRY(next_record(part, RECORD_NETWORK, size, &record, error));
    if (record == NULL) return KDINR_OK;
    *taken = read_network(record + RECORD_HEAD, key, params, n_params, outcome);
    free(record);
    return *taken ? KDINR_OK : reject_record(part, size, error);
}

kdinr_status kd_part_add(kd_part *part, const kd_record *record, kdinr_error *error)
{
    kd_writer writer = {0};

    if (part == NULL) return KDINR_OK;
    put_record_head(&writer, RECORD_NETWORK, record_size(record->n_params, record->outcome));
    kd_put_u64(&writer, record->key);
    kd_put_f64(&writer, record->outcome->loss);
    kd_put_f64(&writer, record->outcome->variance);
    kd_put_u32(&writer, (uint32_t)record->outcome->restarts);
    kd_put_u32(&writer, (uint32_t)record->outcome->rollbacks);
    for (int i = 0; i < record->outcome->n_units; i++) {
        kd_put_f32(&writer, record->outcome->units[i]);
    }
    for (size_t i = 0; i < record->n_params; i++) {
        kd_put_f32(&writer, record->params[i]);
    }
    put_checksum(&writer);
    KD_TRY(append(part, &writer, error));
    part->holds = true;
    return KDINR_OK;
}

kdinr_status kd_part_sync(kd_part *part, kdinr_error *error)
{
    if (part == NULL || part->replaying || part->file < 0) return KDINR_OK;
    return kd_file_sync(part->file, part->path, error);
}

kdinr_status kd_part_fail_cancelled(const kd_part *part, kdinr_error *error)
{
    if (part == NULL || !part->holds) return kd_fail(error, KDINR_CANCELLED, "cancelled");
    return kd_fail(error, KDINR_CANCELLED,
                   "cancelled; %s keeps what was trained so far, and resume goes on from there",
                   part->path);
}
