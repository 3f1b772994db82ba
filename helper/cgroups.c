#include "helper/cgroups.h"
#include "apr-glue/log.h"
#include "apr-glue/procfile.h"
#include "apr-glue/text.h"
#include "helper/cgroup.h"
#include "helper/delegation.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX   "passenger-"
#define ALL      (HP_CGROUP_MEMORY | HP_CGROUP_PIDS | HP_CGROUP_CPU)
#define NAME     100                        /* characters of an application's that are kept for people */
#define HEAVIEST 10000                      /* the kernel's bound of a weight */
#define INTERVAL (apr_time_from_sec(1) / 4)
#define KEEP     apr_time_from_sec(1)       /* an empty group: the core may look why its process ended */
#define GRACE    apr_time_from_sec(2)       /* between TERM and KILL */
#define INHERIT  apr_time_from_sec(3)       /* for applications of a dead watchdog: they know that it is dead, and finish */

typedef struct {
    apr_pool_t *p;
    const char *name, *folder; /* the first is the hash key */
    int weight, groups;
} app_t;

typedef struct leaving_t {
    SLIST_ENTRY(leaving_t) entry;
    apr_pool_t *p;
    const char *folder;
    apr_time_t since, told; /* 0: nobody was there */
    apr_interval_time_t grace;
} leaving_t;

struct hp_cgroups_t {
    apr_pool_t *p;
    const char *folder; /* NULL: there are none */
    unsigned held;
    apr_hash_t *apps;
    SLIST_HEAD(, leaving_t) leaving;
    ag_loop_timer_t *timer;
};

/* -- the way out -- */

static void forget_app(hp_cgroups_t *c, app_t *app)
{
    rmdir(app->folder);
    apr_hash_set(c->apps, app->name, APR_HASH_KEY_STRING, NULL);
    apr_pool_destroy(app->p);
}

/* All applications together weigh what each of them does: so each competes with Apache itself, too, as its own weight says. */
static void weigh(const hp_cgroups_t *c)
{
    apr_uint64_t sum = 0;

    if (!(c->held & HP_CGROUP_CPU))
        return;
    for (apr_hash_index_t *hi = apr_hash_first(NULL, c->apps); hi; hi = apr_hash_next(hi))
        sum += (apr_uint64_t)((const app_t *)apr_hash_this_val(hi))->weight;
    hp_cgroup_write_number(c->folder, "cpu.weight", sum > HEAVIEST ? HEAVIEST : sum > 0 ? sum : 100);
}

static void left(hp_cgroups_t *c, const char *folder)
{
    for (apr_hash_index_t *hi = apr_hash_first(NULL, c->apps); hi; hi = apr_hash_next(hi)) {
        app_t *app = apr_hash_this_val(hi);
        apr_size_t len = strlen(app->folder);
        if (strncmp(app->folder, folder, len) != 0 || folder[len] != '/')
            continue;
        if (--app->groups == 0) {
            forget_app(c, app);
            weigh(c);
        }
        return;
    }
}

static void tell(void *baton, pid_t pid)
{
    (void)baton;
    ag_log(AG_LOG_INFO, "PSG2601", "stray.ended: process %ld outlived the application's process that started it", (long)pid);
    kill(pid, SIGTERM);
}

/* 1 once it is gone. */
static int end(leaving_t *leaving, apr_time_t now)
{
    if (!hp_cgroup_populated(leaving->folder))
        return now - leaving->since >= KEEP && hp_cgroup_remove(leaving->folder);
    if (!leaving->told) {
        leaving->told = now;
        hp_cgroup_each(leaving->folder, tell, NULL);
    } else if (now - leaving->told >= leaving->grace) {
        hp_cgroup_kill(leaving->folder);
    }
    return 0;
}

static void on_timer(void *baton)
{
    hp_cgroups_t *c = baton;
    apr_time_t now = ag_loop_now();
    leaving_t *leaving, *next;

    for (leaving = SLIST_FIRST(&c->leaving); leaving; leaving = next) {
        next = SLIST_NEXT(leaving, entry);
        if (!end(leaving, now))
            continue;
        SLIST_REMOVE(&c->leaving, leaving, leaving_t, entry);
        left(c, leaving->folder);
        apr_pool_destroy(leaving->p);
    }
    if (!SLIST_EMPTY(&c->leaving))
        ag_loop_timer_start(c->timer, INTERVAL);
}

static void let_go(hp_cgroups_t *c, const char *folder, apr_interval_time_t grace, apr_time_t told)
{
    leaving_t *leaving;
    apr_pool_t *p;

    apr_pool_create(&p, c->p);
    leaving = apr_pcalloc(p, sizeof *leaving);
    leaving->p = p;
    leaving->folder = apr_pstrdup(p, folder);
    leaving->since = ag_loop_now();
    leaving->grace = grace;
    leaving->told = told;
    SLIST_INSERT_HEAD(&c->leaving, leaving, entry);
    if (!ag_loop_timer_active(c->timer))
        ag_loop_timer_start(c->timer, told ? INTERVAL : 0);
}

void hp_cgroups_leave(hp_cgroups_t *c, const char *group)
{
    if (group)
        let_go(c, group, GRACE, 0);
}

void hp_cgroups_kill(const hp_cgroups_t *c)
{
    if (c->folder)
        hp_cgroup_kill(c->folder);
}

void hp_cgroups_remove(const hp_cgroups_t *c)
{
    if (c->folder)
        hp_cgroup_remove(c->folder);
}

/* -- the way in -- */

/* Readable, and another one for each application. */
static const char *plain(const char *name, apr_pool_t *p)
{
    apr_ssize_t len = APR_HASH_KEY_STRING;
    unsigned number = apr_hashfunc_default(name, &len);
    char *text = apr_pstrmemdup(p, name, strnlen(name, NAME));

    for (char *c = text; *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
            *c = '_';
    }
    return apr_psprintf(p, "%s-%08x", text, number);
}

static app_t *app_of(hp_cgroups_t *c, const char *name)
{
    app_t *app = apr_hash_get(c->apps, name, APR_HASH_KEY_STRING);
    apr_pool_t *p;

    if (app)
        return app;
    apr_pool_create(&p, c->p);
    app = apr_pcalloc(p, sizeof *app);
    app->p = p;
    app->name = apr_pstrdup(p, name);
    app->folder = apr_pstrcat(p, c->folder, "/", plain(name, p), NULL);
    app->weight = -1;
    apr_hash_set(c->apps, app->name, APR_HASH_KEY_STRING, app);
    return app;
}

static apr_status_t make_folder(const char *folder)
{
    return mkdir(folder, 0755) && errno != EEXIST ? errno : APR_SUCCESS;
}

/* Weights are the application's alone: a level less for the scheduler. */
static apr_status_t prepare_app(hp_cgroups_t *c, app_t *app, int weight, apr_pool_t *p)
{
    apr_status_t rv = make_folder(app->folder);

    if (rv == APR_SUCCESS && (c->held & ~HP_CGROUP_CPU))
        rv = hp_cgroup_write(app->folder, "cgroup.subtree_control", hp_cgroup_names(c->held & ~HP_CGROUP_CPU, "+", p));
    if (rv != APR_SUCCESS || weight == app->weight)
        return rv;
    app->weight = weight;
    if (c->held & HP_CGROUP_CPU)
        rv = hp_cgroup_write_number(app->folder, "cpu.weight", (apr_uint64_t)weight);
    weigh(c);
    return rv;
}

/* What the kernel kills for memory it kills as a whole: a process without its children is of no use, nor are they without it. */
static apr_status_t prepare_group(const hp_cgroups_t *c, const char *folder, const hp_budget_t *budget)
{
    apr_status_t rv = make_folder(folder);

    if (rv == APR_SUCCESS && (c->held & HP_CGROUP_MEMORY)) {
        (void)!hp_cgroup_write(folder, "memory.oom.group", "1"); /* Linux 4.19 */
        if (budget->memory > 0)
            rv = hp_cgroup_write_number(folder, "memory.max", (apr_uint64_t)budget->memory << 20);
    }
    if (rv == APR_SUCCESS && (c->held & HP_CGROUP_PIDS) && budget->tasks > 0)
        rv = hp_cgroup_write_number(folder, "pids.max", (apr_uint64_t)budget->tasks);
    return rv;
}

const char *hp_cgroups_make(hp_cgroups_t *c, const hp_cgroups_wish_t *wish, int found, apr_pool_t *p)
{
    const char *folder;
    struct stat st;
    apr_status_t rv;
    app_t *app;

    if (!c->folder)
        return NULL;
    app = app_of(c, wish->app);
    folder = apr_psprintf(p, "%s/p-%" APR_UINT64_T_FMT, app->folder, (apr_uint64_t)wish->id);
    rv = found && stat(folder, &st) ? ENOENT : prepare_app(c, app, wish->budget.weight, p);
    if (rv == APR_SUCCESS)
        rv = prepare_group(c, folder, &wish->budget);
    if (rv == APR_SUCCESS) {
        app->groups++;
        return folder;
    }
    if (!found)
        ag_log(AG_LOG_WARN, "PSG2602", "limits.group: %s cannot be made: %s; the limits of that process are kept by rlimits and sampling", folder,
               ag_text_error(p, rv));
    rmdir(folder);
    if (app->groups == 0)
        forget_app(c, app);
    return NULL;
}

/* -- the beginning -- */

/* A number that a process has which is none of ours, or none at all: its watchdog is dead. */
static int is_left(const char *name)
{
    long pid = strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? strtol(name + strlen(PREFIX), NULL, 10) : 0;
    char text[32];

    if (pid <= 0 || pid == (long)getpid())
        return 0;
    return ag_procfile_of(text, sizeof text, (pid_t)pid, "comm") <= 0 || strncmp(text, "passenger-help", strlen("passenger-help")) != 0;
}

static void inherit(hp_cgroups_t *c, const char *base)
{
    DIR *dir = opendir(base);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        if (is_left(entry->d_name))
            let_go(c, apr_pstrcat(c->p, base, "/", entry->d_name, NULL), INHERIT, ag_loop_now());
    }
    if (dir)
        closedir(dir);
}

/* Where a folder cannot be made, nothing has been touched yet. */
static const char *take(hp_cgroups_t *c, const char *base)
{
    const char *folder = apr_psprintf(c->p, "%s/" PREFIX "%ld", base, (long)getpid()), *reason = NULL;
    apr_status_t rv = make_folder(folder);

    if (rv == EROFS)
        return apr_psprintf(c->p, "%s is read-only, as it is in most containers and with ProtectControlGroups=yes", base);
    if (rv != APR_SUCCESS)
        return apr_psprintf(c->p, "%s: %s", base, ag_text_error(c->p, rv));
    c->held = hp_delegation_enable(base, ALL, &reason, c->p);
    if (c->held && (rv = hp_cgroup_write(folder, "cgroup.subtree_control", hp_cgroup_names(c->held, "+", c->p))) != APR_SUCCESS) {
        reason = apr_psprintf(c->p, "%s: %s", folder, ag_text_error(c->p, rv));
        c->held = 0;
    }
    if (!c->held) {
        rmdir(folder);
        return reason;
    }
    c->folder = folder;
    inherit(c, base);
    return NULL;
}

static const char *way(const hp_cgroups_t *c, const char *reason)
{
    if (!c->held)
        return apr_psprintf(c->p, "rlimits and sampling: %s", reason);
    return apr_psprintf(c->p, "cgroup v2 at %s%s%s", c->folder, c->held == ALL ? "" : ", as far as there are controllers for them: ",
                        c->held == ALL ? "" : hp_cgroup_names(c->held, "", c->p));
}

hp_cgroups_t *hp_cgroups_create(ag_loop_t *loop, apr_pool_t *p)
{
    hp_cgroups_t *c = apr_pcalloc(p, sizeof *c);
    hp_delegation_facts_t facts;
    const char *base, *reason = NULL;

    c->p = p;
    c->apps = apr_hash_make(p);
    SLIST_INIT(&c->leaving);
    c->timer = ag_loop_timer_create(loop, on_timer, c);
    hp_delegation_look(&facts, p);
    base = hp_delegation_find(&facts, &reason, p);
    if (base)
        reason = take(c, base);
    ag_log(AG_LOG_NOTICE, "PSG2600", "limits.way: applications' limits are kept by %s", way(c, reason));
    return c;
}

unsigned hp_cgroups_held(const hp_cgroups_t *c)
{
    return c->held;
}
