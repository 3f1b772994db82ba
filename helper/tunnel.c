#include "helper/tunnel.h"
#include "apr-glue/log.h"
#include <errno.h>
#include <sys/socket.h>

#define HALF_LIMIT apr_time_from_sec(60) /* of silence, when one side has ended: it may be gone altogether, which nothing tells */

static void on_timer(void *baton);

static void end(hp_exchange_t *r)
{
    r->state = HP_EXCHANGE_OVER;
    hp_exchange_tell(r);
    if (r->conn)
        hp_conn_done(r->conn, 0);
    r->conn = NULL;
    hp_exchange_leave(r, 0, 0);
    hp_exchange_destroy(r);
}

static apr_interval_time_t limit(const hp_exchange_t *r)
{
    if ((r->client_ended || r->app_ended) && (r->idle_limit == 0 || r->idle_limit > HALF_LIMIT))
        return HALF_LIMIT;
    return r->idle_limit;
}

static void start_timer(hp_exchange_t *r, apr_interval_time_t after)
{
    if (!r->tunnel_timer)
        r->tunnel_timer = ag_loop_timer_create(r->ctx->loop, on_timer, r);
    ag_loop_timer_start(r->tunnel_timer, after);
}

/* It is not moved forward with each byte, but looks, when it fires, if it is time. */
static void on_timer(void *baton)
{
    hp_exchange_t *r = baton;
    apr_interval_time_t left = r->moved_at + limit(r) - ag_loop_now();

    if (!r->cut && limit(r) == 0)
        return;
    if (!r->cut && left > 0)
        start_timer(r, left);
    else
        end(r);
}

static void on_cut(hp_process_work_t *work)
{
    hp_exchange_t *r = (hp_exchange_t *)work;

    if (!r->cut)
        start_timer(r, 0);
    r->cut = 1;
}

/* With this much on the way to one side, no more is read from the other: it all stays in memory. */
static apr_off_t most(const hp_exchange_t *r)
{
    return hp_spool_share(&r->ctx->store);
}

static void watch(const hp_exchange_t *r)
{
    int read = !r->app_ended && hp_conn_backlog(r->conn) < most(r);

    ag_loop_io_set(r->link->io, (read ? AG_LOOP_READ : 0) | (hp_spool_len(&r->up) > 0 ? AG_LOOP_WRITE : 0));
}

/* Shows each side the other's end, when it has everything that came before. 0: that was all, and the exchange is gone. */
static int settle(hp_exchange_t *r)
{
    if (r->client_ended && !r->shut && hp_spool_len(&r->up) == 0) {
        shutdown(r->link->fd, SHUT_WR);
        r->shut = 1;
    }
    if (r->app_ended && (r->shut || r->app_deaf)) {
        end(r);
        return 0;
    }
    watch(r);
    return 1;
}

static void ended(hp_exchange_t *r, int *pside)
{
    *pside = 1;
    r->moved_at = ag_loop_now();
    if (!r->cut)
        start_timer(r, limit(r));
}

/* Sends what is kept. What an application has said counts even if it listens no more. */
static void send_kept(hp_exchange_t *r)
{
    apr_status_t rv = hp_spool_send(&r->up, r->link->fd);

    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv)) {
        hp_spool_clear(&r->up);
        r->app_deaf = 1;
    }
    hp_conn_want_body(r->conn, hp_spool_len(&r->up) < most(r));
}

void hp_tunnel_begin(hp_exchange_t *r, const char *data, apr_size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};

    r->tunnel = 1;
    hp_spool_stay_in_memory(&r->up);
    hp_conn_stay_in_memory(r->conn);
    r->moved_at = ag_loop_now();
    if (r->limit_timer)
        ag_loop_timer_stop(r->limit_timer);
    if (r->idle_limit > 0)
        start_timer(r, r->idle_limit);
    if (len > 0)
        hp_conn_write(r->conn, &iov, 1);
    hp_conn_want_body(r->conn, 1);
    watch(r);
    hp_process_tunnel(r->process, &r->waiter.work, r->uncut ? NULL : on_cut);
    if (r->client_ended) /* before 101 */
        hp_tunnel_client_ended(r);
}

apr_size_t hp_tunnel_take(hp_exchange_t *r, const char *data, apr_size_t len)
{
    apr_size_t done = 0, n = HP_SPOOL_MEMORY - (apr_size_t)hp_spool_len(&r->up);

    r->moved_at = ag_loop_now();
    if (r->app_deaf)
        return len;
    if (hp_spool_len(&r->up) == 0) {
        ssize_t sent = send(r->link->fd, data, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
            r->app_deaf = 1;
            settle(r);
            return len;
        }
        done = sent > 0 ? (apr_size_t)sent : 0;
    }
    n = len - done < n ? len - done : n;
    if (n > 0 && hp_spool_put(&r->up, data + done, n) != APR_SUCCESS)
        n = 0; /* can't be: there is room in memory */
    hp_conn_want_body(r->conn, hp_spool_len(&r->up) < most(r));
    watch(r);
    return done + n;
}

void hp_tunnel_client_ended(hp_exchange_t *r)
{
    ended(r, &r->client_ended);
    settle(r);
}

void hp_tunnel_drained(hp_exchange_t *r)
{
    watch(r);
}

static void from_app(hp_exchange_t *r)
{
    struct iovec iov = {.iov_base = r->ctx->scratch};
    ssize_t n = recv(r->link->fd, r->ctx->scratch, (size_t)most(r), 0);

    if (n > 0) {
        iov.iov_len = (size_t)n;
        r->moved_at = ag_loop_now();
        hp_exchange_tell(r);
        hp_conn_write(r->conn, &iov, 1);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        hp_exchange_tell(r);
        hp_conn_end(r->conn);
        r->app_deaf |= n < 0;
        ended(r, &r->app_ended);
    }
}

void hp_tunnel_ready(hp_exchange_t *r, int events)
{
    if (events & AG_LOOP_WRITE)
        send_kept(r);
    if ((events & AG_LOOP_READ) && !r->app_ended && hp_conn_backlog(r->conn) < most(r))
        from_app(r);
    settle(r);
}
