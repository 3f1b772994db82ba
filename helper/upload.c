#include "helper/upload.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "helper/http_out.h"
#include "helper/responder.h"
#include "helper/response.h"
#include <apr_strings.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Keeps a piece of the body as it is to be sent. */
static apr_status_t keep(hp_exchange_t *r, const char *piece, apr_size_t len)
{
    char head[AG_CHUNK_HEAD_MAX];
    apr_status_t rv;

    if (!r->framed)
        return hp_spool_put(&r->up, piece, len);
    rv = hp_spool_put(&r->up, head, ag_chunk_head(head, len));
    if (rv == APR_SUCCESS)
        rv = hp_spool_put(&r->up, piece, len);
    return rv == APR_SUCCESS ? hp_spool_put(&r->up, "\r\n", 2) : rv;
}

apr_status_t hp_upload_take(hp_exchange_t *r, const char *data, apr_size_t len, apr_size_t *pused)
{
    apr_status_t rv = APR_SUCCESS;
    apr_size_t n, piece_len;
    const char *piece;

    *pused = 0;
    if (!r->chunked) {
        n = (apr_int64_t)len < r->body_left ? len : (apr_size_t)r->body_left;
        rv = n > 0 ? hp_spool_put(&r->up, data, n) : APR_SUCCESS;
        r->body_left -= (apr_int64_t)n;
        r->body_total += (apr_int64_t)n;
        r->body_over = r->body_left == 0;
        *pused = n;
        return rv;
    }
    while (*pused < len && !r->body_over) {
        rv = ag_chunk_next(&r->body_chunks, data + *pused, len - *pused, &n, &piece, &piece_len);
        *pused += n;
        if (rv != APR_SUCCESS && rv != APR_EOF)
            return rv;
        r->body_over = rv == APR_EOF;
        r->body_total += (apr_int64_t)piece_len;
        if (piece_len > 0 && APR_SUCCESS != (rv = keep(r, piece, piece_len)))
            return rv;
    }
    return r->framed && r->body_over ? hp_spool_put(&r->up, "0\r\n\r\n", 5) : APR_SUCCESS;
}

apr_size_t hp_upload_draw(hp_exchange_t *r, int fd)
{
    apr_size_t len;

    if (r->state != HP_EXCHANGE_RECEIVING || r->chunked || !r->buffered)
        return 0;
    len = hp_spool_draw(&r->up, fd, r->body_left);
    r->body_left -= (apr_int64_t)len;
    r->body_total += (apr_int64_t)len;
    r->body_over = r->body_left == 0;
    return len;
}

apr_status_t hp_upload_first(hp_exchange_t *r, const char *data, apr_size_t len, apr_size_t *pused)
{
    *pused = 0;
    if (!r->had_body)
        return APR_SUCCESS;
    if (!r->chunked && (apr_int64_t)len >= r->body_left) {
        r->inline_body = data;
        r->inline_len = *pused = (apr_size_t)r->body_left;
        r->body_total = r->body_left;
        r->body_left = 0;
        r->body_over = 1;
        return APR_SUCCESS;
    }
    if (r->buffered && !r->chunked)
        hp_spool_expect(&r->up, r->body_left);
    return hp_upload_take(r, data, len, pused);
}

void hp_upload_invite(hp_exchange_t *r)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)(uintptr_t)go_on, sizeof go_on - 1};

    if (r->expects && r->conn && !r->body_over)
        hp_conn_write(r->conn, &iov, 1);
    r->expects = 0;
    if (r->conn)
        hp_conn_want_body(r->conn, !r->body_over);
}

/* As many as like may be refused so: one line in the log tells of them all. */
static void no_room(hp_exchange_t *r, apr_status_t why)
{
    const char *more = ag_log_due(&r->ctx->spool_full, ag_loop_now());
    hp_report_t *report = hp_report_create(r->ctx->p, 507, "The request could not be kept", "There is no room for its body.", "");

    if (more)
        ag_log_about(hp_exchange_id(r), AG_LOG_ERROR, "PSG0153", "spool.full: %s: a request's body could not be kept in %s: %s; it is refused%s",
                     hp_group_name(r->group), r->ctx->store.dir, strerror(why), more);
    report->retry_after = 5;
    hp_exchange_answer(r, report, 0);
    hp_report_destroy(&report);
}

void hp_upload_refuse(hp_exchange_t *r, apr_status_t why)
{
    if (r->begun) {
        hp_exchange_fail(r, "the rest of the request could not be taken", 0);
        return;
    }
    if (r->state == HP_EXCHANGE_SERVING)
        hp_exchange_leave(r, 0, 0);
    else if (r->waiter.queued)
        hp_group_cancel(r->group, &r->waiter);
    if (why == APR_EGENERAL)
        hp_exchange_error(r, 400, "The request was not understood", "Its body is not framed as it should be.");
    else
        no_room(r, why);
}

void hp_upload_own(hp_exchange_t *r)
{
    apr_status_t rv = r->inline_len > 0 ? hp_spool_put(&r->up, r->inline_body, r->inline_len) : APR_SUCCESS;

    if (rv != APR_SUCCESS)
        hp_spool_hold(&r->up, r->inline_body, r->inline_len, rv); /* no more than a link holds anyway */
    r->inline_body = NULL;
    r->inline_len = 0;
}

static void write_failed(hp_exchange_t *r, apr_status_t rv)
{
    /* It may have answered before it had read everything, and then closed: what it said counts. */
    if (rv == EPIPE || rv == ECONNRESET) {
        hp_spool_clear(&r->up);
        r->unsent_at = r->unsent_len;
        r->app_closes = 1;
        if (r->paused_at) {
            ag_loop_io_set(r->link->io, 0); /* what it said is read when there is room */
            return;
        }
        ag_loop_io_set(r->link->io, AG_LOOP_READ);
        hp_response_read(r);
        return;
    }
    hp_exchange_fail(r, apr_strerror(rv, r->ctx->scratch, 128), 0);
}

void hp_upload_more(hp_exchange_t *r)
{
    apr_status_t rv = APR_SUCCESS;

    while (r->unsent_at < r->unsent_len && rv == APR_SUCCESS) {
        ssize_t n = send(r->link->fd, r->unsent + r->unsent_at, r->unsent_len - r->unsent_at, MSG_NOSIGNAL);
        if (n < 0)
            rv = errno;
        else
            r->unsent_at += (apr_size_t)n;
    }
    if (rv == APR_SUCCESS)
        rv = r->fcgi ? hp_responder_send(r) : hp_spool_send(&r->up, r->link->fd);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv) && rv != ENOTCONN) {
        write_failed(r, rv);
        return;
    }
    if (rv == APR_SUCCESS && r->body_over && r->chunked && !r->buffered && !r->framed && !r->fcgi && !r->shut) {
        shutdown(r->link->fd, SHUT_WR);
        r->shut = 1;
    }
    if (r->conn && !r->body_over)
        hp_conn_want_body(r->conn, hp_spool_len(&r->up) < hp_spool_share(&r->ctx->store));
    ag_loop_io_set(r->link->io, (r->paused_at ? 0 : AG_LOOP_READ) | (rv == APR_SUCCESS ? 0 : AG_LOOP_WRITE));
}

static void keep_unsent(hp_exchange_t *r, const struct iovec *iov, int n, apr_size_t sent)
{
    apr_size_t total = 0, at = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (sent >= total)
        return;
    r->unsent = malloc(total - sent);
    if (!r->unsent)
        ag_memory_out();
    for (int i = 0; i < n; i++) {
        apr_size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        if (iov[i].iov_len > skip)
            memcpy(r->unsent + at, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        at += iov[i].iov_len - skip;
        sent -= skip;
    }
    r->unsent_len = at;
}

/* What comes before a body that is still in the spool. */
typedef struct {
    struct iovec head[2], more, tail; /* more: the end of the head, or the beginning of the body's framing; tail: after a body in one piece */
    uint32_t prefix;
    char text[64];
    char *own; /* malloc'ed memory that `head` is in, or NULL */
} opening_t;

static void open_session(const hp_exchange_t *r, opening_t *o)
{
    apr_size_t len = 0;

    if (r->chunked && r->buffered)
        len = 1 + (apr_size_t)snprintf(o->text, sizeof o->text, "CONTENT_LENGTH%c%" APR_INT64_T_FMT, 0, r->body_total);
    o->prefix = htonl((uint32_t)(r->waiter.work.pairs_len + len));
    o->head[0] = (struct iovec){&o->prefix, sizeof o->prefix};
    o->head[1] = (struct iovec){(void *)(uintptr_t)r->waiter.work.pairs, r->waiter.work.pairs_len};
    o->more = (struct iovec){o->text, len};
}

/* What has come of a body before its process was known has no framing yet: it becomes the first chunk. */
static void begin_chunks(hp_exchange_t *r, opening_t *o)
{
    apr_off_t len = hp_spool_len(&r->up);
    const char *end = len == 0 ? "0\r\n\r\n" : r->body_over ? "\r\n0\r\n\r\n" : "\r\n";
    apr_status_t rv = APR_SUCCESS;

    r->framed = 1;
    if (len > 0)
        o->more = (struct iovec){o->text, ag_chunk_head(o->text, (apr_size_t)len)};
    if (len > 0 || r->body_over)
        rv = hp_spool_put(&r->up, end, strlen(end));
    if (rv != APR_SUCCESS)
        hp_spool_hold(&r->up, end, strlen(end), rv);
}

static apr_status_t open_http(hp_exchange_t *r, opening_t *o, const char **preason)
{
    const char *pairs = r->waiter.work.pairs;
    apr_int64_t body = HP_HTTP_OUT_NO_BODY;
    apr_size_t len;
    apr_status_t rv;

    if (r->upgrade)
        body = HP_HTTP_OUT_UPGRADE;
    else if (r->chunked)
        body = r->buffered ? r->body_total : HP_HTTP_OUT_CHUNKED;
    else if (r->had_body || hp_head_pair(pairs, r->fields_len, "CONTENT_LENGTH"))
        body = r->body_total + r->body_left;
    o->own = malloc(HP_HTTP_OUT_ROOM(r->fields_len));
    if (!o->own)
        ag_memory_out();
    rv = hp_http_out_write(o->own, &len, pairs, r->fields_len, body, preason);
    if (rv != APR_SUCCESS)
        return rv;
    o->head[0] = (struct iovec){o->own, len};
    if (body == HP_HTTP_OUT_CHUNKED)
        begin_chunks(r, o);
    return APR_SUCCESS;
}

/* A body in one piece goes with the head. */
static apr_status_t open_fcgi(hp_exchange_t *r, opening_t *o, const char **preason)
{
    apr_size_t len;
    apr_status_t rv;

    if (r->inline_len > HP_FCGI_CONTENT_MAX)
        hp_upload_own(r);
    rv = hp_responder_open(r, &o->own, &len, preason);
    if (rv != APR_SUCCESS)
        return rv;
    o->head[0] = (struct iovec){o->own, len};
    if (r->inline_len > 0) {
        hp_fcgi_stdin(o->text, r->inline_len);
        hp_fcgi_stdin(o->text + HP_FCGI_HEADER, 0);
        o->more = (struct iovec){o->text, HP_FCGI_HEADER};
        o->tail = (struct iovec){o->text + HP_FCGI_HEADER, HP_FCGI_HEADER};
        r->stdin_ended = 1;
    } else if (!r->had_body) {
        hp_fcgi_stdin(o->text, 0);
        o->more = (struct iovec){o->text, HP_FCGI_HEADER};
        r->stdin_ended = 1;
    }
    return APR_SUCCESS;
}

static void send_opening(hp_exchange_t *r, const opening_t *o)
{
    struct iovec iov[] = {o->head[0], o->head[1], o->more, {(void *)(uintptr_t)r->inline_body, r->inline_len}, o->tail};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = AG_LEN(iov)};
    char text[128];
    ssize_t n;

    if (r->conn)
        hp_conn_delivering(r->conn);
    n = sendmsg(r->link->fd, &msg, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
        apr_status_t rv = errno;
        if (!hp_exchange_again(r, !r->link->kept))
            hp_exchange_fail(r, apr_strerror(rv, text, sizeof text), 1);
        return;
    }
    keep_unsent(r, iov, AG_LEN(iov), n > 0 ? (apr_size_t)n : 0);
    r->inline_body = NULL;
    r->inline_len = 0;
    if (!hp_exchange_sent(r) || r->chunked)
        hp_upload_more(r);
}

void hp_upload_begin(hp_exchange_t *r)
{
    opening_t opening = {.own = NULL};
    hp_handshake_protocol_t protocol = r->process->handshake.protocol;
    const char *reason;
    apr_status_t rv = APR_SUCCESS;

    if (protocol == HP_HANDSHAKE_SESSION)
        open_session(r, &opening);
    else
        rv = protocol == HP_HANDSHAKE_HTTP ? open_http(r, &opening, &reason) : open_fcgi(r, &opening, &reason);
    if (rv != APR_SUCCESS) {
        free(opening.own);
        hp_exchange_leave(r, 1, 0);
        hp_exchange_error(r, 400, "The request was not understood", reason);
        return;
    }
    send_opening(r, &opening);
    free(opening.own);
}
