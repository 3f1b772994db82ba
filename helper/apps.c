#include "helper/apps.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/birth.h"
#include "helper/budgets.h"
#include "helper/cgroup.h"
#include "helper/ends.h"
#include "helper/msg.h"
#include "helper/strays.h"
#include "helper/upgrade.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GAP_MAX 1000000 /* between numbers of processes: the core counts them one by one */

typedef struct {
    uint64_t id; /* first: it is the hash key */
    hp_apps_t *apps;
    apr_pool_t *p;
    pid_t pid; /* 0: it is not born yet */
    unsigned long long started;
    hp_ends_ours_t ends;  /* its input is -1 once closed */
    const char *cgroup;   /* folder of its control group; NULL: none */
    int forks;         /* where it takes orders to fork, if it may become a preloader; else -1 */
    hp_birth_t *birth;
    const void *spec, *note;
    apr_size_t spec_len, note_len; /* note_len 0: its start has not succeeded yet */
    apr_pool_t *note_pool;
} app_t;

struct hp_apps_t {
    ag_loop_t *loop;
    apr_pool_t *p;
    hp_instance_t *instance;
    const char *self;
    uid_t core_uid;
    gid_t core_gid;
    apr_hash_t *apps;
    hp_strays_t *strays;
    hp_budgets_t *budgets;
    hp_chan_t *core;
    apr_pool_t *settings_pool;
    const void *settings;
    apr_size_t settings_len;
    uint64_t next_id;
    ag_loop_cb_t on_exit;
    void *on_exit_baton;
};

static int known(const hp_apps_t *apps, pid_t pid)
{
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi)) {
        const app_t *app = apr_hash_this_val(hi);
        if (app->pid == pid)
            return 1;
    }
    return 0;
}

static int lives(void *baton, uint64_t id, pid_t pid)
{
    const hp_apps_t *apps = baton;

    return apr_hash_get(apps->apps, &id, sizeof id) != NULL || known(apps, pid);
}

static void tell_budget(void *baton, uint64_t id, unsigned long tasks, int at_limit)
{
    const hp_apps_t *apps = baton;
    apr_pool_t *ptemp;
    ag_frame_t *f;

    if (!apps->core)
        return;
    apr_pool_create(&ptemp, apps->p);
    f = ag_frame_create(ptemp, HP_MSG_BUDGET);
    ag_frame_put_u64(f, id);
    ag_frame_put_u32(f, (uint32_t)tasks);
    ag_frame_put_u32(f, (uint32_t)at_limit);
    hp_chan_send(apps->core, f, NULL, 0);
    apr_pool_destroy(ptemp);
}

static hp_budgets_new_t describe(const app_t *app, int may_fork)
{
    return (hp_budgets_new_t){.id = app->id, .pid = app->pid, .spec = app->spec, .spec_len = app->spec_len, .forked = app->birth != NULL,
                              .may_fork = may_fork, .cgroup = app->cgroup};
}

static void find_group(app_t *app, int may_fork, int found)
{
    const hp_budgets_new_t process = describe(app, may_fork);

    app->cgroup = hp_budgets_group(app->apps->budgets, &process, found, app->p);
}

static void watch_budget(const app_t *app)
{
    const hp_budgets_new_t process = describe(app, app->forks >= 0);

    hp_budgets_add(app->apps->budgets, &process);
}

/* The core measures there. */
static void tell_group(const app_t *app, apr_pool_t *ptemp)
{
    ag_frame_t *f;

    if (!(hp_budgets_held(app->apps->budgets, app->cgroup) & HP_CGROUP_MEMORY))
        return;
    f = ag_frame_create(ptemp, HP_MSG_CGROUP);
    ag_frame_put_u64(f, app->id);
    ag_frame_put_str(f, app->cgroup);
    hp_chan_send(app->apps->core, f, NULL, 0);
}

hp_apps_t *hp_apps_create(ag_loop_t *loop, hp_instance_t *instance, const char *self, uid_t core_uid, gid_t core_gid, apr_pool_t *p)
{
    hp_apps_t *apps = apr_pcalloc(p, sizeof *apps);

    apps->loop = loop;
    apps->p = p;
    apps->instance = instance;
    apps->self = self;
    apps->core_uid = core_uid;
    apps->core_gid = core_gid;
    apps->apps = apr_hash_make(p);
    apps->strays = hp_strays_create(loop, lives, apps, p);
    apps->budgets = hp_budgets_create(loop, tell_budget, apps, p);
    apps->next_id = 1;
    return apps;
}

void hp_apps_settings(hp_apps_t *apps, const void *settings, apr_size_t len)
{
    if (apps->settings_pool)
        apr_pool_destroy(apps->settings_pool);
    apr_pool_create(&apps->settings_pool, apps->p);
    apps->settings = apr_pmemdup(apps->settings_pool, settings, len);
    apps->settings_len = len;
    hp_budgets_settings(apps->budgets, apps->settings, len);
}

static void tell_exited(hp_apps_t *apps, uint64_t id, int status, apr_pool_t *ptemp)
{
    ag_frame_t *f = ag_frame_create(ptemp, HP_MSG_EXITED);

    ag_frame_put_u64(f, id);
    ag_frame_put_u32(f, (uint32_t)status);
    if (apps->core)
        hp_chan_send(apps->core, f, NULL, 0);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void discard(app_t *app)
{
    hp_birth_destroy(&app->birth);
    hp_budgets_leave(app->apps->budgets, app->cgroup);
    hp_ends_close_ours(&app->ends);
    close_fd(app->forks);
    apr_hash_set(app->apps->apps, &app->id, sizeof app->id, NULL);
    apr_pool_destroy(app->p);
}

/* For a socket of the application's own making: the prepare role makes it where it is needed. */
static const char *folder_of(const app_t *app)
{
    return apr_psprintf(app->p, "%s/own-%" APR_UINT64_T_FMT, hp_instance_path(app->apps->instance), (apr_uint64_t)app->id);
}

static void on_app_exit(void *baton, pid_t pid, int status)
{
    app_t *app = baton;
    hp_apps_t *apps = app->apps;

    /* Its session may hold children of its own; the group's number can't be reused before the last of them is gone. */
    kill(-pid, SIGKILL);
    hp_instance_forget(apps->instance, pid, app->started);
    hp_instance_drop(apps->instance, strrchr(folder_of(app), '/') + 1);
    hp_budgets_remove(apps->budgets, app->id);
    tell_exited(apps, app->id, status, app->p);
    if (!app->cgroup)
        hp_strays_look(apps->strays);
    discard(app);
    if (apps->on_exit)
        apps->on_exit(apps->on_exit_baton);
}

/* Orders for the prepare role: settings and spec, each with its length in front, in memory that goes with the last descriptor. */
static apr_status_t make_orders(const hp_apps_t *apps, const app_t *app, int *pfd)
{
    uint32_t lengths[2] = {(uint32_t)apps->settings_len, (uint32_t)app->spec_len};
    int fd = memfd_create("orders", MFD_CLOEXEC);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0)
        return errno;
    if (write(fd, lengths, sizeof lengths) != sizeof lengths || write(fd, apps->settings, apps->settings_len) != (ssize_t)apps->settings_len ||
        write(fd, app->spec, app->spec_len) != (ssize_t)app->spec_len || lseek(fd, 0, SEEK_SET) != 0)
        rv = errno ? errno : ENOSPC;
    if (rv != APR_SUCCESS)
        close(fd);
    else
        *pfd = fd;
    return rv;
}

static apr_status_t make_ends(app_t *app, hp_ends_t *theirs)
{
    const char *path = apr_psprintf(app->p, "%s/app-%" APR_UINT64_T_FMT, hp_instance_path(app->apps->instance), (apr_uint64_t)app->id);

    return hp_ends_make(theirs, &app->ends, path, app->apps->core_uid);
}

static apr_status_t open_group(const app_t *app, int *pfd)
{
    *pfd = app->cgroup ? hp_cgroup_door(app->cgroup) : 0;
    return *pfd < 0 ? errno : APR_SUCCESS;
}

/* Descriptors in the order that the prepare role and every loader expect: input, both outputs, socket, orders. */
static apr_status_t start(hp_apps_t *apps, app_t *app, int preload)
{
    int orders = -1, forks[2] = {-1, -1};
    hp_ends_t ends = HP_ENDS_NONE;
    const char *argv[] = {apps->self, "prepare", folder_of(app), apr_psprintf(app->p, "%lu", (unsigned long)apps->core_gid),
                          apr_psprintf(app->p, "%u", hp_budgets_held(apps->budgets, app->cgroup)), NULL};
    ag_child_t child = {.argv = argv, .nfds = preload ? 6 : 5};
    apr_status_t rv;

    if (APR_SUCCESS != (rv = make_ends(app, &ends)) || APR_SUCCESS != (rv = make_orders(apps, app, &orders)) ||
        APR_SUCCESS != (rv = open_group(app, &child.group)))
        goto leave;
    if (preload && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, forks)) {
        rv = errno;
        goto leave;
    }
    app->forks = forks[0];
    child.fds[0] = ends.in;
    child.fds[1] = ends.out;
    child.fds[2] = ends.err;
    child.fds[3] = ends.listener;
    child.fds[4] = orders;
    child.fds[5] = forks[1];
    hp_strays_mark(apps->strays, app->id);
    rv = ag_child_start(&child, &app->pid);
    hp_strays_mark(apps->strays, 0);

leave:
    hp_ends_close(&ends);
    if (child.group > 0)
        close(child.group);
    close_fd(orders);
    close_fd(forks[1]);
    return rv;
}

static void refuse(app_t *app, const char *sentence)
{
    ag_frame_t *f = ag_frame_create(app->p, HP_MSG_REFUSED);

    ag_frame_put_u64(f, app->id);
    ag_frame_put_str(f, sentence);
    if (app->apps->core)
        hp_chan_send(app->apps->core, f, NULL, 0);
    discard(app);
}

static void refuse_error(app_t *app, apr_status_t rv)
{
    refuse(app, apr_psprintf(app->p, "the system could not start a process: %s", ag_text_error(app->p, rv)));
}

/* NULL if the id is not new: it names one process for ever. */
static app_t *make(hp_apps_t *apps, uint64_t id, const void *spec, apr_size_t len)
{
    apr_pool_t *p;
    app_t *app;

    if (id < apps->next_id)
        return NULL;
    if (id - apps->next_id >= GAP_MAX) {
        ag_log(AG_LOG_ERROR, "PSG3201", "core.protocol: the core wants a process with the number %" APR_UINT64_T_FMT " when %" APR_UINT64_T_FMT
               " would be the next: nothing is started; if this comes again, restart Apache and find out who else is the helper's user", id,
               apps->next_id);
        return NULL;
    }
    apps->next_id = id + 1;
    apr_pool_create(&p, apps->p);
    app = apr_pcalloc(p, sizeof *app);
    app->id = id;
    app->apps = apps;
    app->p = p;
    app->ends = (hp_ends_ours_t)HP_ENDS_NONE;
    app->forks = -1;
    app->spec = apr_pmemdup(p, spec, len);
    app->spec_len = len;
    apr_hash_set(apps->apps, &app->id, sizeof app->id, app);
    return app;
}

/* It is there: the reaper, the core and a watchdog after us must know it. */
static void introduce(app_t *app)
{
    hp_apps_t *apps = app->apps;
    ag_frame_t *f = ag_frame_create(app->p, HP_MSG_SPAWNED);

    app->started = hp_instance_note(apps->instance, app->pid);
    ag_loop_child(apps->loop, app->pid, on_app_exit, app);
    ag_frame_put_u64(f, app->id);
    ag_frame_put_u32(f, (uint32_t)app->pid);
    hp_chan_send(apps->core, f, (int[HP_MSG_FDS]){app->ends.in, app->ends.out, app->ends.sock, app->ends.err}, HP_MSG_FDS);
    tell_group(app, app->p);
    watch_budget(app);
}

static apr_status_t folder_there(const hp_apps_t *apps)
{
    return hp_instance_intact(apps->instance) ? APR_SUCCESS : hp_instance_remake(apps->instance);
}

void hp_apps_spawn(hp_apps_t *apps, uint64_t id, int preload, const void *spec, apr_size_t len)
{
    app_t *app = make(apps, id, spec, len);
    apr_status_t rv;

    if (!app)
        return;
    find_group(app, preload, 0);
    if (APR_SUCCESS != (rv = folder_there(apps)) || APR_SUCCESS != (rv = start(apps, app, preload)))
        refuse_error(app, rv);
    else
        introduce(app);
}

/* -- by a preloader -- */

static void on_birth(void *baton, pid_t pid, const char *reason)
{
    app_t *app = baton;
    apr_status_t rv = APR_SUCCESS;

    if (!reason && known(app->apps, pid))
        reason = "it is another process of the application's already";
    if (!reason)
        find_group(app, 0, 0);
    if (!reason && app->cgroup && APR_SUCCESS != (rv = hp_cgroup_write_number(app->cgroup, "cgroup.procs", (apr_uint64_t)pid)))
        reason = apr_psprintf(app->p, "it cannot be moved to its control group %s: %s", app->cgroup, ag_text_error(app->p, rv));
    if (reason) {
        refuse(app, apr_psprintf(app->p, "the preloader did not bring the process: %s", reason));
        return;
    }
    app->pid = pid;
    introduce(app);
    hp_birth_answer(app->birth, hp_strays_number(app->id));
    hp_birth_destroy(&app->birth);
}

static apr_status_t order_birth(app_t *app, const app_t *preloader)
{
    hp_ends_t ends = HP_ENDS_NONE;
    hp_birth_facts_t facts;
    hp_birth_order_t order = {.channel = preloader->forks};
    apr_status_t rv;

    /* It can't have been reaped: then it would not be in our list. */
    if (APR_SUCCESS != (rv = hp_birth_look(&facts, preloader->pid)) || APR_SUCCESS != (rv = folder_there(app->apps)) ||
        APR_SUCCESS != (rv = make_ends(app, &ends)))
        goto leave;
    if (facts.uid == 0 && geteuid() == 0) {
        rv = EPERM; /* it is not the application's yet */
        goto leave;
    }
    hp_ends_give(&ends, facts.uid, facts.gid);
    order.uid = facts.uid;
    order.fds[0] = ends.in;
    order.fds[1] = ends.out;
    order.fds[2] = ends.err;
    order.fds[3] = ends.listener;
    rv = hp_birth_create(&app->birth, app->apps->loop, &order, on_birth, app, app->p);

leave:
    hp_ends_close(&ends);
    return rv;
}

void hp_apps_fork(hp_apps_t *apps, uint64_t id, uint64_t by, const void *spec, apr_size_t len)
{
    const app_t *preloader = apr_hash_get(apps->apps, &by, sizeof by);
    app_t *app = make(apps, id, spec, len);
    apr_status_t rv;

    if (!app)
        return;
    if (!preloader || preloader->forks < 0)
        refuse(app, "the preloader is gone");
    else if (APR_SUCCESS != (rv = order_birth(app, preloader)))
        refuse(app, apr_psprintf(app->p, "the preloader cannot be told to fork: %s", ag_text_error(app->p, rv)));
}

/* -- to the end -- */

static void signal_app(app_t *app, uint32_t what)
{
    if (app->pid == 0) {
        refuse(app, "it is not wanted any more");
        return;
    }
    if (what == HP_MSG_SIGNAL_STACK) {
        kill(app->pid, SIGQUIT);
        return;
    }
    if (app->ends.in >= 0) {
        close(app->ends.in);
        app->ends.in = -1;
    }
    if (what == HP_MSG_SIGNAL_TERM)
        kill(app->pid, SIGTERM);
    else if (what == HP_MSG_SIGNAL_INTERRUPT && kill(-app->pid, SIGINT))
        kill(app->pid, SIGINT);
    else if (what == HP_MSG_SIGNAL_KILL && kill(-app->pid, SIGKILL))
        kill(app->pid, SIGKILL);
}

void hp_apps_signal(hp_apps_t *apps, uint64_t id, uint32_t what)
{
    app_t *app = apr_hash_get(apps->apps, &id, sizeof id);

    if (app)
        signal_app(app, what);
}

void hp_apps_signal_all(hp_apps_t *apps, uint32_t what)
{
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi))
        signal_app(apr_hash_this_val(hi), what);
}

void hp_apps_note(hp_apps_t *apps, uint64_t id, const void *note, apr_size_t len)
{
    app_t *app = apr_hash_get(apps->apps, &id, sizeof id);

    if (!app)
        return;
    if (app->note_pool)
        apr_pool_destroy(app->note_pool);
    apr_pool_create(&app->note_pool, app->p);
    app->note = apr_pmemdup(app->note_pool, note, len);
    app->note_len = len;
}

static void adopt(const hp_apps_t *apps, const app_t *app)
{
    apr_pool_t *ptemp;
    ag_frame_t *f;

    apr_pool_create(&ptemp, apps->p);
    f = ag_frame_create(ptemp, HP_MSG_ADOPT);
    ag_frame_put_u64(f, app->id);
    ag_frame_put_u32(f, (uint32_t)app->pid);
    ag_frame_put_bytes(f, app->spec, app->spec_len);
    ag_frame_put_bytes(f, app->note, app->note_len);
    hp_chan_send(apps->core, f, (int[HP_MSG_FDS]){app->ends.in, app->ends.out, app->ends.sock, app->ends.err}, HP_MSG_FDS);
    tell_group(app, ptemp);
    apr_pool_destroy(ptemp);
}

void hp_apps_core(hp_apps_t *apps, hp_chan_t *core)
{
    apps->core = core;
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi)) {
        app_t *app = apr_hash_this_val(hi);
        if (core && app->note_len > 0 && app->ends.in >= 0)
            adopt(apps, app);
        else if (core || app->pid == 0)
            signal_app(app, HP_MSG_SIGNAL_KILL);
    }
}

void hp_apps_save(const hp_apps_t *apps, ag_frame_t *state)
{
    uint32_t born = 0;

    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi))
        born += ((const app_t *)apr_hash_this_val(hi))->pid != 0;
    ag_frame_put_u64(state, apps->next_id);
    ag_frame_put_u32(state, born);
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi)) {
        const app_t *app = apr_hash_this_val(hi);
        if (app->pid == 0)
            continue; /* it ends itself without an answer */
        ag_frame_put_u64(state, app->id);
        ag_frame_put_u32(state, (uint32_t)app->pid);
        ag_frame_put_u64(state, app->started);
        hp_upgrade_put_fd(state, app->ends.in);
        hp_upgrade_put_fd(state, app->ends.out);
        hp_upgrade_put_fd(state, app->ends.err);
        hp_upgrade_put_fd(state, app->ends.sock);
        hp_upgrade_put_fd(state, app->forks);
        ag_frame_put_bytes(state, app->spec, app->spec_len);
        ag_frame_put_bytes(state, app->note, app->note_len);
    }
}

void hp_apps_restore(hp_apps_t *apps, ag_frame_reader_t *in)
{
    uint32_t n;

    apps->next_id = ag_frame_get_u64(in);
    for (n = ag_frame_get_u32(in); n > 0 && !in->bad; n--) {
        apr_pool_t *p;
        app_t *app;
        const void *bytes;
        apr_pool_create(&p, apps->p);
        app = apr_pcalloc(p, sizeof *app);
        app->apps = apps;
        app->p = p;
        app->id = ag_frame_get_u64(in);
        app->pid = (pid_t)ag_frame_get_u32(in);
        app->started = ag_frame_get_u64(in);
        app->ends.in = hp_upgrade_get_fd(in);
        app->ends.out = hp_upgrade_get_fd(in);
        app->ends.err = hp_upgrade_get_fd(in);
        app->ends.sock = hp_upgrade_get_fd(in);
        app->forks = hp_upgrade_get_fd(in);
        bytes = ag_frame_get_bytes(in, &app->spec_len);
        app->spec = bytes ? apr_pmemdup(p, bytes, app->spec_len) : NULL;
        bytes = ag_frame_get_bytes(in, &app->note_len);
        apr_pool_create(&app->note_pool, p);
        app->note = bytes ? apr_pmemdup(app->note_pool, bytes, app->note_len) : NULL;
        apr_hash_set(apps->apps, &app->id, sizeof app->id, app);
        find_group(app, app->forks >= 0, 1);
        ag_loop_child(apps->loop, app->pid, on_app_exit, app);
        watch_budget(app);
    }
}

uint64_t hp_apps_next_id(const hp_apps_t *apps)
{
    return apps->next_id;
}

int hp_apps_count(const hp_apps_t *apps)
{
    return (int)apr_hash_count(apps->apps);
}

void hp_apps_on_exit(hp_apps_t *apps, ag_loop_cb_t cb, void *baton)
{
    apps->on_exit = cb;
    apps->on_exit_baton = baton;
}

void hp_apps_reaped(hp_apps_t *apps)
{
    hp_strays_reaped(apps->strays);
}

int hp_apps_kill_all(hp_apps_t *apps)
{
    int children = hp_strays_kill_all();

    hp_budgets_kill_all(apps->budgets, children == 0);
    return children;
}
