#include "helper/tools/install.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MODULE HP_CLIENT_LIBEXECDIR "/mod_passenger.so"
#define HELPER HP_CLIENT_PRIVATE "/passenger-helper"

static const char usage[] =
    "Usage: passenger-install-apache2-module [OPTIONS]\n"
    "Looks whether the module and its helper are installed, and prints the lines that load them.\n"
    "Nothing is compiled and no file is changed: `make -f Makefile.apxs install` does that.\n"
    "\n"
    "      --snippet   only the lines, whether they are installed or not\n"
    "  -a, --auto, --no-compile, --force-colors, --verbose-depcheck, --apxs2-path PATH, --apr-config-path PATH, --languages NAMES\n"
    "                  accepted, without effect\n"
    "  -h, --help      this text\n";

/* Scripts put the first line into passenger.load, and the others into passenger.conf. */
static const char snippet[] = "LoadModule passenger_module " MODULE "\n"
                              "<IfModule mod_passenger.c>\n"
                              "  PassengerHelper " HELPER "\n"
                              "</IfModule>\n";

static int look(const hp_client_t *client, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? HP_CLIENT_DONE : hp_client_fail(client, HP_CLIENT_FAILED, "%s: %s; `make -f Makefile.apxs install` puts it there",
                                                                  path, strerror(errno));
}

int hp_install_run(const hp_client_t *client, int argc, const char **argv)
{
    const char *ignored;
    int lines_only = 0;
    const hp_client_option_t options[] = {
        {"snippet", 0, NULL, &lines_only}, {"auto", 'a', NULL, NULL}, {"no-compile", 0, NULL, NULL}, {"force-colors", 0, NULL, NULL},
        {"verbose-depcheck", 0, NULL, NULL}, {"apxs2-path", 0, &ignored, NULL}, {"apr-config-path", 0, &ignored, NULL},
        {"languages", 0, &ignored, NULL}, {NULL, 0, NULL, NULL}};
    int code;

    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    if (argc > 0)
        return hp_client_fail(client, HP_CLIENT_FAILED, "it takes options only, not \"%s\"", argv[0]);
    if (lines_only) {
        fputs(snippet, stdout);
        return HP_CLIENT_DONE;
    }
    code = look(client, MODULE);
    if (code == HP_CLIENT_DONE)
        code = look(client, HELPER);
    if (code == HP_CLIENT_DONE)
        printf("The Apache module is correctly installed.\nThese lines load it, if `a2enmod passenger` has not done so:\n\n%s", snippet);
    return code;
}
