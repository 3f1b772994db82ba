#include "mod_passenger/helper.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/errorlog.h"
#include "mod_passenger/grants.h"
#include "mod_passenger/logfile.h"
#include "apr-glue/clock.h"
#include "apr-glue/parcel.h"
#include <ap_mpm.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <errno.h>
#include <fcntl.h>
#include <http_core.h>
#include <http_main.h>
#include <limits.h>
#include <mpm_common.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unixd.h>

/* The number changes with keep_t: a module of another version must not read this one's. The helper of a record that nobody finds
 * any more ends by itself, since it gets no settings. */
#define KEPT "mod_passenger.helper/1"

#define HELPER_FD 3 /* the helper's end of the control socket, in the helper */

#define START_WAIT  apr_time_from_sec(10)
#define AGAIN_WAIT  apr_time_from_sec(2) /* Apache's parent does nothing else meanwhile */
#define STOP_WAIT   apr_time_from_sec(8)
#define RETURN_WAIT apr_time_from_sec(5) /* for a request that finds no core */
#define RETRY_AFTER apr_time_from_sec(10) /* a helper that lived longer counts as one that works */
#define RETRY_FAST  5                     /* starts in a row without a pause */

/* What children must learn although they were forked before: a page that they share with the parent, who alone writes. A path is
 * written beside the one that they may be reading, and changes hardly ever. */
typedef struct {
    int current; /* 0: none yet; 1, 2: which of the paths */
    char path[2][PATH_MAX];
} shared_t;

/* Retained over reloads, and what children inherit when they are forked. */
typedef struct {
    pid_t parent;    /* the process that all this belongs to */
    apr_proc_t proc; /* pid 0: no helper */
    int ctl;         /* our end of the control socket, or -1; the helper stops when it closes */
    int listener;    /* the core's listening socket, or -1: requests wait there whoever dies */
    int ready;       /* the helper of this pid has said so */
    int deaths;      /* in a row, each within RETRY_AFTER of the start */
    apr_time_t started;
    apr_time_t retry_at; /* 0: nothing to try */
    uint32_t generation; /* configurations read */
    shared_t *shared;
    char problem[512]; /* the sentence that was logged last, "" when all is well */
} keep_t;

static keep_t *keep(void)
{
    return ap_retained_data_get(KEPT);
}

static const char *socket_path(const keep_t *k)
{
    int current = __atomic_load_n(&k->shared->current, __ATOMIC_ACQUIRE);

    return current ? k->shared->path[current - 1] : NULL;
}

static void close_fd(int *pfd)
{
    if (*pfd >= 0)
        close(*pfd);
    *pfd = -1;
}

/* Logs a sentence once, however often the same thing happens. */
static void complain(keep_t *k, const char *sentence)
{
    if (strcmp(k->problem, sentence) == 0)
        return;
    apr_cpystrn(k->problem, sentence, sizeof k->problem);
    MP_LOG(APLOG_ERR, 0, ap_server_conf, "PSG0510", "passenger-helper: %s; applications are not served", sentence);
}

static void on_ready(keep_t *k, const char *path, int *plistener)
{
    const char *old = socket_path(k);

    if (!path || strlen(path) >= PATH_MAX || !k->shared)
        return;
    if (!old || strcmp(old, path) != 0) {
        int next = k->shared->current == 1 ? 2 : 1;
        apr_cpystrn(k->shared->path[next - 1], path, PATH_MAX);
        __atomic_store_n(&k->shared->current, next, __ATOMIC_RELEASE);
    }
    if (*plistener >= 0) {
        close_fd(&k->listener);
        k->listener = *plistener;
        *plistener = -1;
    }
    k->ready = 1;
    if (k->problem[0])
        MP_LOG(APLOG_NOTICE, 0, ap_server_conf, "PSG0511", "passenger-helper: applications are served again");
    k->problem[0] = '\0';
}

/* Takes one message. APR_EAGAIN: there is none. APR_EOF: the helper is gone. */
static apr_status_t receive(keep_t *k)
{
    char data[8192];
    int fds[AG_SOCK_MAX_FDS] = {-1}, nfds = 0;
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    apr_size_t len;
    const char *text;
    uint32_t type;
    apr_status_t rv;

    if (k->ctl < 0)
        return APR_EOF;
    rv = ag_sock_recv(k->ctl, data, sizeof data, &len, fds, &nfds);
    /* The helper ended without reading what we sent. Its own last words come after that news. */
    if (APR_STATUS_IS_ECONNRESET(rv))
        rv = ag_sock_recv(k->ctl, data, sizeof data, &len, fds, &nfds);
    if (rv != APR_SUCCESS)
        return rv;
    apr_pool_create(&ptemp, NULL);
    type = ag_frame_open(&in, ptemp, data, len);
    text = ag_frame_get_str(&in);
    if (ag_frame_end(&in) == APR_SUCCESS && type == AG_CTL_READY) {
        on_ready(k, text, &fds[0]);
    } else if (ag_frame_end(&in) == APR_SUCCESS && type == AG_CTL_FAILED) {
        complain(k, text ? text : "no reason was given");
        k->deaths = RETRY_FAST;
    }
    while (nfds > 0)
        close_fd(&fds[--nfds]);
    apr_pool_destroy(ptemp);
    return APR_SUCCESS;
}

static void drain(keep_t *k)
{
    while (receive(k) == APR_SUCCESS)
        ;
}

/* Takes messages until the helper is ready, or gone, or `limit` is over; complains if it is not ready then. */
static void wait_ready(keep_t *k, apr_interval_time_t limit)
{
    apr_time_t until = ag_clock_now() + limit;
    apr_interval_time_t left = limit;
    apr_status_t rv = APR_SUCCESS;

    while (!k->ready && left > 0 && (rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv))) {
        if (ag_sock_wait(k->ctl, (int)apr_time_as_msec(left) + 1) == APR_SUCCESS)
            rv = receive(k);
        left = until - ag_clock_now();
    }
    if (!k->ready && !k->problem[0])
        complain(k, left > 0 ? "ended before it was ready" : "not ready in time");
}

static void send_order(keep_t *k, uint32_t type)
{
    apr_pool_t *ptemp;
    apr_size_t len;
    const char *data;

    apr_pool_create(&ptemp, NULL);
    data = ag_frame_data(ag_frame_create(ptemp, type), &len);
    /* A helper that can't be told is gone, and closes the socket. */
    (void)!ag_sock_send(k->ctl, data, len, NULL, 0);
    apr_pool_destroy(ptemp);
}

/* The descriptor that the helper logs to; *popened if it must be closed. Descriptor 2 is Apache's error log, always the newest. */
static int open_log(int *popened)
{
    int fd = mp_logfile_open(), facility;

    if (fd < 0 && mp_errorlog_syslog(ap_server_conf, &facility))
        fd = mp_errorlog_open();
    *popened = fd >= 0;
    return fd >= 0 ? fd : STDERR_FILENO;
}

/* The settings as a message. Grants that do not fit into one are left out, which only ever forbids. */
static const char *write_settings(const keep_t *k, apr_pool_t *ptemp, server_rec *s, apr_size_t *plen)
{
    ag_settings_t *settings = mp_conf_settings(ptemp, s);
    const char *path = socket_path(k), *slash = path ? strrchr(path, '/') : NULL, *data;
    int all, facility;

    settings->config_generation = k->generation;
    settings->log_facility = mp_errorlog_syslog(s, &facility) ? (uint32_t)facility : 0;
    settings->instance_dir = slash ? apr_pstrmemdup(ptemp, path, (apr_size_t)(slash - path)) : NULL;
    settings->grants = mp_grants_collect(ptemp, s);
    all = settings->grants->nelts;
    for (;;) {
        ag_frame_t *f = ag_frame_create(ptemp, AG_CTL_SETTINGS);
        ag_settings_put(f, settings);
        data = ag_frame_data(f, plen);
        if (*plen <= AG_FRAME_MAX - 1024 || settings->grants->nelts == 0)
            break;
        settings->grants->nelts -= settings->grants->nelts / 16 + 1;
    }
    if (settings->grants->nelts < all)
        MP_LOG(APLOG_ERR, 0, s, "PSG0513",
               "%d of %d users, interpreters and commands in the configuration are too many to be used",
               all - settings->grants->nelts, all);
    return data;
}

static apr_status_t send_settings(keep_t *k, server_rec *s)
{
    int fds[2], opened;
    apr_pool_t *ptemp;
    apr_size_t len;
    const char *data;
    apr_status_t rv;

    apr_pool_create(&ptemp, NULL);
    data = write_settings(k, ptemp, s, &len);
    fds[0] = open_log(&opened);
    fds[1] = k->listener;
    rv = ag_parcel_send(k->ctl, data, len, fds, k->listener >= 0 ? 2 : 1);
    if (opened)
        close(fds[0]);
    apr_pool_destroy(ptemp);
    return rv;
}

/* The log may have been rotated. */
static void follow_log(const keep_t *k)
{
    int fd = mp_logfile_follow();
    apr_pool_t *ptemp;
    const char *data;
    apr_size_t len;

    if (fd < 0)
        return;
    apr_pool_create(&ptemp, NULL);
    data = ag_frame_data(ag_frame_create(ptemp, AG_CTL_LOG), &len);
    (void)!ag_parcel_send(k->ctl, data, len, &fd, 1);
    apr_pool_destroy(ptemp);
    close(fd);
}

/* In the forked child: becomes the helper, or tells why not. */
static void become_helper(int fd, pid_t parent, const char *path)
{
    char name[] = "passenger-helper", role[] = "watchdog";
    char *argv[] = {name, role, NULL};
    apr_pool_t *ptemp;
    ag_frame_t *f;
    const char *data;
    apr_size_t len;

    /* Prefork signals its whole process group. */
    setsid();
    /* The socket alone would not do: daemons that other modules fork without exec hold copies of our end. */
    prctl(PR_SET_PDEATHSIG, (unsigned long)SIGTERM, 0L, 0L, 0L);
    if (getppid() != parent)
        _exit(0);
    if (fd != HELPER_FD)
        dup2(fd, HELPER_FD);
    else
        fcntl(fd, F_SETFD, 0);
    close_range(HELPER_FD + 1, UINT_MAX, 0);
    execve(path, argv, environ);
    apr_pool_create(&ptemp, NULL);
    f = ag_frame_create(ptemp, AG_CTL_FAILED);
    ag_frame_put_str(f, apr_psprintf(ptemp, "cannot run %s: %s", path, strerror(errno)));
    data = ag_frame_data(f, &len);
    (void)!ag_sock_send(HELPER_FD, data, len, NULL, 0);
    _exit(1);
}

static void on_other_child(int reason, void *data, int status);

static void watch(keep_t *k)
{
    /* On pconf, so that no callback outlives the code that it points to. */
    apr_proc_other_child_register(&k->proc, on_other_child, k, NULL, ap_server_conf->process->pconf);
}

static void start(keep_t *k, server_rec *s, apr_interval_time_t limit)
{
    const char *path = mp_conf_helper_path();
    apr_status_t rv;
    int fds[2];

    k->started = ag_clock_now();
    k->retry_at = k->started + RETRY_AFTER;
    k->ready = 0;
    rv = ag_sock_pair(fds);
    if (rv == APR_SUCCESS) {
        rv = apr_proc_fork(&k->proc, s->process->pconf);
        if (rv == APR_INCHILD)
            become_helper(fds[1], k->parent, path);
        close(fds[1]);
        if (rv != APR_INPARENT)
            close(fds[0]);
    }
    if (rv != APR_INPARENT) {
        char why[120];
        k->proc.pid = 0;
        complain(k, apr_pstrcat(s->process->pconf, "cannot be started: ", apr_strerror(rv, why, sizeof why), NULL));
        return;
    }
    k->ctl = fds[0];
    k->retry_at = 0;
    (void)!ag_sock_nonblock(k->ctl, 1);
    watch(k);
    /* A helper that can't take them is gone, which waiting finds out. */
    (void)!send_settings(k, s);
    wait_ready(k, limit);
}

/* The helper has ended. Restarts it, unless Apache ends too. */
static void bury(keep_t *k, int status)
{
    apr_time_t now = ag_clock_now();
    int state = AP_MPMQ_RUNNING;

    drain(k);
    apr_proc_other_child_unregister(k);
    k->proc.pid = 0;
    k->ready = 0;
    close_fd(&k->ctl);
    if (getpid() != k->parent || (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING))
        return;
    if (!k->problem[0])
        MP_LOG(APLOG_ERR, 0, ap_server_conf, "PSG0514", "passenger-helper died with %s %d; it is started again",
               WIFSIGNALED(status) ? "signal" : "code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (now - k->started >= RETRY_AFTER)
        k->deaths = 0;
    if (k->deaths++ < RETRY_FAST)
        start(k, ap_server_conf, AGAIN_WAIT);
    else
        k->retry_at = now + RETRY_AFTER;
}

/* At a restart and at the end the MPM also asks about children that are alive (APR_OC_REASON_RESTART); a reload unregisters them.
 */
static void on_other_child(int reason, void *data, int status)
{
    if (reason == APR_OC_REASON_DEATH || reason == APR_OC_REASON_LOST)
        bury(data, status);
}

/* Waits for the helper's end, which it shows by closing the socket; within the limit it has ended all applications. */
static void stop(keep_t *k)
{
    apr_time_t until = ag_clock_now() + STOP_WAIT;
    apr_interval_time_t left = STOP_WAIT;
    apr_status_t rv = APR_SUCCESS;

    if (k->ctl < 0)
        return;
    send_order(k, AG_CTL_STOP);
    while (left > 0 && (rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv))) {
        if (ag_sock_wait(k->ctl, (int)apr_time_as_msec(left) + 1) == APR_SUCCESS)
            rv = receive(k);
        left = until - ag_clock_now();
    }
    close_fd(&k->ctl);
}

/* The configuration goes away: for another one, or for good. Children leave through here too. */
static apr_status_t on_pconf_gone(void *data)
{
    keep_t *k = data;

    if (getpid() != k->parent)
        return APR_SUCCESS;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING)
        stop(k);
    else if (k->ctl >= 0)
        send_order(k, AG_CTL_RELOADING);
    return APR_SUCCESS;
}

/* The record of this Apache, made once; NULL without memory. */
static keep_t *make_keep(void)
{
    keep_t *k = ap_retained_data_create(KEPT, sizeof *k);

    k->parent = getpid();
    k->ctl = k->listener = -1;
    k->shared = mmap(NULL, sizeof *k->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return k->shared == MAP_FAILED ? NULL : k;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    keep_t *k = keep();

    (void)plog;
    (void)ptemp;
    /* The first of two readings at start is done by a process that goes away. */
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    if (!k && !(k = make_keep()))
        return HTTP_INTERNAL_SERVER_ERROR;
    k->generation++;
    k->deaths = 0;
    apr_pool_cleanup_register(pconf, k, on_pconf_gone, apr_pool_cleanup_null);
    if (k->proc.pid == 0) {
        start(k, s, START_WAIT);
        return OK;
    }
    /* One that died since is noticed by the MPM within a second, which then calls on_other_child. */
    watch(k);
    drain(k);
    if (send_settings(k, s) != APR_SUCCESS)
        MP_LOG(APLOG_WARNING, 0, s, "PSG0515", "passenger-helper can't be told the new settings");
    return OK;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    keep_t *k = keep();

    (void)pchild;
    (void)s;
    /* With -X this runs in the parent, whose sockets these are. */
    if (!k || getpid() == k->parent)
        return;
    close_fd(&k->ctl);
    close_fd(&k->listener);
}

static int monitor(apr_pool_t *p, server_rec *s)
{
    keep_t *k = keep();

    (void)p;
    if (!k || getpid() != k->parent)
        return DECLINED;
    if (k->proc.pid) {
        drain(k);
        follow_log(k);
    } else if (k->retry_at && ag_clock_now() >= k->retry_at) {
        start(k, s, AGAIN_WAIT);
    }
    return DECLINED;
}

const char *mp_helper_socket(void)
{
    const keep_t *k = keep();

    return k ? socket_path(k) : NULL;
}

/* 1 in a child whose parent has died: nobody restarts the helper then. Some MPMs have children of children. */
static int parent_gone(void)
{
    const keep_t *k = keep();

    return k && getpid() != k->parent && getppid() != k->parent && kill(k->parent, 0) != 0 && errno == ESRCH;
}

static const char *advice(apr_status_t rv)
{
    if (!APR_STATUS_IS_EACCES(rv))
        return "";
    return geteuid() == ap_unixd_config.user_id ? "; let Apache's user enter every folder above that (chmod o+x)"
                                                : ", which is for Apache's User alone: leave AssignUserId (mpm_itk) and the like to sites without "
                                                  "applications; those run as the owners of their files without it";
}

int mp_helper_may_return(request_rec *r, apr_status_t rv, apr_interval_time_t took)
{
    const char *path = mp_helper_socket();

    if (parent_gone()) {
        /* An orphan of a killed Apache holds the port: it must get rid of its clients. */
        r->connection->keepalive = AP_CONN_CLOSE;
        MP_RLOG(APLOG_ERR, rv, r, "PSG0680", "Apache's parent process is gone, and with it the passenger-helper");
        return 0;
    }
    if (path && took <= RETURN_WAIT && (APR_STATUS_IS_ENOENT(rv) || APR_STATUS_IS_ECONNREFUSED(rv) || APR_STATUS_IS_EAGAIN(rv)))
        return 1;
    MP_RLOG(APLOG_ERR, rv, r, "PSG0681", "the passenger-helper can't be reached at %s%s", path ? path : "any socket: it has not started",
            advice(rv));
    return 0;
}

uint32_t mp_helper_generation(void)
{
    const keep_t *k = keep();

    return k ? k->generation : 0;
}

void mp_helper_register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_monitor(monitor, NULL, NULL, APR_HOOK_MIDDLE);
}
