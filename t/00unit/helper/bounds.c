#include "helper/bounds.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static const ag_settings_grant_t grants[] = {
    {"max_instances", "4", "/"}, {"max_instances", "0", "/srv/any"}, {"max_instances", "2", "/srv/few"}, {"min_instances", "1", "/srv/few"},
    {"start_timeout", "30", "/srv/few"}, {"user", "5", "/srv/few"},
};

static void numbers(apr_pool_t *p, hp_bounds_t *bounds, const ag_settings_t *settings)
{
    static const struct {
        const char *root;
        int wish[4], got[4]; /* max_instances, min_instances, start_timeout, cpu_weight */
        const char *first;
    } cases[] = {
        {"/srv/a", {4, 9, 9000, 100}, {4, 9, 9000, 100}, NULL},
        {"/srv/a", {5, 9, 9000, 100}, {4, 9, 9000, 100}, "max_instances"},
        {"/srv/a", {0, 0, 1, 101}, {4, 0, 1, 100}, "max_instances"},
        {"/srv/any/x", {0, 9, 9000, 50}, {0, 9, 9000, 50}, NULL},
        {"/srv/few", {2, 1, 30, 1}, {2, 1, 30, 1}, NULL},
        {"/srv/few", {1, 2, 31, 1}, {1, 1, 30, 1}, "min_instances"},
        {"/srv/fewer", {9, 2, 31, 1}, {4, 2, 31, 1}, "max_instances"},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_options_t *o = ag_options_create(p);
        const ag_options_row_t *row;
        o->max_instances = cases[i].wish[0];
        o->min_instances = cases[i].wish[1];
        o->start_timeout = cases[i].wish[2];
        o->cpu_weight = cases[i].wish[3];
        row = hp_bounds_lower(o, hp_bounds_find(bounds, settings, cases[i].root));
        is_str(row ? row->field : NULL, cases[i].first, "%s: what is lowered first", cases[i].root);
        is_int(o->max_instances, cases[i].got[0], "... processes");
        is_int(o->min_instances, cases[i].got[1], "... idle processes");
        is_int(o->start_timeout, cases[i].got[2], "... seconds");
        is_int(o->cpu_weight, cases[i].got[3], "... weight, of which nothing is said");
        ok(!row || ag_options_is_set(o, row->id), "... and that counts as said");
    }
}

int main(void)
{
    apr_pool_t *p;
    ag_settings_t settings = {.max_pool_size = 1};
    hp_bounds_t *bounds;

    apr_initialize();
    apr_pool_create(&p, NULL);
    settings.grants = apr_array_make(p, 5, sizeof(ag_settings_grant_t));
    for (apr_size_t i = 0; i < AG_LEN(grants); i++)
        APR_ARRAY_PUSH(settings.grants, ag_settings_grant_t) = grants[i];
    bounds = hp_bounds_create(p);
    numbers(p, bounds, &settings);
    apr_array_clear(settings.grants);
    is_int(hp_bounds_find(bounds, &settings, "/srv/few")->max_instances, 2, "a folder is remembered");
    hp_bounds_forget(bounds);
    ok(!ag_options_is_set(hp_bounds_find(bounds, &settings, "/srv/few"), AG_OPTIONS_max_instances), "... until the settings are others");
    for (int i = 0; i <= FOLDERS_MAX; i++)
        hp_bounds_find(bounds, &settings, apr_itoa(p, i));
    ok(apr_hash_count(bounds->folders) <= FOLDERS_MAX, "folders without end are not kept");
    return done_testing();
}
