/* Questions and orders of administrators, and who may have them answered. The pool is two groups that note what is done to them. */
#include "helper/endpoint.c"
#include "t/lib/tap.h"

struct hp_group_t {
    const char *name;
    uid_t owner;
    hp_process_t process;
    int restarts, rolling, detached;
};

struct hp_pool_t {
    hp_context_t ctx;
    hp_group_t groups[2];
};

hp_context_t *hp_pool_context(const hp_pool_t *pool)
{
    return (hp_context_t *)(uintptr_t)&pool->ctx;
}

void hp_pool_each(hp_pool_t *pool, void (*visit)(hp_group_t *group, void *baton), void *baton)
{
    for (apr_size_t i = 0; i < AG_LEN(pool->groups); i++)
        visit(&pool->groups[i], baton);
}

static ag_options_t options;

void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts)
{
    *facts = (hp_group_facts_t){.name = group->name, .owner = group->owner, .options = &options, .generation = 1 + (uint32_t)group->restarts};
}

const char *hp_group_name(const hp_group_t *group)
{
    return group->name;
}

void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton)
{
    visit(&group->process, baton);
}

void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_queue_waiter_t *waiter, void *baton), void *baton)
{
    (void)group;
    (void)visit;
    (void)baton;
}

void hp_group_restart(hp_group_t *group, int rolling, const char *why)
{
    assert(*why);
    group->restarts++;
    group->rolling = rolling;
}

int hp_group_detach(hp_process_t *process)
{
    hp_group_t *group = process->group;

    return !group->detached++;
}

enum { ALICE = 1000, BOB = 1001, WEB = 33 };

static apr_pool_t *p;
static ag_settings_t settings = {.max_pool_size = 6, .web_user = "www-data", .web_uid = WEB};
static hp_conn_server_t server;
static hp_pool_t pool;
static const hp_endpoint_t endpoint = {.pool = &pool, .server = &server};
static const char *allow;

/* Asks, and returns the status; the body is in `said`. */
static char said[4096];

static int ask_len(uid_t uid, const char *method, const char *target, const char *body, apr_size_t len)
{
    hp_endpoint_request_t request = {.method = method, .target = target, .body = body, .body_len = len, .uid = uid};
    hp_endpoint_answer_t answer;
    json_t *value;

    hp_endpoint_answer(&endpoint, &request, &answer, p);
    allow = answer.allow;
    apr_cpystrn(said, answer.body, sizeof said);
    if (strcmp(answer.type, "application/json") == 0) {
        value = json_loadb(answer.body, answer.len, 0, NULL);
        if (!value)
            ok(0, "%s %s is answered with JSON: %s", method, target, answer.body);
        json_decref(value);
    }
    free(answer.body);
    return answer.status;
}

static int ask(uid_t uid, const char *method, const char *target, const char *body)
{
    return ask_len(uid, method, target, body, strlen(body));
}

static int says(const char *text)
{
    return strstr(said, text) != NULL;
}

static void rights(void)
{
    static const char *const harmless[] = {"/ping.json", "/info.json", "/version.json"};
    static const char *const others[] = {"/pool.txt", "/pool.xml", "/pool.json", "/server.json", "/requests.json", "/pool.txt?verbose=1"};

    for (apr_size_t i = 0; i < AG_LEN(harmless); i++) {
        is_int(ask(WEB, "GET", harmless[i], ""), 200, "%s for Apache's user", harmless[i]);
        is_int(ask(BOB, "GET", harmless[i], ""), 200, "... for bob");
    }
    for (apr_size_t i = 0; i < AG_LEN(others); i++) {
        is_int(ask(WEB, "GET", others[i], ""), 403, "%s is not for Apache's user", others[i]);
        is_int(ask(BOB, "GET", others[i], ""), 200, "... but for bob");
        ok(!says("alice"), "... without what is alice's");
        is_int(ask(0, "GET", others[i], ""), 200, "... and for root");
    }
    is_int(ask(WEB, "POST", "/pool/restart_app_group.json", "{\"name\": \"alice\"}"), 403, "Apache's user restarts nothing");
    ask(0, "GET", "/pool.txt", "");
    ok(says("alice:\n") && says("bob:\n"), "root sees both");
    is_int(ask(65534, "GET", "/pool.json", ""), 200, "who has no application is answered");
    ok(says("\"groups\":[]") && says("\"group_count\":0"), "... with nothing");
    is_int(ask(geteuid(), "GET", "/pool.txt", ""), 200, "the helper's own user");
    ok(says("alice:\n") && says("bob:\n"), "... sees both");
    settings.web_uid = geteuid();
    is_int(ask(geteuid(), "GET", "/pool.txt", ""), 403, "... unless it is Apache's");
    settings.web_user = NULL;
    is_int(ask(geteuid(), "GET", "/pool.txt", ""), 200, "... who did not start all this");
    settings.web_user = "www-data";
    settings.web_uid = WEB;
    pool.ctx.settings = NULL;
    is_int(ask(0, "GET", "/pool.txt", ""), 403, "nobody before settings are there");
    pool.ctx.settings = &settings;
}

static void orders(void)
{
    hp_group_t *alices = &pool.groups[0], *bobs = &pool.groups[1];

    is_int(ask(BOB, "POST", "/pool/restart_app_group.json", "{\"name\": \"alice\"}"), 200, "bob asks for a restart of alice's");
    is_str(said, "{\"restarted\":false}", "... and hears of no such group");
    is_int(alices->restarts, 0, "... and nothing happens");
    is_int(ask(BOB, "POST", "/pool/restart_app_group.json", "{\"name\": \"bob\"}"), 200, "he asks for his own");
    is_str(said, "{\"restarted\":true,\"generation\":2}", "... and has it");
    is_int(bobs->rolling, -1, "... as configured");
    ask(0, "POST", "/pool/restart_app_group.json", "{\"name\": \"alice\", \"restart_method\": \"rolling\"}");
    is_int(alices->restarts * 10 + alices->rolling, 11, "rolling");
    ask(ALICE, "POST", "/pool/restart_app_group.json", "{\"name\": \"alice\", \"restart_method\": \"blocking\"}");
    is_int(alices->restarts * 10 + alices->rolling, 20, "blocking");
    ask(BOB, "POST", "/pool/detach_process.json", "{\"pid\": 100}");
    is_str(said, "{\"detached\":false}", "bob detaches no process of alice's");
    is_int(alices->detached, 0, "... and nothing happens");
    ask(ALICE, "POST", "/pool/detach_process.json", "{\"pid\": 100}");
    is_str(said, "{\"detached\":true}", "alice does");
    ask(ALICE, "POST", "/pool/detach_process.json", "{\"pid\": 100}");
    is_str(said, "{\"detached\":false}", "... once");
    ask(ALICE, "POST", "/pool/detach_process.json", "{\"pid\": 4294967396}");
    is_int(alices->detached, 2, "a number beyond all processes is none of them");
}

static void nonsense(void)
{
    static const char *const bodies[] = {
        "", "x", "[]", "1", "null", "{\"name\": \"alice\"",
        "{\"name\": \"alice\"} x", "{\"name\": \"alice\", \"name\": \"bob\"}", "{\"name\": 1}",
        "{\"name\": null}",         "{\"name\": \"alice\", \"restart_method\": \"x\"}", "{\"name\": \"alice\", \"restart_method\": 1}",
        "{\"name\": \"a\\u0000b\"}", "{\"name\": \"\xff\"}", "{}", "{\"pid\": 100}"};
    static const char *const pids[] = {"{\"pid\": \"100\"}", "{\"pid\": 1}", "{\"pid\": 0}", "{\"pid\": -100}", "{\"pid\": 1e2}",
        "{\"pid\": [100]}", "{}", "{\"pid\": 99999999999999999999}"};
    int before = pool.groups[0].restarts + pool.groups[1].restarts + pool.groups[0].detached;
    char *deep = malloc(100000);

    for (apr_size_t i = 0; i < AG_LEN(bodies); i++)
        is_int(ask(0, "POST", "/pool/restart_app_group.json", bodies[i]), 422, "no order: %s", bodies[i]);
    for (apr_size_t i = 0; i < AG_LEN(pids); i++)
        is_int(ask(0, "POST", "/pool/detach_process.json", pids[i]), 422, "no order: %s", pids[i]);
    memset(deep, '[', 100000);
    is_int(ask_len(0, "POST", "/pool/restart_app_group.json", deep, 100000), 422, "a hundred thousand levels");
    free(deep);
    is_int(pool.groups[0].restarts + pool.groups[1].restarts + pool.groups[0].detached, before, "... and nothing happened");
    is_int(ask(0, "GET", "/", ""), 404, "no such path");
    is_int(ask(0, "GET", "/pool.jso", ""), 404, "... nor a part of one");
    is_int(ask(0, "GET", "/pool.json/", ""), 404, "... nor one with more");
    is_int(ask(0, "GET", "//pool.json", ""), 404, "... nor another spelling");
    is_int(ask(0, "POST", "/pool.json", "{}"), 405, "a question is not POSTed");
    is_str(allow, "GET", "... and it is said how");
    is_int(ask(0, "GET", "/pool/restart_app_group.json", ""), 405, "an order is not a GET");
    is_str(allow, "POST", "... and it is said how");
    is_int(ask(0, "get", "/pool.json", ""), 405, "methods are as they are written");
    ask(0, "GET", "/pool.txt?x&verbose", "");
    ok(says("Sticky id"), "verbose");
    ask(0, "GET", "/pool.txt?verbosely=1&x=verbose", "");
    ok(!says("Sticky id"), "... and what is not");
}

int main(void)
{
    static const char *const names[] = {"alice", "bob"};

    apr_initialize();
    apr_pool_create(&p, NULL);
    settings.grants = apr_array_make(p, 1, sizeof(ag_settings_grant_t));
    pool.ctx.settings = &settings;
    for (int i = 0; i < 2; i++) {
        hp_group_t *group = &pool.groups[i];
        *group = (hp_group_t){.name = names[i], .owner = (uid_t)(ALICE + i)};
        group->process = (hp_process_t){.pid = 100 + i, .uid = group->owner, .state = HP_PROCESS_READY, .group = group};
        group->process.ctx = &pool.ctx;
        group->process.spec =
            apr_pmemdup(p, &(hp_spec_t){.group = names[i], .app_root = "/srv", .options = ag_options_create(p)}, sizeof *group->process.spec);
        TAILQ_INIT(&group->process.work);
    }
    ag_log_set_level(AG_LOG_CRIT);
    rights();
    orders();
    nonsense();
    apr_pool_destroy(p);
    return done_testing();
}
