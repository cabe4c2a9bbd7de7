/* A module of another release and interface, which the loader must refuse. */
#include "cuda_module.h"

KDINR_API const kd_cuda_module *kdinr_cuda_module(void);

const kd_cuda_module *kdinr_cuda_module(void)
{
    static const kd_cuda_module module = {.version = 99, .release = "7.7.7"};
    return &module;
}
