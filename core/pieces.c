/* Rows in their order, as many at a time as make about a megabyte. */
#include "pieces.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"

enum { PART_SIZE = 1 << 20 };

/* What is put together. */
typedef struct collection {
    const int *samples;
    size_t size;
    const kd_box *boxes; /* [n_ranks] */
    int n_ranks;
    const char *mine;
    char *whole;  /* on the root */
    char *buffer; /* room for what each has and once more for what this process has */
} collection;

/* Does the box have samples in row r of all? */
static bool has_row(const collection *job, const kd_box *box, size_t r)
{
    const int y = (int)(r % (size_t)job->samples[1]), z = (int)(r / (size_t)job->samples[1]);

    return y >= box->first[1] && y <= box->last[1] && z >= box->first[2] && z <= box->last[2];
}

static size_t row_size(const collection *job, const kd_box *box)
{
    return (size_t)(box->last[0] - box->first[0] + 1) * job->size;
}

/* Bytes of a box in rows from..to-1. */
static size_t size_of(const collection *job, const kd_box *box, size_t from, size_t to)
{
    size_t size = 0;

    for (size_t r = from; r < to; r++) {
        if (has_row(job, box, r)) size += row_size(job, box);
    }
    return size;
}

/* The box's bytes in these rows, one row after the other. */
static void take(const collection *job, const kd_box *box, size_t from, size_t to, char *bytes)
{
    const size_t length = row_size(job, box), ny = (size_t)job->samples[1];

    for (size_t r = from; r < to; r++) {
        if (!has_row(job, box, r)) continue;
        const size_t start = kd_bricks_row(box, (int)(r % ny), (int)(r / ny));

        memcpy(bytes, job->mine + start * job->size, length);
        bytes += length;
    }
}

/* Back to their place in the whole. */
static void put(const collection *job, const kd_box *box, size_t from, size_t to, const char *bytes)
{
    const size_t length = row_size(job, box), nx = (size_t)job->samples[0];

    for (size_t r = from; r < to; r++) {
        if (!has_row(job, box, r)) continue;
        memcpy(job->whole + (r * nx + (size_t)box->first[0]) * job->size, bytes, length);
        bytes += length;
    }
}

/* The most that a process has in these rows. */
static size_t largest_of(const collection *job, size_t from, size_t to)
{
    size_t largest = 0;

    for (int rank = 0; rank < job->n_ranks; rank++) {
        const size_t size = size_of(job, &job->boxes[rank], from, to);
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* Rows from..to-1 of all processes to the root. */
static kdinr_status collect_rows(kd_share *share, const collection *job, size_t from, size_t to,
                                 kdinr_error *error)
{
    const size_t size = largest_of(job, from, to);
    const int rank = kd_share_rank(share);
    char *all = job->buffer + size;

    take(job, &job->boxes[rank], from, to, job->buffer);
    KD_TRY(kd_share_gather(share, job->buffer, size, all, error));
    for (int other = 0; rank == 0 && other < job->n_ranks; other++) {
        put(job, &job->boxes[other], from, to, all + (size_t)other * size);
    }
    return KDINR_OK;
}

kdinr_status kd_pieces_collect(kd_share *share, const kd_box *box, const void *mine,
                               const int samples[3], size_t size, void *whole, kdinr_error *error)
{
    const size_t n_ranks = (size_t)kd_share_n_ranks(share);
    const size_t row = (size_t)samples[0] * size;
    const size_t n_rows = (size_t)samples[1] * (size_t)samples[2];
    const size_t at_once = row < PART_SIZE ? PART_SIZE / row : 1;
    kd_box *boxes = malloc(n_ranks * sizeof *boxes);
    char *buffer = calloc(n_ranks + 1, at_once * row);
    kdinr_status status = KDINR_OK;

    if (boxes == NULL || buffer == NULL) {
        status = kd_fail_memory(error, (n_ranks + 1) * at_once * row, "pieces of a step");
        goto done;
    }
    KD_TRY_DONE(kd_share_gather(share, box, sizeof *box, boxes, error));
    const collection job = {samples, size, boxes, (int)n_ranks, mine, whole, buffer};
    for (size_t r = 0; r < n_rows; r += at_once) {
        const size_t end = r + at_once < n_rows ? r + at_once : n_rows;

        KD_TRY_DONE(collect_rows(share, &job, r, end, error));
    }

done:
    free(boxes);
    free(buffer);
    return status;
}
