#include "helper/cgroup.h"
#include "apr-glue/procfile.h"
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT  8192 /* of memory.stat, the longest that is read as a whole */
#define DEPTH 4

static const struct {
    unsigned bit;
    const char *name;
} known[] = {{HP_CGROUP_MEMORY, "memory"}, {HP_CGROUP_PIDS, "pids"}, {HP_CGROUP_CPU, "cpu"}};

static int open_file(const char *group, const char *file, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", group, file);
    return open(path, flags | O_CLOEXEC);
}

apr_status_t hp_cgroup_write(const char *group, const char *file, const char *value)
{
    int fd = open_file(group, file, O_WRONLY);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0)
        return errno;
    if (write(fd, value, strlen(value)) < 0)
        rv = errno;
    close(fd);
    return rv;
}

apr_status_t hp_cgroup_write_number(const char *group, const char *file, apr_uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" APR_UINT64_T_FMT, value);
    return hp_cgroup_write(group, file, text);
}

static void read_file(char text[TEXT], const char *group, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", group, file);
    (void)ag_procfile_read(text, TEXT, path);
}

static apr_uint64_t behind(const char *text, const char *key)
{
    apr_size_t len = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, key, len) == 0 && line[len] == ' ')
            return strtoull(line + len, NULL, 10);
    }
    return 0;
}

apr_uint64_t hp_cgroup_number(const char *group, const char *file, const char *key)
{
    char text[TEXT];

    read_file(text, group, file);
    return key ? behind(text, key) : strtoull(text, NULL, 10);
}

unsigned hp_cgroup_controllers(const char *group, const char *file)
{
    char text[TEXT], *save = NULL;
    unsigned found = 0;

    read_file(text, group, file);
    for (const char *name = strtok_r(text, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
        for (apr_size_t i = 0; i < AG_LEN(known); i++)
            found |= strcmp(name, known[i].name) == 0 ? known[i].bit : 0;
    }
    return found;
}

const char *hp_cgroup_names(unsigned controllers, const char *mark, apr_pool_t *p)
{
    const char *names = "";

    for (apr_size_t i = 0; i < AG_LEN(known); i++) {
        if (controllers & known[i].bit)
            names = apr_pstrcat(p, names, *names ? " " : "", mark, known[i].name, NULL);
    }
    return names;
}

apr_uint64_t hp_cgroup_memory(const char *group)
{
    apr_uint64_t all = hp_cgroup_number(group, "memory.current", NULL) + hp_cgroup_number(group, "memory.swap.current", NULL), file;
    char text[TEXT];

    read_file(text, group, "memory.stat");
    file = behind(text, "file") - behind(text, "shmem"); /* the latter counts as files, too, but has nowhere to go */
    return all > file ? all - file : 0;
}

hp_cgroup_death_t hp_cgroup_death(const char *group)
{
    char text[TEXT];

    read_file(text, group, "memory.events");
    return !behind(text, "oom_kill") ? HP_CGROUP_ALIVE : behind(text, "oom") ? HP_CGROUP_OWN_LIMIT : HP_CGROUP_NO_MEMORY;
}

int hp_cgroup_door(const char *group)
{
    return open_file(group, "cgroup.procs", O_WRONLY);
}

int hp_cgroup_each(const char *group, void (*visit)(void *baton, pid_t pid), void *baton)
{
    int fd = open_file(group, "cgroup.procs", O_RDONLY), n = 0;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    long pid;

    for (; f && fscanf(f, "%ld", &pid) == 1; n++)
        visit(baton, (pid_t)pid);
    if (f)
        fclose(f);
    return n;
}

int hp_cgroup_populated(const char *group)
{
    return hp_cgroup_number(group, "cgroup.events", "populated") != 0;
}

static void kill_one(void *baton, pid_t pid)
{
    (void)baton;
    if (pid > 0)
        kill(pid, SIGKILL);
}

typedef struct {
    DIR *dir;
    char path[PATH_MAX];
} below_t;

/* The next folder below a group; 0: no more. */
static int next_below(below_t *below, const char *group)
{
    const struct dirent *entry;

    while (below->dir && (entry = readdir(below->dir))) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        snprintf(below->path, sizeof below->path, "%s/%s", group, entry->d_name);
        return 1;
    }
    if (below->dir)
        closedir(below->dir);
    return 0;
}

/* Before Linux 5.14 one by one. */
static void kill_each(const char *group, int depth)
{
    below_t below = {.dir = depth > 0 ? opendir(group) : NULL};

    while (next_below(&below, group))
        kill_each(below.path, depth - 1);
    hp_cgroup_each(group, kill_one, NULL);
}

void hp_cgroup_kill(const char *group)
{
    if (hp_cgroup_write(group, "cgroup.kill", "1") == ENOENT)
        kill_each(group, DEPTH);
}

static int remove_each(const char *group, int depth)
{
    below_t below = {.dir = depth > 0 ? opendir(group) : NULL};

    while (next_below(&below, group))
        remove_each(below.path, depth - 1);
    return rmdir(group) == 0 || errno == ENOENT;
}

int hp_cgroup_remove(const char *group)
{
    return remove_each(group, DEPTH);
}
