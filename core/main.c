/* The command line `kdinr`: a thin shell over kdinr.h. This file picks the command; main.h says
 * where the rest is. Exit codes: 0 done, 1 failed, 2 the command line asks for what cannot be. */
#define _XOPEN_SOURCE 700
#include "main.h"

#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    kd_command command;
    int (*run)(const kd_settings *settings);
    int min_files, max_files;
    bool needs_output;
} commands[] = {
    {"compress", KD_COMPRESS, kd_main_compress, 1, 1 << 20, true},
    {"decode", KD_DECODE, kd_main_decode, 1, 1, true},
    {"info", KD_INFO, kd_main_info, 1, 1, false},
    {"eval", KD_EVAL, kd_main_eval, 2, 1 << 20, false},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void print_overview(FILE *file)
{
    fprintf(file,
            "kdinr " KDINR_VERSION ": time series of volumes as small neural networks (.kdm)\n"
            "\n"
            "  kdinr compress -o OUT.kdm --dims X,Y,Z FILE...   raw files to .kdm\n"
            "  kdinr decode IN.kdm -o OUT.raw                   .kdm to raw\n"
            "  kdinr info IN.kdm                                what a .kdm holds\n"
            "  kdinr eval IN.kdm FILE...                        compare with the original\n"
            "\n"
            "kdinr COMMAND --help lists its flags.\n");
}

/* Flags read: is everything there that the command needs? */
static int run_command(int i, const kd_settings *settings)
{
    const bool no_files_needed = settings->backends;

    if (settings->help) {
        kd_options_usage(commands[i].command, stdout);
        return KD_EXIT_OK;
    }
    if (commands[i].needs_output && settings->output == NULL) {
        fprintf(stderr, "kdinr %s: -o FILE says where to write; see kdinr %s --help\n",
                commands[i].name, commands[i].name);
        return KD_EXIT_USAGE;
    }
    if (!no_files_needed && settings->n_files < commands[i].min_files) {
        fprintf(stderr, "kdinr %s: %d files given, at least %d needed; see kdinr %s --help\n",
                commands[i].name, settings->n_files, commands[i].min_files, commands[i].name);
        return KD_EXIT_USAGE;
    }
    if (settings->n_files > commands[i].max_files) {
        fprintf(stderr, "kdinr %s: %d files given, at most %d allowed; see kdinr %s --help\n",
                commands[i].name, settings->n_files, commands[i].max_files, commands[i].name);
        return KD_EXIT_USAGE;
    }
    return commands[i].run(settings);
}

int main(int argc, char **argv)
{
    const char **arguments = (const char **)argv;
    kd_settings settings;

    /* A file-size limit then fails the write, with a message, instead of ending the program. */
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        print_overview(stderr);
        return KD_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0) {
        print_overview(stdout);
        return KD_EXIT_OK;
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            const int code =
                kd_options_parse(commands[i].command, arguments + 2, argc - 2, &settings);
            return code == KD_EXIT_OK ? run_command(i, &settings) : code;
        }
    }
    fprintf(stderr, "kdinr: there is no command '%s'; see kdinr --help\n", argv[1]);
    return KD_EXIT_USAGE;
}
