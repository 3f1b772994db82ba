#include "helper/tools/about.h"
#include <apr_strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] = "Usage: passenger-config about TOPIC\n"
                            "\n"
                            "  version                which Passenger this speaks the language of, and which mod_passenger it is\n"
                            "  root, resourcesdir     the folder of loaders and pages\n"
                            "  support-binaries-dir   that of the helper\n"
                            "  ruby-libdir            that of what Ruby applications may require\n"
                            "  apache2-module         the module\n"
                            "  ruby-command           the Ruby that comes first in PATH\n"
                            "  compiled, custom-packaged, installed-from-release-package\n"
                            "                         nothing is printed; exit code 0 for yes, 1 for no\n";

/* Deployment tools take the end of the line that begins with this name for a version, and decide by it what we understand. */
int hp_about_version(const hp_client_t *client)
{
    (void)client;
    puts("Phusion Passenger " AG_INTERFACE "\nis the interface of mod_passenger " AG_VERSION);
    return HP_CLIENT_DONE;
}

/* Found, not run: PATH may be anybody's. */
static const char *find_ruby(const hp_client_t *client)
{
    const char *path = getenv("PATH");
    char *folder, *last, *copy = apr_pstrdup(client->p, path ? path : "");

    for (folder = apr_strtok(copy, ":", &last); folder; folder = apr_strtok(NULL, ":", &last)) {
        const char *file = apr_pstrcat(client->p, folder, "/ruby", NULL);
        struct stat st;
        if (folder[0] == '/' && stat(file, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
            return file;
    }
    return NULL;
}

static int ruby_command(const hp_client_t *client)
{
    const char *ruby = find_ruby(client);

    if (!ruby)
        return hp_client_fail(client, HP_CLIENT_FAILED, "no folder of PATH has a ruby");
    printf("The Ruby that comes first in PATH:\n  Command: %s\n  To use in Apache: PassengerRuby %s\n", ruby, ruby);
    return HP_CLIENT_DONE;
}

static int yes(const hp_client_t *client)
{
    (void)client;
    return HP_CLIENT_DONE;
}

static int no(const hp_client_t *client)
{
    (void)client;
    return HP_CLIENT_FAILED;
}

static const struct {
    const char *topic, *value;
    int (*answer)(const hp_client_t *client); /* if there is no value */
} facts[] = {
    {"version", NULL, hp_about_version},
    {"root", HP_CLIENT_PRIVATE, NULL},
    {"resourcesdir", HP_CLIENT_PRIVATE, NULL},
    {"support-binaries-dir", HP_CLIENT_PRIVATE, NULL},
    {"ruby-libdir", HP_CLIENT_PRIVATE "/loaders/ruby", NULL},
    {"apache2-module", HP_CLIENT_LIBEXECDIR "/mod_passenger.so", NULL},
    {"ruby-command", NULL, ruby_command},
    {"compiled", NULL, yes},
    {"custom-packaged", NULL, no},
    {"installed-from-release-package", NULL, no},
};

/* Its place among the facts, or how many there are. */
static apr_size_t find_topic(const char *topic)
{
    apr_size_t i = 0;

    while (i < AG_LEN(facts) && strcmp(facts[i].topic, topic) != 0)
        i++;
    return i;
}

int hp_about_is(const char *word)
{
    return strncmp(word, "--", 2) == 0 && find_topic(word + 2) < AG_LEN(facts);
}

static int say(const hp_client_t *client, const char *topic)
{
    apr_size_t i = find_topic(topic);

    if (i == AG_LEN(facts))
        return hp_client_fail(client, HP_CLIENT_FAILED, "about what? `passenger-config about --help` lists the topics; \"%s\" is none", topic);
    if (facts[i].answer)
        return facts[i].answer(client);
    puts(facts[i].value);
    return HP_CLIENT_DONE;
}

int hp_about_run(const hp_client_t *client, int argc, const char **argv)
{
    const char *topic = NULL;
    const hp_client_option_t options[] = {{"topic", 0, &topic, NULL}, {NULL, 0, NULL, NULL}};

    if (argc == 2 && hp_about_is(argv[1]))
        return say(client, argv[1] + 2);
    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    return say(client, topic ? topic : argc == 1 ? argv[0] : "");
}
