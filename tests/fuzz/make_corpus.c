/* Seeds for the fuzz targets: good files of every kind, in FOLDER/kdm, FOLDER/codes and
 * FOLDER/part. */
#include "unit/kdm_samples.h"

#include <sys/stat.h>

#include "part_series.h"

static char path[4096];

static const char *path_of(const char *folder, const char *kind, const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", folder, kind);
    (void)mkdir(path, 0777);
    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, kind, name);
    return path;
}

/* ---- the container ---- */

static void write_model(const char *folder, const char *name, kd_model *model)
{
    kdinr_error error;
    uint8_t *bytes;
    size_t size;

    check_ok(kd_kdm_pack(model, &bytes, &size, &error), error);
    sample_write(path_of(folder, "kdm", name), bytes, size);
    free(bytes);
    kd_kdm_free(model);
}

static void write_models(const char *folder)
{
    const char *const names[] = {"constant", "quantised", "float16", "float32"};
    kd_model model;

    for (int kind = 0; kind < 4; kind++) {
        sample_small(&model, (kd_network_kind)kind);
        write_model(folder, names[kind], &model);
    }
    sample_rich(&model);
    write_model(folder, "rich", &model);
    sample_forms(&model);
    write_model(folder, "forms", &model);
    sample_packs(&model);
    write_model(folder, "packs", &model);
    sample_moving(&model);
    write_model(folder, "moving", &model);
    sample_clusters(&model);
    write_model(folder, "clusters", &model);
}

/* ---- streams; fuzz_codes.c reads their first eight bytes ---- */

static void write_stream(const char *folder, const char *name, const uint8_t head[8],
                         const uint8_t *bytes, size_t size)
{
    uint8_t *whole = sample_memory(size + 8);

    memcpy(whole, head, 8);
    if (size > 0) memcpy(whole + 8, bytes, size);
    sample_write(path_of(folder, "codes", name), whole, size + 8);
    free(whole);
}

static void write_streams(const char *folder)
{
    const uint8_t codes_head[8] = {0, 2, 10, 20, 30, 0, 0, 0};
    const uint8_t mask_head[8] = {1, 8, 7, 6, 0, 0, 0, 0};
    const uint8_t bytes_head[8] = {2, 44, 1, 0, 0, 0, 0, 0}; /* 300 bytes */
    const int dims[3] = {9, 8, 7};
    int16_t codes[420];
    uint8_t classes[9 * 8 * 7], plain[300] = {1, 2, 3}, *packed;
    const uint8_t folded_head[8] = {0, 128, 10, 20, 30, 0, 0, 0}; /* 128 % 6 = 2 as well */
    kd_entropy_tensor tensors[3] = {
        {10, codes, 70, false}, {20, codes + 70, 140, false}, {30, codes + 210, 210, false}};
    kdinr_error error;
    size_t size;

    for (uint64_t i = 0; i < 420; i++) {
        codes[i] = (int16_t)lrint(40.0 * sample_normal(3, i));
    }
    check_ok(kd_entropy_pack_codes(tensors, 3, &packed, &size, &error), error);
    write_stream(folder, "codes", codes_head, packed, size);
    free(packed);
    tensors[0].folded = tensors[2].folded = true;
    check_ok(kd_entropy_pack_codes(tensors, 3, &packed, &size, &error), error);
    write_stream(folder, "folded", folded_head, packed, size);
    free(packed);
    for (size_t i = 0; i < sizeof classes; i++) {
        classes[i] = (uint8_t)(i % 9 < 4 ? i % 5 : 0);
    }
    check_ok(kd_entropy_pack_mask(classes, dims, &packed, &size, &error), error);
    write_stream(folder, "mask", mask_head, packed, size);
    free(packed);
    check_ok(kd_entropy_pack_bytes(plain, sizeof plain, &packed, &size, &error), error);
    write_stream(folder, "bytes", bytes_head, packed, size);
    free(packed);
}

/* ---- a part, whole and as the records that fuzz_part.c puts checksums around ---- */

static void write_part(const char *folder)
{
    enum { MOST = 4096, RECORD_HEAD = 12, CHECKSUM = 8 };
    uint8_t bytes[MOST], records[MOST];
    size_t size, n = 0;
    kdinr_error error;
    kd_part *part;
    kdinr_options options = part_series_options(path_of(folder, "part", "whole"), false);

    check_ok(kd_part_open(&options, "cpu", &part, &error), error);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    part_series_run(part);
    kd_part_close(part, false);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size = fread(bytes, 1, MOST, file);
    assert_int_equal(fclose(file), 0);
    for (size_t at = (size_t)about.st_size; at < size;) {
        const size_t content = bytes[at + 4];

        records[n++] = bytes[at];
        records[n++] = (uint8_t)content;
        memcpy(records + n, bytes + at + RECORD_HEAD, content);
        n += content;
        at += RECORD_HEAD + content + CHECKSUM;
    }
    sample_write(path_of(folder, "part", "records"), records, n);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 2;
    }
    (void)mkdir(argv[1], 0777);
    write_models(argv[1]);
    write_streams(argv[1]);
    write_part(argv[1]);
    return 0;
}
