#include "helper/usage.h"
#include "apr-glue/procfile.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST        256        /* descendants that are looked at */
#define FORKNOEXEC  0x40       /* PF_FORKNOEXEC in the flags of /proc/<pid>/stat: it is still the program that its parent is */

apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid)
{
    unsigned long user, system, size;
    unsigned long long ran, waited;
    long pages;
    char text[1024], *after;

    if (ag_procfile_of(text, sizeof text, pid, "stat") < 0)
        return errno;
    after = strrchr(text, ')'); /* the program's name may hold anything */
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %lu %ld", &user, &system,
                         &size, &pages) != 4)
        return EINVAL;
    usage->rss = (apr_uint64_t)pages * (apr_uint64_t)sysconf(_SC_PAGESIZE);
    usage->vmsize = size;
    usage->cpu = (apr_interval_time_t)(user + system) * APR_USEC_PER_SEC / sysconf(_SC_CLK_TCK);
    usage->wanted = 0;
    if (ag_procfile_of(text, sizeof text, pid, "schedstat") > 0 && sscanf(text, "%llu %llu", &ran, &waited) == 2)
        usage->wanted = (apr_interval_time_t)((ran + waited) / 1000);
    return APR_SUCCESS;
}

typedef struct {
    pid_t pid;
    long pages; /* of its own: neither files nor shared memory */
} member_t;

typedef struct {
    member_t members[MOST];
    int n;
    apr_uint64_t pages; /* that they have beyond the first */
} family_t;

static long own_pages(pid_t pid)
{
    char text[128];
    long all, shared;

    return ag_procfile_of(text, sizeof text, pid, "statm") > 0 && sscanf(text, "%*d %ld %ld", &all, &shared) == 2 ? all - shared : 0;
}

static void add_child(family_t *family, pid_t pid, long parent_pages)
{
    unsigned flags;
    char text[1024], *after;
    member_t *member = &family->members[family->n];

    if (family->n == MOST || ag_procfile_of(text, sizeof text, pid, "stat") < 0)
        return;
    after = strrchr(text, ')');
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
        return;
    member->pid = pid;
    member->pages = own_pages(pid);
    family->n++;
    if (!(flags & FORKNOEXEC))
        family->pages += (apr_uint64_t)member->pages;
    else if (member->pages > parent_pages)
        family->pages += (apr_uint64_t)(member->pages - parent_pages);
}

static void add_children(family_t *family, const member_t *parent)
{
    char path[40], text[4096], *next, *end;
    const struct dirent *thread;
    DIR *threads;
    long pid;

    snprintf(path, sizeof path, "/proc/%ld/task", (long)parent->pid);
    threads = opendir(path);
    while (threads && (thread = readdir(threads))) {
        snprintf(path, sizeof path, "task/%.12s/children", thread->d_name);
        if (ag_procfile_of(text, sizeof text, parent->pid, path) < 0)
            continue;
        for (next = text; (pid = strtol(next, &end, 10)) > 0 && *end == ' '; next = end) /* the last one may be cut off */
            add_child(family, (pid_t)pid, parent->pages);
    }
    if (threads)
        closedir(threads);
}

apr_uint64_t hp_usage_below(pid_t pid)
{
    family_t family = {.members = {{.pid = pid, .pages = own_pages(pid)}}, .n = 1};

    for (int i = 0; i < family.n; i++)
        add_children(&family, &family.members[i]);
    return family.pages * (apr_uint64_t)sysconf(_SC_PAGESIZE);
}
