/* The calls that a very small encoder makes on its part: what fuzz_part.c resumes and make_corpus.c
 * writes. Promises are checked in every build. */
#ifndef PART_SERIES_H
#define PART_SERIES_H

#include <math.h>
#include <stdlib.h>

#include "part.h"

enum { PART_PARAMS = 5 };

static inline void part_expect(bool holds)
{
    if (!holds) abort();
}

static inline kdinr_options part_series_options(const char *path, bool resume)
{
    kdinr_options options = kdinr_options_default();

    options.part = path;
    options.resume = resume;
    return options;
}

/* One training: whatever the part says, the parameters are sound. */
static inline void part_series_train(kd_part *part, uint64_t key)
{
    float params[PART_PARAMS] = {1, 2, 3, 4, 5};
    kd_outcome outcome = {.loss = 0.25};
    kdinr_error error;
    bool taken;

    part_expect(kd_part_take(part, key, params, PART_PARAMS, &outcome, &taken, &error) == KDINR_OK);
    for (int i = 0; i < PART_PARAMS; i++) {
        part_expect(isfinite(params[i]) && (taken || params[i] == (float)(i + 1)));
    }
    part_expect(isfinite(outcome.loss));
    if (taken) return;
    const kd_record record = {key, params, PART_PARAMS, &outcome};
    part_expect(kd_part_add(part, &record, &error) == KDINR_OK);
}

/* Three steps, two trainings each. A step may be refused, with a message. */
static inline void part_series_run(kd_part *part)
{
    kdinr_error error = {KDINR_OK, ""};

    for (int step = 0; step < 3; step++) {
        if (kd_part_step(part, UINT64_C(0x5EED), step, &error) != KDINR_OK) {
            part_expect(error.status == KDINR_ERROR_ARGUMENT && error.message[0] != '\0');
            return;
        }
        part_series_train(part, (uint64_t)step);
        part_series_train(part, 99);
    }
    part_expect(kd_part_sync(part, &error) == KDINR_OK);
}

#endif
