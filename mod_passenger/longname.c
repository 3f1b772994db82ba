#include "mod_passenger/longname.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define SUSPECT (APR_PATH_MAX / 2) /* of a URI: nobody's document root takes the other half of a path */

/* The first part of a path that is too long, and its length. */
static const char *find(const char *path, apr_size_t *plen)
{
    while (*path) {
        *plen = strcspn(path, "/");
        if (*plen > NAME_MAX)
            return path;
        path += *plen + (path[*plen] == '/');
    }
    return NULL;
}

int mp_longname_is(const request_rec *r)
{
    apr_size_t len;

    if (r->proxyreq || !r->filename || *r->filename != '/')
        return 0;
    len = strlen(r->filename);
    return len >= APR_PATH_MAX || (len > NAME_MAX && find(r->filename, &len));
}

/* Where httpd would look for the file, which it does not say of paths that no system call takes. r->uri has no dot segments any more. */
int mp_longname_translate(request_rec *r)
{
    const char *root;
    apr_size_t len, uri_len = r->uri ? strlen(r->uri) : 0;

    if (uri_len < SUSPECT)
        return DECLINED;
    root = ap_document_root(r);
    len = root ? strlen(root) : 0;
    if (r->proxyreq || !len || *r->uri != '/' || len + uri_len < APR_PATH_MAX)
        return DECLINED;
    while (len && root[len - 1] == '/')
        len--;
    r->filename = apr_pstrcat(r->pool, apr_pstrmemdup(r->pool, root, len), r->uri, NULL);
    r->canonical_filename = r->filename;
    return OK;
}

/* After the walk: r->filename ends where nothing was found, r->path_info is the rest of the path. Both get the name back. */
static void restore(request_rec *r, const char *path, apr_size_t before, apr_size_t len)
{
    apr_size_t found = strlen(r->filename);

    if (found > before)
        found = before + len;
    r->filename = apr_pstrmemdup(r->pool, path, found);
    r->canonical_filename = r->filename;
    r->path_info = apr_pstrdup(r->pool, path + found);
}

/* httpd's walk is done with a name that is short enough and is not there either, so that it ends as for any file that is missing. <Files> sees the
 * name as it was sent. */
int mp_longname_walk(request_rec *r)
{
    const char *path = r->filename;
    apr_size_t len, before;
    const char *name = find(path, &len);
    const char *instead;
    struct stat st;
    int rc;

    if (!name)
        return DECLINED;
    before = (apr_size_t) (name - path);
    instead = apr_pstrmemdup(r->pool, path, before + NAME_MAX);
    if (stat(instead, &st) == 0)
        return DECLINED;
    r->filename = apr_pstrcat(r->pool, instead, name + len, NULL);
    rc = ap_directory_walk(r);
    restore(r, path, before, len);
    return rc == OK ? ap_file_walk(r) : rc;
}
