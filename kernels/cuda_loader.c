/* Loads the CUDA module on first use and hands out its backend. Above: backend.c lists it.
 * Below: kdinr_cuda.so, built from cuda/, with the CUDA libraries that it needs. Nothing of CUDA is
 * loaded, and nothing but a reason given, on a machine without a driver.
 * The module is looked for beside the file that this code is in (program or plugin), in the library
 * folder next to that, and in the library folder of the installation. */
#include "cuda_loader.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda_module.h"
#include "status.h"

/* Written once, by load(), and constant from then on: the process has one such module. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const kd_backend *module_backend; /* NULL: `fault` says why */
static char fault[512];

/* The folder of the program or shared object that holds this code. */
static bool find_own_folder(char folder[PATH_MAX])
{
    Dl_info info;
    struct link_map *map = NULL;
    char path[PATH_MAX];
    if (dladdr1((void *)fault, &info, (void **)&map, RTLD_DL_LINKMAP) == 0) return false;
    const bool program = map == NULL || map->l_name[0] == '\0';
    if (realpath(program ? "/proc/self/exe" : map->l_name, path) == NULL) return false;
    snprintf(folder, PATH_MAX, "%s", dirname(path));
    return true;
}

static bool find_file(const char *folder, const char *below, char path[PATH_MAX])
{
    const int length = snprintf(path, PATH_MAX, "%s/%s%s", folder, below, KD_CUDA_MODULE_FILE);
    return length < PATH_MAX && access(path, R_OK) == 0;
}

static bool find_module(char path[PATH_MAX])
{
    char folder[PATH_MAX];
    return (find_own_folder(folder) && (find_file(folder, "", path) ||
                                        find_file(folder, "../" KD_LIBRARY_FOLDER "/", path))) ||
           find_file(KD_INSTALL_FOLDER, "", path);
}

/* The driver is asked for first: it is absent on most machines without a device, and the CUDA
 * libraries are large. */
static bool has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver == NULL) return false;
    dlclose(driver);
    return true;
}

static bool fits(const kd_cuda_module *module)
{
    return module->version == KD_CUDA_MODULE_VERSION &&
           strcmp(module->release, KDINR_VERSION) == 0 && module->net_size == sizeof(kd_net) &&
           module->config_size == sizeof(kd_backend_config) &&
           module->step_size == sizeof(kd_step) && module->grid_size == sizeof(kd_grid) &&
           module->backend_size == sizeof(kd_backend);
}

/* The module stays loaded: CUDA's libraries do not survive being unloaded. */
static void load_from(const char *path)
{
    const char *text = NULL;
    kd_cuda_module_entry entry = NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == NULL) {
        text = dlerror();
        snprintf(fault, sizeof fault, "its module cannot be loaded: %.400s",
                 text == NULL ? path : text);
        return;
    }
    *(void **)&entry = dlsym(handle, KD_CUDA_MODULE_ENTRY);
    if (entry == NULL) {
        snprintf(fault, sizeof fault, "%.400s has no entry " KD_CUDA_MODULE_ENTRY, path);
    } else if (!fits(entry())) {
        snprintf(
            fault, sizeof fault,
            "%.300s is of release %.20s, interface %u; this program is of release %s, interface %d",
            path, entry()->release, entry()->version, KDINR_VERSION, KD_CUDA_MODULE_VERSION);
    } else {
        module_backend = entry()->backend;
    }
}

static void load(void)
{
    char path[PATH_MAX];
    if (!has_driver()) {
        snprintf(fault, sizeof fault, "no NVIDIA driver is installed (libcuda.so.1 not found)");
    } else if (!find_module(path)) {
        snprintf(fault, sizeof fault,
                 "its module " KD_CUDA_MODULE_FILE " was not built, or is neither beside this "
                 "program nor in " KD_INSTALL_FOLDER);
    } else {
        load_from(path);
    }
}

static bool absent_available(const char **reason)
{
    if (reason != NULL) *reason = fault;
    return false;
}

const kd_backend *kd_cuda_loader_find(void)
{
    static const kd_backend absent = {.name = "cuda", .available = absent_available};

    pthread_once(&once, load);
    return module_backend != NULL ? module_backend : &absent;
}
