/* What the stand-in counts so that tests can see leaks, and the call that a test wants to fail. */
#include <atomic>

#include "shim.h"

namespace
{

std::atomic<int> n_objects{0}, n_calls{0}, failing{-1};

} // namespace

bool shim_fails_now()
{
    return n_calls++ == failing;
}

void shim_count_object(int change)
{
    n_objects += change;
}

extern "C" {

void shim_fail_call(int n)
{
    n_calls = 0;
    failing = n;
}

int shim_call_count(void)
{
    return n_calls;
}

int shim_object_count(void)
{
    return n_objects;
}

} // extern "C"
