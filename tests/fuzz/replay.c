/* Run a fuzz target over the files named on the command line, as an ordinary test. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long size = -1;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size >= 0) bytes = malloc((size_t)size + 1);
    if (bytes != NULL && fseek(file, 0, SEEK_SET) == 0 &&
        fread(bytes, 1, (size_t)size, file) == (size_t)size) {
        (void)LLVMFuzzerTestOneInput(bytes, (size_t)size);
    } else {
        fprintf(stderr, "cannot read %s\n", path);
        size = -1;
    }
    free(bytes);
    if (file != NULL) fclose(file);
    return size < 0;
}

int main(int argc, char **argv)
{
    int n_failed = 0;

    for (int i = 1; i < argc; i++) {
        n_failed += replay(argv[i]);
    }
    printf("%d of %d files replayed\n", argc - 1 - n_failed, argc - 1);
    return n_failed > 0;
}
