#include "helper/tools/restart.h"
#include "apr-glue/sock.h"
#include <apr_strings.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY 100 /* milliseconds */

static const char usage[] =
    "Usage: passenger-config restart-app [OPTIONS] [PREFIX]\n"
    "Restarts the applications whose root is the folder PREFIX or lies below it; \".\" is the current folder.\n"
    "Without PREFIX and --name it asks which, if there is a terminal.\n"
    "\n"
    "      --name NAME                      the application of this group name\n"
    "      --rolling-restart                old processes serve until the first new one is ready\n"
    "      --blocking-restart               old processes end at once; requests wait for new ones\n"
    "                                       (without either: as the application is configured)\n"
    "      --wait                           returns when new processes serve; fails if they do not start\n"
    "      --wait-limit SECONDS             for how long (600)\n"
    "      --ignore-app-not-running         it is no failure if no such application runs\n"
    "      --ignore-passenger-not-running   it is no failure if no mod_passenger runs\n"
    "      --instance NAME                  which instance, if several run\n"
    "  -h, --help                           this text\n";

typedef struct {
    const hp_client_t *client;
    const hp_client_instance_t *instance;
    const char *name, *prefix, *real_prefix; /* what is wanted; NULL: not said */
    int rolling, blocking, wait;
    apr_time_t wait_until; /* of the monotonic clock */
} order_t;

/* -- which applications -- */

/* 1 if `path` is the folder `prefix` or lies below it. */
static int below(const char *path, const char *prefix)
{
    apr_size_t len = strlen(prefix);

    while (len > 1 && prefix[len - 1] == '/')
        len--;
    if (len == 1 && prefix[0] == '/')
        return 1;
    return strncmp(path, prefix, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static int wanted(const order_t *order, const json_t *group)
{
    const char *name = json_string_value(json_object_get(group, "name")), *root = json_string_value(json_object_get(group, "app_root"));
    char real[PATH_MAX];

    if (!name || !root)
        return 0;
    if (order->name)
        return strcmp(name, order->name) == 0;
    if (!order->prefix)
        return 1;
    /* Either may be spelled through symbolic links; what we may not look at counts as it is spelled. */
    if (!realpath(root, real))
        apr_cpystrn(real, root, sizeof real);
    return below(root, order->prefix) || below(real, order->real_prefix);
}

static int get_pool(const order_t *order, json_t **ppool)
{
    hp_client_request_t request = {.method = "GET", .path = "/pool.json"};

    return hp_client_ask_json(order->client, order->instance->socket, &request, ppool);
}

/* The wanted groups of the pool, as borrowed objects. */
static apr_array_header_t *find(const order_t *order, const json_t *pool)
{
    apr_array_header_t *found = apr_array_make(order->client->p, 8, sizeof(const json_t *));
    const json_t *group;
    size_t i;

    json_array_foreach(json_object_get(pool, "groups"), i, group) {
        if (wanted(order, group))
            APR_ARRAY_PUSH(found, const json_t *) = group;
    }
    return found;
}

/* A menu on the terminal. What remains in `found` was chosen; 0 if nothing was. */
static int choose(const order_t *order, apr_array_header_t *found)
{
    char line[32];
    long n;

    (void)order;
    printf("Which application is to be restarted?\n");
    for (int i = 0; i < found->nelts; i++)
        printf("  %d) %s\n", i + 1, json_string_value(json_object_get(APR_ARRAY_IDX(found, i, const json_t *), "name")));
    printf("  0) none\nNumber: ");
    fflush(stdout);
    n = fgets(line, sizeof line, stdin) ? strtol(line, NULL, 10) : 0;
    if (n < 1 || n > found->nelts)
        return 0;
    APR_ARRAY_IDX(found, 0, const json_t *) = APR_ARRAY_IDX(found, n - 1, const json_t *);
    found->nelts = 1;
    return 1;
}

/* -- waiting -- */

static apr_time_t monotonic(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return apr_time_from_sec((apr_time_t)t.tv_sec) + t.tv_nsec / 1000;
}

typedef enum { NOT_YET, SERVES, FAILED, NOBODY_ASKS } outcome_t;

/* What has become of the generation that the restart began. */
static outcome_t judge(const json_t *group, json_int_t generation)
{
    const json_t *process;
    int others = 0;
    size_t i;

    json_array_foreach(json_object_get(group, "processes"), i, process) {
        const char *state = json_string_value(json_object_get(process, "state"));
        if (state && strcmp(state, "ready") == 0 && json_integer_value(json_object_get(process, "generation")) >= generation)
            return SERVES;
        others++;
    }
    if (json_is_object(json_object_get(group, "failure")))
        return FAILED;
    if (!others && !json_integer_value(json_object_get(group, "starting")) && !json_is_true(json_object_get(group, "restarting")))
        return NOBODY_ASKS;
    return NOT_YET;
}

/* The end of a wait, told. */
static int tell(const order_t *order, const char *name, const json_t *group, outcome_t outcome)
{
    const json_t *failure = json_object_get(group, "failure");
    const char *sentence = json_string_value(json_object_get(failure, "sentence"));

    if (outcome == SERVES) {
        printf("%s: the new code serves\n", name);
        return HP_CLIENT_DONE;
    }
    if (outcome == NOBODY_ASKS) {
        printf("%s: no process runs; the next request starts one, with the new code\n", name);
        return HP_CLIENT_DONE;
    }
    if (outcome == FAILED)
        return hp_client_fail(order->client, HP_CLIENT_FAILED, "%s: %s (error id %s)%s", name, sentence ? sentence : "it does not start",
                              json_string_value(json_object_get(failure, "id")),
                              json_is_true(json_object_get(group, "held")) ? "; the code from before goes on serving" : "");
    return hp_client_fail(order->client, HP_CLIENT_FAILED, "%s: the new code did not serve within the limit of --wait-limit", name);
}

/* A connection to nothing that never becomes readable: what there is to wait on between two looks. */
static int idle_descriptor(void)
{
    int fds[2];

    return ag_sock_pair(fds) == APR_SUCCESS ? fds[0] : -1;
}

static int wait_for(const order_t *order, const char *name, json_int_t generation)
{
    order_t one = *order;
    outcome_t outcome = NOT_YET;
    int idle = idle_descriptor(), code;
    const json_t *group;
    json_t *pool;

    one.name = name;
    for (;;) {
        apr_array_header_t *found;
        code = get_pool(&one, &pool);
        if (code != HP_CLIENT_DONE)
            return code;
        found = find(&one, pool);
        group = found->nelts ? APR_ARRAY_IDX(found, 0, const json_t *) : NULL;
        outcome = group ? judge(group, generation) : NOBODY_ASKS;
        if (outcome != NOT_YET || monotonic() > order->wait_until)
            break;
        json_decref(pool);
        (void)!ag_sock_wait(idle, LOOK_EVERY);
    }
    code = tell(order, name, group, outcome);
    json_decref(pool);
    return code;
}

/* -- the command -- */

static int restart(const order_t *order, const char *name)
{
    hp_client_request_t request = {.method = "POST", .path = "/pool/restart_app_group.json"};
    json_t *body = json_pack("{s:s}", "name", name), *reply = NULL;
    json_int_t generation;
    char *text;
    int code;

    if (order->rolling || order->blocking)
        json_object_set_new(body, "restart_method", json_string(order->rolling ? "rolling" : "blocking"));
    text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    request.body = text;
    request.body_len = strlen(text);
    code = hp_client_ask_json(order->client, order->instance->socket, &request, &reply);
    free(text);
    if (code != HP_CLIENT_DONE)
        return code;
    generation = json_integer_value(json_object_get(reply, "generation"));
    if (!json_is_true(json_object_get(reply, "restarted")))
        code = hp_client_fail(order->client, HP_CLIENT_FAILED, "%s: it does not run any more", name);
    json_decref(reply);
    if (code != HP_CLIENT_DONE)
        return code;
    printf("Restarting %s\n", name);
    fflush(stdout);
    return order->wait ? wait_for(order, name, generation) : code;
}

static int restart_all(order_t *order, int ignore_no_app)
{
    json_t *pool = NULL;
    apr_array_header_t *found;
    int code = get_pool(order, &pool), one;

    if (code != HP_CLIENT_DONE)
        return code;
    found = find(order, pool);
    if (found->nelts == 0) {
        code = hp_client_fail(order->client, ignore_no_app ? HP_CLIENT_DONE : HP_CLIENT_FAILED, "no application of yours runs%s%s%s",
                              order->name ? " under the name \"" : order->prefix ? " below \"" : "",
                              order->name ? order->name : order->prefix ? order->prefix : "", order->name || order->prefix ? "\"" : "");
    } else if (!order->name && !order->prefix && !choose(order, found)) {
        code = hp_client_fail(order->client, HP_CLIENT_FAILED, "nothing was restarted");
    } else {
        /* Every one is asked for before the worst outcome is reported. */
        for (int i = 0; i < found->nelts; i++) {
            one = restart(order, json_string_value(json_object_get(APR_ARRAY_IDX(found, i, const json_t *), "name")));
            code = one > code ? one : code;
        }
    }
    json_decref(pool);
    return code;
}

static const char *absolute(const hp_client_t *client, const char *path)
{
    char folder[PATH_MAX];

    if (path[0] == '/')
        return path;
    if (!getcwd(folder, sizeof folder))
        return NULL;
    return strcmp(path, ".") == 0 ? apr_pstrdup(client->p, folder) : apr_pstrcat(client->p, folder, "/", path, NULL);
}

int hp_restart_run(const hp_client_t *client, int argc, const char **argv)
{
    order_t order = {.client = client};
    const char *instance = NULL, *limit = "600";
    int no_app = 0, no_helper = 0, count;
    const hp_client_option_t options[] = {
        {"name", 0, &order.name, NULL}, {"rolling-restart", 0, NULL, &order.rolling}, {"blocking-restart", 0, NULL, &order.blocking},
        {"wait", 0, NULL, &order.wait}, {"wait-limit", 0, &limit, NULL}, {"ignore-app-not-running", 0, NULL, &no_app},
        {"ignore-passenger-not-running", 0, NULL, &no_helper}, {"instance", 0, &instance, NULL}, {NULL, 0, NULL, NULL}};
    char real[PATH_MAX], *end;
    long seconds;

    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    seconds = strtol(limit, &end, 10);
    if (argc > 1 || (argc && order.name))
        return hp_client_fail(client, HP_CLIENT_FAILED, "one PREFIX or one --name, not \"%s\" too", argv[argc - 1]);
    if (order.rolling && order.blocking)
        return hp_client_fail(client, HP_CLIENT_FAILED, "--rolling-restart and --blocking-restart exclude each other");
    if (*end || end == limit || seconds < 1 || seconds > 86400)
        return hp_client_fail(client, HP_CLIENT_FAILED, "--wait-limit is a number of seconds from 1 to 86400, not \"%s\"", limit);
    if (argc == 0 && !order.name && !(isatty(0) && isatty(1)))
        return hp_client_fail(client, HP_CLIENT_FAILED, "which application? Give the folder that it lies in, or --name NAME");
    order.prefix = argc ? absolute(client, argv[0]) : NULL;
    if (argc && !order.prefix)
        return hp_client_fail(client, HP_CLIENT_FAILED, "the current folder is gone; give an absolute path");
    order.real_prefix = order.prefix && realpath(order.prefix, real) ? real : order.prefix;
    order.instance = hp_client_choose(client, instance, &count);
    if (!order.instance)
        return no_helper && count == 0 ? HP_CLIENT_DONE : HP_CLIENT_FAILED;
    order.wait_until = monotonic() + apr_time_from_sec(seconds);
    return restart_all(&order, no_app);
}
