#include "apr-glue/path.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel */

/* A walk: the folder reached, and what is left of the way. */
typedef struct {
    apr_pool_t *p;
    ag_path_t *path;
    int at;
    const char *walked, *rest;
    int links, follow;
} walk_t;

static apr_status_t start_at_root(walk_t *w)
{
    if (w->at >= 0)
        close(w->at);
    w->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    w->walked = "";
    return w->at < 0 ? errno : APR_SUCCESS;
}

static apr_status_t read_link(walk_t *w, int fd)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(fd, "", target, sizeof target - 1);

    if (n <= 0)
        return n < 0 ? errno : ENOENT;
    w->path->target = apr_pstrmemdup(w->p, target, (apr_size_t)n);
    return APR_SUCCESS;
}

/* Puts the link's target in front of the rest. */
static apr_status_t follow_link(walk_t *w)
{
    const char *target = w->path->target;

    w->path->target = NULL;
    if (++w->links > LINKS_MAX)
        return ELOOP;
    w->rest = apr_pstrcat(w->p, target, "/", w->rest, NULL);
    return target[0] == '/' ? start_at_root(w) : APR_SUCCESS;
}

static apr_status_t step(walk_t *w, const char *name)
{
    int fd = openat(w->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), last = !w->rest[strspn(w->rest, "/")];
    ag_path_step_t *passed;
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0 || fstat(fd, &w->path->st)) {
        rv = errno;
        goto leave;
    }
    passed = apr_array_push(w->path->steps);
    passed->name = apr_pstrcat(w->p, w->walked, "/", name, NULL);
    passed->owner = w->path->st.st_uid;
    passed->open = S_ISDIR(w->path->st.st_mode) && (w->path->st.st_mode & S_IWOTH) && !(w->path->st.st_mode & S_ISVTX);
    passed->link = S_ISLNK(w->path->st.st_mode) && (w->follow || !last);
    if (S_ISLNK(w->path->st.st_mode))
        rv = read_link(w, fd);
    if (passed->link && rv == APR_SUCCESS)
        rv = follow_link(w);
    if (passed->link || rv != APR_SUCCESS)
        goto leave;
    w->walked = passed->name;
    close(w->at);
    w->at = fd;
    return APR_SUCCESS;

leave:
    if (fd >= 0)
        close(fd);
    return rv;
}

int ag_path_climbs(const char *name)
{
    apr_size_t len = strlen(name);

    return strstr(name, "/../") || (len >= 3 && strcmp(name + len - 3, "/..") == 0);
}

apr_status_t ag_path_walk(ag_path_t *path, const char *name, int how, apr_pool_t *p)
{
    walk_t w = {.p = p, .path = path, .at = -1, .rest = name, .follow = how & AG_PATH_FOLLOW};
    apr_status_t rv = start_at_root(&w);

    path->target = NULL;
    path->steps = apr_array_make(p, 8, sizeof(ag_path_step_t));
    if (name[0] != '/' || (!(how & AG_PATH_CLIMB) && ag_path_climbs(name)))
        rv = EINVAL;
    if (rv == APR_SUCCESS && fstat(w.at, &path->st))
        rv = errno;
    while (rv == APR_SUCCESS && *(w.rest += strspn(w.rest, "/"))) {
        apr_size_t len = strcspn(w.rest, "/");
        const char *part = apr_pstrmemdup(p, w.rest, len);
        w.rest += len;
        rv = step(&w, part);
    }
    if (w.at >= 0)
        close(w.at);
    return rv;
}

const ag_path_step_t *ag_path_foreign(const ag_path_t *path, uint32_t uid, int links)
{
    for (int i = 0; i < path->steps->nelts; i++) {
        const ag_path_step_t *passed = &APR_ARRAY_IDX(path->steps, i, ag_path_step_t);
        if (passed->owner != 0 && passed->owner != uid && (passed->link || !links))
            return passed;
    }
    return NULL;
}

apr_status_t ag_path_read(char **ptext, const char *name, uint32_t uid, apr_size_t max, apr_pool_t *p)
{
    ag_path_t way;
    struct stat st;
    apr_size_t len = 0;
    ssize_t n = 1;
    char *text;
    apr_status_t rv = ag_path_walk(&way, name, AG_PATH_FOLLOW | AG_PATH_CLIMB, p);
    int fd;

    if (rv != APR_SUCCESS)
        return rv;
    if (ag_path_foreign(&way, uid, 0) || way.st.st_mode & S_IWOTH)
        return EPERM;
    /* What was looked at must be what is read, and no pipe may hold us up. */
    fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (fstat(fd, &st) || st.st_dev != way.st.st_dev || st.st_ino != way.st.st_ino)
        rv = EPERM;
    else if (!S_ISREG(st.st_mode))
        rv = EINVAL;
    else if ((apr_uint64_t)st.st_size > max)
        rv = E2BIG;
    text = apr_palloc(p, rv == APR_SUCCESS ? max + 1 : 1);
    while (rv == APR_SUCCESS && len < max && (n = read(fd, text + len, max - len)) != 0) {
        if (n < 0)
            rv = errno;
        else
            len += (apr_size_t)n;
    }
    close(fd);
    text[len] = '\0';
    if (rv == APR_SUCCESS && strlen(text) != len)
        rv = EILSEQ;
    if (rv == APR_SUCCESS)
        *ptext = text;
    return rv;
}

const char *ag_path_closed(const char *path, apr_pool_t *p)
{
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        const char *part = apr_pstrmemdup(p, path, (apr_size_t)(slash - path));
        if (access(part, X_OK) && errno == EACCES)
            return part;
    }
    return NULL;
}
