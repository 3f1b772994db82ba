#include "mod_passenger/grants.h"
#include "mod_passenger/conf.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>

typedef struct {
    apr_pool_t *p;
    apr_array_header_t *grants;
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

/* What the main server says of limits holds everywhere, but where something else is said. */
static void grant_limits(walk_t *w, const ag_options_t *o)
{
    int id;

    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);

        if ((row->flags & AG_OPTIONS_GRANT) && row->type == AG_OPTIONS_TYPE_INT && ag_options_is_set(o, id))
            add(w, row, apr_itoa(w->p, *(const int *)(const void *)((const char *)o + row->offset)), "/");
    }
}

/* All that `o` gives holds below `root`. */
static void grant(walk_t *w, const ag_options_t *o, const char *root)
{
    int i, k;

    for (i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *row = &ag_options_rows[i];
        const void *member = (const char *)o + row->offset;
        if (row->kind != AG_OPTIONS_KIND_OPTION || !(row->flags & AG_OPTIONS_GRANT) || !ag_options_is_set(o, row->id))
            continue;
        if (row->type == AG_OPTIONS_TYPE_STRING)
            add(w, row, *(const char *const *)member, root);
        else if (row->type == AG_OPTIONS_TYPE_INT)
            add(w, row, apr_itoa(w->p, *(const int *)member), root);
        else if (row->type == AG_OPTIONS_TYPE_KEYVAL || row->type == AG_OPTIONS_TYPE_SET)
            for (k = 0; k < (*(apr_array_header_t *const *)member)->nelts; k++)
                add(w, row, APR_ARRAY_IDX(*(apr_array_header_t *const *)member, k, const char *), root);
    }
}

static void walk_directory(walk_t *w, const ag_options_t *o, const core_dir_config *core)
{
    const char *path = trim(w->p, core->d);

    if (o->app_root) {
        grant(w, o, o->app_root);
    } else if (core->r || core->d_is_fnmatch) {
        grant(w, o, fixed_part(w->p, core->d, core->r != NULL));
    } else {
        grant(w, o, path);
        if (apr_hash_get(w->documents, path, APR_HASH_KEY_STRING) || strcmp(path + strlen(parent(w->p, path)), "/public") == 0)
            grant(w, o, parent(w->p, path));
    }
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
        grant_limits(w, own);
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
            else if (sections[k] == core->sec_url && (o->app_root || root))
                grant(w, o, o->app_root ? o->app_root : root);
        }
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
    w.known = apr_hash_make(p);
    w.documents = apr_hash_make(p);
    w.shared = apr_hash_make(p);
    look_around(&w, s);
    for (each = s; each; each = each->next)
        walk_server(&w, each, each == s);
    return w.grants;
}
