#include "helper/delegation.h"
#include "apr-glue/text.h"
#include "helper/cgroup.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROUNDS 100 /* of moving processes that fork meanwhile */

static const char *read_all(const char *path, apr_pool_t *p)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    apr_size_t size = 1 << 20, len = 0;
    char *text = apr_palloc(p, size);
    ssize_t n;

    while (fd >= 0 && len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
        len += (apr_size_t)n;
    if (fd >= 0)
        close(fd);
    text[len] = '\0';
    return text;
}

/* systemd's ways to say it to programs; the second one is for those that are not root. */
static int delegated(const char *folder)
{
    char value[2];

    return (getxattr(folder, "trusted.delegate", value, sizeof value) == 1 && value[0] == '1') ||
           (getxattr(folder, "user.delegate", value, sizeof value) == 1 && value[0] == '1');
}

void hp_delegation_look(hp_delegation_facts_t *facts, apr_pool_t *p)
{
    struct stat st;

    facts->cgroup = read_all("/proc/self/cgroup", p);
    facts->mountinfo = read_all("/proc/self/mountinfo", p);
    facts->systemd = stat("/run/systemd/system", &st) == 0; /* sd_booted(3) */
    facts->delegated = delegated;
}

/* Of the line "0::PATH"; the others are of version 1. */
static const char *own_path(const char *text, apr_pool_t *p)
{
    const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");

    if (!line)
        return NULL;
    line += *line == '\n' ? 4 : 3;
    return apr_pstrmemdup(p, line, strcspn(line, "\n"));
}

/* proc_pid_mountinfo(5): "id parent dev root point options fields... - type source options". */
static int find_mount(const char *text, const char **proot, const char **ppoint, apr_pool_t *p)
{
    char root[PATH_MAX], point[PATH_MAX];

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *end = strchr(line, '\n'), *type = strstr(line, " - cgroup2 ");
        if (!type || (end && type > end) || sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2)
            continue;
        *proot = apr_pstrdup(p, root);
        *ppoint = apr_pstrdup(p, point);
        return 1;
    }
    return 0;
}

static const char *last(const char *path)
{
    return strrchr(path, '/') + 1;
}

static const char *parent(const char *path, apr_pool_t *p)
{
    apr_size_t len = (apr_size_t)(last(path) - path);

    return apr_pstrmemdup(p, path, len > 1 ? len - 1 : 1);
}

static int ends(const char *text, const char *end)
{
    apr_size_t len = strlen(text), n = strlen(end);

    return len > n && strcmp(text + len - n, end) == 0;
}

static int is_unit(const char *path)
{
    return ends(path, ".service") || ends(path, ".scope") || ends(path, ".slice");
}

/* The unit that a group belongs to: the group itself, or what it lies in, where a unit has groups below it (DelegateSubgroup=, or our own). */
static const char *unit_of(const char *path, apr_pool_t *p)
{
    for (; strcmp(path, "/") != 0; path = parent(path, p)) {
        if (is_unit(path))
            return path;
    }
    return NULL;
}

static const char *join(const char *point, const char *root, const char *path, apr_pool_t *p)
{
    apr_size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (strncmp(path, root, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    return strcmp(path + len, "/") == 0 ? point : apr_pstrcat(p, point, path + len, NULL);
}

const char *hp_delegation_find(const hp_delegation_facts_t *facts, const char **preason, apr_pool_t *p)
{
    const char *own = own_path(facts->cgroup, p), *root = NULL, *point = NULL, *unit, *base;

    if (!own || !find_mount(facts->mountinfo, &root, &point, p)) {
        *preason = "there is no file system of type cgroup2";
        return NULL;
    }
    unit = *own == '/' ? unit_of(own, p) : NULL;
    base = unit ? unit : *own == '/' && strcmp(last(own), HP_DELEGATION_REST) == 0 ? parent(own, p) : own;
    base = *own == '/' && !strstr(own, "/..") ? join(point, root, base, p) : NULL;
    if (!base) {
        *preason = apr_psprintf(p, "Apache's control group %s is not below %s", own, point);
        return NULL;
    }
    if ((facts->systemd || unit) && !(unit && facts->delegated(base))) {
        *preason = apr_psprintf(p, "%s is systemd's; \"Delegate=yes\" in the unit %s delegates it", base, unit ? last(unit) : "of Apache");
        return NULL;
    }
    return base;
}

typedef struct {
    const char *to;
    apr_status_t rv;
    int moved;
} move_t;

/* "0" would mean this process itself. */
static void move_one(void *baton, pid_t pid)
{
    move_t *move = baton;
    apr_status_t rv = pid > 0 ? hp_cgroup_write_number(move->to, "cgroup.procs", (apr_uint64_t)pid) : EXDEV;

    if (rv == APR_SUCCESS)
        move->moved++;
    else if (rv != ESRCH)
        move->rv = rv;
}

static apr_status_t move_aside(const char *base, apr_pool_t *p)
{
    move_t move = {.to = apr_pstrcat(p, base, "/" HP_DELEGATION_REST, NULL), .moved = 1};

    if (mkdir(move.to, 0755) && errno != EEXIST)
        return errno;
    for (int i = 0; i < ROUNDS && move.moved > 0 && move.rv == APR_SUCCESS; i++) {
        move.moved = 0;
        hp_cgroup_each(base, move_one, &move);
    }
    return move.rv;
}

static apr_status_t enable(const char *base, unsigned controller, apr_pool_t *p)
{
    const char *text = hp_cgroup_names(controller, "+", p);
    apr_status_t rv = hp_cgroup_write(base, "cgroup.subtree_control", text);

    if (rv != EBUSY)
        return rv;
    rv = move_aside(base, p);
    return rv == APR_SUCCESS ? hp_cgroup_write(base, "cgroup.subtree_control", text) : rv;
}

unsigned hp_delegation_enable(const char *base, unsigned wanted, const char **preason, apr_pool_t *p)
{
    unsigned there = hp_cgroup_controllers(base, "cgroup.controllers") & wanted;
    apr_status_t rv = APR_SUCCESS, failed = APR_SUCCESS;

    for (unsigned bit = 1; bit <= there; bit <<= 1) {
        if (there & bit)
            rv = enable(base, bit, p);
        if (rv != APR_SUCCESS)
            failed = rv;
    }
    if (!there)
        *preason = apr_psprintf(p, "%s offers none of %s (cgroup.controllers)", base, hp_cgroup_names(wanted, "", p));
    else if (failed != APR_SUCCESS)
        *preason = apr_psprintf(p, "%s: %s", base, ag_text_error(p, failed));
    return hp_cgroup_controllers(base, "cgroup.subtree_control") & wanted;
}
