/* What is shown of a pool, and to whom: the pool here is made of what a real one would tell. */
#include "helper/status.c"
#include "helper/render.h"
#include "t/lib/tap.h"
#include <apr_strings.h>
#include <time.h>

#define GROUPS 200
#define SESSIONS 10000

struct hp_group_t {
    hp_group_facts_t facts;
    hp_process_t *processes;
    int nprocesses;
    hp_queue_waiter_t *waiters;
    int nwaiters;
};

struct hp_pool_t {
    hp_context_t *ctx;
    hp_group_t *groups;
    int ngroups;
};

hp_context_t *hp_pool_context(const hp_pool_t *pool)
{
    return pool->ctx;
}

void hp_pool_each(hp_pool_t *pool, void (*visit)(hp_group_t *group, void *baton), void *baton)
{
    for (int i = 0; i < pool->ngroups; i++)
        visit(&pool->groups[i], baton);
}

void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts)
{
    *facts = group->facts;
}

const char *hp_group_name(const hp_group_t *group)
{
    return group->facts.name;
}

void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton)
{
    for (int i = 0; i < group->nprocesses; i++)
        visit(&group->processes[i], baton);
}

void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_queue_waiter_t *waiter, void *baton), void *baton)
{
    for (int i = 0; i < group->nwaiters; i++)
        visit(&group->waiters[i], baton);
}

static apr_pool_t *p;
static ag_settings_t settings = {.max_pool_size = 6};
static hp_context_t ctx = {.settings = &settings};
static const hp_conn_server_t server = {.nconns = 3};
static const hp_status_viewer_t root = {.all = 1}, alice = {.uid = 1000}, bob = {.uid = 1001}, unknown = {.uid = (uid_t)-1};

#define PAIRS "REQUEST_METHOD\0GET\0HTTP_HOST\0shop.example\0REQUEST_URI\0/a?b=c\0"

static void add_session(hp_process_t *process, hp_process_work_t *work)
{
    work->pairs = PAIRS;
    work->pairs_len = sizeof PAIRS - 1;
    work->since = ag_loop_now() - apr_time_from_sec(2);
    TAILQ_INSERT_TAIL(&process->work, work, entry);
    process->in_flight++;
}

/* `n` groups, owned by alice and bob in turns, with a process each that serves `sessions` requests. */
static hp_pool_t *make_pool(int n, int sessions)
{
    hp_pool_t *pool = apr_pcalloc(p, sizeof *pool);

    pool->ctx = &ctx;
    pool->groups = apr_pcalloc(p, sizeof *pool->groups * (apr_size_t)n);
    pool->ngroups = n;
    for (int i = 0; i < n; i++) {
        hp_group_t *group = &pool->groups[i];
        hp_process_t *process = apr_pcalloc(p, sizeof *process);
        ag_options_t *options = ag_options_create(p);
        options->min_instances = 2;
        options->set |= (apr_uint64_t)1 << AG_OPTIONS_min_instances;
        group->facts = (hp_group_facts_t){.name = apr_psprintf(p, "/srv/app%d (production)", i), .app_root = apr_psprintf(p, "/srv/app%d", i),
                                          .app_env = "production", .kind = "python", .startup_file = "passenger_wsgi.py", .generation = 3,
                                          .queued = 0, .owner = i % 2 ? bob.uid : alice.uid, .created = ag_loop_now(), .options = options};
        group->processes = process;
        group->nprocesses = 1;
        process->pid = 100 + i;
        process->uid = group->facts.owner;
        process->state = HP_PROCESS_READY;
        process->generation = 3;
        process->concurrency = 1;
        process->requests = 10;
        process->started = process->last_used = ag_loop_now() - apr_time_from_sec(65);
        process->rss = 23 << 20;
        process->tasks = 7;
        settings.grants = apr_array_make(p, 1, sizeof(ag_settings_grant_t));
        options->task_limit = 64;
        process->ctx = &ctx;
        process->spec = apr_pmemdup(p, &(hp_spec_t){.app_root = group->facts.app_root, .options = options}, sizeof *process->spec);
        process->cpu = 7;
        TAILQ_INIT(&process->work);
        for (int s = 0; s < sessions; s++)
            add_session(process, apr_pcalloc(p, sizeof(hp_process_work_t)));
    }
    return pool;
}

static const char *str(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t num(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void who_sees_what(void)
{
    hp_pool_t *pool = make_pool(4, 1);
    hp_queue_waiter_t waiter = {.work = {.pairs = PAIRS, .pairs_len = sizeof PAIRS - 1, .since = ag_loop_now()}};
    json_t *all = hp_status_pool(pool, &root), *hers = hp_status_pool(pool, &alice), *none = hp_status_pool(pool, &unknown), *list, *counts;

    is_int(num(all, "group_count"), 4, "an administrator sees all groups");
    is_int(num(all, "process_count"), 4, "... and processes");
    is_int(num(hers, "group_count"), 2, "an owner sees hers");
    is_int(num(hers, "process_count"), 2, "... and their processes");
    is_str(str(json_array_get(json_object_get(hers, "groups"), 1), "name"), "/srv/app2 (production)", "... and no others");
    is_int(num(none, "group_count") + num(none, "process_count"), 0, "who is not known sees nothing");
    pool->groups[0].facts.owner = pool->groups[0].processes[0].uid = (uid_t)-1;
    ok(!hp_status_visible(&pool->groups[0], &unknown), "an unknown owner is not an unknown user");
    pool->groups[0].processes[0].uid = bob.uid;
    ok(hp_status_visible(&pool->groups[0], &bob) && !hp_status_visible(&pool->groups[0], &alice), "a group is seen by whom its processes run as");
    json_decref(all);
    json_decref(hers);
    json_decref(none);

    pool->groups[1].waiters = &waiter;
    pool->groups[1].nwaiters = pool->groups[1].facts.queued = 1;
    list = hp_status_requests(pool, &root);
    is_int((long long)json_array_size(json_object_get(list, "requests")), 5, "an administrator sees all requests");
    json_decref(list);
    list = hp_status_requests(pool, &alice);
    is_int((long long)json_array_size(json_object_get(list, "requests")), 1, "an owner hers");
    json_decref(list);
    list = hp_status_requests(pool, &bob);
    is_int((long long)json_array_size(json_object_get(list, "requests")), 4, "... and those that wait");
    all = json_array_get(json_object_get(list, "requests"), 2);
    is_str(str(all, "state"), "waiting", "one waits");
    ok(json_is_null(json_object_get(all, "pid")), "... for no process");
    all = json_array_get(json_object_get(list, "requests"), 1);
    is_str(str(all, "state"), "serving", "another is served");
    is_int(num(all, "pid"), 101, "... by that process");
    is_str(str(all, "method"), "GET", "its method");
    is_str(str(all, "host"), "shop.example", "its host");
    is_str(str(all, "uri"), "/a?b=c", "its URI");
    ok(json_number_value(json_object_get(all, "age")) >= 2, "its age");
    json_decref(list);

    counts = hp_status_server(pool, &server, 0, &alice);
    is_int(num(counts, "requests_serving"), 1, "an owner's count of requests");
    is_int(num(counts, "requests_waiting"), 0, "... says nothing of others");
    ok(!json_object_get(counts, "links"), "... nor do links");
    json_decref(counts);
    counts = hp_status_server(pool, &server, 0, &root);
    is_int(num(counts, "requests_serving"), 4, "an administrator's does");
    is_int(num(counts, "links"), 3, "... and so do links");
    json_decref(counts);
}

static void members(void)
{
    hp_report_t report = {.id = "abc", .sentence = "It\nfailed.", .date = apr_time_from_sec(1000000000)};
    hp_pool_t *pool = make_pool(1, 1);
    hp_group_t *group = &pool->groups[0];
    char *words = apr_palloc(p, 5000);
    json_t *all, *found, *inner;

    memset(words, 'x', 4999);
    memcpy(words, "Traceback:\n\tline 1\x1b[31m\n", 24);
    words[4999] = '\0';
    report.details = words;
    group->facts.failure = &report;
    group->facts.held = 1;
    all = hp_status_pool(pool, &root);
    found = json_array_get(json_object_get(all, "groups"), 0);
    is_int(num(found, "generation"), 3, "the generation");
    ok(json_is_true(json_object_get(found, "held")), "old code is said to serve");
    is_int(num(json_object_get(found, "options"), "PassengerMinInstances"), 2, "what was configured");
    ok(!json_object_get(json_object_get(found, "options"), "PassengerMaxInstances"), "... without defaults");
    inner = json_object_get(found, "failure");
    is_str(str(inner, "sentence"), "It\\x0afailed.", "a sentence is one line");
    is_int(num(inner, "date"), 1000000000, "when it was");
    is_str(str(inner, "details"), "Traceback:\n\tline 1\\x1b[31m", "whole lines of the application's words, without control characters");
    inner = json_array_get(json_object_get(found, "processes"), 0);
    is_int(num(inner, "processed"), 9, "requests that are over");
    is_int(num(inner, "sessions"), 1, "requests in it");
    is_int(num(inner, "rss"), 23 << 20, "memory in bytes");
    is_int(num(inner, "tasks"), 7, "tasks");
    is_int(num(json_object_get(inner, "limits"), "tasks"), 64, "... and how many there may be");
    is_int(num(json_object_get(inner, "limits"), "cpu_weight"), 100, "... what has no limit of its own");
    is_str(str(inner, "state"), "ready", "its state");
    json_decref(all);
}

static void bytes(void)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},       {"", ""},
        {"caf\xc3\xa9", "caf\xc3\xa9"}, {"caf\xe9", "caf\\xe9"},
        {"a\x1b]0;x\x07", "a\\x1b]0;x\\x07"}, {"a\nb", "a\\x0ab"},
        {"\xc2\x9b" "31m", "\\xc2\\x9b31m"}, {"\xef\xbf\xbf", "\\xef\\xbf\\xbf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, {"\x7f", "\\x7f"},
        {"\xc3", "\\xc3"}, {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        json_t *value = string(cases[i].in);
        is_str(json_string_value(value), cases[i].out, "bytes %d", (int)i);
        json_decref(value);
    }
    for (apr_size_t cut = 0; cut < 8; cut++) {
        char *text = apr_pcalloc(p, 3000);
        json_t *value;
        memset(text, 'x', cut);
        for (int i = 0; i < 900; i++)
            memcpy(text + cut + 3 * i, "\xe2\x82\xac", 3);
        value = details(text);
        ok(!strchr(json_string_value(value), '\\'), "no character is cut, %d", (int)cut);
        json_decref(value);
    }
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

/* Everything there is, at once, must not hold visitors up. */
static void large(void)
{
#ifdef __SANITIZE_ADDRESS__
    const double limit = 500;
#else
    const double limit = 50;
#endif
    hp_pool_t *pool = make_pool(GROUPS, SESSIONS / GROUPS);
    double begun = cpu_ms(), took;
    json_t *list = hp_status_requests(pool, &root);
    char *text = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(15));

    json_decref(list);
    took = cpu_ms() - begun;
    ok(took < limit, "%d requests in %.1f ms, %d bytes", SESSIONS, took, (int)strlen(text));
    free(text);
    begun = cpu_ms();
    list = hp_status_pool(pool, &root);
    text = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(15));
    took = cpu_ms() - begun;
    ok(took < limit, "%d groups in %.1f ms, %d bytes of JSON", GROUPS, took, (int)strlen(text));
    free(text);
    json_decref(list);
    begun = cpu_ms();
    list = hp_status_pool(pool, &root);
    ok(hp_render_text(list, 1, p) != NULL, "... as text");
    took = cpu_ms() - begun;
    ok(took < limit, "... in %.1f ms", took);
    begun = cpu_ms();
    ok(hp_render_xml(list, p) != NULL, "... as XML");
    took += cpu_ms() - begun;
    ok(took < limit, "... in %.1f ms", took);
    json_decref(list);
}

int main(void)
{
    apr_initialize();
    apr_pool_create(&p, NULL);
    who_sees_what();
    members();
    bytes();
    large();
    apr_pool_destroy(p);
    return done_testing();
}
