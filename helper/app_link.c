#include "helper/app_link.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "apr-glue/sock.h"
#include "helper/kind.h"
#include "helper/port.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Servers close idle connections, after two seconds at the least; one that is older is not used, so that it does not happen just then. */
#define TCP_IDLE apr_time_from_sec(1)

static void close_idle(hp_process_t *process)
{
    hp_app_link_t *link;

    while ((link = LIST_FIRST(&process->idle_links))) {
        LIST_REMOVE(link, entry);
        ag_loop_io_destroy(&link->io);
        close(link->fd);
        process->nlinks--;
        free(link);
    }
}

/* Bytes or an end on a connection that nobody uses: in both cases it can't be trusted with the next request. */
static void on_link(void *baton, int events)
{
    hp_app_link_t *link = baton;

    if (link->cb) {
        link->cb(link->baton, events);
        return;
    }
    LIST_REMOVE(link, entry);
    hp_app_link_close(&link);
}

/* A path of the application's own choice: only a socket that this very process listens on will do, or, where a command may have started others
 * to do that, one that its user does; the process holds it then. */
static apr_status_t connect_path(int *pfd, const hp_process_t *process, const char *path)
{
    const hp_kind_t *kind = hp_kind_find(process->spec->kind);
    int loader = !kind || kind->loader;
    uid_t uid;
    pid_t pid;
    apr_status_t rv = loader ? ag_sock_connect(pfd, path, 1) : ag_sock_connect_fd(pfd, process->sock, 1);

    if (rv != APR_SUCCESS)
        return rv;
    rv = ag_sock_peer(*pfd, &uid, &pid);
    if (rv == APR_SUCCESS && (loader ? pid != process->pid : uid != process->uid && process->uid != (uid_t)-1))
        rv = EPERM;
    if (rv != APR_SUCCESS)
        close(*pfd);
    return rv;
}

/* A port too: whoever may listen there by now must not get what is meant for this application. Root is nobody's enemy, and starts containers.
 * Where /proc hides whose process it is (hidepid), that is whoever listens first. */
static apr_status_t connect_port(int *pfd, hp_process_t *process, const char *text, int v6)
{
    int port = (int)strtol(text, NULL, 10), fd = -1;
    apr_status_t rv = port > 0 && port <= 65535 ? ag_sock_connect_port(&fd, port, v6) : EINVAL;
    uid_t owner = HP_PORT_NOBODY;

    if (rv == APR_SUCCESS)
        rv = hp_port_owner(&owner, port, v6);
    if (rv == APR_SUCCESS && process->uid == (uid_t)-1)
        process->uid = owner;
    if (rv == APR_SUCCESS && (owner == HP_PORT_NOBODY || (owner != process->uid && owner != 0))) {
        ag_log(AG_LOG_ERROR, "PSG0200", "app.foreign_port: process %ld of %s listens on port %d, it said, but that is uid %ld's",
               (long)process->pid, process->spec->app_root, port, (long)owner);
        rv = EPERM;
    }
    if (rv == APR_SUCCESS)
        *pfd = fd;
    else if (fd >= 0)
        close(fd);
    return rv;
}

static apr_status_t connect_process(int *pfd, hp_process_t *process)
{
    static const char tcp[] = "tcp://127.0.0.1:", tcp6[] = "tcp://[::1]:";
    const char *address = process->handshake.address;

    if (strncmp(address, "fd:", 3) == 0)
        return ag_sock_connect_fd(pfd, process->sock, 1);
    if (strncmp(address, "unix:", 5) == 0)
        return connect_path(pfd, process, address + 5);
    if (strncmp(address, tcp, sizeof tcp - 1) == 0)
        return connect_port(pfd, process, address + sizeof tcp - 1, 0);
    if (strncmp(address, tcp6, sizeof tcp6 - 1) == 0)
        return connect_port(pfd, process, address + sizeof tcp6 - 1, 1);
    return EAFNOSUPPORT;
}

/* 1 if nothing has come since the last response: bytes that follow a response must not become the beginning of the next one. */
static int quiet(const hp_app_link_t *link)
{
    char byte;

    return recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

apr_status_t hp_app_link_get(hp_app_link_t **plink, hp_process_t *process, ag_loop_io_cb_t cb, void *baton)
{
    static const int send_buffer = 208 * 1024;
    hp_app_link_t *link;
    int fd = -1;
    apr_status_t rv;

    while ((link = LIST_FIRST(&process->idle_links))) {
        LIST_REMOVE(link, entry);
        if (quiet(link) && (!link->tcp || ag_loop_now() - link->kept_at < TCP_IDLE))
            break;
        hp_app_link_close(&link);
    }
    if (!link) {
        if (APR_SUCCESS != (rv = connect_process(&fd, process)))
            return rv;
        link = calloc(1, sizeof *link);
        if (!link)
            ag_memory_out();
        link->process = process;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
        link->fd = fd;
        link->tcp = strncmp(process->handshake.address, "tcp:", 4) == 0;
        link->io = ag_loop_io_create(process->ctx->loop, fd, AG_LOOP_READ, on_link, link);
        process->nlinks++;
        process->close_idle_links = close_idle;
    }
    link->cb = cb;
    link->baton = baton;
    *plink = link;
    return APR_SUCCESS;
}

void hp_app_link_doubt(hp_process_t *process)
{
    if (process->handshake.protocol == HP_HANDSHAKE_FASTCGI && !process->keeps)
        close_idle(process);
}

void hp_app_link_keep(hp_app_link_t **plink)
{
    hp_app_link_t *link = *plink;

    *plink = NULL;
    if (link->process->state != HP_PROCESS_READY) {
        hp_app_link_close(&link);
        return;
    }
    link->cb = NULL;
    link->kept = 1;
    link->kept_at = ag_loop_now();
    ag_loop_io_set(link->io, AG_LOOP_READ);
    LIST_INSERT_HEAD(&link->process->idle_links, link, entry);
}

int hp_app_link_spare(hp_context_t *ctx)
{
    int n = 0;

    for (apr_hash_index_t *hi = apr_hash_first(NULL, ctx->processes); hi; hi = apr_hash_next(hi)) {
        hp_process_t *process = apr_hash_this_val(hi);
        n += process->nlinks;
        close_idle(process);
        n -= process->nlinks;
    }
    return n;
}

void hp_app_link_close(hp_app_link_t **plink)
{
    hp_app_link_t *link = *plink;

    if (!link)
        return;
    *plink = NULL;
    ag_loop_io_destroy(&link->io);
    close(link->fd);
    link->process->nlinks--;
    assert(link->process->nlinks >= 0);
    hp_process_release(link->process);
    free(link);
}
