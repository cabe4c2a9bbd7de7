/* What every cmocka test of this project includes, in the order cmocka wants it. */
#ifndef CHECK_H
#define CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kdinr.h"

/** A call that must succeed; prints the message if it does not. */
#define check_ok(call, error)                                                                      \
    do {                                                                                           \
        (error).message[0] = 0;                                                                    \
        if ((call) != KDINR_OK) fail_msg("%s: %s", #call, (error).message);                        \
    } while (0)

/** A call that must fail with `expected` and a message that contains `text`. */
#define check_fails(call, expected, text, error)                                                   \
    do {                                                                                           \
        (error).message[0] = 0;                                                                    \
        assert_int_equal((call), (expected));                                                      \
        if (strstr((error).message, (text)) == NULL) {                                             \
            fail_msg("message \"%s\" does not contain \"%s\"", (error).message, (text));           \
        }                                                                                          \
    } while (0)

/** |a - b| <= tolerance. */
#define check_near(a, b, tolerance)                                                                \
    do {                                                                                           \
        const double near_a = (a), near_b = (b);                                                   \
        if (!(fabs(near_a - near_b) <= (tolerance))) {                                             \
            fail_msg("%s is %.9g, expected %.9g within %g", #a, near_a, near_b,                    \
                     (double)(tolerance));                                                         \
        }                                                                                          \
    } while (0)

#endif
