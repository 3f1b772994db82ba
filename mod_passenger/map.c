#include "mod_passenger/map.h"

#include "apr-glue/appfile.h"
#include "apr-glue/link.h"
#include "mod_passenger/behind.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/mistake.h"

#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <http_core.h>
#include <http_request.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SLOTS            128
#define KEEP_FOUND_MAX   apr_time_from_sec(10)
#define KEEP_MISSING_MAX apr_time_from_sec(1)
#define OWN              ((int) AG_LEN(kinds))

typedef struct {
    const char *name, *other_name, *startup;
    int is_folder; /* or ONLY_NAMED */
} kind_row_t;

#define ONLY_NAMED (-1) /* in kind.def */

static const kind_row_t kinds[] = {
#define KIND(name, other_name, startup, is_folder) {name, other_name, startup, is_folder},
#include "apr-glue/kind.def"
#undef KIND
};

/* What a look at a folder found. */
typedef struct {
    char *folder;  /* the key; malloc'ed, NULL: free */
    char *root;    /* malloc'ed; NULL: the folder itself */
    int is_public; /* the key too: the folder is public/, its parent is wanted */
    int kind;      /* index into kinds, -1: none, OWN: a command of its own */
    char *startup; /* malloc'ed; NULL: the usual one of its kind */
    uint32_t author; /* as in behind.h */
    apr_time_t at;
} slot_t;

struct mp_map_cache_t {
    apr_thread_mutex_t *mutex;
    slot_t slots[SLOTS];
};

/* A look at one folder: input, then result. */
typedef struct {
    const char *folder;
    int is_public;
    const char *root;
    int kind;            /* as in slot_t */
    const char *startup; /* as Passengerfile.json names it, or NULL */
    mp_behind_t behind;  /* a public folder: `author` is remembered, the rest is not */
    const char *denied;  /* the path that could not be looked at, or NULL */
} look_t;

mp_map_cache_t *mp_map_cache_create(apr_pool_t *pchild)
{
    mp_map_cache_t *cache = apr_pcalloc(pchild, sizeof(*cache));

    if (apr_thread_mutex_create(&cache->mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS)
        return NULL;
    return cache;
}

static slot_t *slot_of(mp_map_cache_t *cache, const look_t *look)
{
    unsigned hash = (unsigned) look->is_public;
    const char *at;

    for (at = look->folder; *at; at++)
        hash = hash * 33 + (unsigned char) *at;
    return &cache->slots[(hash ^ (hash >> 7)) % SLOTS];
}

static int remembered(mp_map_cache_t *cache, look_t *look, apr_pool_t *p, apr_time_t now)
{
    apr_time_t keep = apr_time_from_sec(mp_conf_global()->stat_throttle_rate);
    slot_t *slot = slot_of(cache, look);
    int found = 0;

    if (keep > KEEP_FOUND_MAX)
        keep = KEEP_FOUND_MAX;
    apr_thread_mutex_lock(cache->mutex);
    if (slot->folder && slot->is_public == look->is_public && strcmp(slot->folder, look->folder) == 0) {
        if (slot->kind < 0 && keep > KEEP_MISSING_MAX)
            keep = KEEP_MISSING_MAX;
        if (now < slot->at + keep && now >= slot->at) {
            look->kind = slot->kind;
            look->startup = apr_pstrdup(p, slot->startup);
            look->root = slot->root ? apr_pstrdup(p, slot->root) : look->folder;
            look->behind.author = slot->author;
            found = 1;
        }
    }
    apr_thread_mutex_unlock(cache->mutex);
    return found;
}

static void remember(mp_map_cache_t *cache, const look_t *look, apr_time_t now)
{
    slot_t *slot = slot_of(cache, look);
    char *folder = strdup(look->folder);
    char *root = look->root == look->folder ? NULL : strdup(look->root);
    char *startup = look->startup ? strdup(look->startup) : NULL;
    int whole = folder && (root || look->root == look->folder) && (startup || !look->startup);

    apr_thread_mutex_lock(cache->mutex);
    free(slot->folder);
    free(slot->root);
    free(slot->startup);
    slot->folder = whole ? folder : NULL;
    slot->root = whole ? root : NULL;
    slot->startup = whole ? startup : NULL;
    slot->is_public = look->is_public;
    slot->author = look->behind.author;
    slot->kind = look->kind;
    slot->at = now;
    apr_thread_mutex_unlock(cache->mutex);
    if (!whole) {
        free(folder);
        free(root);
        free(startup);
    }
}

static int kind_named(const char *name)
{
    apr_size_t i;

    for (i = 0; i < AG_LEN(kinds); i++) {
        if (strcmp(name, kinds[i].name) == 0 || strcmp(name, kinds[i].other_name) == 0)
            return (int) i;
    }
    return -1;
}

/* Passengerfile.json comes first. What is wrong with it is told by the application's start, which reads it again with its owner's rights: so
 * that is also where one leads that Apache may not read, if there is nothing else. */
static int look_at_appfile(look_t *look, apr_pool_t *p)
{
    const char *reason;
    ag_appfile_t file;
    apr_status_t rv = ag_appfile_read(&file, look->root, &reason, p);

    if (rv == APR_SUCCESS && !file.command) {
        if (!file.type)
            return 0;
        look->kind = kind_named(file.type);
        if (look->kind >= 0 && kinds[look->kind].is_folder == ONLY_NAMED)
            look->kind = -1;
        look->startup = file.startup;
    }
    /* Whatever it says, a kind that we do not know too. */
    if (look->kind < 0 && rv != ENOENT && rv != ENOTDIR && rv != EACCES) {
        look->kind = OWN;
        look->startup = NULL;
    }
    return rv == EACCES;
}

static void look_at(look_t *look, apr_pool_t *p)
{
    int hidden;
    apr_size_t i;

    look->kind = -1;
    look->root = look->folder;
    if (look->is_public) {
        mp_behind_look(&look->behind, look->folder, p);
        look->root = mp_behind_parent(p, look->behind.folder);
    }
    hidden = look_at_appfile(look, p);
    for (i = 0; i < AG_LEN(kinds) && look->kind < 0 && !look->denied; i++) {
        const char *path = apr_pstrcat(p, look->root, "/", kinds[i].startup, NULL);
        struct stat st;

        if (kinds[i].is_folder == ONLY_NAMED)
            continue;
        if (stat(path, &st) == 0) {
            if (kinds[i].is_folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))
                look->kind = (int) i;
        } else if (errno == EACCES || errno == EPERM) {
            look->denied = path;
        }
    }
    if (look->kind < 0 && !look->denied && hidden)
        look->kind = OWN;
}

static const char *document_root(request_rec *r)
{
    const char *root = ap_document_root(r);
    apr_size_t n = root ? strlen(root) : 0;

    return n > 1 && root[n - 1] == '/' ? apr_pstrmemdup(r->pool, root, n - 1) : root;
}

/* The longest base URI that the request's path is at or below, else "". */
static const char *base_uri_of(const request_rec *r, const ag_options_t *o)
{
    const char *best = "";
    apr_size_t best_len = 0;
    int i;

    for (i = 0; o->base_uri && i < o->base_uri->nelts; i++) {
        const char *uri = APR_ARRAY_IDX(o->base_uri, i, const char *);
        apr_size_t n = strlen(uri);

        if (n > 1 && n > best_len && strncmp(r->uri, uri, n) == 0 && (r->uri[n] == '/' || r->uri[n] == '\0')) {
            best = uri;
            best_len = n;
        }
    }
    return best;
}

/* Seen through an Alias if one is at or above the base URI. */
const char *mp_map_public_dir(request_rec *r, const char *base_uri)
{
    const char *prefix = ap_context_prefix(r);
    apr_size_t n = strlen(prefix);

    if (n && prefix[n - 1] == '/')
        n--;
    if (n && strncmp(base_uri, prefix, n) == 0 && (base_uri[n] == '/' || base_uri[n] == '\0')) {
        const char *dir = ap_context_document_root(r);
        apr_size_t len = strlen(dir);

        if (len > 1 && dir[len - 1] == '/')
            dir = apr_pstrmemdup(r->pool, dir, len - 1);
        return apr_pstrcat(r->pool, dir, base_uri + n, NULL);
    }
    return apr_pstrcat(r->pool, document_root(r), base_uri, NULL);
}

/* A startup file that is a program of its own, whatever it starts in the end. */
static int is_script(const char *startup)
{
    apr_size_t n = startup ? strlen(startup) : 0;

    return n > 3 && strcmp(startup + n - 3, ".sh") == 0;
}

static void fill_kind(mp_map_app_t *app, const ag_options_t *o, const look_t *look)
{
    int kind = o->app_type ? kind_named(o->app_type) : look->kind;
    const char *startup = o->startup_file ? o->startup_file : o->app_type ? NULL : look->startup;

    app->kind = "generic";
    app->startup = startup;
    if ((o->app_start_command || is_script(startup)) && (kind < 0 || kinds[kind].is_folder != ONLY_NAMED))
        return;
    if (kind == OWN) {
        app->startup = AG_APPFILE_NAME;
        return;
    }
    app->kind = kind >= 0 ? kinds[kind].name : o->app_type;
    app->startup = startup ? startup : kind >= 0 ? kinds[kind].startup : NULL;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The configuration says what it is, whatever lies there. */
static int is_told(const ag_options_t *o)
{
    return o->app_start_command || o->app_type;
}

static int is_php(const ag_options_t *o)
{
    return o->app_type && strcmp(o->app_type, "php") == 0;
}

/* PHP's applications either have a folder `public`, as in every other language, or are one themselves, which is then their root. */
static const char *php_root(mp_behind_t *behind, request_rec *r, const char *public_dir, int linked)
{
    if (linked) {
        mp_behind_look(behind, public_dir, r->pool);
        public_dir = behind->folder;
    }
    return strcmp(last_part(public_dir), "public") == 0 ? mp_behind_parent(r->pool, public_dir) : public_dir;
}

/* What is left to be known of an application of PHP's: where it is, and which script is meant. */
static int complete_php(mp_map_app_t *app, mp_behind_t *behind, request_rec *r, const ag_options_t *o)
{
    const char *public_dir = mp_map_public_dir(r, app->base_uri);

    app->root = o->app_root ? o->app_root : php_root(behind, r, public_dir, *app->base_uri != '\0');
    if (!o->startup_file)
        app->startup = apr_pstrcat(r->pool, public_dir, "/index.php", NULL);
    else if (*o->startup_file != '/')
        app->startup = apr_pstrcat(r->pool, app->root, "/", o->startup_file, NULL);
    return mp_script_find(&app->script, r, public_dir, app->base_uri, app->startup);
}

/* Looks where an application of the request's would be. 1: just now, not from memory. */
static int find_folder(look_t *look, mp_map_cache_t *cache, request_rec *r, const ag_options_t *o, const char *base_uri)
{
    if (o->app_root) {
        look->folder = o->app_root;
    } else {
        look->folder = mp_map_public_dir(r, base_uri);
        look->is_public = *base_uri != '\0';
        if (!look->is_public)
            look->folder = mp_behind_parent(r->pool, look->folder);
    }
    if (is_php(o) || (is_told(o) && !look->is_public)) {
        look->root = look->folder;
        return 0;
    }
    if (remembered(cache, look, r->pool, r->request_time))
        return 0;
    look_at(look, r->pool);
    if (!look->denied && !look->behind.other)
        remember(cache, look, r->request_time);
    return 1;
}

int mp_map_find(mp_map_cache_t *cache, request_rec *r, const mp_map_app_t **papp)
{
    const ag_options_t *o = mp_conf_options(r);
    look_t look = {.kind = -1, .behind.author = AG_LINK_NO_AUTHOR};
    const char *base_uri;
    mp_map_app_t *app;
    int rc, fresh;

    if (!o->enabled || r->uri[0] != '/' || r->method_number == M_CONNECT)
        return DECLINED;
    base_uri = base_uri_of(r, o);
    fresh = find_folder(&look, cache, r, o, base_uri);
    if (!is_told(o) && look.denied) {
        mp_mistake_denied(r, o, look.root, look.denied);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!is_told(o) && look.kind < 0) {
        mp_mistake_no_app(r, o, look.folder, base_uri, fresh);
        return DECLINED;
    }
    app = apr_pcalloc(r->pool, sizeof(*app));
    rc = mp_conf_author(r, &app->author);
    if (rc != OK)
        return rc;
    app->root = look.root;
    app->base_uri = base_uri;
    fill_kind(app, o, &look);
    if (is_php(o) && OK != (rc = complete_php(app, &look.behind, r, o)))
        return rc;
    rc = mp_behind_join(&app->author, &look.behind, r, o, app->root);
    if (rc != OK)
        return rc;
    app->group = o->app_group_name ? o->app_group_name : apr_pstrcat(r->pool, app->root, " (", o->app_env, ")", NULL);
    *papp = app;
    return OK;
}

int mp_map_is_cgi(const mp_map_app_t *app)
{
    return app->script.file || strcmp(app->kind, "fastcgi") == 0;
}

/* Asked about every file that Apache serves, whose names mostly do not even begin so. */
static int begins_like_ours(const char *name)
{
#define KIND(its_name, other_name, startup, is_folder) || *name == *startup
    return *name == *AG_APPFILE_NAME
#include "apr-glue/kind.def"
        ;
#undef KIND
}

static int is_named_like_ours(const char *name, const ag_options_t *o)
{
    apr_size_t i;

    for (i = 0; i < AG_LEN(kinds); i++) {
        if (strcmp(name, kinds[i].startup) == 0 && (kinds[i].is_folder != ONLY_NAMED || o->app_type))
            return 1;
    }
    return strcmp(name, AG_APPFILE_NAME) == 0;
}

int mp_map_looks_like_startup(const request_rec *r)
{
    const ag_options_t *o = mp_conf_options(r);
    const char *name = last_part(r->filename);

    if (begins_like_ours(name) && is_named_like_ours(name, o))
        return 1;
    if (o->enabled && is_php(o) && mp_script_is_source(name))
        return 1;
    return o->startup_file && strcmp(name, last_part(o->startup_file)) == 0;
}

static int same_file(request_rec *r, const char *root, const char *startup)
{
    const char *path = *startup == '/' ? startup : apr_pstrcat(r->pool, root, "/", startup, NULL);
    struct stat want, got;

    return stat(path, &want) == 0 && stat(r->filename, &got) == 0 && want.st_dev == got.st_dev && want.st_ino == got.st_ino;
}

int mp_map_is_startup(request_rec *r, const mp_map_app_t *app)
{
    const char *name = last_part(r->filename), *end = name + strlen(name);

    if (app->script.file)
        return strcmp(app->script.file, r->filename) == 0;
    if (app->startup && same_file(r, app->root, app->startup))
        return 1;
    /* Those of other languages are secrets too, but an app.js beside another application is a script for browsers. */
    return (end - name < 3 || strcmp(end - 3, ".js") != 0) && same_file(r, app->root, name);
}
