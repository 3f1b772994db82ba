#include "mod_passenger/grants.h"
#include "mod_passenger/conf.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>

/* A number for some of the requests to applications below a folder: others may have more, or less. */
typedef struct {
    const ag_options_row_t *row;
    const char *value, *root;
    int deep; /* it counts in folders further down too, whatever is said for those */
} part_t;

typedef struct {
    apr_pool_t *p;
    apr_array_header_t *grants;
    apr_array_header_t *parts; /* of part_t */
    apr_hash_t *known;     /* grants made, so that each is made once */
    apr_hash_t *documents; /* document roots of all servers */
    apr_hash_t *shared;    /* sections of the main server, which stand in each virtual host's list too */
} walk_t;

/* `path` without slashes at its end; "/" stays. */
static const char *trim(apr_pool_t *p, const char *path)
{
    apr_size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    return apr_pstrmemdup(p, path, len);
}

static const char *parent(apr_pool_t *p, const char *path)
{
    const char *folder = trim(p, path), *slash = strrchr(folder, '/');

    return !slash || slash == folder ? "/" : apr_pstrmemdup(p, folder, (apr_size_t)(slash - folder));
}

/* The folders at the start of a pattern that are there in every path that it matches. */
static const char *fixed_part(apr_pool_t *p, const char *pattern, int regex)
{
    apr_size_t len;

    if (regex && (pattern[0] != '^' || strchr(pattern, '|')))
        return "/";
    if (regex)
        pattern++;
    len = strcspn(pattern, regex ? ".*?+()[]{}\\$^" : "*?[\\");
    /* What stands before a quantifier may be missing. */
    if (regex && len > 0 && pattern[len] && strchr("*?+{", pattern[len]))
        len--;
    while (len > 0 && pattern[len - 1] != '/')
        len--;
    return len > 0 ? trim(p, apr_pstrmemdup(p, pattern, len)) : "/";
}

static void add(walk_t *w, const ag_options_row_t *row, const char *value, const char *root)
{
    const char *key = apr_pstrcat(w->p, row->field, "\n", value, "\n", root, NULL);
    ag_settings_grant_t *grant;

    if (apr_hash_get(w->known, key, APR_HASH_KEY_STRING))
        return;
    apr_hash_set(w->known, key, APR_HASH_KEY_STRING, "");
    grant = apr_array_push(w->grants);
    grant->option = row->field;
    grant->value = value;
    grant->root = root;
}

static int is_number(const ag_options_row_t *row)
{
    return (row->flags & AG_OPTIONS_CAP) != 0;
}

/* One value, or one number. */
static const char *text_of(walk_t *w, const ag_options_t *o, const ag_options_row_t *row)
{
    const void *member = (const char *)o + row->offset;

    return is_number(row) ? apr_itoa(w->p, *(const int *)member) : *(const char *const *)member;
}

/* What the main server says of numbers holds everywhere, but where something else is said. */
static void grant_numbers(walk_t *w, const ag_options_t *o, const char *root)
{
    int id;

    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);

        if (is_number(row) && ag_options_is_set(o, id))
            add(w, row, text_of(w, o, row), root);
    }
}

/* All that `o` gives but numbers holds below `root`. */
static void grant_rest(walk_t *w, const ag_options_t *o, const char *root)
{
    int i, k;

    for (i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *row = &ag_options_rows[i];
        const void *member = (const char *)o + row->offset;
        if (row->kind != AG_OPTIONS_KIND_OPTION || !(row->flags & AG_OPTIONS_GRANT) || !ag_options_is_set(o, row->id))
            continue;
        if (row->type == AG_OPTIONS_TYPE_STRING)
            add(w, row, text_of(w, o, row), root);
        else if (row->type == AG_OPTIONS_TYPE_KEYVAL || row->type == AG_OPTIONS_TYPE_SET)
            for (k = 0; k < (*(apr_array_header_t *const *)member)->nelts; k++)
                add(w, row, APR_ARRAY_IDX(*(apr_array_header_t *const *)member, k, const char *), root);
    }
}

static void grant(walk_t *w, const ag_options_t *o, const char *root)
{
    grant_rest(w, o, root);
    grant_numbers(w, o, root);
}

static void add_parts(walk_t *w, const ag_options_t *o, const char *root, int deep)
{
    int id;

    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);

        if (is_number(row) && ag_options_is_set(o, id))
            APR_ARRAY_PUSH(w->parts, part_t) = (part_t){row, text_of(w, o, row), root, deep};
    }
}

/* The greatest numbers of two. */
static void take_more(ag_options_t *most, const ag_options_t *o)
{
    int id;

    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);
        ag_options_t lowered = *o;

        if (is_number(row) && ag_options_is_set(o, id) && (!ag_options_is_set(most, id) || ag_options_cap(&lowered, most, row)))
            ag_options_copy(most, o, id);
    }
}

/* Sections of files and conditions within one. */
static void more_inside(ag_options_t *most, const ap_conf_vector_t *section)
{
    const core_dir_config *core = ap_get_core_module_config(section);
    apr_array_header_t *inner[2] = {core ? core->sec_file : NULL, core ? core->sec_if : NULL};
    int i, k;

    for (k = 0; k < 2; k++) {
        for (i = 0; inner[k] && i < inner[k]->nelts; i++) {
            const ap_conf_vector_t *each = APR_ARRAY_IDX(inner[k], i, ap_conf_vector_t *);
            const ag_options_t *o = mp_conf_section(each);

            if (o)
                take_more(most, o);
            more_inside(most, each);
        }
    }
}

static int has_parent(walk_t *w, const char *path)
{
    return apr_hash_get(w->documents, path, APR_HASH_KEY_STRING) || strcmp(path + strlen(parent(w->p, path)), "/public") == 0;
}

static void walk_directory(walk_t *w, const ag_options_t *o, const core_dir_config *core)
{
    const char *path = trim(w->p, core->d);

    if (o->app_root) {
        grant(w, o, o->app_root);
    } else if (core->r || core->d_is_fnmatch) {
        grant_rest(w, o, fixed_part(w->p, core->d, core->r != NULL));
        add_parts(w, o, fixed_part(w->p, core->d, core->r != NULL), 1);
    } else {
        grant(w, o, path);
        if (has_parent(w, path))
            grant(w, o, parent(w->p, path));
    }
}

static void walk_location(walk_t *w, const ag_options_t *o, const char *root)
{
    if (o->app_root)
        grant(w, o, o->app_root);
    else if (root)
        grant_rest(w, o, root);
}

/* Where the applications of a server are, as far as its sections tell. */
static void note_roots(walk_t *w, apr_array_header_t *roots, const ag_options_t *o, const core_dir_config *core)
{
    const char *path = core && core->d && *core->d == '/' ? trim(w->p, core->d) : NULL;

    if (o->app_root) {
        APR_ARRAY_PUSH(roots, const char *) = o->app_root;
    } else if (path && !core->r && !core->d_is_fnmatch) {
        APR_ARRAY_PUSH(roots, const char *) = path;
        if (has_parent(w, path))
            APR_ARRAY_PUSH(roots, const char *) = parent(w->p, path);
    }
}

/* 1 if one of two folders is in the other. */
static int related(const char *a, const char *b)
{
    return a && (ag_settings_below(a, b) || ag_settings_below(b, a));
}

/* What holds for some of a server's requests, for any of its applications: locations, files and conditions, and folders that are not those of the
 * application which Apache's files belong to. */
static void walk_parts(walk_t *w, const server_rec *s, const char *root, int is_main)
{
    core_server_config *core = ap_get_core_module_config(s->module_config);
    apr_array_header_t *sections[2] = {core->sec_dir, core->sec_url}, *roots = apr_array_make(w->p, 4, sizeof(const char *));
    ag_options_t *most = ag_options_create(w->p);
    int i, k;

    if (root)
        APR_ARRAY_PUSH(roots, const char *) = root;
    more_inside(most, s->lookup_defaults);
    for (k = 0; k < 2; k++) {
        for (i = 0; i < sections[k]->nelts; i++) {
            ap_conf_vector_t *section = APR_ARRAY_IDX(sections[k], i, ap_conf_vector_t *);
            const core_dir_config *place = ap_get_core_module_config(section);
            const ag_options_t *o = mp_conf_section(section);
            int ours = is_main || !apr_hash_get(w->shared, &section, sizeof section), folder = sections[k] == core->sec_dir;

            more_inside(most, section);
            if (!o)
                continue;
            if (ours)
                note_roots(w, roots, o, folder ? place : NULL);
            if (!o->app_root && (!folder || (core->ap_document_root && related(place->d, core->ap_document_root))))
                take_more(most, o);
        }
    }
    for (i = 0; most->set && i < roots->nelts; i++)
        add_parts(w, most, APR_ARRAY_IDX(roots, i, const char *), 0);
}

static void walk_server(walk_t *w, server_rec *s, int is_main)
{
    core_server_config *core = ap_get_core_module_config(s->module_config);
    const ag_options_t *own = mp_conf_section(s->lookup_defaults), *o;
    const char *root = own && own->app_root     ? own->app_root
                       : core->ap_document_root ? parent(w->p, core->ap_document_root)
                                                : NULL;
    apr_array_header_t *sections[2] = {core->sec_dir, core->sec_url};
    int i, k;

    if (own && is_main)
        grant_numbers(w, own, "/");
    if (own && root)
        grant(w, own, root);
    for (k = 0; k < 2; k++) {
        for (i = 0; i < sections[k]->nelts; i++) {
            ap_conf_vector_t *section = APR_ARRAY_IDX(sections[k], i, ap_conf_vector_t *);
            int ours = is_main || !apr_hash_get(w->shared, &section, sizeof section);

            o = mp_conf_section(section);
            if (!o)
                continue;
            if (own && o->app_root && ours)
                grant(w, own, o->app_root);
            if (sections[k] == core->sec_dir && ours)
                walk_directory(w, o, ap_get_core_module_config(section));
            else if (sections[k] == core->sec_url)
                walk_location(w, o, root);
        }
    }
    walk_parts(w, s, root, is_main);
}

/* A number that is no less than what was said where it holds is the most there from now on. */
static void grant_parts(walk_t *w)
{
    const ag_settings_t said = {.grants = w->grants};
    const ag_options_t *defaults = ag_options_create(w->p);
    int i, k, n = w->grants->nelts;

    for (i = 0; i < w->parts->nelts; i++) {
        const part_t *part = &APR_ARRAY_IDX(w->parts, i, part_t);
        int endless = (part->row->flags & AG_OPTIONS_ENDLESS) != 0, value = atoi(part->value), most;

        for (k = 0; part->deep && k < n; k++) {
            const ag_settings_grant_t *grant = &APR_ARRAY_IDX(w->grants, k, ag_settings_grant_t);
            if (grant->option == part->row->field && ag_settings_below(grant->root, part->root))
                add(w, part->row, part->value, grant->root);
        }
        most = ag_settings_most(&said, part->row->field, part->root, endless, -1);
        if (most < 0 && (part->row->flags & AG_OPTIONS_FIRM))
            most = *(const int *)(const void *)((const char *)defaults + part->row->offset);
        if (most >= 0 && !(endless && most == 0) && (value > most || (endless && value == 0)))
            add(w, part->row, part->value, part->root);
    }
}

/* Notes what walking a virtual host needs to know of all servers. */
static void look_around(walk_t *w, server_rec *s)
{
    core_server_config *core = ap_get_core_module_config(s->module_config);
    apr_array_header_t *sections[2] = {core->sec_dir, core->sec_url};
    int i, k;

    for (k = 0; k < 2; k++) {
        for (i = 0; i < sections[k]->nelts; i++)
            apr_hash_set(w->shared, &APR_ARRAY_IDX(sections[k], i, ap_conf_vector_t *), sizeof(ap_conf_vector_t *), "");
    }
    for (; s; s = s->next) {
        core = ap_get_core_module_config(s->module_config);
        if (core->ap_document_root)
            apr_hash_set(w->documents, trim(w->p, core->ap_document_root), APR_HASH_KEY_STRING, "");
    }
}

apr_array_header_t *mp_grants_collect(apr_pool_t *p, server_rec *s)
{
    walk_t w = {.p = p};
    server_rec *each;

    w.grants = apr_array_make(p, 8, sizeof(ag_settings_grant_t));
    w.parts = apr_array_make(p, 8, sizeof(part_t));
    w.known = apr_hash_make(p);
    w.documents = apr_hash_make(p);
    w.shared = apr_hash_make(p);
    look_around(&w, s);
    for (each = s; each; each = each->next)
        walk_server(&w, each, each == s);
    grant_parts(&w);
    return w.grants;
}
