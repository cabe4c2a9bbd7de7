/* The list of compiled-in backends, and how one is found by its name.
 * Above: train.c and decode.c ask for one. Below: cuda_loader.c, cpu/ and reference/. */
#include "backend.h"

#include <pthread.h>
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cuda_loader.h"
#include "reference/reference.h"
#include "status.h"

/* Written once, by list(), and constant from then on. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const kd_backend *backends[4];

static void list(void)
{
    backends[0] = kd_cuda_loader_find();
    backends[1] = &kd_cpu_backend;
    backends[2] = &kd_reference_backend;
}

const kd_backend *const *kd_backend_list(void)
{
    pthread_once(&once, list);
    return backends;
}

static kdinr_status find_any(const kd_backend **backend, kdinr_error *error)
{
    for (size_t i = 0; backends[i] != NULL; i++) {
        if (backends[i]->available(NULL)) {
            *backend = backends[i];
            return KDINR_OK;
        }
    }
    return kd_fail(error, KDINR_ERROR_BACKEND, "no compute backend can run on this machine");
}

static kdinr_status unknown_name(const char *name, kdinr_error *error)
{
    char names[128] = "auto";
    for (size_t i = 0; backends[i] != NULL; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", backends[i]->name);
    }
    return kd_fail(error, KDINR_ERROR_ARGUMENT, "backend \"%.64s\" is unknown; allowed are: %s",
                   name, names);
}

kdinr_status kd_backend_find(const char *name, const kd_backend **backend, kdinr_error *error)
{
    /* Who asks for the CPU does not wait for CUDA to be loaded. */
    if (strcmp(name, kd_cpu_backend.name) == 0) {
        *backend = &kd_cpu_backend;
        return KDINR_OK;
    }
    (void)kd_backend_list();
    if (strcmp(name, "auto") == 0) return find_any(backend, error);
    for (size_t i = 0; backends[i] != NULL; i++) {
        const char *reason = NULL;
        if (strcmp(name, backends[i]->name) != 0) continue;
        if (!backends[i]->available(&reason)) {
            return kd_fail(error, KDINR_ERROR_BACKEND, "backend \"%s\" cannot run here: %s", name,
                           reason);
        }
        *backend = backends[i];
        return KDINR_OK;
    }
    return unknown_name(name, error);
}
