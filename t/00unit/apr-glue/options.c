#include "t/lib/tap.h"
#include "apr-glue/options.c"

static const unsigned char key[16] = "0123456789abcde";

static const ag_options_row_t *row(const char *directive)
{
    int i;

    for (i = 0; i < AG_OPTIONS_ROWS; i++) {
        if (strcmp(ag_options_rows[i].directive, directive) == 0)
            return &ag_options_rows[i];
    }
    return NULL;
}

static const char *set(apr_pool_t *p, void *o, const char *directive, const char *value)
{
    return ag_options_set(p, o, row(directive), value);
}

static void list(void)
{
    int i, j, twice = 0, aliases = 0, undocumented = 0, badids = 0, ids = 0;

    for (i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *r = &ag_options_rows[i];
        for (j = 0; j < i; j++)
            twice += strcasecmp(r->directive, ag_options_rows[j].directive) == 0;
        if (r->kind == AG_OPTIONS_KIND_ALIAS) {
            const ag_options_row_t *meant = &ag_options_rows[r->meant];
            aliases += meant->scope != r->scope || !meant->field;
        } else {
            undocumented += !r->doc || r->doc[strlen(r->doc) - 1] != '.';
            badids += r->meant != i;
        }
        ids += r->kind == AG_OPTIONS_KIND_OPTION;
    }
    is_int(twice, 0, "no directive stands twice in the list");
    is_int(aliases, 0, "aliases mean options of their own scope");
    is_int(undocumented, 0, "every row has a sentence");
    is_int(badids, 0, "every other row means itself");
    is_int(ids, AG_OPTIONS_COUNT, "one row for each per-directory option");
}

static void default_values(apr_pool_t *p)
{
    ag_options_t *o = ag_options_create(p);
    ag_options_global_t *g = ag_options_create_global(p);

    is_int((long long)o->set, 0, "nothing is set at first");
    is_int(o->enabled, 1, "a flag that is on by default");
    is_int(o->friendly_error_pages, -1, "a flag that is neither by default");
    is_int(o->force_max_concurrent_requests_per_process, -1, "a negative default");
    is_str(o->app_env, "production", "a string by default");
    is_str(o->app_root, NULL, "no string by default");
    ok(o->base_uri == NULL, "no set by default");
    is_int(g->response_buffer_high_watermark, 128 * 1024 * 1024, "a default of the whole server");
}

static void values(apr_pool_t *p)
{
    ag_options_t *o = ag_options_create(p);
    ag_options_global_t *g = ag_options_create_global(p);

    is_str(set(p, o, "PassengerMinInstances", "3"), NULL, "a number is accepted");
    is_int(o->min_instances, 3, "and kept");
    ok(ag_options_is_set(o, AG_OPTIONS_min_instances) && !ag_options_is_set(o, AG_OPTIONS_max_instances), "and known to be set");
    is_str(set(p, o, "PassengerMinInstances", "70000"), "PassengerMinInstances must be a number from 0 to 65535",
           "too much is refused");
    is_int(o->min_instances, 3, "and changes nothing");
    is_str(set(p, o, "PassengerStartTimeout", "0"), "PassengerStartTimeout must be a number, 1 or more", "too little is refused");
    is_str(set(p, o, "PassengerStartTimeout", "5x"), "PassengerStartTimeout must be a number, 1 or more",
           "what is no number is refused");
    ok(set(p, o, "PassengerStartTimeout", "") != NULL, "an empty number is refused");
    ok(set(p, o, "PassengerStartTimeout", "99999999999999999999") != NULL, "a number that no integer holds is refused");
    is_str(set(p, o, "PassengerForceMaxConcurrentRequestsPerProcess", "-1"), NULL, "a negative number where it is allowed");
    is_str(set(p, o, "PassengerEnabled", "oFF"), NULL, "flags are matched without regard to case");
    is_int(o->enabled, 0, "Off is 0");
    is_str(set(p, o, "PassengerEnabled", "no"), "PassengerEnabled must be On or Off", "other words are refused");
    is_str(set(p, o, "PassengerSpawnMethod", "smart-lv2"), NULL, "an old name of a method");
    is_str(set(p, o, "PassengerSpawnMethod", "smart-"),
           "PassengerSpawnMethod must be one of: smart smart-lv2 direct conservative", "part of a name is refused");
    is_str(set(p, o, "PassengerAppType", "WSGI"), NULL, "a kind by its other name");
    is_str(o->app_type, "wsgi", "... is kept as it is known");
    ok(strstr(set(p, o, "PassengerAppType", "pyhton"), "PassengerAppType must be one of: python wsgi ruby rack nodejs node meteor") != NULL,
       "an unknown kind is refused, and those that are known are listed");
    is_str(set(p, o, "PassengerAppRoot", ""), NULL, "an empty string is accepted");
    ok(!ag_options_is_set(o, AG_OPTIONS_app_root), "and sets nothing");
    is_str(set(p, o, "PassengerAppRoot", "/a\nb"), "PassengerAppRoot must not contain control characters",
           "a line feed is refused");
    is_str(set(p, o, "PassengerUser", apr_psprintf(p, "%0300d", 1)), "PassengerUser must not be longer than 255 bytes",
           "too long a string is refused");
    is_str(set(p, g, "PassengerMaxPoolSize", "0"), "PassengerMaxPoolSize must be a number from 1 to 65535", "bounds of a global");
    is_str(set(p, g, "PassengerMaxPoolSize", "12"), NULL, "a global value");
    is_int(g->max_pool_size, 12, "is kept");
}

static void sets(apr_pool_t *p)
{
    ag_options_t *o = ag_options_create(p), *inner = ag_options_create(p);
    int i, refused = 0;

    is_str(set(p, o, "PassengerBaseURI", "/a"), NULL, "a URI prefix");
    is_str(set(p, o, "PassengerBaseURI", "/"), NULL, "the root is one too");
    is_str(set(p, o, "PassengerBaseURI", "/a"), NULL, "one that is known already");
    is_int(o->base_uri->nelts, 2, "counts once");
    is_str(set(p, o, "PassengerBaseURI", "a"), "PassengerBaseURI must begin with a slash", "no slash in front");
    is_str(set(p, o, "PassengerBaseURI", ""), "PassengerBaseURI must begin with a slash", "nothing at all");
    is_str(set(p, o, "PassengerBaseURI", "/a/"), "PassengerBaseURI must not end with a slash, unless it is only a slash",
           "a slash behind");

    set(p, inner, "PassengerBaseURI", "/b");
    is_int(ag_options_merge(p, o, inner)->base_uri->nelts, 1, "an inner section's set replaces the outer one's");
    is_int(o->base_uri->nelts, 2, "which stays as it was");
    for (i = 0; i < 100; i++)
        refused += set(p, inner, "PassengerBaseURI", apr_psprintf(p, "/x%d", i)) != NULL;
    is_int(refused, 100 + 1 - SET_MAX, "a set has bounds");
    ok(ag_options_unpack(p, "", 0) == NULL, "nothing is no packed message");
}

static void merging(apr_pool_t *p)
{
    ag_options_t *outer = ag_options_create(p), *inner = ag_options_create(p), *o;

    set(p, outer, "PassengerMinInstances", "4");
    set(p, outer, "PassengerEnabled", "off");
    set(p, outer, "PassengerAppEnv", "staging");
    set(p, inner, "PassengerMinInstances", "1");
    set(p, inner, "PassengerEnabled", "on");
    o = ag_options_merge(p, outer, inner);
    is_int(o->min_instances, 1, "an inner value wins, even if it is the default");
    is_int(o->enabled, 1, "so does a flag");
    is_str(o->app_env, "staging", "an outer value stays where there is no inner one");
    is_int(o->max_requests, 0, "what neither sets has its default");
    is_int(__builtin_popcountll(o->set), 3, "set is what either sets");
}

static void wire(apr_pool_t *p)
{
    ag_options_t *o = ag_options_create(p), *back;
    apr_size_t len, i, fewer = 0, changed = 0;
    const char *data;

    set(p, o, "PassengerBaseURI", "/a");
    set(p, o, "PassengerBaseURI", "/b");
    set(p, o, "PassengerFriendlyErrorPages", "on");
    set(p, o, "PassengerForceMaxConcurrentRequestsPerProcess", "-1");
    set(p, o, "PassengerAppRoot", "/srv/\xc3\xa4pp");
    data = ag_options_pack(o, p, &len);
    back = ag_options_unpack(p, data, len);
    ok(back && back->set == o->set, "packed options come back");
    is_int(back->force_max_concurrent_requests_per_process, -1, "with a negative number");
    is_str(back->app_root, "/srv/\xc3\xa4pp", "a string");
    is_str(APR_ARRAY_IDX(back->base_uri, 1, const char *), "/b", "a set");
    is_str(back->app_env, "production", "and defaults");
    for (i = 0; i < len; i++)
        fewer += ag_options_unpack(p, data, i) == NULL;
    is_int((long long)fewer, (long long)len, "every shorter message is refused");
    ok(ag_options_unpack(p, apr_pstrcat(p, "x", NULL), 1) == NULL, "so is another one");
    for (i = 0; i < len * 8; i++) {
        char *copy = apr_pmemdup(p, data, len);
        copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
        changed += ag_options_unpack(p, copy, len) == NULL;
    }
    ok(changed > len, "most messages with a changed bit are refused: %d of %d", (int)changed, (int)len * 8);
}

/* A message that holds one field. */
static const ag_options_t *one(apr_pool_t *p, const char *field, const char *text, uint32_t number_, int times)
{
    ag_frame_t *f = ag_frame_create(p, PACKED);
    apr_size_t len;
    const char *data;
    int i;

    ag_frame_put_u32(f, (uint32_t)times);
    for (i = 0; i < times; i++) {
        ag_frame_put_str(f, field);
        if (text)
            ag_frame_put_str(f, text);
        else
            ag_frame_put_u32(f, number_);
    }
    data = ag_frame_data(f, &len);
    return ag_options_unpack(p, data, len);
}

static void hostile(apr_pool_t *p)
{
    ok(one(p, "min_instances", NULL, 5, 1) != NULL, "a message made by hand");
    ok(one(p, "min_instances", NULL, 5, 2) == NULL, "a field that comes twice");
    ok(one(p, "min_instances", NULL, 65536, 1) == NULL, "a number out of its bounds");
    ok(one(p, "min_instances", NULL, 0xffffffffu, 1) == NULL, "a negative one");
    ok(one(p, "enabled", NULL, 2, 1) == NULL, "a flag that is neither on nor off");
    ok(one(p, "max_pool_size", NULL, 5, 1) == NULL, "a field of the whole server");
    ok(one(p, "nonsense", NULL, 5, 1) == NULL, "an unknown field");
    ok(one(p, "user", "deploy", 0, 1) != NULL, "a string");
    ok(one(p, "user", "", 0, 1) == NULL, "an empty string");
    ok(one(p, "user", "a\nb", 0, 1) == NULL, "a string with a line feed");
    ok(one(p, "spawn_method", "fast", 0, 1) == NULL, "a word that is not in the list");
    ok(one(p, "base_uri", NULL, 0, 1) == NULL, "an empty set");
    ok(one(p, "base_uri", NULL, 0xffffffffu, 1) == NULL, "a set without end");
}

static void digests(apr_pool_t *p)
{
    ag_options_t *a = ag_options_create(p), *b = ag_options_create(p);
    static const unsigned char other[16] = "1123456789abcde";

    set(p, a, "PassengerMinInstances", "2");
    set(p, a, "PassengerPython", "/usr/bin/python3");
    set(p, b, "PassengerPython", "/usr/bin/python3");
    set(p, b, "PassengerMinInstances", "2");
    ok(ag_options_digest(a, key, p) == ag_options_digest(b, key, p), "the order of directives does not matter");
    ok(ag_options_digest(a, key, p) != ag_options_digest(a, other, p), "the key does");
    set(p, b, "PassengerMinInstances", "3");
    ok(ag_options_digest(a, key, p) != ag_options_digest(b, key, p), "values do");
    ok(ag_options_spawn_digest(a, key, p) == ag_options_spawn_digest(b, key, p), "but not all of them replace processes");
    set(p, b, "PassengerAppEnv", "production");
    ok(ag_options_spawn_digest(a, key, p) == ag_options_spawn_digest(b, key, p), "nor does a default that was written down");
    set(p, b, "PassengerAppEnv", "staging");
    ok(ag_options_spawn_digest(a, key, p) != ag_options_spawn_digest(b, key, p), "another environment does");
    set(p, a, "PassengerAppEnv", "staging");
    set(p, b, "PassengerForceMaxConcurrentRequestsPerProcess", "0");
    ok(ag_options_spawn_digest(a, key, p) != ag_options_spawn_digest(b, key, p), "so does a number that counts from a process's first moment");
}

/* What administrators let others say. */
static void caps(apr_pool_t *p)
{
    static const struct {
        const char *directive, *most, *wish, *got;
    } cases[] = {
        {"PassengerMinInstances", "2", "1", "1"},       {"PassengerMinInstances", "2", "2", "2"},   {"PassengerMinInstances", "2", "3", "2"},
        {"PassengerMinInstances", "2", "0", "0"},       {"PassengerMaxInstances", "2", "3", "2"},   {"PassengerMaxInstances", "2", "0", "2"},
        {"PassengerMaxInstances", "0", "9", "9"},       {"PassengerMaxInstances", "0", "0", "0"},   {"PassengerMaxRequestTime", "60", "0", "60"},
        {"PassengerMaxRequestTime", "60", "30", "30"}, {"PassengerStartTimeout", "90", "91", "90"},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_options_t *most = ag_options_create(p), *wish = ag_options_create(p), *got = ag_options_create(p), *copy = ag_options_create(p);
        const ag_options_row_t *row;
        int capped;

        set(p, most, cases[i].directive, cases[i].most);
        set(p, wish, cases[i].directive, cases[i].wish);
        set(p, got, cases[i].directive, cases[i].got);
        row = ag_options_row(__builtin_ctzll(wish->set));
        is_str(row->directive, cases[i].directive, "the row of an id");
        is_str(ag_options_class(row), "Limits", "... is of a class");
        ag_options_copy(copy, wish, row->id);
        capped = ag_options_cap(copy, most, row);
        ok(ag_options_digest(copy, key, p) == ag_options_digest(got, key, p), "%s: %s where %s is allowed", row->directive, cases[i].wish,
           cases[i].most);
        is_int(capped, strcmp(cases[i].wish, cases[i].got) != 0, "... and that is said");
    }
    for (int id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);
        ok(!ag_options_class(row) == (row->scope == AG_OPTIONS_SCOPE_ADMIN), "%s: a class, unless it is for administrators", row->directive);
        ok(!(row->flags & AG_OPTIONS_CAP) || row->type == AG_OPTIONS_TYPE_INT, "%s: a number, if it can be lowered", row->directive);
    }
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    list();
    default_values(p);
    values(p);
    sets(p);
    merging(p);
    wire(p);
    hostile(p);
    digests(p);
    caps(p);
    apr_pool_destroy(p);
    apr_terminate();
    return done_testing();
}
