/* Fuzz target: the weight decoder and its siblings in entropy.c. The first bytes choose what is
 * decoded and its shape; what decodes must survive packing and unpacking again. */
#define _GNU_SOURCE

#include "fuzz.h"

#include "entropy.h"
#include "kdm.h"

enum { HEAD = 8, MOST_TENSORS = 6, MOST_CODES = 500 };

static void check_failure(kdinr_status status, const kdinr_error *error)
{
    expect(error->status == status && error->message[0] != '\0');
}

/* Codes of a few tensors. */
static void unpack_codes(const uint8_t *head, const uint8_t *bytes, size_t size)
{
    static int16_t codes[MOST_TENSORS * MOST_CODES], again[MOST_TENSORS * MOST_CODES];
    kd_entropy_tensor tensors[MOST_TENSORS];
    const size_t n_tensors = head[1] % MOST_TENSORS + 1;
    kdinr_error error = {KDINR_OK, ""};
    uint8_t *packed;
    size_t packed_size;

    for (size_t t = 0; t < n_tensors; t++) {
        tensors[t].index = head[2 + t] % KD_ENTROPY_MAX_TENSORS;
        tensors[t].n = (size_t)(head[2 + t] * 7) % MOST_CODES;
        tensors[t].codes = codes + t * MOST_CODES;
        tensors[t].folded = head[1] >= 128 && t % 2 == 0;
    }
    const kdinr_status status = kd_entropy_unpack_codes(bytes, size, tensors, n_tensors, &error);
    if (status != KDINR_OK) {
        check_failure(status, &error);
        return;
    }
    expect(kd_entropy_pack_codes(tensors, n_tensors, &packed, &packed_size, &error) == KDINR_OK);
    for (size_t t = 0; t < n_tensors; t++) {
        tensors[t].codes = again + t * MOST_CODES;
    }
    expect(kd_entropy_unpack_codes(packed, packed_size, tensors, n_tensors, &error) == KDINR_OK);
    for (size_t t = 0; t < n_tensors; t++) {
        const size_t start = t * MOST_CODES;
        expect(memcmp(codes + start, again + start, tensors[t].n * sizeof *codes) == 0);
    }
    free(packed);
}

/* A missing-value map. */
static void unpack_mask(const uint8_t *head, const uint8_t *bytes, size_t size)
{
    const int dims[3] = {head[1] % 17 + 1, head[2] % 17 + 1, head[3] % 17 + 1};
    const size_t n = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    static uint8_t classes[17 * 17 * 17], again[17 * 17 * 17];
    kdinr_error error = {KDINR_OK, ""};
    uint8_t *packed;
    size_t packed_size;

    const kdinr_status status = kd_entropy_unpack_mask(bytes, size, dims, classes, &error);
    if (status != KDINR_OK) {
        check_failure(status, &error);
        return;
    }
    expect(kd_entropy_pack_mask(classes, dims, &packed, &packed_size, &error) == KDINR_OK);
    expect(kd_entropy_unpack_mask(packed, packed_size, dims, again, &error) == KDINR_OK);
    expect(memcmp(classes, again, n) == 0);
    free(packed);
}

/* A zstd frame. */
static void unpack_bytes(const uint8_t *head, const uint8_t *bytes, size_t size)
{
    static uint8_t unpacked[1 << 16];
    const size_t wanted = (size_t)(head[1] | head[2] << 8);
    kdinr_error error = {KDINR_OK, ""};
    const kdinr_status status =
        kd_entropy_unpack_bytes(bytes, size, unpacked, wanted, "fuzz", &error);

    if (status != KDINR_OK) check_failure(status, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < HEAD) return 0;
    switch (bytes[0] % 3) {
    case 0:
        unpack_codes(bytes, bytes + HEAD, size - HEAD);
        break;
    case 1:
        unpack_mask(bytes, bytes + HEAD, size - HEAD);
        break;
    default:
        unpack_bytes(bytes, bytes + HEAD, size - HEAD);
        break;
    }
    return 0;
}
