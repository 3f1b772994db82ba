#include "helper/endpoint.h"
#include "apr-glue/build.h"
#include "apr-glue/clock.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "helper/render.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who asks what; what the handlers below are given. */
typedef struct {
    const hp_endpoint_t *endpoint;
    const hp_endpoint_request_t *request;
    const char *query; /* after the question mark, or "" */
    hp_status_viewer_t viewer;
    json_t *input; /* of a POST: an object */
    apr_pool_t *p;
} ask_t;

/* -- answers -- */

static void give(hp_endpoint_answer_t *answer, const char *type, char *body)
{
    if (!body)
        ag_memory_out();
    answer->status = 200;
    answer->type = type;
    answer->body = body;
    answer->len = strlen(body);
}

static void give_json(hp_endpoint_answer_t *answer, json_t *value)
{
    give(answer, "application/json", value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL);
    json_decref(value);
}

void hp_endpoint_refuse(hp_endpoint_answer_t *answer, int status, const char *message)
{
    give_json(answer, json_pack("{s:s, s:s}", "status", "error", "message", message));
    answer->status = status;
}

/* -- questions -- */

static void ping(ask_t *ask, hp_endpoint_answer_t *answer)
{
    (void)ask;
    give_json(answer, json_pack("{s:s}", "status", "ok"));
}

static void version(ask_t *ask, hp_endpoint_answer_t *answer)
{
    (void)ask;
    give_json(answer, json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:i}", "pid", (int)getpid(), "program_name", "mod_passenger", "program_version",
                                AG_VERSION, "build_id", ag_build_id(), "api_version", "0.3", "api_version_major", 0, "api_version_minor", 3));
}

static void pool_json(ask_t *ask, hp_endpoint_answer_t *answer)
{
    give_json(answer, hp_status_pool(ask->endpoint->pool, &ask->viewer));
}

/* The same list of words and values that a form would send; none of ours has a value that counts. */
static int asked_for(const char *query, const char *word)
{
    apr_size_t len = strlen(word);

    for (; *query; query += strcspn(query, "&"), query += *query == '&') {
        if (strncmp(query, word, len) == 0 && strchr("=&", query[len]))
            return 1;
    }
    return 0;
}

static void pool_text(ask_t *ask, hp_endpoint_answer_t *answer)
{
    json_t *pool = hp_status_pool(ask->endpoint->pool, &ask->viewer);

    give(answer, "text/plain; charset=utf-8", strdup(hp_render_text(pool, asked_for(ask->query, "verbose"), ask->p)));
    json_decref(pool);
}

static void pool_xml(ask_t *ask, hp_endpoint_answer_t *answer)
{
    json_t *pool = hp_status_pool(ask->endpoint->pool, &ask->viewer);

    give(answer, "text/xml; charset=utf-8", strdup(hp_render_xml(pool, ask->p)));
    json_decref(pool);
}

static void server_json(ask_t *ask, hp_endpoint_answer_t *answer)
{
    give_json(answer, hp_status_server(ask->endpoint->pool, ask->endpoint->server, ask->endpoint->started, &ask->viewer));
}

static void requests_json(ask_t *ask, hp_endpoint_answer_t *answer)
{
    give_json(answer, hp_status_requests(ask->endpoint->pool, &ask->viewer));
}

/* -- orders -- */

typedef struct {
    ask_t *ask;
    const char *name;
    pid_t pid;
    hp_group_t *group;
    hp_process_t *process;
    hp_group_t *hidden; /* what it would have been, if that were the asker's */
} target_t;

static void match_process(hp_process_t *process, void *baton)
{
    target_t *target = baton;

    if (process->pid == target->pid && process->state != HP_PROCESS_GONE)
        target->process = process;
}

static void match_group(hp_group_t *group, void *baton)
{
    target_t *target = baton;

    if (target->group || target->process)
        return;
    if (target->name && hp_status_named(group, target->name))
        target->group = group;
    if (target->pid > 0)
        hp_group_each(group, match_process, target);
    if ((target->group || target->process) && !hp_status_visible(group, &target->ask->viewer)) {
        target->hidden = group;
        target->group = NULL;
        target->process = NULL;
    }
}

/* Whoever asks hears of no such thing; administrators do. */
static void tell_hidden(const target_t *target, const char *order)
{
    const ask_t *ask = target->ask;
    const char *more = target->hidden ? ag_log_due(&hp_pool_context(ask->endpoint->pool)->order_refused, ag_clock_now()) : NULL;

    if (more)
        ag_log(AG_LOG_NOTICE, "PSG2101", "admin.refused: uid %ld asked to %s %s, which is somebody else's: nothing was done%s",
               (long)ask->request->uid, order, hp_group_name(target->hidden), more);
}

static void restart(ask_t *ask, hp_endpoint_answer_t *answer)
{
    target_t target = {.ask = ask, .name = json_string_value(json_object_get(ask->input, "name"))};
    const json_t *method = json_object_get(ask->input, "restart_method");
    const char *word = json_string_value(method);
    int rolling = !word ? -1 : strcmp(word, "rolling") == 0 ? 1 : strcmp(word, "blocking") == 0 ? 0 : -2;
    hp_group_facts_t facts;

    if (!target.name || rolling == -2 || (method && !word)) {
        hp_endpoint_refuse(answer, 422, "Wanted is {\"name\": an application's group name, \"restart_method\": \"rolling\" or \"blocking\"}.");
        return;
    }
    hp_pool_each(ask->endpoint->pool, match_group, &target);
    tell_hidden(&target, "restart");
    if (!target.group) {
        give_json(answer, json_pack("{s:b}", "restarted", 0));
        return;
    }
    hp_group_restart(target.group, rolling, apr_psprintf(ask->p, "uid %ld asked for it", (long)ask->request->uid));
    hp_group_facts(target.group, &facts);
    give_json(answer, json_pack("{s:b, s:I}", "restarted", 1, "generation", (json_int_t)facts.generation));
}

static void detach(ask_t *ask, hp_endpoint_answer_t *answer)
{
    const json_t *pid = json_object_get(ask->input, "pid");
    target_t target = {.ask = ask, .pid = (pid_t)json_integer_value(pid)};
    int done;

    if (!json_is_integer(pid) || json_integer_value(pid) < 2 || json_integer_value(pid) > INT32_MAX) {
        hp_endpoint_refuse(answer, 422, "Wanted is {\"pid\": the id of an application process}.");
        return;
    }
    hp_pool_each(ask->endpoint->pool, match_group, &target);
    tell_hidden(&target, "end a process of");
    done = target.process && hp_group_detach(target.process);
    if (done)
        ag_log(AG_LOG_NOTICE, "PSG0180", "admin.detach: process %ld of %s gets no more requests: uid %ld asked for it", (long)target.pid,
               target.process->spec->group, (long)ask->request->uid);
    give_json(answer, json_pack("{s:b}", "detached", done));
}

/* -- which question is it -- */

static const struct {
    const char *path;
    int order;   /* POST with an object, or GET */
    int harmless; /* for everybody who reaches the socket */
    void (*answer)(ask_t *ask, hp_endpoint_answer_t *answer);
} endpoints[] = {
    {"/ping.json", 0, 1, ping},
    {"/info.json", 0, 1, version},
    {"/version.json", 0, 1, version},
    {"/pool.txt", 0, 0, pool_text},
    {"/pool.xml", 0, 0, pool_xml},
    {"/pool.json", 0, 0, pool_json},
    {"/server.json", 0, 0, server_json},
    {"/requests.json", 0, 0, requests_json},
    {"/pool/restart_app_group.json", 1, 0, restart},
    {"/pool/detach_process.json", 1, 0, detach},
};

/* Apache's user stands for every visitor and every script that runs inside Apache, so it is nobody; unless it started all this. */
static int nobody(const ag_settings_t *settings, uid_t uid)
{
    return !settings || (settings->web_user && uid == (uid_t)settings->web_uid);
}

static json_t *input_of(const hp_endpoint_request_t *request, hp_endpoint_answer_t *answer)
{
    json_error_t error;
    json_t *input = json_loadb(request->body, request->body_len, JSON_REJECT_DUPLICATES, &error);

    if (!json_is_object(input)) {
        hp_endpoint_refuse(answer, 422, "The body is no JSON object, or one with duplicate keys, or nested too deeply.");
        json_decref(input);
        return NULL;
    }
    return input;
}

static void answer_with(apr_size_t i, ask_t *ask, hp_endpoint_answer_t *answer)
{
    const ag_settings_t *settings = hp_pool_context(ask->endpoint->pool)->settings;
    const char *wanted = endpoints[i].order ? "POST" : "GET";

    if (strcmp(ask->request->method, wanted) != 0) {
        hp_endpoint_refuse(answer, 405, "This is not to be asked with that method.");
        answer->allow = wanted;
        return;
    }
    if (!endpoints[i].harmless && nobody(settings, ask->viewer.uid)) {
        hp_endpoint_refuse(answer, 403, "This is for root and for the owners of applications.");
        return;
    }
    ask->viewer.all = ask->viewer.uid == 0 || (ask->viewer.uid == geteuid() && !nobody(settings, ask->viewer.uid));
    if (endpoints[i].order && !(ask->input = input_of(ask->request, answer)))
        return;
    endpoints[i].answer(ask, answer);
    json_decref(ask->input);
}

void hp_endpoint_answer(const hp_endpoint_t *endpoint, const hp_endpoint_request_t *request, hp_endpoint_answer_t *answer, apr_pool_t *ptemp)
{
    apr_size_t len = strcspn(request->target, "?");
    ask_t ask = {.endpoint = endpoint, .request = request, .query = request->target + len, .viewer = {.uid = request->uid}, .p = ptemp};

    memset(answer, 0, sizeof *answer);
    ask.query += *ask.query == '?';
    for (apr_size_t i = 0; i < AG_LEN(endpoints); i++) {
        if (strlen(endpoints[i].path) == len && memcmp(endpoints[i].path, request->target, len) == 0) {
            answer_with(i, &ask, answer);
            return;
        }
    }
    hp_endpoint_refuse(answer, 404, "There is nothing of that name.");
}
