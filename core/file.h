/* Writing to disk so that it stays there: what kdm_save.c and part.c share. */
#ifndef KD_FILE_H
#define KD_FILE_H

#include "kdinr.h"

/** Write all bytes at `start` of an open file.
 *  path    for the message
 *  errors  IO (with the system's reason) */
kdinr_status kd_file_write(int file, uint64_t start, const void *bytes, size_t size,
                           const char *path, kdinr_error *error);

/** Wait until the file's bytes are on the disk.
 *  errors  IO */
kdinr_status kd_file_sync(int file, const char *path, kdinr_error *error);

/** Make a file's new name in its folder last. Some file systems cannot sync a folder, and the file
 * is complete either way: a failure is passed over.
 *  name  room for strlen(path) + 2 bytes */
void kd_file_sync_folder(const char *path, char *name);

/** Record errno. */
kdinr_status kd_file_fail(kdinr_error *error, const char *action, const char *path);

#endif
