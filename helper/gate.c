#include "helper/gate.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include "helper/app_link.h"
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE     64
#define PAUSE       (apr_time_from_sec(1) / 10) /* while there are too few descriptors and none can be freed */
#define SPARE       16                          /* idle links that are closed together */
#define RESERVE_MAX 64                          /* descriptors that links must leave to everything else; at most a quarter */

struct hp_gate_t {
    hp_conn_server_t *server;
    int listener; /* -1: closed */
    ag_loop_io_t *io;
    ag_loop_timer_t *timer;
    int fd_limit; /* a link with this descriptor or a higher one is the last for the moment */
    int crowd;    /* links when descriptors ran short: there must be fewer before another one comes in; 0: no shortage */
};

/* Links that nobody uses hold what others wait for: those idle for longest go first, then idle connections to applications. */
static int relieve(hp_gate_t *gate)
{
    int n = hp_conn_spare(gate->server, SPARE);

    if (n == 0) {
        n = hp_app_link_spare(gate->server->ctx);
        gate->crowd += n; /* their descriptors are free already */
    }
    return n;
}

static void crowded(hp_gate_t *gate, apr_status_t why)
{
    const char *more = ag_log_due(&gate->server->ctx->fd_exhausted, ag_loop_now());

    if (more)
        ag_log(AG_LOG_ERROR, "PSG0161", "fd.exhausted: links have to wait: %s; %d are open%s", strerror(why), gate->server->nconns, more);
    /* The backlog waits; trying again at once would only burn time. */
    ag_loop_io_set(gate->io, 0);
    gate->crowd = gate->server->nconns;
    ag_loop_timer_start(gate->timer, relieve(gate) > 0 ? 0 : PAUSE);
}

static void on_timer(void *baton)
{
    hp_gate_t *gate = baton;

    if (gate->listener < 0)
        return;
    if (gate->server->nconns > 0 && gate->server->nconns >= gate->crowd) {
        ag_loop_timer_start(gate->timer, relieve(gate) > 0 ? 0 : PAUSE);
        return;
    }
    gate->crowd = 0;
    ag_loop_io_set(gate->io, AG_LOOP_READ);
}

/* Only Apache's children, root and ourselves: the socket's mode says the same, this says it again. */
static int welcome(const hp_gate_t *gate, int fd)
{
    uid_t uid;
    pid_t pid;

    if (ag_sock_peer(fd, &uid, &pid) == APR_SUCCESS &&
        (uid == 0 || uid == geteuid() || uid == (uid_t)gate->server->ctx->settings->web_uid))
        return 1;
    ag_log(AG_LOG_WARN, "PSG0160", "link.refused: process %ld of uid %ld is not Apache's", (long)pid, (long)uid);
    return 0;
}

static void on_accept(void *baton, int events)
{
    hp_gate_t *gate = baton;

    (void)events;
    for (int i = 0; i < AT_ONCE; i++) {
        int fd = accept4(gate->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            crowded(gate, errno);
        if (fd < 0)
            return;
        if (welcome(gate, fd))
            hp_conn_create(gate->server, fd);
        else
            close(fd);
        if (fd >= gate->fd_limit) {
            crowded(gate, EMFILE);
            return;
        }
    }
}

hp_gate_t *hp_gate_create(hp_conn_server_t *server)
{
    hp_gate_t *gate = apr_pcalloc(server->ctx->p, sizeof *gate);
    struct rlimit nofile;

    gate->server = server;
    gate->listener = -1;
    gate->timer = ag_loop_timer_create(server->ctx->loop, on_timer, gate);
    gate->fd_limit = INT_MAX;
    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0 && nofile.rlim_cur < INT_MAX)
        gate->fd_limit = (int)nofile.rlim_cur - (nofile.rlim_cur / 4 < RESERVE_MAX ? (int)nofile.rlim_cur / 4 : RESERVE_MAX);
    return gate;
}

void hp_gate_open(hp_gate_t *gate, int fd)
{
    hp_gate_close(gate);
    gate->listener = fd;
    ag_sock_nonblock(fd, 1);
    gate->io = ag_loop_io_create(gate->server->ctx->loop, fd, AG_LOOP_READ, on_accept, gate);
}

void hp_gate_close(hp_gate_t *gate)
{
    ag_loop_io_destroy(&gate->io);
    if (gate->listener >= 0)
        close(gate->listener);
    gate->listener = -1;
}
