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

/* Devices were asked for, and the backend has none. */
static kdinr_status no_devices(const kd_backend *backend, kdinr_error *error)
{
    const char *reason = NULL;

    for (const kd_backend *const *other = kd_backend_list(); *other != NULL; other++) {
        if (strcmp((*other)->name, "cuda") == 0) (void)(*other)->available(&reason);
    }
    return kd_fail(error, KDINR_ERROR_ARGUMENT,
                   "option devices: GPUs were asked for, but the %s backend computes, which has "
                   "none; the cuda backend has%s%s",
                   backend->name,
                   reason == NULL ? "" : ", and cannot run here: ", reason == NULL ? "" : reason);
}

kdinr_status kd_backend_choose(const kdinr_options *options, const kd_backend **backend,
                               kdinr_error *error)
{
    KD_TRY(kd_backend_find(options->backend, backend, error));
    if (options->devices == 0) return KDINR_OK;
    if ((*backend)->check_devices == NULL) return no_devices(*backend, error);
    return (*backend)->check_devices(options->devices, error);
}

kd_backend_config kd_backend_evaluation(const kdinr_options *options)
{
    return (kd_backend_config){.n_threads = options->n_threads, .devices = options->devices};
}

kd_backend_config kd_backend_training(const kdinr_options *options, size_t max_batch)
{
    return (kd_backend_config){.n_threads = options->n_threads,
                               .training = true,
                               .optimizer = options->optimizer,
                               .max_batch = max_batch,
                               .precision = options->precision,
                               .devices = options->devices};
}
