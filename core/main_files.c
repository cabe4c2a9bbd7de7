/* What the commands share: raw files in and out, messages, and the pieces of JSON. */
#include "main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "status.h"

int kd_main_report(const kdinr_error *error)
{
    fprintf(stderr, "kdinr: %s\n", error->message);
    return error->status == KDINR_ERROR_ARGUMENT ? KD_EXIT_USAGE : KD_EXIT_FAILURE;
}

kdinr_status kd_main_check_raw(const char *path, size_t size, const char *shape, kdinr_error *error)
{
    struct stat found;

    if (stat(path, &found) != 0) {
        return kd_fail(error, KDINR_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(found.st_mode)) {
        return kd_fail(error, KDINR_ERROR_IO, "%s: not a file", path);
    }
    if ((uint64_t)found.st_size != size) {
        return kd_fail(error, KDINR_ERROR_DATA, "%s: %lld bytes found, %zu expected (%s)", path,
                       (long long)found.st_size, size, shape);
    }
    return KDINR_OK;
}

kdinr_status kd_main_read_raw(const char *path, void *values, size_t size, kdinr_error *error)
{
    FILE *file = fopen(path, "rb");
    kdinr_status status = KDINR_OK;

    if (file == NULL) return kd_fail(error, KDINR_ERROR_IO, "%s: %s", path, strerror(errno));
    const size_t found = fread(values, 1, size, file);
    if (found != size) {
        status =
            kd_fail(error, KDINR_ERROR_IO, "%s: %zu of %zu bytes could be read", path, found, size);
    }
    fclose(file);
    return status;
}

/* Does `path` exist as a device or pipe, which must not be replaced by a file? */
static bool is_special(const char *path)
{
    struct stat found;

    return stat(path, &found) == 0 && !S_ISREG(found.st_mode);
}

static kdinr_status write_all(const char *path, const void *values, size_t size, bool sync,
                              kdinr_error *error)
{
    FILE *file = fopen(path, "wb");
    bool good;

    if (file == NULL) return kd_fail(error, KDINR_ERROR_IO, "%s: %s", path, strerror(errno));
    good = fwrite(values, 1, size, file) == size && fflush(file) == 0 &&
           (!sync || fsync(fileno(file)) == 0);
    const int reason = errno;
    good = fclose(file) == 0 && good;
    return good ? KDINR_OK
                : kd_fail(error, KDINR_ERROR_IO, "%s: %s while writing %zu bytes", path,
                          strerror(reason), size);
}

kdinr_status kd_main_write_raw(const char *path, const void *values, size_t size,
                               kdinr_error *error)
{
    const size_t longest = strlen(path) + 32;
    char *temporary;
    kdinr_status status;

    if (is_special(path)) return write_all(path, values, size, false, error);
    temporary = malloc(longest);
    if (temporary == NULL) return kd_fail_memory(error, longest, path);
    snprintf(temporary, longest, "%s.tmp%ld", path, (long)getpid());
    status = write_all(temporary, values, size, true, error);
    if (status == KDINR_OK && rename(temporary, path) != 0) {
        status = kd_fail(error, KDINR_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    if (status != KDINR_OK) {
        unlink(temporary);
    } else {
        kd_file_sync_folder(path, temporary);
    }
    free(temporary);
    return status;
}

kdinr_status kd_main_check_output(const char *path, kdinr_error *error)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = malloc(length + 2);
    kdinr_status status = KDINR_OK;

    if (folder == NULL) return kd_fail_memory(error, length + 2, path);
    memcpy(folder, path, length);
    strcpy(folder + length, length == 0 ? "." : "");
    if (is_special(path)) {
        status = kd_fail(error, KDINR_ERROR_IO, "%s: exists and is not a file", path);
    } else if (access(folder, W_OK | X_OK) != 0) {
        status = kd_fail(error, KDINR_ERROR_IO, "%s: no file can be made in '%s': %s", path, folder,
                         strerror(errno));
    }
    free(folder);
    return status;
}

kdinr_status kd_main_find_array(const kdinr_info *info, const char *name, int *array,
                                kdinr_error *error)
{
    char names[256] = "";
    size_t length = 0;

    *array = 0;
    if (name == NULL) return KDINR_OK;
    for (int i = 0; i < info->n_arrays; i++) {
        if (strcmp(info->arrays[i].name, name) == 0) {
            *array = i;
            return KDINR_OK;
        }
        if (length < sizeof names) {
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                       i > 0 ? ", " : "", info->arrays[i].name);
        }
    }
    return kd_fail(error, KDINR_ERROR_ARGUMENT, "there is no array '%s'; the file has: %s", name,
                   names);
}

size_t kd_main_count(const kdinr_info *info, const kdinr_request *request)
{
    int samples[3];

    kdinr_request_samples(info, request, samples);
    return (size_t)samples[0] * (size_t)samples[1] * (size_t)samples[2];
}

double kd_main_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void kd_main_json_number(double value)
{
    if (isfinite(value)) {
        printf("%.9g", value);
    } else {
        printf("null");
    }
}

void kd_main_json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

void kd_main_json_list(const double *values, int n)
{
    putchar('[');
    for (int i = 0; i < n; i++) {
        if (i > 0) printf(", ");
        kd_main_json_number(values[i]);
    }
    putchar(']');
}
