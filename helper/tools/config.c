/* passenger-config: restarts applications, ends processes, and tells where things are. */
#include "helper/tools/about.h"
#include "helper/tools/client.h"
#include "helper/tools/install.h"
#include "helper/tools/restart.h"
#include "helper/tools/validate.h"
#include <apr_lib.h>
#include <apr_strings.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (1024 * 1024) /* of api-call; the helper takes less */

static const char usage[] =
    "Usage: passenger-config COMMAND [OPTIONS]\n"
    "\n"
    "  restart-app        restarts applications\n"
    "  detach-process     ends one process of an application after its requests\n"
    "  list-instances     names what runs on this machine\n"
    "  api-call           asks the helper anything (passenger-config api-call GET /pool.json)\n"
    "  validate-install   looks for what is missing or unsafe\n"
    "  about              says where things are, and which version this is\n"
    "\n"
    "For scripts written for Phusion Passenger: --version, --root and the other topics of `about`, build-native-support, reopen-logs.\n"
    "\n"
    "`passenger-config COMMAND --help` says more.\n";

/* -- detach-process -- */

static const char detach_usage[] =
    "Usage: passenger-config detach-process [OPTIONS] PID\n"
    "The process gets no more requests, and ends after those that it has. Another takes its place if one is needed.\n"
    "\n"
    "      --ignore-nonexistant-pid   it is no failure if there is no such process\n"
    "      --instance NAME            which instance, if several run\n"
    "  -h, --help                     this text\n";

static int detach(const hp_client_t *client, int argc, const char **argv)
{
    const char *name = NULL;
    int ignore = 0, count, code;
    const hp_client_option_t options[] = {{"ignore-nonexistant-pid", 0, NULL, &ignore}, {"ignore-nonexistent-pid", 0, NULL, &ignore},
                                          {"instance", 0, &name, NULL}, {NULL, 0, NULL, NULL}};
    hp_client_request_t request = {.method = "POST", .path = "/pool/detach_process.json"};
    const hp_client_instance_t *instance;
    json_t *reply = NULL;
    char *end;
    long pid;

    if (!hp_client_options(client, options, detach_usage, &argc, argv))
        return argc;
    pid = argc == 1 ? strtol(argv[0], &end, 10) : 0;
    if (argc != 1 || *end || pid < 2 || pid > INT32_MAX)
        return hp_client_fail(client, HP_CLIENT_FAILED, "detach-process wants the id of one process");
    instance = hp_client_choose(client, name, &count);
    if (!instance)
        return HP_CLIENT_FAILED;
    request.body = apr_psprintf(client->p, "{\"pid\": %ld}", pid);
    request.body_len = strlen(request.body);
    code = hp_client_ask_json(client, instance->socket, &request, &reply);
    if (code != HP_CLIENT_DONE)
        return code;
    if (json_is_true(json_object_get(reply, "detached")))
        printf("Process %ld gets no more requests\n", pid);
    else
        code = hp_client_fail(client, ignore ? HP_CLIENT_DONE : HP_CLIENT_FAILED, "no application of yours has a process %ld that takes requests",
                              pid);
    json_decref(reply);
    return code;
}

/* -- list-instances -- */

static const char list_usage[] =
    "Usage: passenger-config list-instances [OPTIONS]\n"
    "Names the helpers that run on this machine.\n"
    "\n"
    "      --json    as JSON\n"
    "  -q, --quiet   nothing at all if none runs\n"
    "  -h, --help    this text\n";

static const char list_head[] = "Name                       PID      Description\n"
                                "--------------------------------------------------------------------------\n";

static int list(const hp_client_t *client, int argc, const char **argv)
{
    int as_json = 0, quiet = 0;
    const hp_client_option_t options[] = {{"json", 0, NULL, &as_json}, {"quiet", 'q', NULL, &quiet}, {NULL, 0, NULL, NULL}};
    const apr_array_header_t *instances;
    json_t *all = json_array();

    if (!hp_client_options(client, options, list_usage, &argc, argv))
        return argc;
    instances = hp_client_instances(client);
    for (int i = 0; i < instances->nelts; i++) {
        const hp_client_instance_t *instance = &APR_ARRAY_IDX(instances, i, hp_client_instance_t);
        if (as_json)
            json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "name", instance->name, "instance_id", instance->id, "path",
                                                 instance->folder, "socket", instance->socket, "pid", instance->pid, "passenger_version",
                                                 instance->version, "server_software", instance->software));
        else
            printf("%s%-25s  %-7" JSON_INTEGER_FORMAT "  %s\n", i ? "" : list_head, instance->name,
                   instance->pid, instance->software);
    }
    if (as_json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (instances->nelts == 0 && !quiet) {
        hp_client_fail(client, 0, "no mod_passenger runs here; PASSENGER_INSTANCE_REGISTRY_DIR names another folder to look in");
    }
    json_decref(all);
    return HP_CLIENT_DONE;
}

/* -- api-call -- */

static const char call_usage[] =
    "Usage: passenger-config api-call [OPTIONS] METHOD PATH\n"
    "Asks the helper and prints its answer. Exit code 2 for an answer other than 2xx.\n"
    "\n"
    "  -d, --data TEXT              body of the request\n"
    "  -i, --data-stdin             the body is read from stdin\n"
    "  -f, --data-file FILE         ... from a file\n"
    "  -S, --socket PATH            asks at this socket\n"
    "  -a, --agent core             accepted: only the core answers\n"
    "      --instance NAME          which instance, if several run\n"
    "      --show-headers           the head of the answer too\n"
    "      --ignore-response-code   exit code 0 for any answer\n"
    "  -h, --help                   this text\n";

static int read_body(const hp_client_t *client, FILE *file, const char *name, hp_client_request_t *request)
{
    char *body = apr_palloc(client->p, BODY_MAX);

    request->body_len = file ? fread(body, 1, BODY_MAX, file) : 0;
    if (!file || ferror(file))
        return hp_client_fail(client, HP_CLIENT_FAILED, "cannot read %s: %s", name, strerror(errno));
    if (request->body_len == BODY_MAX)
        return hp_client_fail(client, HP_CLIENT_FAILED, "%s is larger than any body may be", name);
    request->body = body;
    return HP_CLIENT_DONE;
}

static int take_body(const hp_client_t *client, const char *data, const char *path, int from_stdin, hp_client_request_t *request)
{
    FILE *file;
    int code;

    if (from_stdin)
        return read_body(client, stdin, "stdin", request);
    if (path) {
        file = fopen(path, "re");
        code = read_body(client, file, path, request);
        if (file)
            fclose(file);
        return code;
    }
    request->body = data;
    request->body_len = data ? strlen(data) : 0;
    return HP_CLIENT_DONE;
}

/* It becomes a line of a request's head. */
static int plain(const char *text)
{
    while (*text > ' ' && *text < 0x7f)
        text++;
    return !*text;
}

static int call(const hp_client_t *client, int argc, const char **argv)
{
    const char *data = NULL, *file = NULL, *socket = NULL, *name = NULL, *agent = "core";
    int from_stdin = 0, headers = 0, any_code = 0, count, code;
    const hp_client_option_t options[] = {
        {"data", 'd', &data, NULL}, {"data-stdin", 'i', NULL, &from_stdin}, {"data-file", 'f', &file, NULL}, {"socket", 'S', &socket, NULL},
        {"agent", 'a', &agent, NULL},
        {"instance", 0, &name, NULL}, {"show-headers", 0, NULL, &headers}, {"ignore-response-code", 0, NULL, &any_code}, {NULL, 0, NULL, NULL}};
    const hp_client_instance_t *instance;
    hp_client_request_t request = {0};
    hp_client_reply_t reply;

    if (!hp_client_options(client, options, call_usage, &argc, argv))
        return argc;
    if (argc != 2 || !plain(argv[0]) || !plain(argv[1]) || argv[1][0] != '/')
        return hp_client_fail(client, HP_CLIENT_FAILED, "api-call wants a method and a path: passenger-config api-call GET /pool.json");
    if (strcmp(agent, "core") != 0)
        return hp_client_fail(client, HP_CLIENT_FAILED, "only the core answers, not \"%s\"", agent);
    request.method = argv[0];
    request.path = argv[1];
    code = take_body(client, data, file, from_stdin, &request);
    if (code != HP_CLIENT_DONE)
        return code;
    if (!socket) {
        instance = hp_client_choose(client, name, &count);
        if (!instance)
            return HP_CLIENT_FAILED;
        socket = instance->socket;
    }
    code = hp_client_ask(client, socket, &request, &reply);
    if (code != HP_CLIENT_DONE)
        return code;
    if (headers)
        fputs(reply.head, stdout);
    fwrite(reply.body, 1, reply.body_len, stdout);
    if (reply.body_len > 0 && reply.body[reply.body_len - 1] != '\n')
        putchar('\n');
    return any_code || reply.status / 100 == 2 ? HP_CLIENT_DONE : HP_CLIENT_DENIED;
}

/* -- what others build, and Apache does -- */

static const char build_usage[] = "Usage: passenger-config build-native-support\n"
                                  "There is nothing to build: Ruby applications need no extension of ours. Prints nothing, and succeeds.\n";

static int build(const hp_client_t *client, int argc, const char **argv)
{
    const hp_client_option_t none[] = {{NULL, 0, NULL, NULL}};

    return hp_client_options(client, none, build_usage, &argc, argv) ? HP_CLIENT_DONE : argc;
}

static const char reopen_usage[] = "Usage: passenger-config reopen-logs\n"
                                   "Always fails: Apache opens PassengerLogFile and its error log, at its start and at `apachectl graceful`, which\n"
                                   "keeps applications. Files of PassengerAppLogFile are opened anew as soon as they were renamed.\n";

static int reopen(const hp_client_t *client, int argc, const char **argv)
{
    const char *name;
    const hp_client_option_t options[] = {{"ignore-logs-not-available", 0, NULL, NULL}, {"instance", 0, &name, NULL}, {NULL, 0, NULL, NULL}};

    if (!hp_client_options(client, options, reopen_usage, &argc, argv))
        return argc;
    return hp_client_fail(client, HP_CLIENT_FAILED, "the logs are Apache's: `apachectl graceful` opens them anew, and keeps applications");
}

/* -- which command -- */

static const struct {
    const char *name;
    int (*run)(const hp_client_t *client, int argc, const char **argv);
} commands[] = {
    {"restart-app", hp_restart_run}, {"detach-process", detach},            {"list-instances", list}, {"api-call", call},
    {"about", hp_about_run},         {"validate-install", hp_validate_run}, {"reopen-logs", reopen},  {"build-native-support", build},
};

static int run(const hp_client_t *client, int argc, const char **argv)
{
    static const char *const helps[] = {"--help", "-h", "help", "--help-all"};
    const char *name = argc > 1 ? argv[1] : "--help", *help[] = {NULL, "--help", NULL};

    if (argc == 3 && strcmp(name, "help") == 0) {
        help[0] = name = argv[2];
        argv = help;
        argc = 2;
    } else if (!hp_about_is(name)) {
        argv++;
        argc--;
    }
    for (apr_size_t i = 0; i < AG_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(client, argc, argv);
    }
    for (apr_size_t i = 0; i < AG_LEN(helps); i++) {
        if (strcmp(helps[i], name) == 0) {
            fputs(usage, stdout);
            return HP_CLIENT_DONE;
        }
    }
    if (hp_about_is(name))
        return hp_about_run(client, argc, argv);
    return hp_client_fail(client, HP_CLIENT_FAILED, "\"%s\" is no command; passenger-config --help lists them", name);
}

/* The program `passenger` of deployment tools, which ask it for a version. */
static int tell(const hp_client_t *client, int argc, const char **argv)
{
    static const char *const words[] = {"-v", "--version", "version"};

    for (apr_size_t i = 0; i < AG_LEN(words); i++) {
        if (argc == 2 && strcmp(argv[1], words[i]) == 0)
            return hp_about_version(client);
    }
    return hp_client_fail(client, HP_CLIENT_FAILED, "Apache starts applications; this tells the version only: passenger -v. See passenger-config(8)");
}

/* What else this file is installed as. */
static const struct {
    const char *name;
    int (*run)(const hp_client_t *client, int argc, const char **argv);
} programs[] = {{"passenger", tell}, {"passenger-install-apache2-module", hp_install_run}, {"passenger-config", run}};

int main(int argc, const char **argv)
{
    const char *called = argc > 0 ? apr_filepath_name_get(argv[0]) : "";
    hp_client_t client;
    apr_size_t i = 0;

    while (i < AG_LEN(programs) - 1 && strcmp(called, programs[i].name) != 0)
        i++;
    hp_client_init(&client, programs[i].name);
    return hp_client_finish(&client, programs[i].run(&client, argc, argv));
}
