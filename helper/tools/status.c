/* passenger-status: what runs, as the helper tells it. */
#include "helper/tools/client.h"
#include <apr_strings.h>
#include <apr_time.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "Usage: passenger-status [OPTIONS] [INSTANCE]\n"
    "Shows the applications that mod_passenger runs: all of them to root, to others their own.\n"
    "\n"
    "      --show=WHAT      pool (default), server, requests, xml or json\n"
    "      --no-header      no version, date and instance above the pool\n"
    "      --force-colors   accepted; nothing is coloured\n"
    "  -v, --verbose        more about each application and process\n"
    "  -h, --help           this text\n"
    "\n"
    "INSTANCE is (the beginning of) a name from `passenger-config list-instances`; needed if several run.\n";

static const struct {
    const char *word, *path;
    int json;
} views[] = {
    {"pool", "/pool.txt", 0}, {"server", "/server.json", 1}, {"requests", "/requests.json", 1}, {"xml", "/pool.xml", 0}, {"json", "/pool.json", 1},
};

static void show_header(const hp_client_instance_t *instance)
{
    apr_time_exp_t t;
    apr_size_t len;
    char date[64];

    apr_time_exp_lt(&t, apr_time_now());
    apr_strftime(date, &len, sizeof date, "%Y-%m-%d %H:%M:%S %z", &t);
    printf("Version : %s\nDate    : %s\nInstance: %s (%s)\n\n", instance->version, date, instance->name, instance->software);
}

/* One element a line, for scripts that read lines. What the helper sends has no blanks between its tags, and no angle brackets in its text. */
static void write_indented(const char *xml)
{
    int depth = 0, opened = 0;

    for (const char *at = xml; *at; at++) {
        int closes = at[0] == '<' && at[1] == '/', opens = at[0] == '<' && at[1] != '/' && at[1] != '?';
        depth -= closes;
        if (at > xml && at[-1] == '>' && (opens || (closes && !opened)))
            printf("\n%*s", 2 * depth, "");
        depth += opens;
        opened = opens || (opened && !closes);
        putchar(*at);
    }
}

static int show(const hp_client_t *client, const hp_client_instance_t *instance, apr_size_t view, int header, int verbose)
{
    hp_client_request_t request = {.method = "GET", .path = views[view].path};
    hp_client_reply_t reply;
    json_t *value = NULL;
    int code;

    if (views[view].json) {
        code = hp_client_ask_json(client, instance->socket, &request, &value);
        if (code != HP_CLIENT_DONE)
            return code;
        json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
        putchar('\n');
        json_decref(value);
        return HP_CLIENT_DONE;
    }
    if (verbose)
        request.path = apr_pstrcat(client->p, request.path, "?verbose=1", NULL);
    code = hp_client_ask_well(client, instance->socket, &request, &reply);
    if (code != HP_CLIENT_DONE)
        return code;
    if (header)
        show_header(instance);
    if (strcmp(views[view].word, "xml") == 0)
        write_indented(reply.body);
    else
        fwrite(reply.body, 1, reply.body_len, stdout);
    return code;
}

static int run(const hp_client_t *client, int argc, const char **argv)
{
    const char *what = "pool";
    int no_header = 0, verbose = 0, count;
    const hp_client_option_t options[] = {{"show", 0, &what, NULL}, {"no-header", 0, NULL, &no_header}, {"force-colors", 0, NULL, NULL},
                                          {"verbose", 'v', NULL, &verbose}, {NULL, 0, NULL, NULL}};
    const hp_client_instance_t *instance;
    apr_size_t view = 0;

    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    while (view < AG_LEN(views) && strcmp(views[view].word, what) != 0)
        view++;
    if (view == AG_LEN(views))
        return hp_client_fail(client, HP_CLIENT_FAILED, "--show=%s is not known; there are pool, server, requests, xml and json", what);
    if (argc > 1)
        return hp_client_fail(client, HP_CLIENT_FAILED, "one instance at a time, not \"%s\" too", argv[1]);
    instance = hp_client_choose(client, argc ? argv[0] : NULL, &count);
    if (!instance)
        return HP_CLIENT_FAILED;
    return show(client, instance, view, view == 0 && !no_header, verbose);
}

int main(int argc, const char **argv)
{
    hp_client_t client;

    hp_client_init(&client, "passenger-status");
    return hp_client_finish(&client, run(&client, argc, argv));
}
