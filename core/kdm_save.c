/* Bytes to disk so that a crash leaves the old file or the new one, never half of one. Before:
 * kdm.c has packed the bytes. After: the file is there under its name, or nothing has changed. */
#define _POSIX_C_SOURCE 200809L /* open; rename that replaces */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "kdm.h"
#include "status.h"

/* Create a file that did not exist; other runs may be writing beside us. `name` has the room. */
static int create_beside(const char *path, char *name, size_t name_size)
{
    int file = -1;

    for (int attempt = 0; attempt < 100 && file < 0; attempt++) {
        snprintf(name, name_size, "%s.tmp-%ld-%d", path, (long)getpid(), attempt);
        file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file < 0 && errno != EEXIST) break;
    }
    return file;
}

kdinr_status kd_kdm_save(const uint8_t *bytes, size_t size, const char *path, kdinr_error *error)
{
    return kd_kdm_save_checked(bytes, size, path, NULL, NULL, error);
}

kdinr_status kd_kdm_save_checked(const uint8_t *bytes, size_t size, const char *path,
                                 kd_kdm_check check, void *user, kdinr_error *error)
{
    const size_t name_size = strlen(path) + 64;
    char *name = malloc(name_size);
    kdinr_status status = KDINR_OK;
    int file;

    if (name == NULL) return kd_fail_memory(error, name_size, "name of a temporary file");
    file = create_beside(path, name, name_size);
    if (file < 0) {
        status = kd_file_fail(error, "create", name);
        goto done;
    }
    status = kd_file_write(file, 0, bytes, size, path, error);
    if (status == KDINR_OK) status = kd_file_sync(file, path, error);
    if (close(file) != 0 && status == KDINR_OK) status = kd_file_fail(error, "write", path);
    if (status == KDINR_OK && check != NULL) status = check(user, name, error);
    if (status == KDINR_OK && rename(name, path) != 0) {
        status = kd_file_fail(error, "replace", path);
    }
    if (status != KDINR_OK) {
        (void)unlink(name);
    } else {
        kd_file_sync_folder(path, name);
    }

done:
    free(name);
    return status;
}
