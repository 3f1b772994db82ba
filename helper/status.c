#include "helper/status.h"
#include "apr-glue/build.h"
#include "apr-glue/memory.h"
#include "helper/budget.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DETAILS_MAX 2048 /* bytes of an application's own words */

/* -- values -- */

static json_t *needed(json_t *value)
{
    if (!value)
        ag_memory_out();
    return value;
}

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new_nocheck(object, key, needed(value)))
        ag_memory_out();
}

static void put_int(json_t *object, const char *key, json_int_t value)
{
    put(object, key, json_integer(value));
}

/* Whether a terminal and XML take the byte as it is; beyond ASCII that depends on its neighbours. */
static int plain(unsigned char c, int lines)
{
    return (c >= 0x20 && c < 0x7f) || (lines && (c == '\n' || c == '\t'));
}

/* U+0080 to U+009F are control characters, U+FFFE and U+FFFF no characters at all. */
static int forbidden(const unsigned char *at, apr_size_t left)
{
    return (left >= 2 && at[0] == 0xc2 && at[1] < 0xa0) || (left >= 3 && at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe);
}

static json_t *escaped(const char *text, apr_size_t len, int lines)
{
    static const char hex[] = "0123456789abcdef";
    char *out = malloc(4 * len + 1);
    apr_size_t n = 0;
    json_t *value;

    if (!out)
        ag_memory_out();
    for (apr_size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (plain(c, lines)) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    value = needed(json_stringn_nocheck(out, n));
    free(out);
    return value;
}

static json_t *text_of(const char *text, apr_size_t len, int lines)
{
    int ascii = 1;
    json_t *value;

    for (apr_size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (plain(c, lines))
            continue;
        ascii = 0;
        if (c < 0x80 || forbidden((const unsigned char *)text + i, len - i))
            return escaped(text, len, lines);
    }
    if (ascii)
        return needed(json_stringn_nocheck(text, len));
    value = json_stringn(text, len);
    return value ? value : escaped(text, len, lines);
}

static json_t *string(const char *text)
{
    return text ? text_of(text, strlen(text), 0) : json_null();
}

/* Whole characters only, whole lines if there are some. */
static json_t *details(const char *text)
{
    apr_size_t len = strlen(text);
    const char *newline;

    if (len > DETAILS_MAX) {
        len = DETAILS_MAX;
        newline = memrchr(text, '\n', len);
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
        if (newline)
            len = (apr_size_t)(newline - text);
    }
    return text_of(text, len, 1);
}

static double seconds(apr_interval_time_t interval)
{
    return (double)(interval > 0 ? interval / 1000 : 0) / 1000;
}

/* Seconds since 1970 of a moment of the loop's clock. */
static json_int_t date(apr_time_t moment, apr_time_t now)
{
    return apr_time_sec(apr_time_now() - (now - moment));
}

/* -- who may look -- */

typedef struct {
    uid_t uid;
    int found;
} search_t;

static void look_for_uid(hp_process_t *process, void *baton)
{
    search_t *search = baton;

    search->found |= process->uid == search->uid;
}

int hp_status_visible(hp_group_t *group, const hp_status_viewer_t *viewer)
{
    search_t search = {.uid = viewer->uid};
    hp_group_facts_t facts;

    if (viewer->all)
        return 1;
    if (viewer->uid == (uid_t)-1)
        return 0;
    hp_group_facts(group, &facts);
    if (facts.owner == viewer->uid)
        return 1;
    hp_group_each(group, look_for_uid, &search);
    return search.found;
}

int hp_status_named(const hp_group_t *group, const char *name)
{
    hp_group_facts_t facts;
    json_t *value;
    int same;

    hp_group_facts(group, &facts);
    value = string(facts.name);
    same = strcmp(json_string_value(value), name) == 0;
    json_decref(value);
    return same;
}

/* -- the pool -- */

typedef struct {
    const hp_status_viewer_t *viewer;
    apr_time_t now;
    json_t *list;            /* what is being filled */
    json_int_t processes, queued, serving;
    json_t *app; /* whose the requests below are */
    pid_t pid;
} walk_t;

/* What it may use, NULL for what has no limit. */
static json_t *limits_of(const hp_process_t *process)
{
    json_t *object = needed(json_object());
    hp_budget_t budget;

    hp_budget_make(&budget, process->spec, process->ctx->settings);
    put(object, "memory", budget.memory ? json_integer((json_int_t)budget.memory << 20) : json_null());
    put(object, "tasks", budget.tasks ? json_integer(budget.tasks) : json_null());
    put_int(object, "files", budget.files ? budget.files : 1024);
    put_int(object, "cpu_weight", budget.weight);
    return object;
}

static void put_life(json_t *object, const hp_process_t *process, apr_time_t now)
{
    static const char *const states[] = {[HP_PROCESS_STARTING] = "starting", [HP_PROCESS_READY] = "ready", [HP_PROCESS_DRAINING] = "draining",
                                         [HP_PROCESS_ENDING] = "ending", [HP_PROCESS_GONE] = "gone"};

    put_int(object, "pid", process->pid);
    put(object, "state", json_string_nocheck(states[process->state]));
    put_int(object, "generation", process->generation);
    put(object, "uid", process->uid == (uid_t)-1 ? json_null() : json_integer(process->uid));
    put_int(object, "started", date(process->started, now));
    put(object, "uptime", json_real(seconds(now - process->started)));
    put_int(object, "rss", (json_int_t)process->rss);
    put_int(object, "memory", (json_int_t)process->memory);
    put_int(object, "vmsize", (json_int_t)process->vmsize);
    put_int(object, "cpu", process->cpu);
    put(object, "tasks", process->tasks ? json_integer(process->tasks) : json_null());
    put(object, "limits", limits_of(process));
    put(object, "interpreter", string(process->interpreter.path));
    put(object, "interpreter_rule", string(process->interpreter.rule));
}

static void add_process(hp_process_t *process, void *baton)
{
    static const char *const oob[] = {[HP_PROCESS_OOB_NONE] = "none", [HP_PROCESS_OOB_WANTED] = "wanted",
                                      [HP_PROCESS_OOB_CLEARING] = "clearing", [HP_PROCESS_OOB_WORKING] = "working"};
    walk_t *walk = baton;
    json_t *object = needed(json_object());

    walk->processes++;
    put_life(object, process, walk->now);
    put_int(object, "sticky_id", process->sticky_id);
    put(object, "gupid", json_sprintf("%lu-%llu", (unsigned long)process->generation, (unsigned long long)process->id));
    put_int(object, "concurrency", process->concurrency);
    put_int(object, "sessions", process->in_flight);
    put_int(object, "processed", (json_int_t)process->requests - process->in_flight);
    put(object, "last_used", process->last_used ? json_real(seconds(walk->now - process->last_used)) : json_null());
    put(object, "out_of_band", json_string_nocheck(oob[process->state == HP_PROCESS_READY ? process->oob : HP_PROCESS_OOB_NONE]));
    put(object, "worn", json_boolean(process->worn));
    put(object, "stuck", json_boolean(process->stuck));
    put(object, "forked", json_boolean(process->forked_by != 0));
    if (json_array_append_new(walk->list, object))
        ag_memory_out();
}

static json_t *preloader_of(const hp_process_t *process, apr_time_t now)
{
    json_t *object;

    if (!process)
        return json_null();
    object = needed(json_object());
    put_life(object, process, now);
    return object;
}

/* What was configured; defaults are in the manual. Lists may hold an application's secrets. */
static json_t *options_of(const ag_options_t *options)
{
    json_t *object = needed(json_object());

    for (int i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *row = &ag_options_rows[i];
        const void *member = (const char *)options + row->offset;
        if (row->kind != AG_OPTIONS_KIND_OPTION || !(options->set & ((apr_uint64_t)1 << row->id)))
            continue;
        if (row->type == AG_OPTIONS_TYPE_STRING)
            put(object, row->directive, string(*(const char *const *)member));
        else if (row->type == AG_OPTIONS_TYPE_INT)
            put_int(object, row->directive, *(const int *)member);
        else if (row->type == AG_OPTIONS_TYPE_FLAG)
            put(object, row->directive, json_boolean(*(const int *)member > 0));
    }
    return object;
}

static json_t *failure_of(const hp_report_t *report)
{
    json_t *object;

    if (!report)
        return json_null();
    object = needed(json_object());
    put(object, "id", string(report->id));
    put_int(object, "date", apr_time_sec(report->date));
    put(object, "sentence", string(report->sentence));
    put(object, "details", details(report->details));
    return object;
}

static void add_group(hp_group_t *group, void *baton)
{
    walk_t *walk = baton;
    json_t *groups = walk->list, *object;
    hp_group_facts_t facts;

    if (!hp_status_visible(group, walk->viewer))
        return;
    hp_group_facts(group, &facts);
    object = needed(json_object());
    put(object, "name", string(facts.name));
    put(object, "app_root", string(facts.app_root));
    put(object, "environment", string(facts.app_env));
    put(object, "type", string(facts.kind));
    put(object, "startup_file", string(facts.startup_file));
    put(object, "owner", facts.owner == (uid_t)-1 ? json_null() : json_integer(facts.owner));
    put_int(object, "created", date(facts.created, walk->now));
    put_int(object, "generation", facts.generation);
    put_int(object, "queue", facts.queued);
    put_int(object, "starting", facts.starting);
    put(object, "restarting", json_boolean(facts.restarting));
    put(object, "held", json_boolean(facts.held));
    put(object, "failure", failure_of(facts.failure));
    put(object, "options", options_of(facts.options));
    walk->queued += facts.queued;
    walk->list = needed(json_array());
    hp_group_each(group, add_process, walk);
    put(object, "processes", walk->list);
    put(object, "preloader", preloader_of(facts.preloader, walk->now));
    walk->list = groups;
    if (json_array_append_new(groups, object))
        ag_memory_out();
}

json_t *hp_status_pool(hp_pool_t *pool, const hp_status_viewer_t *viewer)
{
    const ag_settings_t *settings = hp_pool_context(pool)->settings;
    walk_t walk = {.viewer = viewer, .now = ag_loop_now(), .list = needed(json_array())};
    json_t *object = needed(json_object());

    hp_pool_each(pool, add_group, &walk);
    put(object, "version", string(AG_VERSION));
    put_int(object, "max_processes", settings->max_pool_size);
    put_int(object, "group_count", (json_int_t)json_array_size(walk.list));
    put_int(object, "process_count", walk.processes);
    put_int(object, "queue", walk.queued);
    put(object, "groups", walk.list);
    return object;
}

/* -- the core -- */

static void count_process(hp_process_t *process, void *baton)
{
    walk_t *walk = baton;

    walk->processes++;
    walk->serving += process->in_flight;
}

static void count_group(hp_group_t *group, void *baton)
{
    walk_t *walk = baton;
    hp_group_facts_t facts;

    if (!hp_status_visible(group, walk->viewer))
        return;
    hp_group_facts(group, &facts);
    walk->queued += facts.queued;
    hp_group_each(group, count_process, walk);
}

json_t *hp_status_server(hp_pool_t *pool, const hp_conn_server_t *server, apr_time_t started, const hp_status_viewer_t *viewer)
{
    const hp_context_t *ctx = hp_pool_context(pool);
    walk_t walk = {.viewer = viewer, .now = ag_loop_now()};
    json_t *object = needed(json_object());

    hp_pool_each(pool, count_group, &walk);
    put_int(object, "pid", getpid());
    put(object, "version", string(AG_VERSION));
    put(object, "build_id", string(ag_build_id()));
    put_int(object, "started", date(started, walk.now));
    put(object, "uptime", json_real(seconds(walk.now - started)));
    put(object, "stopping", json_boolean(ctx->stopping));
    put_int(object, "requests_serving", walk.serving);
    put_int(object, "requests_waiting", walk.queued);
    put_int(object, "processes", walk.processes);
    put_int(object, "max_processes", ctx->settings->max_pool_size);
    if (viewer->all) {
        put_int(object, "config_generation", ctx->settings->config_generation);
        put_int(object, "links", server->nconns);
        put_int(object, "body_memory_free", (json_int_t)(HP_SPOOL_BUDGET - ctx->store.used));
    }
    return object;
}

/* -- requests -- */

/* The value of a pair, or "". */
static const char *pair(const hp_process_work_t *work, const char *name, apr_size_t *plen)
{
    const char *at = work->pairs, *end = at + work->pairs_len;
    apr_size_t name_size = strlen(name) + 1;

    while (at && at < end) {
        const char *value = memchr(at, '\0', (apr_size_t)(end - at)), *stop;
        if (!value || !(stop = memchr(value + 1, '\0', (apr_size_t)(end - value - 1))))
            break;
        if ((apr_size_t)(value + 1 - at) == name_size && memcmp(at, name, name_size) == 0) {
            *plen = (apr_size_t)(stop - value - 1);
            return value + 1;
        }
        at = stop + 1;
    }
    *plen = 0;
    return "";
}

static void add_work(walk_t *walk, const hp_process_work_t *work, int waiting)
{
    static const struct {
        const char *key, *pair;
    } shown[] = {{"method", "REQUEST_METHOD"}, {"host", "HTTP_HOST"}, {"uri", "REQUEST_URI"}};
    json_t *object = needed(json_object());
    apr_size_t len;

    put(object, "app", json_incref(walk->app));
    put(object, "state", string(waiting ? "waiting" : work->tunnel ? "tunnel" : "serving"));
    put(object, "pid", waiting ? json_null() : json_integer(walk->pid));
    put(object, "age", json_real(seconds(walk->now - work->since)));
    for (apr_size_t i = 0; i < AG_LEN(shown); i++) {
        const char *value = pair(work, shown[i].pair, &len);
        put(object, shown[i].key, text_of(value, len, 0));
    }
    if (json_array_append_new(walk->list, object))
        ag_memory_out();
}

static void add_waiting(const hp_queue_waiter_t *waiter, void *baton)
{
    add_work(baton, &waiter->work, 1);
}

static void add_served(hp_process_t *process, void *baton)
{
    walk_t *walk = baton;
    const hp_process_work_t *work;

    walk->pid = process->pid;
    TAILQ_FOREACH (work, &process->work, entry)
        add_work(walk, work, 0);
}

static void add_requests(hp_group_t *group, void *baton)
{
    walk_t *walk = baton;

    if (!hp_status_visible(group, walk->viewer))
        return;
    walk->app = string(hp_group_name(group));
    hp_group_each(group, add_served, walk);
    hp_group_each_waiting(group, add_waiting, walk);
    json_decref(walk->app);
}

json_t *hp_status_requests(hp_pool_t *pool, const hp_status_viewer_t *viewer)
{
    walk_t walk = {.viewer = viewer, .now = ag_loop_now(), .list = needed(json_array())};
    json_t *object = needed(json_object());

    hp_pool_each(pool, add_requests, &walk);
    put(object, "requests", walk.list);
    return object;
}
