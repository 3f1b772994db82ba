#include "mod_passenger/mistake.h"

#include "apr-glue/appfile.h"
#include "mod_passenger/behind.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/once.h"

#include <apr_strings.h>
#include <apr_user.h>
#include <http_core.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_request.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT  "PassengerAppRoot"
#define TITLE "There is no application here"

/* What says that a folder is an application. */
static const char *const startups[] = {AG_APPFILE_NAME,
#define KIND(name, other_name, startup, is_folder) (is_folder) < 0 ? NULL : (startup),
#include "apr-glue/kind.def"
#undef KIND
};

/* What applications are often started by elsewhere: beside a folder `public` without an index it is most likely one that was to be found. */
static const struct {
    const char *name, *type;
} elsewhere[] = {{"wsgi.py", "python"}, {"asgi.py", "python"}, {"app.py", "python"}, {"main.py", "python"}, {"application.py", "python"},
                 {"server.js", "node"}, {"index.js", "node"}, {"main.js", "node"}, {"server.mjs", "node"}, {"app.mjs", "node"}, {"index.mjs", "node"},
                 {"app.cjs", "node"}, {"server.cjs", "node"}, {"manage.py", NULL}};
static const char *const indexes[] = {"index.html", "index.htm", "index.php"};

/* -- where it is written -- */

static const ap_directive_t *find(const ap_directive_t *at, const char *directive, const char *value, apr_pool_t *p)
{
    const ap_directive_t *found = NULL;

    for (; at && !found; at = at->next) {
        const char *args = at->args;

        if (strcasecmp(at->directive, directive) == 0 && strcmp(ap_getword_conf(p, &args), value) == 0)
            return at;
        found = find(at->first_child, directive, value, p);
    }
    return found;
}

/* The directive, its value, and where it stands. */
static const char *cite(apr_pool_t *p, const char *directive, const char *value)
{
    const ap_directive_t *at = find(ap_conftree, directive, value, p);

    return at ? apr_psprintf(p, "%s %s (%s:%d)", directive, value, at->filename, at->line_num)
              : apr_psprintf(p, "%s %s (in an .htaccess file)", directive, value);
}

/* -- what is wrong with a folder -- */

static const char *missing(apr_pool_t *p, const char *path)
{
    char target[1024];
    ssize_t n = readlink(path, target, sizeof target);

    return n < 0 ? apr_psprintf(p, "there is no %s", path)
                 : apr_psprintf(p, "%s is a symbolic link to %.*s, which does not exist", path, (int) n, target);
}

/* NULL if it is a folder that this process may search, else what stands in the way. */
static const char *objection(apr_pool_t *p, const char *folder)
{
    apr_size_t len = strlen(folder), n;
    struct stat st;
    char *user;

    if (*folder != '/')
        return "that is no absolute path";
    for (n = 1; n <= len; n++) {
        const char *path = apr_pstrmemdup(p, folder, n);

        if (n < len && folder[n] != '/')
            continue;
        if (stat(path, &st) != 0)
            return missing(p, path);
        if (!S_ISDIR(st.st_mode))
            return apr_psprintf(p, "%s is no folder", path);
        if (access(path, X_OK) == 0)
            continue;
        if (apr_uid_name_get(&user, geteuid(), p) != APR_SUCCESS)
            user = apr_psprintf(p, "%ld", (long) geteuid());
        return apr_psprintf(p, "user %s, as whom Apache runs, has no search permission (x) on the folder %s: chmod a+x %s, or, for that user alone, "
                            "setfacl -m u:%s:x %s, gives it", user, path, path, user, path);
    }
    return NULL;
}

/* The startup file in a folder, or NULL. `sure`: but none that might be a script for browsers. */
static const char *startup_in(apr_pool_t *p, const char *folder, int sure)
{
    struct stat st;
    apr_size_t i;

    for (i = 0; i < AG_LEN(startups); i++) {
        apr_size_t n = startups[i] ? strlen(startups[i]) : 0;

        if (n > 3 && !(sure && strcmp(startups[i] + n - 3, ".js") == 0) && stat(apr_pstrcat(p, folder, "/", startups[i], NULL), &st) == 0)
            return startups[i];
    }
    return NULL;
}

static int is_public(const char *folder)
{
    const char *slash = strrchr(folder, '/');

    return slash && strcmp(slash, "/public") == 0;
}

static int has(apr_pool_t *p, const char *folder, const char *name)
{
    struct stat st;

    return stat(apr_pstrcat(p, folder, "/", name, NULL), &st) == 0;
}

static const char *nothing_in(apr_pool_t *p, const char *folder)
{
    const char *names = "";
    apr_size_t i;

    for (i = 0; i < AG_LEN(startups); i++)
        names = startups[i] ? apr_pstrcat(p, names, *names ? ", " : "", startups[i], NULL) : names;
    return apr_psprintf(p, "in %s is no application, that is, none of %s", folder, names);
}

/* -- which mistake it is -- */

static const char *of_root(apr_pool_t *p, const char *root)
{
    const char *cited = cite(p, ROOT, root), *why = objection(p, root), *above = mp_behind_parent(p, root), *startup;

    if (why)
        return apr_pstrcat(p, cited, ": ", why, ". Create the folder, or correct the directive", NULL);
    startup = startup_in(p, above, 1);
    if (startup)
        return apr_psprintf(p, "%s: %s. The folder above it has %s: that may be what is meant", cited, nothing_in(p, root), startup);
    return apr_psprintf(p, "%s: %s. Put one of them there, or say with PassengerAppType and PassengerStartupFile what it is", cited,
                        nothing_in(p, root));
}

static const char *of_base_uri(apr_pool_t *p, const char *base_uri, const char *public_dir)
{
    const char *cited = cite(p, "PassengerBaseURI", base_uri), *why = objection(p, public_dir);

    return apr_psprintf(p, "%s: %s. Let %s be a symbolic link to the application's public folder, or name the application with " ROOT
                        " in a <Location %s>", cited, why ? why : "the folder behind it does not lead to an application", public_dir, base_uri);
}

static const char *of_startup(apr_pool_t *p, const char *startup, const char *folder)
{
    return apr_psprintf(p, "%s: which language that is has to be said with PassengerAppType, because %s",
                        cite(p, "PassengerStartupFile", startup), nothing_in(p, folder));
}

static const char *of_group(apr_pool_t *p, const char *name, const char *folder)
{
    return apr_psprintf(p, "%s: %s, the folder above the document root. Let DocumentRoot be the application's public folder, or name its folder "
                        "with " ROOT, cite(p, "PassengerAppGroupName", name), nothing_in(p, folder));
}

/* The application has a startup file of another name. */
static const char *of_name(apr_pool_t *p, const char *documents, const char *folder)
{
    const char *advice;
    apr_size_t i;

    if (!is_public(documents))
        return NULL;
    for (i = 0; i < AG_LEN(indexes); i++) {
        if (has(p, documents, indexes[i]))
            return NULL;
    }
    for (i = 0; i < AG_LEN(elsewhere) && !has(p, folder, elsewhere[i].name); i++)
        ;
    if (i == AG_LEN(elsewhere))
        return NULL;
    advice = elsewhere[i].type ? apr_psprintf(p, "rename that, or say PassengerAppType %s and PassengerStartupFile %s", elsewhere[i].type,
                                              elsewhere[i].name)
                               : "if that is Django's, write a passenger_wsgi.py that says \"from PROJECT.wsgi import application\"";
    return apr_psprintf(p, "the document root %s may be the public folder of an application, but %s. It has %s: %s", documents,
                        nothing_in(p, folder), elsewhere[i].name, advice);
}

/* Nothing of ours was said: but who looks at a site of files without an index is told what lies there. */
static const char *of_documents(request_rec *r, const char *folder)
{
    const char *documents = ap_document_root(r), *startup = documents ? startup_in(r->pool, documents, 1) : NULL;

    if (!startup)
        return documents ? of_name(r->pool, documents, folder) : NULL;
    return apr_psprintf(r->pool, "the document root %s has %s in it, but is not the public folder of an application: let DocumentRoot be %s/public, "
                        "or add " ROOT " %s", documents, startup, documents, documents);
}

static const char *sentence_of(request_rec *r, const ag_options_t *o, const char *folder, const char *base_uri)
{
    if (o->app_root)
        return of_root(r->pool, o->app_root);
    if (*base_uri)
        return of_base_uri(r->pool, base_uri, folder);
    if (o->startup_file)
        return of_startup(r->pool, o->startup_file, folder);
    return o->app_group_name ? of_group(r->pool, o->app_group_name, folder) : of_documents(r, folder);
}

/* -- who is told -- */

static int is_shown(const ag_options_t *o)
{
    return o->friendly_error_pages < 0 ? strcmp(o->app_env, "development") == 0 : o->friendly_error_pages;
}

static void show(request_rec *r, const char *sentence)
{
    const char *page = apr_psprintf(r->pool, "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s.</p>\n", TITLE, TITLE,
                                    ap_escape_html(r->pool, sentence));

    ap_custom_response(r, HTTP_NOT_FOUND, page);
    ap_custom_response(r, HTTP_FORBIDDEN, page); /* a folder that may not be listed */
    ap_custom_response(r, HTTP_INTERNAL_SERVER_ERROR, page);
}

void mp_mistake_no_app(request_rec *r, const ag_options_t *o, const char *folder, const char *base_uri, int fresh)
{
    int shown = is_shown(o);
    const char *sentence = fresh || shown ? sentence_of(r, o, folder, base_uri) : NULL;

    if (!sentence)
        return;
    if (mp_once(sentence))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG2800", "%s. Until then Apache answers here by itself", sentence);
    if (shown)
        show(r, sentence);
}

void mp_mistake_denied(request_rec *r, const ag_options_t *o, const char *root, const char *path)
{
    const char *why = objection(r->pool, mp_behind_parent(r->pool, path));
    const char *sentence = apr_psprintf(r->pool, "can't see whether there is an application in %s: %s", root, why ? why : "it was refused just now");

    if (mp_once(sentence))
        MP_RLOG(APLOG_ERR, 0, r, "PSG0600", "%s", sentence);
    if (is_shown(o))
        show(r, sentence);
}

/* Apache itself refuses what lies in folders that it may not search, before it is asked what is there. */
static int look_back(request_rec *r)
{
    const char *documents = r->status == HTTP_FORBIDDEN ? ap_document_root(r) : NULL, *why, *sentence;

    if (!documents || !is_public(documents) || !mp_conf_options(r)->enabled || !(why = objection(r->pool, documents)))
        return DECLINED;
    sentence = apr_psprintf(r->pool, "whether there is an application behind the document root %s can't be seen: %s%s", documents, why,
                            strncmp(why, "there", 5) ? "" : ". It must be there, even if it is empty (git leaves empty folders out)");
    if (mp_once(sentence))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG3904", "%s", sentence);
    return DECLINED;
}

/* -- before there are requests -- */

/* Directives that name something in the file system. */
static const struct {
    const char *directive;
    enum { FOLDER, FILE_, FILE_TO_COME } what;
} named[] = {
    {ROOT, FOLDER}, {"PassengerPython", FILE_}, {"PassengerRuby", FILE_}, {"PassengerDefaultRuby", FILE_}, {"PassengerNodejs", FILE_},
    {"PassengerPHP", FILE_}, {"PassengerEnvFile", FILE_}, {"PassengerCustomErrorPage", FILE_}, {"PassengerAppLogFile", FILE_TO_COME},
};

/* NULL if there is nothing against it. Of files only those that are paths: others are looked for when they are run, or in an application's folder. */
static const char *against(apr_pool_t *p, const char *directive, const char *value)
{
    struct stat st;
    apr_size_t i;

    for (i = 0; i < AG_LEN(named) && strcasecmp(directive, named[i].directive) != 0; i++)
        ;
    if (i == AG_LEN(named) || !*value)
        return NULL;
    if (named[i].what == FOLDER)
        return objection(p, value);
    if (named[i].what == FILE_TO_COME)
        value = *value == '/' ? mp_behind_parent(p, value) : value;
    return *value == '/' && stat(value, &st) != 0 && (errno == ENOENT || errno == ENOTDIR) ? missing(p, value) : NULL;
}

static void check(const ap_directive_t *at, server_rec *s, apr_pool_t *p)
{
    for (; at; at = at->next) {
        const char *args = at->args, *value = ap_getword_conf(p, &args), *why = against(p, at->directive, value);

        if (why)
            MP_LOG(APLOG_WARNING, 0, s, "PSG2801", "%s %s at %s:%d: %s", at->directive, value, at->filename, at->line_num, why);
        check(at->first_child, s, p);
    }
}

static void test_config(apr_pool_t *pconf, server_rec *s)
{
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, pconf);
    check(ap_conftree, s, ptemp);
    apr_pool_destroy(ptemp);
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void) pconf;
    (void) plog;
    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG)
        check(ap_conftree, s, ptemp);
    return OK;
}

void mp_mistake_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(look_back, NULL, NULL, APR_HOOK_MIDDLE);
}
