#include "mod_passenger/takeover.h"

#include "mod_passenger/accesslog.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/env.h"
#include "mod_passenger/farewell.h"
#include "mod_passenger/leaks.h"
#include "mod_passenger/link.h"
#include "mod_passenger/longname.h"
#include "mod_passenger/map.h"
#include "mod_passenger/park.h"

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mpm_common.h>
#include <sys/stat.h>

#define HANDLER  "passenger-handler"
/* How long a thread waits for the core without asking if its client is there, or without giving itself back. */
#define PATIENCE apr_time_from_msec(100)
#define GLANCE   apr_time_from_msec(1)

/* What a child keeps between requests. Every server's configuration points to it. */
typedef struct {
    mp_map_cache_t *found;
    mp_env_cache_t *env;
    mp_leaks_index_t *leaks;
    mp_link_pool_t *links;
    mp_park_lot_t *lot; /* NULL: requests wait in their threads */
} child_t;

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    child_t *child = apr_palloc(pchild, sizeof(*child));
    int threads = 0;

    mp_farewell_child_init();
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    child->found = mp_map_cache_create(pchild);
    child->leaks = mp_leaks_index_create(pchild);
    child->env = mp_env_cache_create(pchild);
    child->lot = mp_park_lot_create(pchild, s);
    child->links = mp_link_pool_create(pchild, threads > 1 ? threads : 1, child->lot ? GLANCE : PATIENCE, mp_accesslog_asks(s));
    if (!child->found || !child->env || !child->links) {
        MP_LOG(APLOG_CRIT, 0, s, "PSG0601", "no mutex could be made; requests for applications are refused");
        return;
    }
    for (; s; s = s->next)
        ap_set_module_config(s->module_config, &passenger_module, child);
}

/* Apache joins the threads of a child that it stops, for up to ten seconds; those that wait for an application must come at once (httpd 2.4.50
 * and later tell; prefork's children simply end). Parked requests have none, and end with the child: its listener, if they woke it now, would wait
 * for an idle thread when all have ended already, and the child for its listener, for five seconds. */
static void child_stopping(apr_pool_t *pchild, int graceful)
{
    const child_t *child = ap_get_module_config(ap_server_conf->module_config, &passenger_module);

    (void) pchild;
    if (child && graceful)
        mp_farewell_begin(child->links);
    else if (child)
        mp_link_pool_stop(child->links, 0);
}

static const child_t *child_of(const request_rec *r)
{
    return ap_get_module_config(r->server->module_config, &passenger_module);
}

/* Every request of Apache's comes here, so that calls are spared. */
static int is_handler(const request_rec *r, const char *name)
{
    return r->handler && *r->handler == *name && strcmp(r->handler, name) == 0;
}

/* 1 if a handler was chosen that is neither ours nor the one for folders: it wins (SetHandler, AddHandler, ScriptAlias, RewriteRule). */
static int is_foreign(const request_rec *r)
{
    return r->handler && !is_handler(r, DIR_MAGIC_TYPE) && !is_handler(r, HANDLER);
}

static int is_plain_file(const request_rec *r)
{
    return r->finfo.filetype == APR_REG && (!r->path_info || !*r->path_info);
}

/* 1 if Apache sends the file as it is, unless we say no. */
static int is_served(const request_rec *r)
{
    int by_default = is_handler(r, "default-handler"); /* which may take what stands behind the file's name */

    return !r->proxyreq && child_of(r) && r->finfo.filetype == APR_REG && (by_default || (is_plain_file(r) && !is_foreign(r)));
}

/* The URI of the page that the application has stored in its public folder for this request, or NULL. */
static const char *cached_page(request_rec *r)
{
    apr_size_t len = strlen(r->uri);
    int folder = r->uri[len - 1] == '/';
    const char *file = r->filename, *suffix = folder ? "index.html" : ".html";
    struct stat st;

    if (r->method_number != M_GET || !file || (folder && r->finfo.filetype != APR_DIR))
        return NULL;
    /* Below a folder that is not there, nothing is. */
    if (r->finfo.filetype == APR_NOFILE && r->path_info && *r->path_info)
        return NULL;
    len = strlen(file);
    while (len > 1 && file[len - 1] == '/')
        len--;
    file = apr_pstrcat(r->pool, apr_pstrmemdup(r->pool, file, len), folder ? "/" : r->path_info, suffix, NULL);
    if (stat(file, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    return apr_pstrcat(r->pool, r->uri, suffix, NULL);
}

/* Turns the request into one for a stored page, as mod_dir does it for index files: with the access rules, type and filters of that
 * page's own URI. OK if that worked, DECLINED if the application must answer. */
static int serve_page(request_rec *r, const char *uri)
{
    const char *escaped = ap_escape_uri(r->pool, uri);
    request_rec *page;
    int status;

    if (r->args)
        escaped = apr_pstrcat(r->pool, escaped, "?", r->args, NULL);
    page = ap_sub_req_lookup_uri(escaped, r, NULL);
    status = page->status;
    if (status == HTTP_OK && is_plain_file(page) && !is_foreign(page)) {
        ap_internal_fast_redirect(page, r);
        return OK;
    }
    ap_destroy_sub_req(page);
    return status == HTTP_UNAUTHORIZED || status == HTTP_FORBIDDEN ? status : DECLINED;
}

/* 1 for a folder with a page of its own whose slash is missing: the page's relative links work only below the slash. */
static int wants_slash(request_rec *r, const mp_map_app_t *app)
{
    struct stat st;

    if (r->method_number != M_GET || r->finfo.filetype != APR_DIR || r->uri[strlen(r->uri) - 1] == '/')
        return 0;
    if (app->script.file && mp_script_is_index(r))
        return 1;
    return stat(apr_pstrcat(r->pool, r->filename, "/index.html", NULL), &st) == 0 && S_ISREG(st.st_mode);
}

/* A rule of mod_rewrite's sends requests to the startup file, as if it were a program for CGI, with what was asked for behind its name. The
 * application is asked for that, and knows nothing of the file. */
static void forget_file(request_rec *r, const mp_map_app_t *app)
{
    if (app->script.file || r->finfo.filetype != APR_REG || !r->path_info || *r->path_info != '/' || !mp_map_looks_like_startup(r) ||
        !mp_map_is_startup(r, app))
        return;
    r->uri = apr_pstrcat(r->pool, app->base_uri, r->path_info, NULL);
}

static void take(request_rec *r)
{
    r->handler = HANDLER;
    if (r->finfo.filetype == APR_DIR)
        r->finfo.filetype = APR_NOFILE; /* mod_dir's redirects and mod_autoindex's listing are for folders */
}

/* Decides. Runs after everything that can send the request elsewhere (mod_rewrite, mod_proxy, mod_alias) and before mod_dir, which would
 * redirect to folders and look for index files. A file that is there is served by Apache. */
static int fixups(request_rec *r)
{
    const mp_map_app_t *app;
    const char *page;
    int rc, plain = is_plain_file(r), served = is_served(r);

    if (served && mp_leaks_suspect(child_of(r)->leaks, r)) {
        rc = mp_map_find(child_of(r)->found, r, &app);
        if (rc != DECLINED && (rc != OK || mp_leaks_secret(child_of(r)->leaks, r, app)))
            return rc == OK ? HTTP_FORBIDDEN : rc;
    } else if (served && plain) {
        return DECLINED;
    }
    if (ap_get_module_config(r->request_config, &passenger_module) && is_handler(r, HANDLER))
        return DECLINED; /* taken early */
    if (r->proxyreq || is_foreign(r) || (plain && !mp_map_looks_like_startup(r)))
        return DECLINED;
    if (!child_of(r))
        return HTTP_SERVICE_UNAVAILABLE;
    rc = mp_map_find(child_of(r)->found, r, &app);
    if (rc != OK)
        return rc == DECLINED && mp_longname_is(r) ? HTTP_FORBIDDEN : rc;
    if (plain && !mp_map_is_startup(r, app))
        return DECLINED;
    page = plain ? NULL : cached_page(r);
    if (page) {
        rc = serve_page(r, page);
        if (rc != DECLINED)
            return rc;
    }
    ap_set_module_config(r->request_config, &passenger_module, (void *) (apr_uintptr_t) app);
    forget_file(r, app);
    if (plain || !wants_slash(r, app))
        take(r);
    return DECLINED;
}

/* What was left to mod_dir to redirect, and was not (DirectorySlash Off), is the application's all the same. */
static int after_mod_dir(request_rec *r)
{
    if (ap_get_module_config(r->request_config, &passenger_module) && !is_foreign(r))
        take(r);
    return DECLINED;
}

/* What is needed to know only if the application answers. */
static const mp_map_app_t *with_env(const child_t *child, request_rec *r, const mp_map_app_t *app)
{
    mp_map_app_t *whole = apr_pmemdup(r->pool, app, sizeof(*app));

    whole->env = mp_env_find(child->env, r, app);
    return whole;
}

/* PassengerHighPerformance: what is no file goes to the application before httpd looks into folders. */
static int take_early(request_rec *r)
{
    const mp_map_app_t *app;
    struct stat st;
    int rc;

    if (!mp_conf_options(r)->high_performance || r->proxyreq || r->main || !child_of(r) || !r->filename || is_foreign(r))
        return DECLINED;
    if (stat(r->filename, &st) == 0 || stat(apr_pstrcat(r->pool, r->filename, ".html", NULL), &st) == 0)
        return DECLINED;
    rc = mp_map_find(child_of(r)->found, r, &app);
    if (rc != OK || app->script.file)
        return rc == OK ? DECLINED : rc; /* PHP's scripts are found by looking into folders */
    ap_set_module_config(r->request_config, &passenger_module, (void *) (apr_uintptr_t) app);
    take(r);
    return OK;
}

/* A name that is too long for a file is refused by httpd before anybody was asked. Here it is not known yet whose it is: the sections of locations
 * take part after this, so fixups() refuses what is nobody's. */
static int walk_long_name(request_rec *r)
{
    return child_of(r) && mp_longname_is(r) ? mp_longname_walk(r) : DECLINED;
}

static int handler(request_rec *r)
{
    const child_t *child = child_of(r);
    const mp_map_app_t *app;

    if (!is_handler(r, HANDLER))
        return DECLINED;
    if (!child)
        return HTTP_SERVICE_UNAVAILABLE;
    app = ap_get_module_config(r->request_config, &passenger_module);
    if (!app) {
        /* SetHandler, or a request that another module put together from parts of one of ours. */
        int rc = mp_map_find(child->found, r, &app);

        if (rc != OK)
            return rc == DECLINED ? HTTP_NOT_FOUND : rc;
    }
    return mp_park_run(child->lot, r, with_env(child, r, app), child->links);
}

/* What mod_rewrite's rules in .htaccess files have redirected. */
static int detour(request_rec *r)
{
    return is_handler(r, "redirect-handler") ? mp_park_detour(r) : DECLINED;
}

static int whole(request_rec *r, int lookup)
{
    return lookup ? DECLINED : mp_park_whole(r);
}

static int process_connection(conn_rec *c)
{
    const child_t *child = ap_get_module_config(c->base_server->module_config, &passenger_module);

    return child ? mp_park_process(child->lot, c) : DECLINED;
}

static void suspend_connection(conn_rec *c, request_rec *r)
{
    (void) r;
    mp_park_suspend(c);
}

static void resume_connection(conn_rec *c, request_rec *r)
{
    (void) r;
    mp_park_resume(c);
}

void mp_takeover_register_hooks(apr_pool_t *p)
{
    static const char *const before[] = {"mod_rewrite.c", "mod_proxy.c", "mod_alias.c", "mod_env.c", "mod_negotiation.c", "mod_ssl.c", NULL};
    static const char *const after[] = {"mod_dir.c", "mod_speling.c", NULL};
    static const char *const dir[] = {"mod_dir.c", NULL}, *const proxy[] = {"mod_proxy.c", NULL};

    (void) p;
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(take_early, proxy, NULL, APR_HOOK_MIDDLE);
    ap_hook_translate_name(mp_longname_translate, NULL, NULL, APR_HOOK_LAST);
    ap_hook_map_to_storage(walk_long_name, NULL, NULL, APR_HOOK_LAST);
    ap_hook_fixups(fixups, before, after, APR_HOOK_LAST);
    ap_hook_fixups(after_mod_dir, dir, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_quick_handler(whole, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(detour, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_process_connection(process_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_suspend_connection(suspend_connection, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_resume_connection(resume_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
