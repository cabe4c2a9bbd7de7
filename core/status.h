/* How failures travel: the place that detects one writes the message with kd_fail, callers forward
 * it with KD_TRY. Header-only, so that core and kernels share it without linking each other. */
#ifndef KD_STATUS_H
#define KD_STATUS_H

#include <stdarg.h>
#include <stdio.h>

#include "kdinr.h"

/** Record a failure and return its status. `error` may be NULL. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline kdinr_status
kd_fail(kdinr_error *error, kdinr_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->status = status;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

/** Record that `size` bytes for `what` could not be had. */
static inline kdinr_status kd_fail_memory(kdinr_error *error, size_t size, const char *what)
{
    return kd_fail(error, KDINR_ERROR_MEMORY, "%s: %zu bytes of memory could not be had", what,
                   size);
}

/** Forward a failure from a function that owns nothing. */
#define KD_TRY(call)                                                                               \
    do {                                                                                           \
        const kdinr_status kd_s_ = (call);                                                         \
        if (kd_s_ != KDINR_OK) return kd_s_;                                                       \
    } while (0)

/** Forward a failure from a function with `status` and a `done:` label that frees what it owns. */
#define KD_TRY_DONE(call)                                                                          \
    do {                                                                                           \
        status = (call);                                                                           \
        if (status != KDINR_OK) goto done;                                                         \
    } while (0)

/** a * b in *product, or false if it does not fit. */
static inline bool kd_size_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

#endif
