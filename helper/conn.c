#include "helper/conn.h"
#include "apr-glue/build.h"
#include "apr-glue/link.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "apr-glue/sock.h"
#include "helper/head.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELLO_MAX   256
#define HEAD_MAX    (AG_LINK_MAX_HEAD + 64 * 1024) /* the application's pairs and ours */
#define DRAINED     (HP_SPOOL_MEMORY / 2)
#define FILE_WITH   4096 /* bytes that a descriptor goes with */
#define KEPT_BUFFER 8192 /* a link that waits for its next request holds no more */
#define IDLE_LEAST  (apr_time_from_sec(1) / 10) /* before that, a request may be on its way */

typedef enum { HELLO, HEAD, REQUEST, CLOSING } phase_t;

struct hp_conn_t {
    LIST_ENTRY(hp_conn_t) entry;
    hp_conn_server_t *server;
    int fd;
    ag_loop_io_t *io;
    ag_loop_timer_t *later; /* for what must not happen inside the calls that found it necessary; NULL until needed */
    phase_t phase;
    int want_body, peer_ended, broken;
    int wide;   /* its socket holds more than others */
    int waits;  /* for room in the socket, though nothing is kept for it */
    int ending; /* our half is shut down when all is sent */
    uint32_t config_generation;
    hp_variants_t variants;
    int slot; /* in the marks; -1: none */
    int asks; /* the other side looks at what they tell */
    uint64_t serial;
    apr_time_t idle_since; /* of meaning while there is no request */
    char *in; /* bytes that came and could not be used yet */
    apr_size_t in_len, in_size;
    hp_spool_t out;
    const hp_conn_handler_t *handler; /* of the request */
    void *request; /* NULL: none */
};

static void set_wide(hp_conn_t *conn, int wide)
{
    if (conn->wide != wide)
        conn->wide = hp_bulk_widen(conn->server->ctx->bulk, conn->fd, wide);
}

static void destroy(hp_conn_t *conn)
{
    void *request = conn->request;

    conn->request = NULL;
    if (request)
        conn->handler->orphan(request);
    LIST_REMOVE(conn, entry);
    conn->server->nconns--;
    if (conn->slot >= 0)
        ag_marks_give(conn->server->ctx->marks, conn->slot);
    ag_loop_io_destroy(&conn->io);
    ag_loop_timer_destroy(&conn->later);
    hp_spool_clear(&conn->out);
    set_wide(conn, 0);
    close(conn->fd);
    free(conn->in);
    free(conn);
}

static void consume_kept(hp_conn_t *conn);

static void on_later(void *baton)
{
    hp_conn_t *conn = baton;

    if (conn->broken)
        destroy(conn);
    else
        consume_kept(conn);
}

static void later(hp_conn_t *conn)
{
    if (!conn->later)
        conn->later = ag_loop_timer_create(conn->server->ctx->loop, on_later, conn);
    ag_loop_timer_start(conn->later, 0);
}

/* The link is of no use any more; whoever is at work on it finishes its call first. */
static void doom(hp_conn_t *conn)
{
    if (conn->broken)
        return;
    conn->broken = 1;
    ag_loop_io_set(conn->io, 0);
    later(conn);
}

static void watch(hp_conn_t *conn)
{
    int events = hp_spool_len(&conn->out) > 0 || conn->waits ? AG_LOOP_WRITE : 0;

    if (conn->broken)
        return;
    if (!conn->peer_ended && conn->phase != CLOSING && (conn->phase != REQUEST || conn->want_body || conn->in_len == 0))
        events |= AG_LOOP_READ;
    ag_loop_io_set(conn->io, events);
}

/* -- out -- */

/* Without room on the disk it stays in memory, and whoever writes is to wait. */
static void keep_out(hp_conn_t *conn, const char *data, apr_size_t len)
{
    hp_context_t *ctx = conn->server->ctx;
    apr_status_t rv = hp_spool_put(&conn->out, data, len);
    const char *more;

    set_wide(conn, 0);
    if (rv == APR_SUCCESS)
        return;
    if (!conn->out.full && (more = ag_log_due(&ctx->spool_full, ag_loop_now())))
        ag_log(AG_LOG_ERROR, "PSG0140", "spool.full: a response could not be kept for a slow client in %s: %s; its application waits%s",
               ctx->store.dir, strerror(rv), more);
    hp_spool_hold(&conn->out, data, len, rv);
}

void hp_conn_write(hp_conn_t *conn, const struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
    ssize_t sent = 0;

    if (conn->broken)
        return;
    if (hp_spool_len(&conn->out) == 0) {
        sent = sendmsg(conn->fd, &msg, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            doom(conn);
            return;
        }
    }
    for (int i = 0; i < n; i++) {
        apr_size_t done = sent > 0 ? (apr_size_t)sent < iov[i].iov_len ? (apr_size_t)sent : iov[i].iov_len : 0;
        sent -= (ssize_t)done;
        if (done < iov[i].iov_len)
            keep_out(conn, (const char *)iov[i].iov_base + done, iov[i].iov_len - done);
    }
    watch(conn);
}

void hp_conn_write_bulk(hp_conn_t *conn, hp_bulk_t *bulk)
{
    char *scratch = conn->server->ctx->scratch;
    apr_size_t n;

    if (!conn->broken && hp_bulk_give(bulk, conn->fd) != APR_SUCCESS)
        doom(conn);
    while (!conn->broken && (n = hp_bulk_read(bulk, scratch, HP_CONTEXT_SCRATCH)) > 0)
        keep_out(conn, scratch, n);
    hp_bulk_drop(bulk);
    watch(conn);
}

apr_size_t hp_conn_room(hp_conn_t *conn, apr_size_t most)
{
    apr_size_t room;

    set_wide(conn, 1);
    room = hp_bulk_room(conn->fd, most);
    conn->waits = room == 0;
    watch(conn);
    return room;
}

void hp_conn_write_file(hp_conn_t *conn, struct iovec *iov, int n, int fd)
{
    apr_size_t first = iov->iov_len < FILE_WITH ? iov->iov_len : FILE_WITH;

    if (fd >= 0 && !conn->broken) {
        /* The other side has taken all that came before, so there is room for the beginning. */
        if (hp_spool_len(&conn->out) > 0 || ag_sock_send(conn->fd, iov->iov_base, first, &fd, 1) != APR_SUCCESS) {
            doom(conn);
            return;
        }
        iov->iov_base = (char *)iov->iov_base + first;
        iov->iov_len -= first;
    }
    hp_conn_write(conn, iov, n);
}

void hp_conn_hand_over(hp_conn_t *conn, const hp_conn_handler_t *handler, void *request)
{
    conn->handler = handler;
    conn->request = request;
}

void hp_conn_stay_in_memory(hp_conn_t *conn)
{
    hp_spool_stay_in_memory(&conn->out);
}

apr_off_t hp_conn_backlog(const hp_conn_t *conn)
{
    return hp_spool_len(&conn->out);
}

int hp_conn_full(const hp_conn_t *conn)
{
    return conn->out.full != APR_SUCCESS;
}

/* After the last byte of a response: the next request, or the end. */
static void next(hp_conn_t *conn)
{
    if (conn->phase == CLOSING || (conn->peer_ended && conn->phase != REQUEST)) {
        if (hp_spool_len(&conn->out) == 0)
            doom(conn);
        return;
    }
    consume_kept(conn);
}

static void shut(const hp_conn_t *conn)
{
    if (conn->ending && hp_spool_len(&conn->out) == 0)
        shutdown(conn->fd, SHUT_WR);
}

static void flush(hp_conn_t *conn)
{
    apr_status_t rv = hp_spool_send(&conn->out, conn->fd);

    conn->waits = 0;
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv)) {
        doom(conn);
        return;
    }
    shut(conn);
    if (conn->request && hp_spool_len(&conn->out) <= DRAINED)
        conn->handler->drained(conn->request);
    if (!conn->request && !conn->broken)
        next(conn);
    watch(conn);
}

void hp_conn_done(hp_conn_t *conn, int keep)
{
    conn->request = NULL;
    conn->want_body = 0;
    set_wide(conn, 0);
    conn->idle_since = ag_loop_now();
    conn->phase = keep && !conn->peer_ended && !conn->server->ctx->stopping ? HEAD : CLOSING;
    if (conn->phase == CLOSING && !conn->broken && hp_spool_len(&conn->out) == 0)
        doom(conn);
    watch(conn);
}

void hp_conn_end(hp_conn_t *conn)
{
    conn->ending = 1;
    shut(conn);
}

void hp_conn_break(hp_conn_t *conn)
{
    /* What was sent stays valid for the reader; what is still here would only make the break come later. */
    conn->request = NULL;
    conn->phase = CLOSING;
    if (hp_spool_len(&conn->out) == 0)
        doom(conn);
    watch(conn);
}

void hp_conn_want_body(hp_conn_t *conn, int on)
{
    /* Bytes that came meanwhile may be the last: no event would tell of them. */
    if (on && !conn->want_body && conn->in_len > 0)
        later(conn);
    conn->want_body = on;
    watch(conn);
}

hp_conn_server_t *hp_conn_server(const hp_conn_t *conn)
{
    return conn->server;
}

uint32_t hp_conn_config_generation(const hp_conn_t *conn)
{
    uint32_t newest = conn->server->ctx->settings->config_generation;

    return conn->config_generation < newest ? conn->config_generation : newest;
}

hp_variants_t *hp_conn_variants(hp_conn_t *conn)
{
    return &conn->variants;
}

/* -- in -- */

/* `known`: the core whose marks the other side has. */
static void say_hello(hp_conn_t *conn, const char *known)
{
    hp_context_t *ctx = conn->server->ctx;
    char line[HELLO_MAX], where[48] = "";
    struct iovec iov = {.iov_base = line};

    if (ctx->marks)
        conn->slot = ag_marks_take(ctx->marks, &conn->serial);
    if (conn->slot >= 0)
        snprintf(where, sizeof where, " %d %" APR_UINT64_T_FMT, conn->slot, (apr_uint64_t)conn->serial);
    iov.iov_len = (size_t)snprintf(line, sizeof line, AG_LINK_PROTOCOL " %s %s%s\n", ag_build_id(), ctx->core_id, where);
    if (conn->slot < 0 || strcmp(known, ctx->core_id) == 0 || ag_sock_send(conn->fd, line, iov.iov_len, &ctx->marks->fd, 1) != APR_SUCCESS)
        hp_conn_write(conn, &iov, 1);
}

static void refuse_hello(hp_conn_t *conn, const char *line)
{
    static const char mismatch[] = AG_LINK_PROTOCOL " mismatch\n";
    struct iovec iov = {(void *)(uintptr_t)mismatch, sizeof mismatch - 1};

    if (strncmp(line, "PASSENGER/", 10) == 0)
        ag_log(AG_LOG_ERROR, "PSG0141", "version.mismatch: Apache's module speaks %.16s, this helper " AG_LINK_PROTOCOL "; restart Apache", line);
    else
        ag_log(AG_LOG_WARN, "PSG0142", "link.protocol: not a hello: %.64s", line);
    hp_conn_write(conn, &iov, 1);
    hp_conn_break(conn);
}

/* Consumes the hello line if it is there; a digit is plain SCGI's beginning. */
static apr_size_t take_hello(hp_conn_t *conn, const char *data, apr_size_t len)
{
    const char *newline;
    char line[HELLO_MAX], build[64], known[40] = "", times[8] = "";
    unsigned generation;

    if (*data >= '0' && *data <= '9') {
        conn->phase = HEAD;
        return 0;
    }
    newline = memchr(data, '\n', len < HELLO_MAX ? len : HELLO_MAX);
    if (!newline) {
        if (len >= HELLO_MAX)
            doom(conn);
        return 0;
    }
    memcpy(line, data, (size_t)(newline - data));
    line[newline - data] = '\0';
    if (sscanf(line, AG_LINK_PROTOCOL " %63s %u %39s %7s", build, &generation, known, times) < 2) {
        refuse_hello(conn, line);
        return (apr_size_t)(newline - data) + 1;
    }
    conn->config_generation = generation;
    conn->phase = HEAD;
    say_hello(conn, known);
    conn->asks = conn->slot >= 0 && strcmp(times, "times") == 0;
    return (apr_size_t)(newline - data) + 1;
}

static void bad_head(hp_conn_t *conn)
{
    ag_log(AG_LOG_WARN, "PSG0143", "link.protocol: not a request");
    doom(conn);
}

static void mark(hp_conn_t *conn, int delivered)
{
    if (conn->slot >= 0)
        ag_marks_set(conn->server->ctx->marks, conn->slot, conn->serial, delivered);
}

int hp_conn_asks(const hp_conn_t *conn)
{
    return conn->asks;
}

void hp_conn_tell(hp_conn_t *conn, const ag_marks_told_t *told)
{
    if (conn->asks)
        ag_marks_tell(conn->server->ctx->marks, conn->slot, told);
}

void hp_conn_delivering(hp_conn_t *conn)
{
    mark(conn, 1);
}

static apr_size_t take_head(hp_conn_t *conn, const char *data, apr_size_t len)
{
    hp_conn_begin_t in = {0};
    apr_size_t value;
    int prefix = hp_head_prefix(data, len, &value);
    void *request;

    if (prefix == 0)
        return 0;
    if (prefix < 0 || value > HEAD_MAX || value < 2) {
        bad_head(conn);
        return 0;
    }
    if (len < (apr_size_t)prefix + value + 1)
        return 0;
    data += prefix;
    if (data[value] != ',' || data[value - 1] != '\0') {
        bad_head(conn);
        return 0;
    }
    conn->phase = REQUEST;
    conn->want_body = 1;
    mark(conn, 0);
    hp_conn_tell(conn, &(ag_marks_told_t){0});
    in.pairs = data;
    in.len = value;
    in.body = data + value + 1;
    in.body_len = len - (apr_size_t)prefix - value - 1;
    conn->handler = conn->server->handler;
    request = conn->server->handler->begin(conn->server->baton, conn, &in);
    /* An answer that came at once has changed the phase already. */
    if (conn->phase == REQUEST)
        conn->request = request;
    return (apr_size_t)prefix + value + 1 + in.used;
}

/* Uses as much of the bytes as there is use for. */
static apr_size_t consume(hp_conn_t *conn, const char *data, apr_size_t len)
{
    apr_size_t done = 0;

    while (done < len && !conn->broken) {
        phase_t before = conn->phase;
        apr_size_t n = 0;
        if (conn->phase == HELLO)
            n = take_hello(conn, data + done, len - done);
        else if (conn->phase == HEAD && hp_spool_len(&conn->out) == 0)
            n = take_head(conn, data + done, len - done);
        else if (conn->phase == REQUEST && conn->request && conn->want_body)
            n = conn->handler->body(conn->request, data + done, len - done);
        else if (conn->phase == CLOSING)
            return len;
        if (n == 0 && conn->phase == before)
            break;
        done += n;
    }
    return done;
}

/* What could not be used is kept: the end of what was kept before, or the end of new bytes. */
static void keep(hp_conn_t *conn, const char *data, apr_size_t len)
{
    if (conn->in_len > 0) {
        memmove(conn->in, data, len);
    } else if (len > 0) {
        if (conn->in_size < len) {
            free(conn->in);
            conn->in = malloc(len);
            conn->in_size = len;
        }
        if (!conn->in)
            ag_memory_out();
        memcpy(conn->in, data, len);
    }
    conn->in_len = len;
    if (len == 0 && conn->in_size > KEPT_BUFFER) {
        free(conn->in);
        conn->in = NULL;
        conn->in_size = 0;
    }
}

static void consume_kept(hp_conn_t *conn)
{
    apr_size_t used;

    if (conn->in_len > 0) {
        used = consume(conn, conn->in, conn->in_len);
        keep(conn, conn->in + used, conn->in_len - used);
    }
    watch(conn);
}

static void on_data(hp_conn_t *conn, const char *data, apr_size_t len)
{
    apr_size_t used;

    if (conn->in_len > 0) {
        if (conn->in_len + len > HEAD_MAX + HP_CONTEXT_SCRATCH) {
            bad_head(conn);
            return;
        }
        if (conn->in_size < conn->in_len + len) {
            conn->in_size = 2 * (conn->in_len + len);
            conn->in = realloc(conn->in, conn->in_size);
            if (!conn->in)
                ag_memory_out();
        }
        memcpy(conn->in + conn->in_len, data, len);
        conn->in_len += len;
        consume_kept(conn);
        return;
    }
    used = consume(conn, data, len);
    if (used < len)
        keep(conn, data + used, len - used);
    watch(conn);
}

static void on_end(hp_conn_t *conn)
{
    conn->peer_ended = 1;
    if (!conn->request ? conn->phase != CLOSING || hp_spool_len(&conn->out) == 0 : !conn->handler->client_left(conn->request))
        doom(conn);
    watch(conn);
}

/* Large bodies are taken to where they stay. 0: none is there, or it is to be read as anything else. */
static int draw_body(hp_conn_t *conn)
{
    if (conn->phase != REQUEST || !conn->request || !conn->want_body || conn->in_len > 0 || !conn->handler->draw ||
        !conn->handler->draw(conn->request, conn->fd))
        return 0;
    watch(conn);
    return 1;
}

static void on_ready(void *baton, int events)
{
    hp_conn_t *conn = baton;
    ssize_t n;

    if (events & AG_LOOP_WRITE)
        flush(conn);
    if (!(events & AG_LOOP_READ) || conn->broken || conn->peer_ended || draw_body(conn))
        return;
    n = recv(conn->fd, conn->server->ctx->scratch, HP_CONTEXT_SCRATCH, 0);
    if (n > 0)
        on_data(conn, conn->server->ctx->scratch, (apr_size_t)n);
    else if (n == 0)
        on_end(conn);
    else if (errno != EAGAIN && errno != EINTR)
        doom(conn);
}

void hp_conn_create(hp_conn_server_t *server, int fd)
{
    hp_conn_t *conn = calloc(1, sizeof *conn);

    if (!conn)
        ag_memory_out();
    conn->server = server;
    conn->fd = fd;
    conn->slot = -1;
    conn->idle_since = ag_loop_now();
    hp_spool_init(&conn->out, &server->ctx->store);
    LIST_INSERT_HEAD(&server->conns, conn, entry);
    server->nconns++;
    conn->io = ag_loop_io_create(server->ctx->loop, fd, AG_LOOP_READ, on_ready, conn);
}

void hp_conn_drain(hp_conn_server_t *server)
{
    hp_conn_t *conn;

    LIST_FOREACH (conn, &server->conns, entry) {
        if (!conn->request && hp_spool_len(&conn->out) == 0)
            doom(conn);
    }
}

int hp_conn_spare(hp_conn_server_t *server, int n)
{
    apr_time_t latest = ag_loop_now() - IDLE_LEAST;
    hp_conn_t *conn, *oldest = NULL;
    int done = 0;

    do {
        if (oldest)
            doom(oldest);
        done += oldest != NULL;
        oldest = NULL;
        LIST_FOREACH (conn, &server->conns, entry) {
            if (!conn->request && !conn->broken && conn->in_len == 0 && hp_spool_len(&conn->out) == 0 &&
                conn->idle_since < (oldest ? oldest->idle_since : latest))
                oldest = conn;
        }
    } while (oldest && done < n);
    return done;
}
