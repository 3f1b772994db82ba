#include "helper/response.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "helper/budget.h"
#include "helper/cgi.h"
#include "helper/cookie.h"
#include "helper/delivery.h"
#include "helper/interim.h"
#include "helper/oob.h"
#include "helper/responder.h"
#include "helper/tunnel.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NO_ANSWER "app.died: it ended, or closed the connection, without an answer"
#define PATIENCE  (apr_time_from_sec(1) / 40) /* that a process waits for a slow client, in all, before its response goes to disk */
#define EXIT_NEWS (apr_time_from_sec(1) / 50) /* in which the watchdog tells of a process's end */
#define DROP_MAX  (1024 * 1024) /* of a body that is not wanted: reading on is politer than closing the connection */
#define DROP_TIME apr_time_from_sec(30)
#define FIRST     (64 * 1024) /* of a response that is read before its head says how the rest may be passed on */
#define BULK      (64 * 1024) /* of a body, from which on it pays not to read it */
#define PIECES    48                          /* of a response, written at once */

/* Pieces of a response, gathered to be written in one go. */
typedef struct {
    struct iovec iov[PIECES];
    char heads[PIECES][AG_CHUNK_HEAD_MAX];
    int n, nheads;
} pieces_t;

static void write_pieces(hp_exchange_t *r, pieces_t *pieces)
{
    if (pieces->n > 0)
        hp_exchange_tell(r);
    if (pieces->n > 0 && r->conn)
        hp_conn_write(r->conn, pieces->iov, pieces->n);
    if (pieces->n > 0)
        r->begun = 1;
    pieces->n = pieces->nheads = 0;
}

static void add_piece(hp_exchange_t *r, pieces_t *pieces, const char *data, apr_size_t len)
{
    if (pieces->n == PIECES)
        write_pieces(r, pieces);
    pieces->iov[pieces->n++] = (struct iovec){(void *)(uintptr_t)data, len};
}

static void add_chunk(hp_exchange_t *r, pieces_t *pieces, const char *data, apr_size_t len)
{
    char *head;

    if (pieces->n + 3 > PIECES)
        write_pieces(r, pieces);
    head = pieces->heads[pieces->nheads++];
    add_piece(r, pieces, head, ag_chunk_head(head, len));
    add_piece(r, pieces, data, len);
    add_piece(r, pieces, "\r\n", 2);
}

/* Takes body bytes. 1: the response is complete, and *pused bytes were its; 0: more is to come; -1: not what the head promised. */
static int take_body(hp_exchange_t *r, pieces_t *pieces, const char *data, apr_size_t len, apr_size_t *pused)
{
    apr_size_t n, piece_len;
    const char *piece;
    apr_status_t rv = APR_SUCCESS;

    *pused = 0;
    if (r->framing == HP_HEAD_NONE)
        return 1;
    if (r->framing == HP_HEAD_LENGTH) {
        n = (apr_int64_t)len < r->left ? len : (apr_size_t)r->left;
        if (n > 0)
            add_piece(r, pieces, data, n);
        r->left -= (apr_int64_t)n;
        *pused = n;
        return r->left == 0;
    }
    if (r->framing == HP_HEAD_CLOSE) {
        if (len > 0)
            add_chunk(r, pieces, data, len);
        *pused = len;
        return 0;
    }
    while (rv == APR_SUCCESS && *pused < len) {
        rv = ag_chunk_next(&r->chunks, data + *pused, len - *pused, &n, &piece, &piece_len);
        *pused += n;
        if (piece_len > 0 && (rv == APR_SUCCESS || rv == APR_EOF))
            add_chunk(r, pieces, piece, piece_len);
    }
    if (rv == APR_EOF)
        add_piece(r, pieces, "0\r\n\r\n", 5);
    return rv == APR_EOF ? 1 : rv == APR_SUCCESS ? 0 : -1;
}

static void on_timer(void *baton);

static void start_timer(hp_exchange_t *r, apr_interval_time_t after)
{
    if (!r->timer)
        r->timer = ag_loop_timer_create(r->ctx->loop, on_timer, r);
    ag_loop_timer_start(r->timer, after);
}

static void pause_reading(hp_exchange_t *r)
{
    r->paused_at = ag_loop_now();
    ag_loop_io_set(r->link->io, hp_spool_len(&r->up) > 0 ? AG_LOOP_WRITE : 0);
    if (!r->to_disk && !hp_conn_full(r->conn))
        start_timer(r, PATIENCE - r->patience);
}

static void resume_reading(hp_exchange_t *r)
{
    r->patience += ag_loop_now() - r->paused_at;
    r->paused_at = 0;
    if (r->timer)
        ag_loop_timer_stop(r->timer);
    if (r->patience >= PATIENCE)
        r->to_disk = 1;
    ag_loop_io_set(r->link->io, AG_LOOP_READ | (hp_spool_len(&r->up) > 0 ? AG_LOOP_WRITE : 0));
}

static void end_chunks(hp_exchange_t *r)
{
    struct iovec last = {(void *)(uintptr_t) "0\r\n\r\n", 5};

    hp_exchange_tell(r);
    if (r->conn)
        hp_conn_write(r->conn, &last, 1);
    hp_exchange_complete(r, 0);
}

static void on_timer(void *baton)
{
    hp_exchange_t *r = baton;

    if (r->at_end) {
        /* The application closed without saying how long its response is. If it is alive, that was the end (RFC 9112 6.3). */
        if (!r->process->crashed && r->process->state != HP_PROCESS_GONE) {
            end_chunks(r);
        } else {
            hp_exchange_fail(r, "it ended while it was sending its response", 0);
        }
        return;
    }
    if (r->delivered) {
        hp_exchange_abandon(r);
        return;
    }
    r->to_disk = 1;
    resume_reading(r);
}

/* The client is slower than the application: first the process waits a little, then the response goes to disk, within a limit. */
static void throttle(hp_exchange_t *r)
{
    apr_off_t kept = r->conn ? hp_conn_backlog(r->conn) : 0;
    apr_off_t limit = r->to_disk ? (apr_off_t)r->ctx->settings->response_watermark : HP_SPOOL_MEMORY / 2;

    if (r->state == HP_EXCHANGE_SERVING && r->link && kept > 0 && (kept >= limit || hp_conn_full(r->conn)) && !r->paused_at)
        pause_reading(r);
}

/* The client need not wait for what the application does after its response. */
static int release_client(hp_exchange_t *r, apr_size_t surplus)
{
    if (!r->body_over) {
        hp_exchange_complete(r, surplus); /* the rest of the body will not come, and the application may be waiting for it */
        return 1;
    }
    r->surplus = r->framing == HP_HEAD_NONE ? 0 : surplus;
    r->served = 1;
    if (r->conn)
        hp_conn_done(r->conn, 1);
    r->conn = NULL;
    return 0;
}

/* Passes the pieces on, and body bytes behind them. As all that takes bytes: 1 if the exchange is over, and gone. */
static int pass_on(hp_exchange_t *r, pieces_t *pieces, const char *data, apr_size_t len)
{
    apr_size_t used;
    int over = take_body(r, pieces, data, len, &used);

    write_pieces(r, pieces);
    if (over == 0 && r->delivered && (!r->body_over || (r->dropped += len) > DROP_MAX)) {
        hp_exchange_abandon(r);
        return 1;
    }
    if (over == 0) {
        throttle(r);
        return 0;
    }
    if (over > 0 && r->fcgi)
        return release_client(r, len - used);
    if (over > 0)
        hp_exchange_complete(r, len - used);
    else
        hp_exchange_fail(r, "app.protocol: its response is not framed as it says", 0);
    return 1;
}

/* The client gets a file, and the exchange what the application says besides. */
static void deliver(hp_exchange_t *r, char kind, char *name, char *out, apr_size_t len)
{
    const struct iovec head = {.iov_base = out, .iov_len = len};
    hp_conn_t *conn = r->conn;

    hp_exchange_tell(r);
    r->conn = NULL;
    r->begun = r->delivered = 1;
    start_timer(r, DROP_TIME);
    hp_delivery_begin(conn, r->group, kind, name, &head, r->body_over);
}

/* The fields that we add, malloc'ed, or NULL: those of the protocol that is switched to (lines, or ""), and a cookie for visitors whose own does not
 * name this process already. */
static char *make_fields(const hp_exchange_t *r, const char *protocol)
{
    char *cookie = r->cookie && r->process->sticky_id != r->waiter.sticky ? hp_cookie_field(r->cookie, r->process->sticky_id) : NULL;
    char *fields;

    if (!*protocol)
        return cookie;
    if (asprintf(&fields, "%s%s", protocol, cookie ? cookie : "") < 0)
        ag_memory_out();
    free(cookie);
    return fields;
}

/* The pages that are passed on stay the application's, until the client's side has taken them: where a limit of its own counts them, slow clients
 * would use up its memory. */
static int goes_in_bulk(const hp_exchange_t *r)
{
    if (!r->ctx->bulk || r->framing != HP_HEAD_LENGTH || r->left < BULK || r->fcgi)
        return 0;
    return !r->process->cgroup || !hp_budget_limits_memory(r->process->spec, r->ctx->settings);
}

static int begin_response(hp_exchange_t *r, ag_http_head_t *head, apr_size_t head_len, const char *protocol, const char *body, apr_size_t len)
{
    char *fields = make_fields(r, protocol);
    apr_size_t room = HP_HEAD_ROOM(head_len) + (fields ? strlen(fields) : 0), used;
    char small[8192], *out = room <= sizeof small ? small : malloc(room);
    const char *mark = r->ctx->settings->show_version ? "mod_passenger " AG_VERSION : "mod_passenger";
    pieces_t pieces;
    char kind, *file = NULL;
    int over = 1;

    if (!out)
        ag_memory_out();
    r->framing = hp_head_framing(head, r->is_head);
    r->left = head->content_length;
    r->app_closes |= head->close;
    if (hp_head_tells(head, HP_HEAD_WORK))
        hp_oob_ask(r->process);
    r->bulk = goes_in_bulk(r);
    ag_chunk_init(&r->chunks);
    pieces.n = pieces.nheads = 0;
    if (r->delivers)
        file = hp_delivery_find(head, &kind);
    used = hp_head_write(out, head, file ? HP_HEAD_LENGTH : r->framing, !r->body_over, mark, fields ? fields : "");
    free(fields);
    if (file)
        deliver(r, kind, file, out, used);
    else
        add_piece(r, &pieces, out, used);
    if (*protocol) {
        write_pieces(r, &pieces);
        hp_tunnel_begin(r, body, len);
    } else {
        over = pass_on(r, &pieces, body, len);
    }
    if (out != small)
        free(out);
    return over;
}

/* A hijacked connection is served by threads of the application's own; the loader says where it is not. Who sets the number of requests knows what
 * they are. */
static int is_apart(const hp_exchange_t *r, const ag_http_head_t *head)
{
    return r->process->handshake.protocol == HP_HANDSHAKE_SESSION && !hp_head_tells(head, HP_HEAD_HOLDS) &&
           r->process->spec->options->force_max_concurrent_requests_per_process < 0;
}

/* Only to the protocol that was asked for. */
static void switch_protocol(hp_exchange_t *r, ag_http_head_t *head, apr_size_t head_len, const char *data, apr_size_t len)
{
    const char *asked = hp_process_work_value(&r->waiter.work, "HTTP_UPGRADE");
    char protocol[512];

    for (int i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *field = &head->fields[i];
        if (ag_http_head_is(field, "upgrade") && field->value_len == strlen(asked) && strncasecmp(field->value, asked, field->value_len) == 0) {
            r->waiter.work.apart = is_apart(r, head);
            snprintf(protocol, sizeof protocol, "Upgrade: %s\r\nConnection: Upgrade\r\n", asked);
            (void)begin_response(r, head, head_len, protocol, data, len);
            return;
        }
    }
    hp_exchange_fail(r, "app.protocol: it switched to another protocol than was asked for, or did not say to which", 0);
}

static int more_response(hp_exchange_t *r, const char *data, apr_size_t len)
{
    pieces_t pieces;

    if (r->served) {
        r->surplus += r->framing == HP_HEAD_NONE ? 0 : len;
        return 0;
    }
    pieces.n = pieces.nheads = 0;
    return pass_on(r, &pieces, data, len);
}

static void keep_head(hp_exchange_t *r, const char *data, apr_size_t len)
{
    char *head = data == r->head ? r->head : malloc(len);

    if (!head)
        ag_memory_out();
    if (head != data) {
        memcpy(head, data, len);
        free(r->head);
        r->head = head;
    }
    r->head_len = len;
}

/* Looks for a head in what has come, behind interim responses. */
static int take_head(hp_exchange_t *r, const char *data, apr_size_t len)
{
    const char *reason = "";
    apr_size_t head_len;
    apr_status_t rv;

    for (;;) {
        rv = (r->fcgi ? hp_cgi_head : ag_http_head_parse)(r->ctx->head, data, len, &head_len, &reason);
        if (rv != APR_SUCCESS || r->ctx->head->status >= 200 || r->ctx->head->status == 101)
            break;
        if (!hp_interim_take(r, r->ctx->head, head_len))
            return 1;
        data += head_len;
        len -= head_len;
    }
    if (APR_STATUS_IS_INCOMPLETE(rv)) {
        keep_head(r, data, len);
        return 0;
    }
    if (rv != APR_SUCCESS) {
        ag_log_about(hp_exchange_id(r), AG_LOG_ERROR, "PSG0152", "app.protocol: %s: %s; it begins with: %.64s", hp_group_name(r->group), reason,
                     apr_pstrmemdup(r->process->p, data, len < 64 ? len : 64));
        hp_exchange_fail(r, r->fcgi ? "app.protocol: its response has no CGI head" : "app.protocol: its response is not HTTP", 0);
    } else if (r->ctx->head->status == 101 && !r->upgrade) {
        hp_exchange_fail(r, "app.protocol: it switched protocols, which nobody asked for", 0);
    } else if (!r->conn) {
        hp_exchange_abandon(r); /* the connection is closed under it, so that it stops soon */
    } else if (r->ctx->head->status == 101) {
        switch_protocol(r, r->ctx->head, head_len, data + head_len, len - head_len);
    } else {
        return begin_response(r, r->ctx->head, head_len, "", data + head_len, len - head_len);
    }
    return 1;
}

static int take_bytes(hp_exchange_t *r, const char *data, apr_size_t len)
{
    char *head;

    r->got_bytes = 1;
    if (r->begun)
        return more_response(r, data, len);
    if (r->head_len == 0)
        return take_head(r, data, len);
    head = realloc(r->head, r->head_len + len);
    if (!head)
        ag_memory_out();
    memcpy(head + r->head_len, data, len);
    r->head = head;
    return take_head(r, head, r->head_len + len);
}

/* The application has said that this was all. */
static void records_over(hp_exchange_t *r, apr_size_t surplus)
{
    if (r->served)
        hp_exchange_complete(r, r->surplus + surplus);
    else if (!r->begun)
        hp_exchange_fail(r, r->head_len ? "app.truncated: it ended in the middle of its response's head" : NO_ANSWER, 0);
    else if (r->framing == HP_HEAD_CLOSE)
        end_chunks(r);
    else
        hp_exchange_fail(r, "app.short_body: it sent less than its head says", 0);
}

static void take_records(hp_exchange_t *r, char *data, apr_size_t len)
{
    hp_responder_take_t taken;
    hp_fcgi_event_t event;
    char text[128];

    r->got_bytes = 1;
    event = hp_responder_take(&taken, r, data, len);
    if (taken.len > 0 && take_bytes(r, taken.data, taken.len))
        return;
    if (event == HP_FCGI_END) {
        records_over(r, taken.surplus);
    } else if (event == HP_FCGI_BAD) {
        snprintf(text, sizeof text, "app.protocol: %s", r->records.reason);
        hp_exchange_fail(r, text, 0);
    }
}

/* May be repeated if nobody knows whether it was executed (RFC 9110 9.2.2, 9112 9.3.1). */
static int idempotent(const hp_exchange_t *r)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    const char *method = hp_process_work_value(&r->waiter.work, "REQUEST_METHOD");

    for (apr_size_t i = 0; i < AG_LEN(methods); i++) {
        if (strcmp(method, methods[i]) == 0)
            return 1;
    }
    return 0;
}

/* A unix socket whose peer closed it with bytes unread says so: then the request was not taken (unix(7) resets such a stream). But FastCGI programs
 * leave the end of the body unread while they work. */
static int was_not_taken(const hp_exchange_t *r, apr_status_t rv)
{
    if (r->link->tcp || r->fcgi)
        return r->link->kept && !r->process->keeps && idempotent(r);
    return rv == ECONNRESET;
}

static void response_ended(hp_exchange_t *r, apr_status_t rv)
{
    if (r->served) {
        r->app_closes = 1;
        hp_exchange_complete(r, r->surplus);
        return;
    }
    if (r->begun && r->framing == HP_HEAD_CLOSE && rv == APR_EOF && !r->fcgi) {
        r->at_end = 1;
        ag_loop_io_set(r->link->io, 0);
        start_timer(r, EXIT_NEWS);
        return;
    }
    if (was_not_taken(r, rv) && hp_exchange_again(r, 0))
        return;
    if (r->begun && r->framing == HP_HEAD_LENGTH)
        hp_exchange_fail(r, "app.short_body: it sent less than its Content-Length", 0);
    else if (r->begun)
        hp_exchange_fail(r, "app.truncated: it ended in the middle of its response", 0);
    else if (r->got_bytes)
        hp_exchange_fail(r, "app.truncated: it ended in the middle of its response's head", 0);
    else
        hp_exchange_fail(r, NO_ANSWER, 0);
}

/* Reads what follows the response: nothing should. Unread it would reset the connection that is closed because of it. */
static apr_size_t read_surplus(const hp_exchange_t *r)
{
    ssize_t n = recv(r->link->fd, r->ctx->scratch, HP_CONTEXT_SCRATCH, MSG_DONTWAIT);

    return n > 0 ? (apr_size_t)n : 0;
}

/* Passes on what has come of the body, or waits for the client to take what it was given. 0: it is to be read, and kept, since the client does not
 * keep up. */
static int pass_bulk(hp_exchange_t *r)
{
    apr_size_t most, len;
    apr_status_t rv;

    if (!r->bulk || !r->conn || hp_conn_backlog(r->conn) > 0)
        return 0;
    most = hp_conn_room(r->conn, (apr_size_t)r->left);
    if (most == 0 && (r->to_disk || r->left < BULK))
        return 0;
    if (most == 0) {
        pause_reading(r);
        return 1;
    }
    rv = hp_bulk_take(r->ctx->bulk, r->link->fd, most, &len);
    if (rv == APR_ENOTIMPL)
        return r->bulk = 0;
    if (APR_STATUS_IS_EAGAIN(rv) || APR_STATUS_IS_EINTR(rv))
        return 1;
    if (rv != APR_SUCCESS) {
        response_ended(r, rv);
        return 1;
    }
    hp_exchange_tell(r);
    hp_conn_write_bulk(r->conn, r->ctx->bulk);
    r->left -= (apr_int64_t)len;
    if (r->left == 0)
        hp_exchange_complete(r, read_surplus(r));
    return 1;
}

/* There may be more already. */
static void begin(hp_exchange_t *r, apr_size_t len)
{
    if (!take_bytes(r, r->ctx->scratch, len) && !r->paused_at)
        (void)pass_bulk(r);
}

void hp_response_read(hp_exchange_t *r)
{
    apr_size_t room = HP_CONTEXT_SCRATCH;
    ssize_t n;

    if (pass_bulk(r))
        return;
    /* No more than memory will hold if the client takes none of it. */
    if (r->conn && !r->to_disk)
        room -= (apr_size_t)hp_conn_backlog(r->conn);
    if (!r->begun && room > FIRST)
        room = FIRST;
    n = recv(r->link->fd, r->ctx->scratch, room, 0);
    if (n > 0 && r->fcgi)
        take_records(r, r->ctx->scratch, (apr_size_t)n);
    else if (n > 0 && !r->begun)
        begin(r, (apr_size_t)n);
    else if (n > 0)
        (void)take_bytes(r, r->ctx->scratch, (apr_size_t)n);
    else if (n == 0)
        response_ended(r, APR_EOF);
    else if (errno != EAGAIN && errno != EINTR)
        response_ended(r, errno);
}

void hp_response_resume(hp_exchange_t *r)
{
    if (r->paused_at && r->link)
        resume_reading(r);
}
