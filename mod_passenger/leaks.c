#include "mod_passenger/leaks.h"

#include "mod_passenger/conf.h"
#include "mod_passenger/once.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <limits.h>
#include <stdlib.h>

typedef struct {
    int folder, top, whole; /* whole: the head is all of the name */
    const char *kind, *head, *tail;
    apr_size_t head_len, tail_len;
} row_t;

#define TOP 1
#define ANY 0
#define ROW(is_folder, is_whole, where, of, begin, end)                                                                                    \
    {.folder = is_folder, .whole = is_whole, .top = where, .kind = of, .head = begin, .tail = end, .head_len = sizeof(begin) - 1,           \
     .tail_len = sizeof(end) - 1},
#define FILE(where, kind, name)          ROW(0, 1, where, kind, name, "")
#define FILES(where, kind, begin, end)   ROW(0, 0, where, kind, begin, end)
#define FOLDER(where, kind, name)        ROW(1, 1, where, kind, name, "")
#define FOLDERS(where, kind, begin, end) ROW(1, 0, where, kind, begin, end)

static const row_t rows[] = {
#include "mod_passenger/leaks.def"
};

/* For files and for folders, by the first letter of a row's head, or the last one of its tail where it has no head: a row's number, from 1, and
 * that of the next one that has this letter there. Almost always no row has a name's letters. */
struct mp_leaks_index_t {
    unsigned char first[2][UCHAR_MAX + 1], last[2][UCHAR_MAX + 1], next[AG_LEN(rows)];
};

mp_leaks_index_t *mp_leaks_index_create(apr_pool_t *p)
{
    mp_leaks_index_t *index = apr_pcalloc(p, sizeof(*index));
    apr_size_t i;

    for (i = AG_LEN(rows); i-- > 0;) {
        const row_t *row = &rows[i];
        unsigned char *number = row->head_len ? &index->first[row->folder][(unsigned char) row->head[0]]
                                              : &index->last[row->folder][(unsigned char) row->tail[row->tail_len - 1]];

        index->next[i] = *number;
        *number = (unsigned char) (i + 1);
    }
    return index;
}

static int matches(const row_t *row, const char *name, apr_size_t len)
{
    if (len < row->head_len + row->tail_len || (row->whole && len != row->head_len))
        return 0;
    return strncasecmp(name, row->head, row->head_len) == 0 && strncasecmp(name + len - row->tail_len, row->tail, row->tail_len) == 0;
}

/* A command or Passengerfile.json may start anything: scripts that no browser runs are its source. */
static int concerns(const row_t *row, const char *kind)
{
    return !*row->kind || strcmp(row->kind, kind) == 0 || (!row->folder && strcmp(kind, "generic") == 0 && strcmp(row->kind, "nodejs") != 0);
}

/* 1 if one of the rows from number `i` on names this part of a path. */
static int names(const mp_leaks_index_t *index, int i, const char *part, apr_size_t len, int top, const char *kind)
{
    for (; i; i = index->next[i - 1]) {
        const row_t *row = &rows[i - 1];

        if ((!kind || ((top || !row->top) && concerns(row, kind))) && matches(row, part, len))
            return 1;
    }
    return 0;
}

/* 1 if one part of `path` is named in the list. Without a kind: of any kind, at any depth. */
static int listed(const mp_leaks_index_t *index, const char *path, const char *kind)
{
    int top = 1;

    while (*path == '/')
        path++;
    for (; *path; top = 0) {
        apr_size_t len = strcspn(path, "/");
        int folder = path[len] == '/';

        if (names(index, index->first[folder][(unsigned char) apr_tolower(*path)], path, len, top, kind) ||
            names(index, index->last[folder][(unsigned char) apr_tolower(path[len - 1])], path, len, top, kind))
            return 1;
        path += len;
        while (*path == '/')
            path++;
    }
    return 0;
}

/* `path` below `folder`, or NULL; "" if they are the same. */
static const char *below(const char *path, const char *folder)
{
    apr_size_t len = strlen(folder);

    while (len > 1 && folder[len - 1] == '/')
        len--;
    if (strncmp(path, folder, len) != 0 || (path[len] && path[len] != '/' && len > 1))
        return NULL;
    path += len;
    while (*path == '/')
        path++;
    return path;
}

/* With all links followed; as it is written where Apache's user may not look. */
static const char *real(apr_pool_t *p, const char *path)
{
    char *found = realpath(path, NULL);
    const char *copy = apr_pstrdup(p, found ? found : path);

    free(found);
    return copy;
}

int mp_leaks_suspect(const mp_leaks_index_t *index, const request_rec *r)
{
    const char *rest;

    if (r->finfo.filetype != APR_REG || !r->filename)
        return 0;
    rest = below(r->filename, ap_context_document_root((request_rec *) (apr_uintptr_t) r));
    return listed(index, rest ? rest : r->filename, NULL) || mp_map_looks_like_startup(r);
}

static void report(request_rec *r, const mp_map_app_t *app, const char *documents)
{
    if (mp_once(apr_pstrcat(r->pool, "leaks of ", app->root, NULL)))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG1710",
                "%s was asked for and refused: it is part of the application %s, which lies in the folder whose files everybody may have, %s. "
                "Let DocumentRoot (or Alias) be the application's public folder, %s/public; or take PassengerProtectAppFiles Off if nothing of it "
                "is secret",
                r->filename, app->root, documents, app->root);
    else
        MP_RLOG(APLOG_INFO, 0, r, "PSG1711", "%s was asked for and refused: it is part of the application %s", r->filename, app->root);
}

int mp_leaks_secret(const mp_leaks_index_t *index, request_rec *r, const mp_map_app_t *app)
{
    const char *documents, *root, *path, *below_documents;

    if (!mp_conf_options(r)->protect_app_files)
        return 0;
    documents = real(r->pool, ap_context_document_root(r));
    root = real(r->pool, app->root);
    below_documents = below(documents, root);
    path = below(real(r->pool, r->filename), root);
    if (!path || (below_documents && *below_documents))
        return 0; /* what is in a folder of its own is there for visitors */
    if (strncmp(path, "public/", 7) == 0 || strncmp(path, ".well-known/", 12) == 0)
        return 0;
    /* A script of PHP's is asked for to be run. */
    if (!listed(index, path, app->kind) && (app->script.file || !mp_map_looks_like_startup(r) || !mp_map_is_startup(r, app)))
        return 0;
    report(r, app, documents);
    return 1;
}
