/* bench_ranks RANKS OUT.kdm NX,NY,NZ FILE...
 * Compresses a series of raw files (float32) with several processes that share the work, one thread
 * each, ratio 300, effort low, and says how long that takes if each has a processor of its own: the
 * longest of them from one exchange to the next, summed up. Only processor time counts, so that the
 * processes may run on one processor, and on a busy one. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kdinr.h"

enum { MOST_RANKS = 16, ROOM = 1 << 22 };

/* Memory that all processes see. */
typedef struct meeting {
    pthread_barrier_t barrier;
    double seconds[MOST_RANKS];   /* of the processor since the exchange before */
    double longest, sum;          /* since the start: of the longest each time, of all */
    char given[MOST_RANKS][ROOM]; /* to the exchange */
} meeting;

typedef struct process {
    meeting *common;
    int rank, n_ranks;
    double since;
} process;

static double processor_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* All processes have come as far as this. */
static void meet(process *self)
{
    meeting *common = self->common;

    common->seconds[self->rank] = processor_seconds() - self->since;
    (void)pthread_barrier_wait(&common->barrier);
    if (self->rank == 0) {
        double longest = 0.0;

        for (int rank = 0; rank < self->n_ranks; rank++) {
            common->sum += common->seconds[rank];
            if (common->seconds[rank] > longest) longest = common->seconds[rank];
        }
        common->longest += longest;
    }
}

static bool exchange(void *user, const void *mine, size_t size, void *all)
{
    process *self = user;

    if (size > ROOM) return false;
    memcpy(self->common->given[self->rank], mine, size);
    meet(self);
    for (int rank = 0; rank < self->n_ranks; rank++) {
        memcpy((char *)all + (size_t)rank * size, self->common->given[rank], size);
    }
    (void)pthread_barrier_wait(&self->common->barrier);
    self->since = processor_seconds();
    return true;
}

static bool read_step(const char *path, float *values, size_t n)
{
    FILE *file = fopen(path, "rb");
    const bool whole = file != NULL && fread(values, sizeof *values, n, file) == n;

    if (file != NULL) (void)fclose(file);
    if (!whole) fprintf(stderr, "%s: %zu values could not be read\n", path, n);
    return whole;
}

static kdinr_status compress(kdinr_encoder *encoder, const int dims[3], char **files, int n_files,
                             kdinr_error *error)
{
    const size_t n = (size_t)dims[0] * (size_t)dims[1] * (size_t)dims[2];
    float *values = malloc(n * sizeof *values);
    const kdinr_array array = {"value", KDINR_FLOAT32, 1, KDINR_POINTS, values, false, 0.0};
    kdinr_volume volume = kdinr_volume_default();
    kdinr_status status = values == NULL ? KDINR_ERROR_MEMORY : KDINR_OK;

    memcpy(volume.dims, dims, sizeof volume.dims);
    volume.n_arrays = 1;
    volume.arrays = &array;
    for (int i = 0; status == KDINR_OK && i < 2 * n_files; i++) {
        const int t = i % n_files;

        if (!read_step(files[t], values, n)) {
            status = KDINR_ERROR_IO;
        } else {
            status = i < n_files ? kdinr_encoder_push(encoder, &volume, t, error)
                                 : kdinr_encoder_verify(encoder, &volume, t, error);
        }
    }
    free(values);
    return status;
}

static int run(process *self, const char *path, const int dims[3], char **files, int n_files)
{
    const kdinr_share share = {self->rank, self->n_ranks, exchange, self};
    kdinr_options options = kdinr_options_default();
    kdinr_encoder *encoder = NULL;
    kdinr_error error = {KDINR_OK, ""};

    options.ratio = 300.0;
    options.effort = KDINR_EFFORT_LOW;
    options.n_threads = 1;
    options.n_steps = n_files;
    options.share = &share;
    kdinr_status status = kdinr_encoder_open(&options, &encoder, &error);
    if (status == KDINR_OK) status = compress(encoder, dims, files, n_files, &error);
    if (status == KDINR_OK) status = kdinr_encoder_finish(encoder, path, &error);
    kdinr_encoder_close(encoder);
    if (status != KDINR_OK) {
        fprintf(stderr, "rank %d: %s\n", self->rank, error.message);
        return 1;
    }
    meet(self);
    return 0;
}

static meeting *open_meeting(int n_ranks)
{
    meeting *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t shared;

    if (common == MAP_FAILED) return NULL;
    (void)pthread_barrierattr_init(&shared);
    (void)pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&common->barrier, &shared, (unsigned)n_ranks);
    return common;
}

int main(int argc, char **argv)
{
    process self = {.n_ranks = argc > 1 ? atoi(argv[1]) : 0};
    int dims[3];

    if (argc < 5 || self.n_ranks < 1 || self.n_ranks > MOST_RANKS ||
        sscanf(argv[3], "%d,%d,%d", &dims[0], &dims[1], &dims[2]) != 3) {
        fprintf(stderr, "usage: bench_ranks RANKS OUT.kdm NX,NY,NZ FILE...\n");
        return 2;
    }
    self.common = open_meeting(self.n_ranks);
    if (self.common == NULL) return 1;
    for (self.rank = self.n_ranks - 1; self.rank > 0; self.rank--) {
        if (fork() == 0) break;
    }
    self.since = processor_seconds();
    const int result = run(&self, argv[2], dims, argv + 4, argc - 4);
    if (self.rank > 0 || result != 0) return result;
    printf("%d ranks: %.2f s, %.2f s in all\n", self.n_ranks, self.common->longest,
           self.common->sum);
    return 0;
}
