#include "mod_passenger/script.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The length of PHP's suffix at `at`, or 0. */
static apr_size_t suffix(const char *at)
{
    static const char *const suffixes[] = {".php", ".phtml", ".phar"};
    apr_size_t i;

    for (i = 0; i < AG_LEN(suffixes); i++) {
        apr_size_t n = strlen(suffixes[i]);

        if (strncasecmp(at, suffixes[i], n) == 0)
            return n;
    }
    return 0;
}

static int is_script(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && suffix(dot) == strlen(dot);
}

/* What editors, and people, make of a script's name before they change it. */
static int is_copy(const char *name)
{
    const char *dot;

    for (dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        apr_size_t n = suffix(dot);

        if (n && dot[n] && (!apr_isalnum(dot[n]) || strcasecmp(dot + n, "s") == 0))
            return 1;
    }
    return 0;
}

int mp_script_is_source(const char *name)
{
    name = last_part(name);
    return is_script(name) || is_copy(name);
}

/* What comes behind the folder in a path below it, or NULL. */
static const char *below(const char *folder, const char *path)
{
    apr_size_t n = strlen(folder);

    return strncmp(path, folder, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

int mp_script_is_index(const request_rec *r)
{
    struct stat st;

    return r->finfo.filetype == APR_DIR && r->filename && stat(apr_pstrcat(r->pool, r->filename, "/index.php", NULL), &st) == 0 &&
           S_ISREG(st.st_mode);
}

static void set(mp_script_t *script, const char *file, const char *name, const char *path_info)
{
    script->file = file;
    script->name = name;
    script->path_info = path_info;
}

/* The file in r->filename. What follows its name in the URI is PATH_INFO. */
static int set_file(mp_script_t *script, request_rec *r, const char *public_dir)
{
    const char *info = r->path_info ? r->path_info : "";
    apr_size_t len = strlen(r->uri), n = strlen(info);

    if (!is_script(last_part(r->filename))) {
        MP_RLOG(APLOG_INFO, 0, r, "PSG1400", "%s is not sent: it is a copy of a script; remove it from the public folder", r->filename);
        return HTTP_FORBIDDEN;
    }
    if (!below(public_dir, r->filename)) {
        MP_RLOG(APLOG_WARNING, 0, r, "PSG1401",
                "%s is neither run nor sent: it is not in the public folder of the PHP application, %s; make what is there an application of its own "
                "(PassengerBaseURI)",
                r->filename, public_dir);
        return HTTP_FORBIDDEN;
    }
    if (n <= len && strcmp(r->uri + len - n, info) == 0)
        len -= n;
    set(script, r->filename, apr_pstrmemdup(r->pool, r->uri, len), info);
    return OK;
}

static void set_index(mp_script_t *script, request_rec *r)
{
    apr_size_t file = strlen(r->filename), uri = strlen(r->uri);
    const char *file_slash = r->filename[file - 1] == '/' ? "" : "/", *uri_slash = r->uri[uri - 1] == '/' ? "" : "/";

    set(script, apr_pstrcat(r->pool, r->filename, file_slash, "index.php", NULL), apr_pstrcat(r->pool, r->uri, uri_slash, "index.php", NULL), "");
}

int mp_script_find(mp_script_t *script, request_rec *r, const char *public_dir, const char *base_uri, const char *front)
{
    const char *rest;

    if (r->finfo.filetype == APR_REG && r->filename && mp_script_is_source(r->filename))
        return set_file(script, r, public_dir);
    if (mp_script_is_index(r) && (!r->path_info || !*r->path_info) &&
        (below(public_dir, r->filename) || strncmp(r->filename, public_dir, strlen(public_dir)) == 0)) {
        set_index(script, r);
        return OK;
    }
    rest = below(public_dir, front);
    set(script, front, apr_pstrcat(r->pool, base_uri, "/", rest ? rest : last_part(front), NULL), "");
    return OK;
}
