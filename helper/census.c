#include "helper/census.h"
#include "helper/strays.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The folder "task" belongs to the process's user, and has one subfolder for each thread. */
static int look(int proc, const char *name, struct stat *st)
{
    char path[300];

    snprintf(path, sizeof path, "%s/task", name);
    return isdigit((unsigned char)name[0]) && fstatat(proc, path, st, 0) == 0;
}

static unsigned long tasks_of(const struct stat *st)
{
    return st->st_nlink > 2 ? (unsigned long)st->st_nlink - 2 : 1;
}

unsigned long hp_census_user(uid_t uid)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    unsigned long n = 0;
    struct stat st;

    while (proc && (entry = readdir(proc))) {
        if (look(dirfd(proc), entry->d_name, &st) && st.st_uid == uid)
            n += tasks_of(&st);
    }
    if (proc)
        closedir(proc);
    return n;
}

static int asked(const apr_array_header_t *uids, uid_t uid)
{
    for (int i = 0; i < uids->nelts; i++) {
        if (APR_ARRAY_IDX(uids, i, uid_t) == uid)
            return 1;
    }
    return 0;
}

apr_array_header_t *hp_census_take(const apr_array_header_t *uids, apr_pool_t *p)
{
    apr_array_header_t *all = apr_array_make(p, 64, sizeof(hp_census_entry_t));
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    struct stat st;

    while (proc && (entry = readdir(proc))) {
        hp_census_entry_t *one;
        if (!look(dirfd(proc), entry->d_name, &st) || !asked(uids, st.st_uid))
            continue;
        one = apr_array_push(all);
        one->pid = (pid_t)strtol(entry->d_name, NULL, 10);
        one->uid = st.st_uid;
        one->tasks = tasks_of(&st);
        one->id = hp_strays_id(one->pid);
    }
    if (proc)
        closedir(proc);
    return all;
}
