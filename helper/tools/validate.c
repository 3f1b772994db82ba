#include "helper/tools/validate.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "Usage: passenger-config validate-install [OPTIONS]\n"
    "Looks whether everything that was installed is there, safe, loaded by Apache and running.\n"
    "Exit code: 0 all is well, 1 something is wrong, 2 something deserves a look.\n"
    "\n"
    "      --auto, --no-summary, --no-colors, --validate-apache2   accepted; it never asks, and never colours\n"
    "      --apxs2-path PATH, --no-validate-passenger              accepted, without effect\n"
    "  -h, --help                                                  this text\n";

typedef struct {
    const hp_client_t *client;
    int errors, warnings;
} findings_t;

AG_PRINTF(4, 5) static void find(findings_t *findings, int good, int *pcount, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    printf("%-8s %s\n", good ? "ok:" : pcount == &findings->errors ? "error:" : "warning:", apr_pvsprintf(findings->client->p, fmt, args));
    va_end(args);
    *pcount += !good;
}

/* What Apache, as root, loads or starts must be root's alone. */
static void look_at(findings_t *findings, const char *path, mode_t wanted)
{
    struct stat st;
    const char *wrong = NULL;

    if (stat(path, &st))
        wrong = apr_psprintf(findings->client->p, "is not there (%s): make -f Makefile.apxs install", strerror(errno));
    else if (!S_ISDIR(st.st_mode) != !S_ISDIR(wanted))
        wrong = "is something else than it was when installed";
    else if ((st.st_mode & wanted & 07777) != (wanted & 07777))
        wrong = "cannot be used by everybody who must: its mode lacks rights";
    else if (st.st_uid != 0 || (st.st_mode & 022))
        wrong = "can be changed by others than root";
    find(findings, !wrong, &findings->errors, "%s %s", path, wrong ? wrong : "is there, and root's");
}

static void look_at_configuration(findings_t *findings)
{
    struct stat st;
    int debian = stat(HP_CLIENT_SYSCONFDIR "/mods-available", &st) == 0;

    if (!debian)
        return; /* the configuration is wherever its author put it; the instance below tells */
    look_at(findings, HP_CLIENT_SYSCONFDIR "/mods-available/passenger.load", S_IFREG | 0444);
    look_at(findings, HP_CLIENT_SYSCONFDIR "/mods-available/passenger.conf", S_IFREG | 0444);
    find(findings, stat(HP_CLIENT_SYSCONFDIR "/mods-enabled/passenger.load", &st) == 0, &findings->warnings, "%s",
         stat(HP_CLIENT_SYSCONFDIR "/mods-enabled/passenger.load", &st) == 0 ? "Apache is told to load the module"
                                                                             : "Apache is not told to load the module: a2enmod passenger");
}

static void look_at_instances(findings_t *findings)
{
    const apr_array_header_t *instances = hp_client_instances(findings->client);
    hp_client_request_t request = {.method = "GET", .path = "/version.json"};

    find(findings, instances->nelts > 0, &findings->warnings, "%s",
         instances->nelts > 0 ? "Apache runs with the module loaded" : "no Apache runs with the module loaded: apachectl restart");
    for (int i = 0; i < instances->nelts; i++) {
        const hp_client_instance_t *instance = &APR_ARRAY_IDX(instances, i, hp_client_instance_t);
        const char *version;
        json_t *value = NULL;
        if (hp_client_ask_json(findings->client, instance->socket, &request, &value) != HP_CLIENT_DONE) {
            find(findings, 0, &findings->errors, "instance %s does not answer", instance->name);
            continue;
        }
        version = json_string_value(json_object_get(value, "program_version"));
        find(findings, version && strcmp(version, AG_VERSION) == 0, &findings->warnings, "instance %s answers, version %s%s", instance->name,
             version ? version : "unknown",
             version && strcmp(version, AG_VERSION) == 0 ? "" : "; installed is " AG_VERSION ": apachectl graceful");
        json_decref(value);
    }
}

int hp_validate_run(const hp_client_t *client, int argc, const char **argv)
{
    const char *ignored;
    const hp_client_option_t options[] = {{"auto", 0, NULL, NULL},          {"no-summary", 0, NULL, NULL},
                                          {"no-colors", 0, NULL, NULL},     {"validate-apache2", 0, NULL, NULL},
                                          {"apxs2-path", 0, &ignored, NULL}, {"no-validate-passenger", 0, NULL, NULL},
                                          {NULL, 0, NULL, NULL}};
    findings_t findings = {.client = client};

    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    if (argc > 0)
        return hp_client_fail(client, HP_CLIENT_FAILED, "validate-install takes options only, not \"%s\"", argv[0]);
    look_at(&findings, HP_CLIENT_LIBEXECDIR "/mod_passenger.so", S_IFREG | 0444);
    look_at(&findings, HP_CLIENT_PRIVATE "/passenger-helper", S_IFREG | 0555);
    look_at(&findings, HP_CLIENT_PRIVATE "/loaders", S_IFDIR | 0555);
    look_at(&findings, HP_CLIENT_PRIVATE "/errors", S_IFDIR | 0555);
    look_at_configuration(&findings);
    look_at_instances(&findings);
    return findings.errors ? 1 : findings.warnings ? 2 : 0;
}
