/* The container on disk: saved whole or not at all; asked for where there is none. */
#define _POSIX_C_SOURCE 200809L

#include "kdm_samples.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH "test_kdm_save.kdm"

static int count_files(const char *folder)
{
    DIR *listing = opendir(folder);
    int n = 0;

    assert_non_null(listing);
    while (readdir(listing) != NULL) {
        n++;
    }
    closedir(listing);
    return n - 2; /* . and .. */
}

static void kdm_save_to_impossible_places_fails(void **state)
{
    const uint8_t bytes[4] = {1, 2, 3, 4};
    kdinr_error error;

    (void)state;
    check_fails(kd_kdm_save(bytes, 4, "no/such/folder/a.kdm", &error), KDINR_ERROR_IO,
                "no/such/folder/a.kdm", error);
    check_fails(kd_kdm_save(bytes, 4, "", &error), KDINR_ERROR_IO, "cannot", error);
    check_fails(kd_kdm_save(bytes, 4, "/proc/a.kdm", &error), KDINR_ERROR_IO, "/proc/a.kdm", error);
    assert_true(mkdir("save_here", 0777) == 0 && mkdir("save_here/a.kdm", 0777) == 0);
    check_fails(kd_kdm_save(bytes, 4, "save_here/a.kdm", &error), KDINR_ERROR_IO, "cannot replace",
                error);
    assert_int_equal(count_files("save_here"), 1);
    assert_true(rmdir("save_here/a.kdm") == 0 && chmod("save_here", 0555) == 0);
    if (geteuid() != 0) { /* root may write anywhere */
        check_fails(kd_kdm_save(bytes, 4, "save_here/a.kdm", &error), KDINR_ERROR_IO,
                    "save_here/a.kdm", error);
    }
    assert_true(chmod("save_here", 0777) == 0 && rmdir("save_here") == 0);
}

/* In a child that may write 1000 bytes only. Returns what the call answered. */
static int save_with_little_space(const char *path)
{
    static const uint8_t bytes[5000];
    const struct rlimit limit = {1000, 1000};
    const pid_t child = fork();
    kdinr_error error;
    int result;

    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        const kdinr_status status = kd_kdm_save(bytes, sizeof bytes, path, &error);
        _exit(status == KDINR_ERROR_IO && strstr(error.message, path) != NULL ? 33 : 34);
    }
    assert_true(waitpid(child, &result, 0) == child && WIFEXITED(result));
    return WEXITSTATUS(result);
}

static void kdm_save_without_space_leaves_the_old_file(void **state)
{
    const uint8_t old[3] = {7, 8, 9};
    uint8_t found[4];
    kdinr_error error;

    (void)state;
    assert_true(mkdir("save_here", 0777) == 0);
    assert_int_equal(save_with_little_space("save_here/a.kdm"), 33);
    assert_int_equal(count_files("save_here"), 0);
    check_ok(kd_kdm_save(old, 3, "save_here/a.kdm", &error), error);
    assert_int_equal(save_with_little_space("save_here/a.kdm"), 33);
    assert_int_equal(count_files("save_here"), 1);
    FILE *file = fopen("save_here/a.kdm", "rb");
    assert_non_null(file);
    assert_int_equal(fread(found, 1, 4, file), 3);
    assert_memory_equal(found, old, 3);
    fclose(file);
    check_ok(kd_kdm_save(old, 2, "save_here/a.kdm", &error), error);
    assert_int_equal(count_files("save_here"), 1);
    assert_true(unlink("save_here/a.kdm") == 0 && rmdir("save_here") == 0);
}

static void kdm_can_read_is_quiet_about_anything(void **state)
{
    const uint8_t newer[12] = {0x89, 'K', 'D', 'M', '\r', '\n', 0x1A, '\n', 2, 0, 0, 0};
    kdinr_error error;
    kd_model model;

    (void)state;
    assert_false(kd_kdm_can_read("no such file"));
    assert_false(kd_kdm_can_read("."));
    assert_false(kd_kdm_can_read("/dev/null"));
    sample_write(PATH, newer, 11);
    assert_false(kd_kdm_can_read(PATH));
    sample_write(PATH, newer, 12);
    assert_false(kd_kdm_can_read(PATH));
    check_fails(kd_kdm_load_info("no such file", &model, &error), KDINR_ERROR_IO, "no such file",
                error);
    check_fails(kd_kdm_load_info(".", &model, &error), KDINR_ERROR_IO, "is not a file", error);
    assert_true(unlink(PATH) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kdm_save_to_impossible_places_fails),
        cmocka_unit_test(kdm_save_without_space_leaves_the_old_file),
        cmocka_unit_test(kdm_can_read_is_quiet_about_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
