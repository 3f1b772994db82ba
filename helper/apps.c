#include "helper/apps.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/birth.h"
#include "helper/budgets.h"
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

#define APP_BACKLOG 511

typedef struct {
    uint64_t id; /* first: it is the hash key */
    hp_apps_t *apps;
    apr_pool_t *p;
    pid_t pid; /* 0: it is not born yet */
    unsigned long long started;
    int in, out, err, sock; /* its input's write end, its outputs' read ends, its socket (O_PATH); in is -1 once closed */
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

static void watch_budget(const app_t *app)
{
    const hp_budgets_new_t process = {.id = app->id, .pid = app->pid, .spec = app->spec, .spec_len = app->spec_len,
                                      .forked = app->birth != NULL, .may_fork = app->forks >= 0};

    hp_budgets_add(app->apps->budgets, &process);
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
    close_fd(app->in);
    close_fd(app->out);
    close_fd(app->err);
    close_fd(app->sock);
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
    discard(app);
    hp_strays_look(apps->strays);
    if (apps->on_exit)
        apps->on_exit(apps->on_exit_baton);
}

/* A listening socket without a name: made in our folder, then unlinked. The core gets there through an O_PATH descriptor; nobody else
 * can, and nothing that happens to the folder matters any more. */
static apr_status_t make_socket(hp_apps_t *apps, uint64_t id, int *plisten, int *ppath, apr_pool_t *ptemp)
{
    const char *path = apr_psprintf(ptemp, "%s/app-%" APR_UINT64_T_FMT, hp_instance_path(apps->instance), (apr_uint64_t)id);
    apr_status_t rv = ag_sock_listen(plisten, path, APP_BACKLOG, 0600, apps->core_uid);

    if (rv != APR_SUCCESS)
        return rv;
    *ppath = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    rv = *ppath < 0 ? errno : APR_SUCCESS;
    unlink(path);
    if (rv != APR_SUCCESS) {
        close(*plisten);
        return rv;
    }
    /* Loaders are written for blocking descriptors. */
    return ag_sock_nonblock(*plisten, 0);
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

/* The process's ends of its descriptors, in the order that it gets them. */
typedef struct {
    int in, out, err, listener;
} ends_t;

static void close_ends(const ends_t *ends)
{
    close_fd(ends->in);
    close_fd(ends->out);
    close_fd(ends->err);
    close_fd(ends->listener);
}

/* What is made belongs to `app` and `pends`, failure or not. */
static apr_status_t make_fds(app_t *app, ends_t *pends)
{
    int in[2], out[2], err[2];

    if (pipe2(in, O_CLOEXEC))
        return errno;
    pends->in = in[0];
    app->in = in[1];
    if (pipe2(out, O_CLOEXEC))
        return errno;
    app->out = out[0];
    pends->out = out[1];
    if (pipe2(err, O_CLOEXEC))
        return errno;
    app->err = err[0];
    pends->err = err[1];
    return make_socket(app->apps, app->id, &pends->listener, &app->sock, app->p);
}

/* Descriptors in the order that the prepare role and every loader expect: input, both outputs, socket, orders. */
static apr_status_t start(hp_apps_t *apps, app_t *app, int preload)
{
    int orders = -1, forks[2] = {-1, -1};
    ends_t ends = {-1, -1, -1, -1};
    const char *argv[] = {apps->self, "prepare", folder_of(app), apr_psprintf(app->p, "%lu", (unsigned long)apps->core_gid), NULL};
    ag_child_t child = {.argv = argv, .nfds = preload ? 6 : 5};
    apr_status_t rv;

    if (APR_SUCCESS != (rv = make_fds(app, &ends)) || APR_SUCCESS != (rv = make_orders(apps, app, &orders)))
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
    close_ends(&ends);
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
    apps->next_id = id + 1;
    apr_pool_create(&p, apps->p);
    app = apr_pcalloc(p, sizeof *app);
    app->id = id;
    app->apps = apps;
    app->p = p;
    app->in = app->out = app->err = app->sock = app->forks = -1;
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
    hp_chan_send(apps->core, f, (int[HP_MSG_FDS]){app->in, app->out, app->sock, app->err}, HP_MSG_FDS);
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
    if (APR_SUCCESS != (rv = folder_there(apps)) || APR_SUCCESS != (rv = start(apps, app, preload)))
        refuse_error(app, rv);
    else
        introduce(app);
}

/* -- by a preloader -- */

static void on_birth(void *baton, pid_t pid, const char *reason)
{
    app_t *app = baton;

    if (!reason && known(app->apps, pid))
        reason = "it is another process of the application's already";
    if (reason) {
        refuse(app, apr_psprintf(app->p, "the preloader did not bring the process: %s", reason));
        return;
    }
    app->pid = pid;
    introduce(app);
    hp_birth_answer(app->birth, hp_strays_number(app->id));
    hp_birth_destroy(&app->birth);
}

/* So that the application can open /dev/stdin, /dev/stdout and /dev/stderr, as the prepare role sees to it otherwise. */
static void give_away(const ends_t *ends, const hp_birth_facts_t *owner)
{
    if (geteuid() != 0)
        return;
    (void)!fchown(ends->in, owner->uid, owner->gid);
    (void)!fchown(ends->out, owner->uid, owner->gid);
    (void)!fchown(ends->err, owner->uid, owner->gid);
}

static apr_status_t order_birth(app_t *app, const app_t *preloader)
{
    ends_t ends = {-1, -1, -1, -1};
    hp_birth_facts_t facts;
    hp_birth_order_t order = {.channel = preloader->forks};
    apr_status_t rv;

    /* It can't have been reaped: then it would not be in our list. */
    if (APR_SUCCESS != (rv = hp_birth_look(&facts, preloader->pid)) || APR_SUCCESS != (rv = folder_there(app->apps)) ||
        APR_SUCCESS != (rv = make_fds(app, &ends)))
        goto leave;
    if (facts.uid == 0 && geteuid() == 0) {
        rv = EPERM; /* it is not the application's yet */
        goto leave;
    }
    give_away(&ends, &facts);
    order.uid = facts.uid;
    order.fds[0] = ends.in;
    order.fds[1] = ends.out;
    order.fds[2] = ends.err;
    order.fds[3] = ends.listener;
    rv = hp_birth_create(&app->birth, app->apps->loop, &order, on_birth, app, app->p);

leave:
    close_ends(&ends);
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
    if (app->in >= 0) {
        close(app->in);
        app->in = -1;
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
    hp_chan_send(apps->core, f, (int[HP_MSG_FDS]){app->in, app->out, app->sock, app->err}, HP_MSG_FDS);
    apr_pool_destroy(ptemp);
}

void hp_apps_core(hp_apps_t *apps, hp_chan_t *core)
{
    apps->core = core;
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi)) {
        app_t *app = apr_hash_this_val(hi);
        if (core && app->note_len > 0 && app->in >= 0)
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
        hp_upgrade_put_fd(state, app->in);
        hp_upgrade_put_fd(state, app->out);
        hp_upgrade_put_fd(state, app->err);
        hp_upgrade_put_fd(state, app->sock);
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
        app->in = hp_upgrade_get_fd(in);
        app->out = hp_upgrade_get_fd(in);
        app->err = hp_upgrade_get_fd(in);
        app->sock = hp_upgrade_get_fd(in);
        app->forks = hp_upgrade_get_fd(in);
        bytes = ag_frame_get_bytes(in, &app->spec_len);
        app->spec = bytes ? apr_pmemdup(p, bytes, app->spec_len) : NULL;
        bytes = ag_frame_get_bytes(in, &app->note_len);
        apr_pool_create(&app->note_pool, p);
        app->note = bytes ? apr_pmemdup(app->note_pool, bytes, app->note_len) : NULL;
        apr_hash_set(apps->apps, &app->id, sizeof app->id, app);
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
