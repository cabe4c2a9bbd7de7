/* Run a fuzz target over files and folders of files, as an ordinary test. With --sweep each file is
 * also damaged in every way that has a name: cut short at every length, every byte turned over,
 * every place set to what breaks parsers as if it held a number of 1, 2, 4 or 8 bytes. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { NEAR_START = 300 };

static long n_cases;

/* On a heap block of exactly its size, so that a sanitizer sees a read past its end. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    if (exact == NULL) abort();
    if (size > 0) memcpy(exact, bytes, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    n_cases++;
}

static uint64_t get(const uint8_t *bytes, size_t width)
{
    uint64_t value = 0;

    for (size_t i = width; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static void put(uint8_t *bytes, size_t width, uint64_t value)
{
    for (size_t i = 0; i < width; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static void sweep(uint8_t *bytes, size_t size)
{
    for (size_t cut = 0; cut < size; cut++) {
        run(bytes, cut);
    }
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 0xFF;
        run(bytes, size);
        bytes[i] ^= 0xFF;
    }
    for (size_t width = 1; width <= 8; width *= 2) {
        for (size_t i = 0; i + width <= size; i += i < NEAR_START ? 1 : 7) {
            const uint64_t old = get(bytes + i, width);
            const uint64_t values[] = {0, old - 1, old + 1, UINT64_MAX};

            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                put(bytes + i, width, values[v]);
                run(bytes, size);
            }
            put(bytes + i, width, old);
        }
    }
}

static bool replay_file(const char *path, bool sweeping)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;
    bool good = false;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size >= 0) bytes = malloc((size_t)size + 1);
    if (bytes != NULL && fseek(file, 0, SEEK_SET) == 0 &&
        fread(bytes, 1, (size_t)size, file) == (size_t)size) {
        run(bytes, (size_t)size);
        if (sweeping) sweep(bytes, (size_t)size);
        good = true;
    } else {
        fprintf(stderr, "cannot read %s\n", path);
    }
    free(bytes);
    if (file != NULL) fclose(file);
    return good;
}

static bool replay(const char *path, bool sweeping)
{
    struct stat about;
    bool good = true;

    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) return replay_file(path, sweeping);
    DIR *folder = opendir(path);
    if (folder == NULL) return false;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char name[4096];

        if (entry->d_name[0] == '.') continue;
        (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        good = replay_file(name, sweeping) && good;
    }
    closedir(folder);
    return good;
}

int main(int argc, char **argv)
{
    const bool sweeping = argc > 1 && strcmp(argv[1], "--sweep") == 0;
    bool good = true;

    for (int i = sweeping ? 2 : 1; i < argc; i++) {
        good = replay(argv[i], sweeping) && good;
    }
    printf("%ld cases\n", n_cases);
    return good && n_cases > 0 ? 0 : 1;
}
