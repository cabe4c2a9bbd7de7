/* A driver that is there and does nothing: the loader only looks whether there is one. */
#include "backend.h"

KDINR_API int kd_test_driver(void);

int kd_test_driver(void)
{
    return 0;
}
