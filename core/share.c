/* Units of work among processes, results to all. The caller brings the one thing that this needs of
 * them: to gather equally many bytes from each to all. Before any result travels, all say how they
 * fared, so that a failure of one ends the work of all and none waits for ever. */
#include "share.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"

enum { MOST_RANKS = 1 << 20, EVERYONE = KD_SHARE_ALL, PIECE_SIZE = 1 << 20 };

/* A piece of a result: where its owner has it and the others get it. */
typedef struct piece {
    int owner; /* rank, or EVERYONE */
    void *bytes;
    size_t size;
} piece;

/* How a process fared, and what it is about to exchange. */
typedef struct report {
    kdinr_error error;
    uint64_t n_pieces, size; /* of all; or of what is gathered */
} report;

struct kd_share {
    kdinr_share with;
    piece *pieces; /* [n_pieces] announced since the last exchange, owned */
    size_t n_pieces, capacity;
    kd_record **records; /* [n_records] likewise, owned; one by one, as pieces point into them */
    size_t n_records, records_capacity;
    double *loads;   /* [n_ranks] costs dealt since the last exchange, owned */
    report *reports; /* [n_ranks], owned */
    int owner;       /* of the latest unit */
    bool failed;     /* and all know */
};

kdinr_status kd_share_open(const kdinr_share *with, kd_share **share, kdinr_error *error)
{
    *share = NULL;
    if (with == NULL) return KDINR_OK;
    if (with->n_ranks < 1 || with->n_ranks > MOST_RANKS || with->rank < 0 ||
        with->rank >= with->n_ranks || with->exchange == NULL) {
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "option share: rank %d of %d, allowed are 0 to n_ranks - 1 of 1 to %d, and "
                       "exchange must be given",
                       with->rank, with->n_ranks, MOST_RANKS);
    }
    if (with->n_ranks == 1) return KDINR_OK;
    const size_t n = (size_t)with->n_ranks;
    kd_share *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->with = *with;
        made->owner = EVERYONE;
        made->loads = calloc(n, sizeof *made->loads);
        made->reports = calloc(n, sizeof *made->reports);
    }
    if (made == NULL || made->loads == NULL || made->reports == NULL) {
        kd_share_close(made);
        return kd_fail_memory(error, n * sizeof *made->reports, "processes");
    }
    *share = made;
    return KDINR_OK;
}

/* Forget what was announced. */
static void clear(kd_share *share)
{
    for (size_t i = 0; i < share->n_records; i++) {
        free(share->records[i]);
    }
    share->n_pieces = share->n_records = 0;
    memset(share->loads, 0, (size_t)share->with.n_ranks * sizeof *share->loads);
}

void kd_share_close(kd_share *share)
{
    if (share == NULL) return;
    if (share->loads != NULL) clear(share);
    free(share->pieces);
    free(share->records);
    free(share->loads);
    free(share->reports);
    free(share);
}

bool kd_share_is_root(const kd_share *share)
{
    return share == NULL || share->with.rank == 0;
}

/* ---- dealing and announcing ---- */

bool kd_share_deal(kd_share *share, double cost)
{
    if (share == NULL) return true;
    share->owner = 0;
    for (int rank = 1; rank < share->with.n_ranks; rank++) {
        if (share->loads[rank] < share->loads[share->owner]) share->owner = rank;
    }
    share->loads[share->owner] += cost;
    return kd_share_has(share);
}

int kd_share_n_ranks(const kd_share *share)
{
    return share == NULL ? 1 : share->with.n_ranks;
}

int kd_share_rank(const kd_share *share)
{
    return share == NULL ? 0 : share->with.rank;
}

void kd_share_of(kd_share *share, int rank)
{
    if (share != NULL) share->owner = rank;
}

int kd_share_owner(const kd_share *share)
{
    return share == NULL ? EVERYONE : share->owner;
}

bool kd_share_has(const kd_share *share)
{
    return share == NULL || share->owner == EVERYONE || share->owner == share->with.rank;
}

kdinr_status kd_share_bytes(kd_share *share, void *bytes, size_t size, kdinr_error *error)
{
    if (share == NULL || share->owner == EVERYONE) return KDINR_OK;
    if (share->n_pieces == share->capacity) {
        const size_t capacity = 2 * share->capacity + 64;
        piece *pieces = realloc(share->pieces, capacity * sizeof *pieces);

        if (pieces == NULL) return kd_fail_memory(error, capacity * sizeof *pieces, "results");
        share->pieces = pieces;
        share->capacity = capacity;
    }
    share->pieces[share->n_pieces++] = (piece){share->owner, bytes, size};
    return KDINR_OK;
}

kdinr_status kd_share_network(kd_share *share, kd_part *part, const kd_record *record,
                              kdinr_error *error)
{
    if (share == NULL) return kd_part_add(part, record, error);
    if (share->n_records == share->records_capacity) {
        const size_t capacity = 2 * share->records_capacity + 16;
        kd_record **records = realloc(share->records, capacity * sizeof(kd_record *));

        if (records == NULL) {
            return kd_fail_memory(error, capacity * sizeof(kd_record *), "results");
        }
        share->records = records;
        share->records_capacity = capacity;
    }
    kd_record *added = malloc(sizeof *added);
    if (added == NULL) return kd_fail_memory(error, sizeof *added, "results");
    *added = *record;
    share->records[share->n_records++] = added;
    KD_TRY(kd_share_bytes(share, &added->key, sizeof added->key, error));
    KD_TRY(kd_share_bytes(share, added->params, added->n_params * sizeof *added->params, error));
    return kd_share_bytes(share, added->outcome, sizeof *added->outcome, error);
}

/* ---- exchanging ---- */

static kdinr_status gather(kd_share *share, const void *mine, size_t size, void *all,
                           kdinr_error *error)
{
    if (share->with.exchange(share->with.user, mine, size, all)) return KDINR_OK;
    share->failed = true;
    return kd_fail(error, KDINR_ERROR_IO,
                   "exchanging %zu bytes with the %d processes that share the work failed", size,
                   share->with.n_ranks);
}

static size_t size_of(const kd_share *share, int rank)
{
    size_t size = 0;

    for (size_t i = 0; i < share->n_pieces; i++) {
        if (share->pieces[i].owner == rank) size += share->pieces[i].size;
    }
    return size;
}

/* All say how they fared and what they announced, or will gather. */
static kdinr_status meet(kd_share *share, kdinr_status fared, size_t size, kdinr_error *error)
{
    report mine = {.n_pieces = share->n_pieces, .size = size};

    for (size_t i = 0; i < share->n_pieces; i++) {
        mine.size += share->pieces[i].size;
    }
    if (fared != KDINR_OK && error != NULL) mine.error = *error;
    mine.error.status = fared;
    KD_TRY(gather(share, &mine, sizeof mine, share->reports, error));
    for (int rank = 0; rank < share->with.n_ranks; rank++) {
        const report *theirs = &share->reports[rank];

        if (theirs->error.status == KDINR_OK) continue;
        share->failed = true;
        return kd_fail(error, theirs->error.status, "%s", theirs->error.message);
    }
    for (int rank = 0; rank < share->with.n_ranks; rank++) {
        const report *theirs = &share->reports[rank], *first = &share->reports[0];

        if (theirs->n_pieces == first->n_pieces && theirs->size == first->size) continue;
        share->failed = true;
        return kd_fail(error, KDINR_ERROR_ARGUMENT,
                       "processes 0 and %d share the work of one file but were given other steps "
                       "or options: %llu and %llu bytes of results",
                       rank, (unsigned long long)first->size, (unsigned long long)theirs->size);
    }
    return KDINR_OK;
}

/* Copy a process's pieces from where they are to `buffer`, or back. */
static void copy_pieces(const kd_share *share, int rank, char *buffer, bool back)
{
    for (size_t i = 0; i < share->n_pieces; i++) {
        const piece *one = &share->pieces[i];

        if (one->owner != rank) continue;
        if (back) {
            memcpy(one->bytes, buffer, one->size);
        } else {
            memcpy(buffer, one->bytes, one->size);
        }
        buffer += one->size;
    }
}

/* The pieces of each go to all, padded to the size of the largest. */
static kdinr_status swap(kd_share *share, kdinr_error *error)
{
    const int n_ranks = share->with.n_ranks;
    size_t size = 0;

    for (int rank = 0; rank < n_ranks; rank++) {
        const size_t theirs = size_of(share, rank);
        size = theirs > size ? theirs : size;
    }
    if (size == 0) return KDINR_OK;
    char *buffer = calloc((size_t)n_ranks + 1, size);
    kdinr_status status = KDINR_OK;

    if (buffer == NULL) status = kd_fail_memory(error, ((size_t)n_ranks + 1) * size, "results");
    status = kd_share_agree(share, status, error);
    if (status != KDINR_OK || buffer == NULL) goto done;
    char *all = buffer + size;
    copy_pieces(share, share->with.rank, buffer, false);
    KD_TRY_DONE(gather(share, buffer, size, all, error));
    for (int rank = 0; rank < n_ranks; rank++) {
        if (rank != share->with.rank) copy_pieces(share, rank, all + (size_t)rank * size, true);
    }

done:
    free(buffer);
    return status;
}

kdinr_status kd_share_exchange(kd_share *share, kd_part *part, kdinr_error *error)
{
    kdinr_status status;

    if (share == NULL) return KDINR_OK;
    KD_TRY_DONE(meet(share, KDINR_OK, 0, error));
    KD_TRY_DONE(swap(share, error));
    for (size_t i = 0; i < share->n_records; i++) {
        KD_TRY_DONE(kd_part_add(part, share->records[i], error));
    }

done:
    clear(share);
    return status;
}

kdinr_status kd_share_gather(kd_share *share, const void *mine, size_t size, void *all,
                             kdinr_error *error)
{
    if (share == NULL) {
        memcpy(all, mine, size);
        return KDINR_OK;
    }
    KD_TRY(meet(share, KDINR_OK, size, error));
    return gather(share, mine, size, all, error);
}

kdinr_status kd_share_move(kd_share *share, int from, int to, void *bytes, size_t size,
                           kdinr_error *error)
{
    if (share == NULL || from == to) return KDINR_OK;
    const int rank = share->with.rank;
    const bool takes = rank != from && (to == EVERYONE || to == rank);
    const size_t piece_size = size < PIECE_SIZE ? size : PIECE_SIZE;
    char *buffer = calloc((size_t)share->with.n_ranks + 1, piece_size + 1);
    kdinr_status status = KDINR_OK;

    if (buffer == NULL) return kd_fail_memory(error, piece_size, "data of another process");
    char *all = buffer + piece_size;
    KD_TRY_DONE(meet(share, KDINR_OK, size, error));
    for (size_t at = 0; at < size; at += piece_size) {
        const size_t n = size - at < piece_size ? size - at : piece_size;

        if (rank == from) memcpy(buffer, (char *)bytes + at, n);
        KD_TRY_DONE(gather(share, buffer, n, all, error));
        if (takes) memcpy((char *)bytes + at, all + (size_t)from * n, n);
    }

done:
    free(buffer);
    return status;
}

kdinr_status kd_share_agree(kd_share *share, kdinr_status status, kdinr_error *error)
{
    if (share == NULL || share->failed) return status;
    return meet(share, status, 0, error);
}
