/* Bytes to disk: complete writes, synced files and folders. Used by kdm_save.c for the finished
 * file and by part.c for the trainings of one that is under way. */
#define _POSIX_C_SOURCE 200809L /* pwrite, fsync, O_DIRECTORY */

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "status.h"

kdinr_status kd_file_fail(kdinr_error *error, const char *action, const char *path)
{
    return kd_fail(error, KDINR_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

kdinr_status kd_file_write(int file, uint64_t start, const void *bytes, size_t size,
                           const char *path, kdinr_error *error)
{
    const uint8_t *rest = bytes;

    while (size > 0) {
        const ssize_t n = pwrite(file, rest, size, (off_t)start);

        if (n < 0 && errno != EINTR) return kd_file_fail(error, "write", path);
        if (n > 0) {
            rest += n;
            start += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return KDINR_OK;
}

kdinr_status kd_file_sync(int file, const char *path, kdinr_error *error)
{
    return fsync(file) == 0 ? KDINR_OK : kd_file_fail(error, "write", path);
}

void kd_file_sync_folder(const char *path, char *name)
{
    const char *slash = strrchr(path, '/');
    int folder;

    if (slash == NULL) {
        strcpy(name, ".");
    } else {
        const size_t length = slash == path ? 1 : (size_t)(slash - path);
        memcpy(name, path, length);
        name[length] = '\0';
    }
    folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    (void)fsync(folder);
    (void)close(folder);
}
