#include "helper/request.h"
#include "apr-glue/chunk.h"
#include "apr-glue/link.h"
#include "apr-glue/log.h"
#include "helper/app_link.h"
#include "helper/head.h"
#include <apr_strings.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNBUFFERED_MAX (64 * 1024)                /* of a body that is passed on as it comes */
#define PATIENCE       (apr_time_from_sec(1) / 40) /* that a process waits for a slow client, in all, before its response goes to disk */
#define EXIT_NEWS      (apr_time_from_sec(1) / 50) /* in which the watchdog tells of a process's end */
#define TRIES          10 /* each takes a dead process or connection out of the way */
#define PIECES         48 /* of a response, written at once */

typedef enum {
    RECEIVING, /* the body, before a process is asked for */
    WAITING,   /* for a process */
    SERVING,
    OVER       /* answered; the object is about to go */
} state_t;

typedef struct {
    hp_group_waiter_t waiter; /* first: the group hands it back */
    hp_context_t *ctx;
    hp_conn_t *conn; /* NULL: the client is gone */
    hp_group_t *group;
    hp_app_link_t *link;
    hp_process_t *process;
    state_t state;
    int tries, in_begin, freed;

    /* What is sent to the application. */
    const char *pairs; /* borrowed during begin, then a copy */
    apr_size_t pairs_len;
    char *own_pairs;
    int is_head, chunked, buffered, had_body;
    apr_int64_t body_left;  /* on the link; of no meaning when chunked */
    apr_int64_t body_total; /* so far, without framing */
    int body_over;          /* all of it has come */
    ag_chunk_t body_chunks;
    const char *inline_body; /* all of it, in the link's buffer; during begin only */
    apr_size_t inline_len;
    char *unsent; /* rest of the head */
    apr_size_t unsent_at, unsent_len;
    hp_spool_t up;
    int shut; /* our sending side is closed, to show where the body ends */

    /* What comes back. */
    char *head; /* the beginning of one that did not come at once */
    apr_size_t head_len;
    int got_bytes, begun, app_closes;
    hp_head_framing_t framing;
    apr_int64_t left;
    ag_chunk_t chunks;
    ag_loop_timer_t *timer; /* of patience, or of the process's end */
    apr_time_t paused_at;   /* 0: not paused */
    apr_interval_time_t patience;
    int to_disk, at_end;
} request_t;

static void read_response(request_t *r);

/* -- the end -- */

static void release(request_t *r)
{
    assert(!r->link && !r->process && !r->waiter.queued);
    r->freed = 1;
    if (r->in_begin)
        return; /* whoever is inside still looks at it */
    ag_loop_timer_destroy(&r->timer);
    hp_spool_clear(&r->up);
    free(r->own_pairs);
    free(r->unsent);
    free(r->head);
    free(r);
}

/* Lets go of the process. A request may come and be served inside. */
static void leave_process(request_t *r, int keep_link, int broken)
{
    hp_process_t *process = r->process;

    r->process = NULL;
    if (keep_link)
        hp_app_link_keep(&r->link);
    else
        hp_app_link_close(&r->link);
    if (process)
        hp_group_done(process, &r->waiter.work, broken);
}

static void answer(request_t *r, const hp_report_t *report, int friendly)
{
    apr_pool_t *ptemp;
    struct iovec iov;

    r->state = OVER;
    if (r->conn) {
        apr_pool_create(&ptemp, r->ctx->p);
        iov.iov_base = (void *)(uintptr_t)hp_report_response(report, (friendly ? HP_REPORT_FRIENDLY : 0) | (r->is_head ? HP_REPORT_HEAD : 0) |
                                                                       (r->body_over ? 0 : HP_REPORT_CLOSE),
                                                               ptemp, &iov.iov_len);
        hp_conn_write(r->conn, &iov, 1);
        hp_conn_done(r->conn, r->body_over);
        apr_pool_destroy(ptemp);
    }
    release(r);
}

static void answer_error(request_t *r, int status, const char *title, const char *sentence)
{
    hp_report_t *report = hp_report_create(r->ctx->p, status, title, sentence, "");

    ag_log(AG_LOG_ERROR, "PSG0150", "request.failed: %s: %s (error id %s)", hp_group_name(r->group), sentence, report->id);
    answer(r, report, 0);
    hp_report_destroy(&report);
}

/* The application failed after it had taken the request: 502 if nothing has been passed on, else an end that looks broken. */
static void fail(request_t *r, const char *sentence, int unreachable)
{
    long pid = r->process ? (long)r->process->pid : 0;
    char text[256];

    snprintf(text, sizeof text, "process %ld: %s", pid, sentence);
    leave_process(r, 0, unreachable);
    if (r->conn && !r->begun) {
        answer_error(r, 502, "The application did not answer properly", text);
        return;
    }
    ag_log(AG_LOG_ERROR, "PSG0156", "request.failed: %s: process %ld: %s%s", hp_group_name(r->group), pid, sentence,
           r->conn ? "; the response was cut" : "; nobody waited for it");
    r->state = OVER;
    if (r->conn)
        hp_conn_break(r->conn);
    release(r);
}

static void complete(request_t *r, apr_size_t surplus)
{
    int sent = r->body_over && r->unsent_at == r->unsent_len && hp_spool_len(&r->up) == 0;

    if (surplus > 0)
        ag_log(AG_LOG_WARN, "PSG0151", "app.protocol: process %ld of %s sent %lu bytes more than its response has", (long)r->process->pid,
               hp_group_name(r->group), (unsigned long)surplus);
    r->state = OVER;
    /* The client first: what follows may take the loop's time. */
    if (r->conn)
        hp_conn_done(r->conn, r->body_over);
    leave_process(r, sent && !r->app_closes && !r->shut && surplus == 0 && r->framing != HP_HEAD_CLOSE, 0);
    release(r);
}

/* -- to the application -- */

static void on_link(void *baton, int events);

static void submit(request_t *r)
{
    r->state = WAITING;
    hp_group_submit(r->group, &r->waiter);
}

/* The request was surely not delivered: another connection, maybe another process, may have it. */
static int try_again(request_t *r, int unreachable)
{
    if (r->had_body || r->got_bytes || r->tries >= TRIES || !r->conn || !r->pairs)
        return 0;
    leave_process(r, 0, unreachable);
    free(r->unsent);
    r->unsent = NULL;
    r->unsent_at = r->unsent_len = 0;
    submit(r);
    return 1;
}

static void write_failed(request_t *r, apr_status_t rv)
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
        read_response(r);
        return;
    }
    fail(r, apr_strerror(rv, r->ctx->scratch, 128), 0);
}

static void send_rest(request_t *r)
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
        rv = hp_spool_send(&r->up, r->link->fd);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv) && rv != ENOTCONN) {
        write_failed(r, rv);
        return;
    }
    if (rv == APR_SUCCESS && r->body_over && r->chunked && !r->buffered && !r->shut) {
        shutdown(r->link->fd, SHUT_WR);
        r->shut = 1;
    }
    if (r->conn && !r->body_over)
        hp_conn_want_body(r->conn, hp_spool_len(&r->up) < UNBUFFERED_MAX);
    ag_loop_io_set(r->link->io, (r->paused_at ? 0 : AG_LOOP_READ) | (rv == APR_SUCCESS ? 0 : AG_LOOP_WRITE));
}

static void keep_unsent(request_t *r, const struct iovec *iov, int n, apr_size_t sent)
{
    apr_size_t total = 0, at = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (sent >= total)
        return;
    r->unsent = malloc(total - sent);
    if (!r->unsent)
        abort();
    for (int i = 0; i < n; i++) {
        apr_size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        if (iov[i].iov_len > skip)
            memcpy(r->unsent + at, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        at += iov[i].iov_len - skip;
        sent -= skip;
    }
    r->unsent_len = at;
}

/* Length, pairs, the length of a body that came without one, and as much of the body as lies in memory: one system call. */
static void send_request(request_t *r)
{
    char length[64];
    uint32_t prefix;
    apr_size_t extra = 0;
    struct iovec iov[4];
    struct msghdr msg = {.msg_iov = iov};
    ssize_t n;

    if (r->chunked && r->buffered)
        extra = sizeof "CONTENT_LENGTH" + (apr_size_t)snprintf(length, sizeof length, "CONTENT_LENGTH%c%" APR_INT64_T_FMT, 0, r->body_total) -
                sizeof "CONTENT_LENGTH" + 1;
    prefix = htonl((uint32_t)(r->pairs_len + extra));
    iov[0] = (struct iovec){&prefix, sizeof prefix};
    iov[1] = (struct iovec){(void *)(uintptr_t)r->pairs, r->pairs_len};
    iov[2] = (struct iovec){length, extra};
    iov[3] = (struct iovec){(void *)(uintptr_t)r->inline_body, r->inline_len};
    msg.msg_iovlen = 4;
    n = sendmsg(r->link->fd, &msg, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
        apr_status_t rv = errno;
        if (!try_again(r, !r->link->kept))
            fail(r, apr_strerror(rv, length, sizeof length), 1);
        return;
    }
    keep_unsent(r, iov, 4, n > 0 ? (apr_size_t)n : 0);
    r->inline_body = NULL;
    r->inline_len = 0;
    if (r->unsent_len > 0 || hp_spool_len(&r->up) > 0 || !r->body_over || r->chunked)
        send_rest(r);
}

static void own_pairs(request_t *r)
{
    if (r->own_pairs)
        return;
    r->own_pairs = malloc(r->pairs_len);
    if (!r->own_pairs)
        abort();
    memcpy(r->own_pairs, r->pairs, r->pairs_len);
    r->pairs = r->own_pairs;
}

/* 1 if it is we who lack something, not the process that is at fault. */
static int our_fault(apr_status_t rv)
{
    return rv == EMFILE || rv == ENFILE || rv == ENOMEM || rv == ENOBUFS || rv == EAGAIN;
}

static void serve(hp_group_waiter_t *waiter, hp_process_t *process)
{
    request_t *r = (request_t *)waiter;
    apr_status_t rv = hp_app_link_get(&r->link, process, on_link, r);
    char text[128];

    r->process = process;
    r->state = SERVING;
    r->tries++;
    if (rv == APR_SUCCESS) {
        send_request(r);
    } else if (our_fault(rv)) {
        leave_process(r, 0, 0);
        answer_error(r, 503, "The server is short of resources", apr_strerror(rv, text, sizeof text));
    } else if (r->tries < TRIES) {
        leave_process(r, 0, 1);
        submit(r);
    } else {
        fail(r, "no connection could be made", 1);
    }
}

static void refuse(hp_group_waiter_t *waiter, const hp_report_t *report, int friendly)
{
    answer((request_t *)waiter, report, friendly);
}

/* -- back to the client -- */

/* Pieces of a response, gathered to be written in one go. */
typedef struct {
    struct iovec iov[PIECES];
    char heads[PIECES][AG_CHUNK_HEAD_MAX];
    int n, nheads;
} pieces_t;

static void write_pieces(request_t *r, pieces_t *pieces)
{
    if (pieces->n > 0 && r->conn)
        hp_conn_write(r->conn, pieces->iov, pieces->n);
    if (pieces->n > 0)
        r->begun = 1;
    pieces->n = pieces->nheads = 0;
}

static void add_piece(request_t *r, pieces_t *pieces, const char *data, apr_size_t len)
{
    if (pieces->n == PIECES)
        write_pieces(r, pieces);
    pieces->iov[pieces->n++] = (struct iovec){(void *)(uintptr_t)data, len};
}

static void add_chunk(request_t *r, pieces_t *pieces, const char *data, apr_size_t len)
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
static int take_body(request_t *r, pieces_t *pieces, const char *data, apr_size_t len, apr_size_t *pused)
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

static void pause_reading(request_t *r)
{
    r->paused_at = ag_loop_now();
    ag_loop_io_set(r->link->io, hp_spool_len(&r->up) > 0 ? AG_LOOP_WRITE : 0);
    if (!r->to_disk)
        ag_loop_timer_start(r->timer, PATIENCE - r->patience);
}

static void resume_reading(request_t *r)
{
    r->patience += ag_loop_now() - r->paused_at;
    r->paused_at = 0;
    ag_loop_timer_stop(r->timer);
    if (r->patience >= PATIENCE)
        r->to_disk = 1;
    ag_loop_io_set(r->link->io, AG_LOOP_READ | (hp_spool_len(&r->up) > 0 ? AG_LOOP_WRITE : 0));
}

static void on_timer(void *baton)
{
    request_t *r = baton;

    if (r->at_end) {
        /* The application closed without saying how long its response is. If it is alive, that was the end (RFC 9112 6.3). */
        if (!r->process->crashed && r->process->state != HP_PROCESS_GONE) {
            struct iovec last = {(void *)(uintptr_t) "0\r\n\r\n", 5};
            if (r->conn)
                hp_conn_write(r->conn, &last, 1);
            complete(r, 0);
        } else {
            fail(r, "it ended while it was sending its response", 0);
        }
        return;
    }
    r->to_disk = 1;
    resume_reading(r);
}

/* The client is slower than the application: first the process waits a little, then the response goes to disk, within a limit. */
static void throttle(request_t *r)
{
    apr_off_t kept = r->conn ? hp_conn_backlog(r->conn) : 0;

    if (r->state == SERVING && r->link && kept >= (r->to_disk ? (apr_off_t)r->ctx->settings->response_watermark : HP_SPOOL_MEMORY / 2) &&
        kept > 0 && !r->paused_at)
        pause_reading(r);
}

static void begin_response(request_t *r, const ag_http_head_t *head, apr_size_t head_len, const char *body, apr_size_t len)
{
    char small[8192], *out = HP_HEAD_ROOM(head_len) <= sizeof small ? small : malloc(HP_HEAD_ROOM(head_len));
    pieces_t pieces;
    apr_size_t used;
    int over;

    if (!out)
        abort();
    r->framing = hp_head_framing(head, r->is_head);
    r->left = head->content_length;
    r->app_closes |= head->close;
    ag_chunk_init(&r->chunks);
    pieces.n = pieces.nheads = 0;
    used = hp_head_write(out, head, r->framing, !r->body_over, r->ctx->settings->show_version ? "mod_passenger " AG_VERSION : "mod_passenger");
    add_piece(r, &pieces, out, used);
    over = take_body(r, &pieces, body, len, &used);
    write_pieces(r, &pieces);
    if (out != small)
        free(out);
    if (over > 0)
        complete(r, len - used);
    else if (over < 0)
        fail(r, "app.protocol: its response is not framed as it says", 0);
    else
        throttle(r);
}

static void more_response(request_t *r, const char *data, apr_size_t len)
{
    pieces_t pieces;
    apr_size_t used;
    int over;

    pieces.n = pieces.nheads = 0;
    over = take_body(r, &pieces, data, len, &used);
    write_pieces(r, &pieces);
    if (over > 0)
        complete(r, len - used);
    else if (over < 0)
        fail(r, "app.protocol: its response is not framed as it says", 0);
    else
        throttle(r);
}

static void keep_head(request_t *r, const char *data, apr_size_t len)
{
    char *head = data == r->head ? r->head : malloc(len);

    if (!head)
        abort();
    if (head != data) {
        memcpy(head, data, len);
        free(r->head);
        r->head = head;
    }
    r->head_len = len;
}

/* Looks for a head in what has come; interim responses are nobody's business but this hop's. */
static void take_head(request_t *r, const char *data, apr_size_t len)
{
    const char *reason = "";
    apr_size_t head_len;
    apr_status_t rv;

    for (;;) {
        rv = ag_http_head_parse(r->ctx->head, data, len, &head_len, &reason);
        if (rv != APR_SUCCESS || r->ctx->head->status >= 200 || r->ctx->head->status == 101)
            break;
        data += head_len;
        len -= head_len;
    }
    if (APR_STATUS_IS_INCOMPLETE(rv)) {
        keep_head(r, data, len);
    } else if (rv != APR_SUCCESS) {
        ag_log(AG_LOG_ERROR, "PSG0152", "app.protocol: %s: %s; it begins with: %.64s", hp_group_name(r->group), reason,
               apr_pstrmemdup(r->process->p, data, len < 64 ? len : 64));
        fail(r, "app.protocol: its response is not HTTP", 0);
    } else if (r->ctx->head->status == 101) {
        fail(r, "app.protocol: it switched protocols, which nobody asked for", 0);
    } else if (!r->conn) {
        /* Nobody waits for it: the connection is closed under it, so that it stops soon. */
        r->state = OVER;
        leave_process(r, 0, 0);
        release(r);
    } else {
        begin_response(r, r->ctx->head, head_len, data + head_len, len - head_len);
    }
}

static void take_bytes(request_t *r, const char *data, apr_size_t len)
{
    r->got_bytes = 1;
    if (r->begun) {
        more_response(r, data, len);
    } else if (r->head_len == 0) {
        take_head(r, data, len);
    } else {
        char *head = realloc(r->head, r->head_len + len);
        if (!head)
            abort();
        memcpy(head + r->head_len, data, len);
        r->head = head;
        take_head(r, head, r->head_len + len);
    }
}

static void response_ended(request_t *r, apr_status_t rv)
{
    if (r->begun && r->framing == HP_HEAD_CLOSE && rv == APR_EOF) {
        r->at_end = 1;
        ag_loop_io_set(r->link->io, 0);
        ag_loop_timer_start(r->timer, EXIT_NEWS);
        return;
    }
    /* A unix socket whose peer closed it with bytes unread says so: then the request was not taken (unix(7) resets such a stream). */
    if (rv == ECONNRESET && try_again(r, 0))
        return;
    if (r->begun && r->framing == HP_HEAD_LENGTH)
        fail(r, "app.short_body: it sent less than its Content-Length", 0);
    else if (r->begun)
        fail(r, "app.truncated: it ended in the middle of its response", 0);
    else
        fail(r, r->got_bytes ? "app.truncated: it ended in the middle of its response's head" : "app.died: it ended without an answer", 0);
}

static void read_response(request_t *r)
{
    apr_size_t room = HP_CONTEXT_SCRATCH;
    ssize_t n;

    /* No more than memory will hold if the client takes none of it. */
    if (r->conn && !r->to_disk)
        room -= (apr_size_t)hp_conn_backlog(r->conn);
    n = recv(r->link->fd, r->ctx->scratch, room, 0);
    if (n > 0)
        take_bytes(r, r->ctx->scratch, (apr_size_t)n);
    else if (n == 0)
        response_ended(r, APR_EOF);
    else if (errno != EAGAIN && errno != EINTR)
        response_ended(r, errno);
}

static void on_link(void *baton, int events)
{
    request_t *r = baton;

    if (events & AG_LOOP_WRITE) {
        send_rest(r);
        return; /* whatever can be read will be told again */
    }
    if (events & AG_LOOP_READ)
        read_response(r);
}

/* -- from the client -- */

/* Takes body bytes off the link; -1: they are not framed as they should be. */
static int take_upload(request_t *r, const char *data, apr_size_t len, apr_size_t *pused)
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
        return rv == APR_SUCCESS ? 0 : rv;
    }
    while (*pused < len && !r->body_over) {
        rv = ag_chunk_next(&r->body_chunks, data + *pused, len - *pused, &n, &piece, &piece_len);
        *pused += n;
        if (rv != APR_SUCCESS && rv != APR_EOF)
            return rv;
        r->body_over = rv == APR_EOF;
        r->body_total += (apr_int64_t)piece_len;
        if (piece_len > 0 && APR_SUCCESS != (rv = hp_spool_put(&r->up, piece, piece_len)))
            return rv;
    }
    return 0;
}

static apr_size_t on_body(void *request, const char *data, apr_size_t len)
{
    request_t *r = request;
    apr_size_t used;
    int rv = take_upload(r, data, len, &used);

    if (rv != 0) {
        ag_log(AG_LOG_ERROR, "PSG0153", "spool.full: %s: a request's body could not be kept in %s: %s", hp_group_name(r->group),
               r->ctx->store.dir, strerror(rv));
        if (r->state == SERVING)
            leave_process(r, 0, 0);
        else if (r->waiter.queued)
            hp_group_cancel(r->group, &r->waiter);
        answer_error(r, 503, "The request could not be kept", "There is no room for its body.");
        return len;
    }
    if (r->body_over && r->conn)
        hp_conn_want_body(r->conn, 0);
    if (r->state == RECEIVING && r->body_over)
        submit(r);
    else if (r->state == SERVING)
        send_rest(r);
    return used;
}

static int on_client_left(void *request)
{
    request_t *r = request;

    /* One that is being served may have a client that only said that it will send no more. */
    return r->state == SERVING && r->body_over;
}

static void on_orphan(void *request)
{
    request_t *r = request;

    r->conn = NULL;
    if (r->state == WAITING) {
        hp_group_cancel(r->group, &r->waiter);
        release(r);
    } else if (r->state == RECEIVING) {
        release(r);
    } else if (r->state == SERVING && (r->begun || !r->body_over || hp_spool_len(&r->up) > 0)) {
        r->state = OVER;
        leave_process(r, 0, 0);
        release(r);
    }
    /* Otherwise the application is thinking; its process is counted as busy until it speaks. */
}

static void on_drained(void *request)
{
    request_t *r = request;

    if (r->paused_at && r->link)
        resume_reading(r);
}

/* -- the beginning -- */

/* For the module, not for a client. */
static void answer_plainly(hp_conn_t *conn, int status, const char *fields)
{
    char text[512];
    struct iovec iov = {.iov_base = text};

    iov.iov_len = (size_t)snprintf(text, sizeof text, "HTTP/1.1 %d Refused\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n", status, fields);
    hp_conn_write(conn, &iov, 1);
    hp_conn_done(conn, 0);
}

static hp_group_t *find_group(hp_pool_t *pool, const hp_conn_t *conn, const hp_head_t *head, const hp_pool_options_t *known)
{
    hp_config_t config = {.name = head->group, .app_root = head->app_root, .kind = head->kind, .startup_file = head->startup,
                                .base_uri = head->base_uri ? head->base_uri : "", .options = known->options, .digest = known->digest,
                                .spawn_digest = known->spawn_digest, .config_generation = hp_conn_config_generation(conn)};
    hp_group_t *group = hp_pool_group(pool, &config);

    if (group)
        hp_group_environment(group, head->env, head->env_len);
    return group;
}

static request_t *make(hp_context_t *ctx, hp_conn_t *conn, const hp_head_t *head, int buffered)
{
    request_t *r = calloc(1, sizeof *r);

    if (!r)
        abort();
    r->ctx = ctx;
    r->conn = conn;
    r->waiter.serve = serve;
    r->waiter.refuse = refuse;
    r->pairs = head->pairs;
    r->pairs_len = head->len;
    r->is_head = head->is_head;
    r->chunked = head->chunked;
    r->buffered = buffered;
    r->body_left = head->content_length;
    r->had_body = r->chunked || r->body_left > 0;
    r->body_over = !r->had_body;
    ag_chunk_init(&r->body_chunks);
    hp_spool_init(&r->up, &ctx->store);
    r->timer = ag_loop_timer_create(ctx->loop, on_timer, r);
    return r;
}

/* The body's first bytes: if they are all of it, they are sent from where they lie. */
static apr_size_t first_body(request_t *r, const char *body, apr_size_t len)
{
    apr_size_t used;

    if (!r->had_body)
        return 0;
    if (!r->chunked && (apr_int64_t)len >= r->body_left) {
        r->inline_body = body;
        r->inline_len = used = (apr_size_t)r->body_left;
        r->body_total = r->body_left;
        r->body_left = 0;
        r->body_over = 1;
        return used;
    }
    if (r->buffered && !r->chunked)
        hp_spool_expect(&r->up, r->body_left);
    if (take_upload(r, body, len, &used) != 0)
        r->app_closes = -1; /* told by the caller */
    return used;
}

/* What was borrowed is copied: the call that lent it is about to return. */
static void stop_borrowing(request_t *r)
{
    /* A request without a body can be sent again if its process turns out to be dead. */
    if (r->state == RECEIVING || r->state == WAITING || (r->state == SERVING && !r->got_bytes && !r->had_body))
        own_pairs(r);
    else
        r->pairs = r->own_pairs;
    if (r->inline_len > 0 && hp_spool_put(&r->up, r->inline_body, r->inline_len) != APR_SUCCESS)
        ag_log(AG_LOG_ERROR, "PSG0154", "spool.full: %s: a request's body could not be kept", hp_group_name(r->group));
    r->inline_body = NULL;
    r->inline_len = 0;
}

static void *on_begin(void *baton, hp_conn_t *conn, hp_conn_begin_t *in)
{
    hp_pool_t *pool = baton;
    const hp_pool_options_t *known;
    hp_group_t *group;
    hp_head_t head;
    request_t *r;

    if (hp_head_parse(&head, in->pairs, in->len) != APR_SUCCESS || !head.group || !head.app_root || !head.kind || !head.startup || !head.digest ||
        head.content_length < 0) {
        ag_log(AG_LOG_WARN, "PSG0155", "link.protocol: a request without the pairs that say which application it is for");
        answer_plainly(conn, 400, "");
        return NULL;
    }
    known = hp_pool_options(pool, head.digest, head.options);
    if (!known) {
        answer_plainly(conn, head.options ? 400 : 421, head.options ? "" : AG_LINK_NEED_OPTIONS ": 1\r\n");
        return NULL;
    }
    group = find_group(pool, conn, &head, known);
    if (!group) {
        answer_plainly(conn, 503, "");
        return NULL;
    }
    r = make(hp_pool_context(pool), conn, &head, known->options->buffer_upload);
    r->group = group;
    in->used = first_body(r, in->body, in->body_len);
    if (r->app_closes < 0) {
        answer_error(r, 503, "The request could not be kept", "There is no room for its body, or it is not framed as it should be.");
        return NULL;
    }
    r->in_begin = 1;
    if (r->body_over || !r->buffered) {
        hp_conn_want_body(conn, !r->body_over);
        submit(r);
    }
    r->in_begin = 0;
    if (r->freed) {
        release(r);
        return NULL;
    }
    stop_borrowing(r);
    return r;
}

const hp_conn_handler_t hp_request_handler = {on_begin, on_body, on_client_left, on_orphan, on_drained};
