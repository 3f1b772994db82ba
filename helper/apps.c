#include "helper/apps.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define APP_BACKLOG 511

typedef struct {
    uint64_t id; /* first: it is the hash key */
    hp_apps_t *apps;
    apr_pool_t *p;
    pid_t pid;
    unsigned long long started;
    int in, out, sock; /* its input's write end, its output's read end, its socket (O_PATH); in is -1 once closed */
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
    hp_chan_t *core;
    apr_pool_t *settings_pool;
    const void *settings;
    apr_size_t settings_len;
    uint64_t next_id;
    ag_loop_cb_t on_exit;
    void *on_exit_baton;
};

static int lives(void *baton, uint64_t id)
{
    const hp_apps_t *apps = baton;

    return apr_hash_get(apps->apps, &id, sizeof id) != NULL;
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
}

static void tell_exited(hp_apps_t *apps, uint64_t id, int status, apr_pool_t *ptemp)
{
    ag_frame_t *f = ag_frame_create(ptemp, HP_MSG_EXITED);

    ag_frame_put_u64(f, id);
    ag_frame_put_u32(f, (uint32_t)status);
    if (apps->core)
        hp_chan_send(apps->core, f, NULL, 0);
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
    if (app->in >= 0)
        close(app->in);
    close(app->out);
    close(app->sock);
    apr_hash_set(apps->apps, &app->id, sizeof app->id, NULL);
    tell_exited(apps, app->id, status, app->p);
    apr_pool_destroy(app->p);
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

/* Descriptors in the order that the prepare role and every loader expect: input, output twice, socket, orders. */
static apr_status_t start(hp_apps_t *apps, app_t *app)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, listener = -1, orders = -1;
    const char *argv[] = {apps->self, "prepare", folder_of(app), apr_psprintf(app->p, "%lu", (unsigned long)apps->core_gid), NULL};
    ag_child_t child = {.argv = argv, .nfds = 5};
    apr_status_t rv = APR_SUCCESS;

    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
        rv = errno;
        goto leave;
    }
    if (APR_SUCCESS != (rv = make_socket(apps, app->id, &listener, &app->sock, app->p)) || APR_SUCCESS != (rv = make_orders(apps, app, &orders)))
        goto leave;
    child.fds[0] = in[0];
    child.fds[1] = child.fds[2] = out[1];
    child.fds[3] = listener;
    child.fds[4] = orders;
    hp_strays_mark(apps->strays, app->id);
    rv = ag_child_start(&child, &app->pid);
    hp_strays_mark(apps->strays, 0);
    if (rv != APR_SUCCESS)
        goto leave;
    app->in = in[1];
    app->out = out[0];
    in[1] = out[0] = -1;

leave:
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    if (listener >= 0)
        close(listener);
    if (orders >= 0)
        close(orders);
    if (rv != APR_SUCCESS && app->sock >= 0)
        close(app->sock);
    return rv;
}

static void refuse(hp_apps_t *apps, const app_t *app, apr_status_t rv)
{
    ag_frame_t *f = ag_frame_create(app->p, HP_MSG_REFUSED);

    ag_frame_put_u64(f, app->id);
    ag_frame_put_str(f, apr_psprintf(app->p, "the system could not start a process: %s", ag_text_error(app->p, rv)));
    hp_chan_send(apps->core, f, NULL, 0);
}

void hp_apps_spawn(hp_apps_t *apps, uint64_t id, const void *spec, apr_size_t len)
{
    apr_pool_t *p;
    app_t *app;
    ag_frame_t *f;
    apr_status_t rv = APR_SUCCESS;

    if (id < apps->next_id)
        return; /* an id names one process for ever */
    apps->next_id = id + 1;
    apr_pool_create(&p, apps->p);
    app = apr_pcalloc(p, sizeof *app);
    app->id = id;
    app->apps = apps;
    app->p = p;
    app->in = app->out = app->sock = -1;
    app->spec = apr_pmemdup(p, spec, len);
    app->spec_len = len;
    if (!hp_instance_intact(apps->instance))
        rv = hp_instance_remake(apps->instance);
    if (rv == APR_SUCCESS)
        rv = start(apps, app);
    if (rv != APR_SUCCESS) {
        refuse(apps, app, rv);
        apr_pool_destroy(p);
        return;
    }
    app->started = hp_instance_note(apps->instance, app->pid);
    apr_hash_set(apps->apps, &app->id, sizeof app->id, app);
    ag_loop_child(apps->loop, app->pid, on_app_exit, app);
    f = ag_frame_create(p, HP_MSG_SPAWNED);
    ag_frame_put_u64(f, id);
    ag_frame_put_u32(f, (uint32_t)app->pid);
    hp_chan_send(apps->core, f, (int[]){app->in, app->out, app->sock}, 3);
}

static void signal_app(app_t *app, uint32_t what)
{
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
    hp_chan_send(apps->core, f, (int[]){app->in, app->out, app->sock}, 3);
    apr_pool_destroy(ptemp);
}

void hp_apps_core(hp_apps_t *apps, hp_chan_t *core)
{
    apps->core = core;
    for (apr_hash_index_t *hi = core ? apr_hash_first(NULL, apps->apps) : NULL; hi; hi = apr_hash_next(hi)) {
        app_t *app = apr_hash_this_val(hi);
        if (app->note_len > 0 && app->in >= 0)
            adopt(apps, app);
        else
            signal_app(app, HP_MSG_SIGNAL_KILL);
    }
}

void hp_apps_save(const hp_apps_t *apps, ag_frame_t *state)
{
    ag_frame_put_u64(state, apps->next_id);
    ag_frame_put_u32(state, apr_hash_count(apps->apps));
    for (apr_hash_index_t *hi = apr_hash_first(NULL, apps->apps); hi; hi = apr_hash_next(hi)) {
        const app_t *app = apr_hash_this_val(hi);
        ag_frame_put_u64(state, app->id);
        ag_frame_put_u32(state, (uint32_t)app->pid);
        ag_frame_put_u64(state, app->started);
        hp_upgrade_put_fd(state, app->in);
        hp_upgrade_put_fd(state, app->out);
        hp_upgrade_put_fd(state, app->sock);
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
        app->sock = hp_upgrade_get_fd(in);
        bytes = ag_frame_get_bytes(in, &app->spec_len);
        app->spec = bytes ? apr_pmemdup(p, bytes, app->spec_len) : NULL;
        bytes = ag_frame_get_bytes(in, &app->note_len);
        apr_pool_create(&app->note_pool, p);
        app->note = bytes ? apr_pmemdup(app->note_pool, bytes, app->note_len) : NULL;
        apr_hash_set(apps->apps, &app->id, sizeof app->id, app);
        ag_loop_child(apps->loop, app->pid, on_app_exit, app);
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
