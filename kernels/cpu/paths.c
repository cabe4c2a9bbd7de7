/* Which instruction sets are compiled in, and which of them this machine has. */
#include "cpu/backend_cpu.h"

#if defined(KD_CPU_X86_PATHS)

const kd_cpu_kernels *kd_cpu_path(int i)
{
    static const kd_cpu_kernels *const paths[] = {&kd_cpu_kernels_avx512, &kd_cpu_kernels_avx2,
                                                  &kd_cpu_kernels_portable, NULL};
    return paths[i];
}

bool kd_cpu_path_available(int i)
{
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return i == 0 ? avx2 && avx512 : i == 1 ? avx2 : true;
}

#else

const kd_cpu_kernels *kd_cpu_path(int i)
{
    static const kd_cpu_kernels *const paths[] = {&kd_cpu_kernels_portable, NULL};
    return paths[i];
}

bool kd_cpu_path_available(int i)
{
    (void)i;
    return true;
}

#endif
