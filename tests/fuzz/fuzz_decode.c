/* Fuzz target: the whole decoder through the public functions. Any bytes as a .kdm, as they are and
 * with right checksums; what opens is read in part, at stored and other resolutions and times. */
#define _GNU_SOURCE

#include "fuzz.h"

#include "kdinr.h"
#include "repair.h"

enum { MOST_SAMPLES = 64, MOST_ARRAYS = 3, LARGEST_NETWORK = 20000 };

/* A request that is refused has a message; one that is not fills its values. */
static void read_values(kdinr_decoder *decoder, const kdinr_request *request)
{
    static double values[MOST_SAMPLES * 9];
    kdinr_error error = {KDINR_OK, ""};
    size_t size = 0;
    kdinr_status status = kdinr_decoder_check(decoder, request, &size, &error);

    if (status == KDINR_OK) {
        expect(size <= sizeof values);
        status = kdinr_decoder_read(decoder, request, values, &error);
    }
    if (status != KDINR_OK) expect(error.status == status && error.message[0] != '\0');
}

/* Shrink a whole-array request to a few samples at its far end. */
static void shrink(kdinr_request *request)
{
    for (int axis = 0; axis < 3; axis++) {
        int *range = request->extent + 2 * axis;
        if (range[1] - range[0] > 3) range[0] = range[1] - 3;
    }
}

static void read_array(kdinr_decoder *decoder, int a)
{
    const kdinr_info *info = kdinr_decoder_info(decoder);
    kdinr_request request = kdinr_request_default(info, a);
    int samples[3];

    shrink(&request);
    request.time = 0.5 * (info->times[0] + info->times[info->n_steps - 1]);
    read_values(decoder, &request);
    request.type = info->arrays[a].type;
    request.time = info->times[info->n_steps - 1];
    read_values(decoder, &request);
    for (int axis = 0; axis < 3; axis++) {
        request.dims[axis] = request.dims[axis] / 2 + 1;
    }
    kdinr_request_samples(info, &request, samples);
    for (int axis = 0; axis < 3; axis++) {
        request.extent[2 * axis] = 0;
        request.extent[2 * axis + 1] = samples[axis] - 1;
    }
    shrink(&request);
    read_values(decoder, &request);
}

static void decode(const char *path)
{
    kdinr_options options = kdinr_options_default();
    kdinr_error error = {KDINR_OK, ""};
    kdinr_decoder *decoder;

    options.n_threads = 1;
    options.memory_limit = 1 << 20;
    if (kdinr_decoder_open(path, &options, &decoder, &error) != KDINR_OK) {
        expect(decoder == NULL && error.message[0] != '\0');
        return;
    }
    expect(kdinr_can_read(path));
    if (kdinr_decoder_load(decoder, &error) == KDINR_OK) {
        const kdinr_info *info = kdinr_decoder_info(decoder);

        for (int a = 0; a < info->n_arrays && a < MOST_ARRAYS; a++) {
            const uint64_t networks = info->arrays[a].n_networks + 1;
            if (info->arrays[a].n_parameters / networks < LARGEST_NETWORK) read_array(decoder, a);
        }
    } else {
        expect(error.message[0] != '\0');
    }
    kdinr_decoder_close(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const memory_file file = memory_file_open();
    uint8_t *repaired = malloc(size + 1);

    expect(repaired != NULL);
    memory_file_fill(&file, bytes, size);
    decode(file.path);
    if (repair_copy(bytes, size, repaired)) {
        memory_file_fill(&file, repaired, size);
        decode(file.path);
    }
    (void)close(file.file);
    free(repaired);
    return 0;
}
