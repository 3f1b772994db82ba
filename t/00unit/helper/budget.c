#include "helper/budget.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static void wishes(apr_pool_t *p)
{
    static const ag_settings_grant_t grants[] = {{"task_limit", "30", "/"}, {"task_limit", "90", "/srv/big"}, {"cpu_weight", "200", "/srv/big"},
                                                 {"hard_memory_limit", "0", "/srv/big"}, {"app_file_descriptor_ulimit", "4000", "/srv/big"}};
    static const struct {
        const char *root;
        int wish[4], got[4], files_granted; /* tasks, weight, memory, files */
    } cases[] = {
        {"/srv/a", {0, 100, 0, 0}, {30, 100, 0, 0}, 0},
        {"/srv/a", {20, 50, 200, 80}, {20, 50, 200, 80}, 0},
        {"/srv/a", {31, 101, 200, 80}, {30, 100, 200, 80}, 0},
        {"/srv/big", {90, 200, 0, 0}, {90, 200, 0, 4000}, 1},
        {"/srv/big/x", {91, 300, 7, 4001}, {90, 200, 7, 4000}, 1},
        {"/srv/bigger", {91, 300, 7, 4001}, {30, 100, 7, 4001}, 0},
    };
    ag_settings_t *settings = apr_pcalloc(p, sizeof *settings);

    settings->grants = apr_array_make(p, 5, sizeof(ag_settings_grant_t));
    for (apr_size_t i = 0; i < AG_LEN(grants); i++)
        APR_ARRAY_PUSH(settings->grants, ag_settings_grant_t) = grants[i];
    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_options_t *o = ag_options_create(p);
        hp_spec_t spec = {.app_root = cases[i].root, .options = o};
        hp_budget_t b;
        o->task_limit = cases[i].wish[0];
        o->cpu_weight = cases[i].wish[1];
        o->hard_memory_limit = cases[i].wish[2];
        o->app_file_descriptor_ulimit = cases[i].wish[3];
        hp_budget_make(&b, &spec, settings);
        is_int(b.tasks, cases[i].got[0], "%s: tasks", cases[i].root);
        is_int(b.weight, cases[i].got[1], "... weight");
        is_int(b.memory, cases[i].got[2], "... memory");
        is_int(b.files, cases[i].got[3], "... descriptors");
        is_int(b.files_granted, cases[i].files_granted, "... which the configuration names, or not");
    }
}

static void memory(apr_pool_t *p)
{
    const ag_settings_grant_t grant = {"hard_memory_limit", "70", "/srv/small"};
    ag_settings_t *settings = apr_pcalloc(p, sizeof *settings);
    ag_options_t *o = ag_options_create(p);
    hp_spec_t spec = {.app_root = "/srv/a", .options = o};

    settings->grants = apr_array_make(p, 1, sizeof(ag_settings_grant_t));
    APR_ARRAY_PUSH(settings->grants, ag_settings_grant_t) = grant;
    ok(!hp_budget_limits_memory(&spec, settings), "any memory");
    spec.app_root = "/srv/small";
    ok(hp_budget_limits_memory(&spec, settings), "as much as root's configuration says");
    spec.app_root = "/srv/a";
    o->memory_limit = 50;
    ok(hp_budget_limits_memory(&spec, settings), "as much as is replaced");
    o->memory_limit = 0;
    o->hard_memory_limit = 50;
    ok(hp_budget_limits_memory(&spec, settings), "as much as is killed");
}

static void numbers(void)
{
    static const int nice[][2] = {{100, 0}, {99, 0}, {80, 1}, {50, 3}, {25, 6}, {10, 10}, {1, 19}, {125, 1 - 2}, {400, -6}, {10000, -20}};

    for (apr_size_t i = 0; i < AG_LEN(nice); i++)
        is_int(hp_budget_nice(nice[i][0]), nice[i][1], "nice of weight %d", nice[i][0]);
    is_int((int)hp_budget_nproc(50, 10, 20), 40 + 20 + ROOM, "a process below its limit: others of its user may come");
    is_int((int)hp_budget_nproc(70, 30, 20), 40 + 20, "... one at its limit has no more");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    wishes(p);
    memory(p);
    numbers();
    return done_testing();
}
