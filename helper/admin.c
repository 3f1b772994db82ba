#include "helper/admin.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "apr-glue/sock.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS_MAX  32 /* of everybody but root, who has as many more */
#define SESSIONS_EACH 8  /* of one user other than root */
#define HEAD_MAX      (16 * 1024)
#define SESSION_TIME  apr_time_from_sec(10) /* for one request and its answer, and between two */
#define ACCEPT_AT_ONCE 16
#define REFUSED_PAUSE (apr_time_from_sec(1) / 100)
#define EMFILE_PAUSE  (apr_time_from_sec(1) / 2)
#define REST          9 /* answers take at most a tenth of the core's time: after one, so many times its duration is for visitors */

typedef struct session_t session_t;

struct session_t {
    TAILQ_ENTRY(session_t) entry, turn_entry;
    hp_admin_t *admin;
    int fd;
    uid_t uid;
    ag_loop_io_t *io;
    ag_loop_timer_t *timer;
    int turn;           /* its request is complete and waits to be answered */
    int last, continued; /* no request after this one; 100 Continue was sent */
    char *in, *out;
    apr_size_t in_len, in_size, out_len, out_done;
};

struct hp_admin_t {
    hp_context_t *ctx;
    hp_endpoint_t endpoint;
    int listener; /* -1: none */
    ag_loop_io_t *accept_io;
    ag_loop_timer_t *accept_timer, *rest_timer;
    TAILQ_HEAD(, session_t) sessions, turns;
    int nsessions; /* length of `sessions` */
};

static void destroy(session_t *session)
{
    hp_admin_t *admin = session->admin;

    assert(admin->nsessions > 0);
    if (session->turn)
        TAILQ_REMOVE(&admin->turns, session, turn_entry);
    TAILQ_REMOVE(&admin->sessions, session, entry);
    admin->nsessions--;
    ag_loop_io_destroy(&session->io);
    ag_loop_timer_destroy(&session->timer);
    close(session->fd);
    free(session->in);
    free(session->out);
    free(session);
}

static void on_session_timer(void *baton)
{
    destroy(baton);
}

static void watch(session_t *session)
{
    int events = session->out ? AG_LOOP_WRITE : session->turn || session->last ? 0 : AG_LOOP_READ;

    ag_loop_io_set(session->io, events);
}

/* -- out -- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"},          {400, "Bad Request"},     {403, "Forbidden"},          {404, "Not Found"},
                   {405, "Method Not Allowed"}, {411, "Length Required"}, {413, "Content Too Large"}, {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},  {431, "Request Header Fields Too Large"}, {503, "Service Unavailable"}};

    for (apr_size_t i = 0; i < AG_LEN(reasons); i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "";
}

/* The whole response, malloc'd; the answer's body is taken. */
static char *response_of(hp_endpoint_answer_t *answer, int close_after, apr_size_t *plen)
{
    char head[512], *all;
    int n = apr_snprintf(head, sizeof head,
                         "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %" APR_SIZE_T_FMT "\r\nCache-Control: no-store\r\n%s%s%s%s%s\r\n",
                         answer->status, reason_of(answer->status), answer->type, answer->len, answer->allow ? "Allow: " : "",
                         answer->allow ? answer->allow : "", answer->allow ? "\r\n" : "", close_after ? "Connection: close\r\n" : "",
                         answer->status == 429 || answer->status == 503 ? "Retry-After: 1\r\n" : "");

    all = malloc((apr_size_t)n + answer->len);
    if (!all)
        ag_memory_out();
    memcpy(all, head, (apr_size_t)n);
    memcpy(all + n, answer->body, answer->len);
    *plen = (apr_size_t)n + answer->len;
    free(answer->body);
    answer->body = NULL;
    return all;
}

static void consume(session_t *session);

/* Sends what is there. May end the session. */
static void flush(session_t *session)
{
    ssize_t n = send(session->fd, session->out + session->out_done, session->out_len - session->out_done, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        destroy(session);
        return;
    }
    session->out_done += n > 0 ? (apr_size_t)n : 0;
    if (session->out_done < session->out_len) {
        watch(session);
        return;
    }
    free(session->out);
    session->out = NULL;
    if (session->last) {
        destroy(session);
        return;
    }
    ag_loop_timer_start(session->timer, SESSION_TIME);
    consume(session);
}

static void respond(session_t *session, hp_endpoint_answer_t *answer)
{
    session->out = response_of(answer, session->last, &session->out_len);
    session->out_done = 0;
    flush(session);
}

static void refuse(session_t *session, int status, const char *message)
{
    hp_endpoint_answer_t answer = {0};

    session->last = 1;
    hp_endpoint_refuse(&answer, status, message);
    respond(session, &answer);
}

/* -- in -- */

static const char *terminated(const char *text, apr_size_t len, apr_pool_t *p)
{
    return apr_pstrmemdup(p, text, len);
}

/* The request at the start of `in`, which is complete, is answered and dropped. */
static void answer(session_t *session)
{
    hp_admin_t *admin = session->admin;
    ag_http_head_t *head = admin->ctx->head;
    hp_endpoint_request_t request = {.uid = session->uid};
    hp_endpoint_answer_t reply = {0};
    apr_size_t head_len, used;
    const char *reason;
    apr_pool_t *ptemp;

    if (ag_http_head_parse_request(head, session->in, session->in_len, &head_len, &reason) != APR_SUCCESS)
        abort(); /* it was parsed before */
    apr_pool_create(&ptemp, admin->ctx->p);
    request.method = terminated(head->method, head->method_len, ptemp);
    request.target = terminated(head->target, head->target_len, ptemp);
    request.body = session->in + head_len;
    request.body_len = head->content_length > 0 ? (apr_size_t)head->content_length : 0;
    session->last |= head->close;
    used = head_len + request.body_len;
    hp_endpoint_answer(&admin->endpoint, &request, &reply, ptemp);
    apr_pool_destroy(ptemp);
    memmove(session->in, session->in + used, session->in_len - used);
    session->in_len -= used;
    session->continued = 0;
    respond(session, &reply);
}

static void on_rest_over(void *baton)
{
    hp_admin_t *admin = baton;
    session_t *session = TAILQ_FIRST(&admin->turns);
    apr_time_t begun = ag_loop_now();

    if (!session)
        return;
    TAILQ_REMOVE(&admin->turns, session, turn_entry);
    session->turn = 0;
    answer(session);
    ag_loop_timer_start(admin->rest_timer, REST * (ag_loop_now() - begun));
}

static void wait_for_turn(session_t *session)
{
    hp_admin_t *admin = session->admin;

    session->turn = 1;
    TAILQ_INSERT_TAIL(&admin->turns, session, turn_entry);
    if (!ag_loop_timer_active(admin->rest_timer))
        ag_loop_timer_start(admin->rest_timer, 0);
    watch(session);
}

static int wants_continue(const ag_http_head_t *head)
{
    for (int i = 0; i < head->nfields; i++) {
        if (ag_http_head_is(&head->fields[i], "expect"))
            return head->minor > 0;
    }
    return 0;
}

/* Looks whether a whole request is there. May end the session. */
static void consume(session_t *session)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    ag_http_head_t *head = session->admin->ctx->head;
    apr_size_t head_len;
    const char *reason;
    apr_status_t rv = session->in_len > 0 ? ag_http_head_parse_request(head, session->in, session->in_len, &head_len, &reason) : APR_INCOMPLETE;

    if (APR_STATUS_IS_INCOMPLETE(rv) && session->in_len < HEAD_MAX) {
        watch(session);
    } else if (APR_STATUS_IS_INCOMPLETE(rv) || (rv == APR_SUCCESS && head_len > HEAD_MAX)) {
        refuse(session, 431, "The head of the request is longer than 16 KiB.");
    } else if (rv != APR_SUCCESS) {
        refuse(session, 400, "This is not an HTTP/1.1 request.");
    } else if (head->chunked) {
        refuse(session, 411, "A body needs a Content-Length.");
    } else if (head->content_length > HP_ENDPOINT_BODY_MAX) {
        refuse(session, 413, "The body is longer than 128 KiB.");
    } else if (head->content_length > 0 && session->in_len < head_len + (apr_size_t)head->content_length) {
        /* A client that gets no answer to its question sends the body all the same. */
        if (wants_continue(head) && !session->continued)
            (void)!send(session->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
        session->continued = 1;
        watch(session);
    } else {
        wait_for_turn(session);
    }
}

static void keep(session_t *session, const char *data, apr_size_t len)
{
    if (session->in_size < session->in_len + len) {
        session->in_size = 2 * (session->in_len + len);
        session->in = realloc(session->in, session->in_size);
        if (!session->in)
            ag_memory_out();
    }
    memcpy(session->in + session->in_len, data, len);
    session->in_len += len;
}

static void on_session(void *baton, int events)
{
    session_t *session = baton;
    hp_context_t *ctx = session->admin->ctx;
    ssize_t n;

    if (events & AG_LOOP_WRITE && session->out) {
        flush(session);
        return;
    }
    n = recv(session->fd, ctx->scratch, HEAD_MAX, 0);
    if (n > 0) {
        keep(session, ctx->scratch, (apr_size_t)n);
        consume(session);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        destroy(session);
    }
}

/* -- coming -- */

static void begin(hp_admin_t *admin, int fd, uid_t uid)
{
    session_t *session = calloc(1, sizeof *session);

    if (!session)
        ag_memory_out();
    session->admin = admin;
    session->fd = fd;
    session->uid = uid;
    TAILQ_INSERT_TAIL(&admin->sessions, session, entry);
    admin->nsessions++;
    session->io = ag_loop_io_create(admin->ctx->loop, fd, AG_LOOP_READ, on_session, session);
    session->timer = ag_loop_timer_create(admin->ctx->loop, on_session_timer, session);
    ag_loop_timer_start(session->timer, SESSION_TIME);
}

/* The status that says why nobody is let in, or 0. One user cannot keep the others out, nor all together root. */
static int too_many(const hp_admin_t *admin, uid_t uid)
{
    const session_t *session;
    int same = 0;

    if (uid == 0)
        return admin->nsessions >= 2 * SESSIONS_MAX ? 503 : 0;
    TAILQ_FOREACH (session, &admin->sessions, entry)
        same += session->uid == uid;
    return same >= SESSIONS_EACH ? 429 : admin->nsessions >= SESSIONS_MAX ? 503 : 0;
}

static void turn_away(int fd, int status)
{
    hp_endpoint_answer_t answer = {0};
    apr_size_t len;
    char *response;

    hp_endpoint_refuse(&answer, status, status == 429 ? "You have as many connections as one user may have." : "Too many are connected.");
    response = response_of(&answer, 1, &len);
    (void)!send(fd, response, len, MSG_NOSIGNAL);
    free(response);
    close(fd);
}

static void pause_accepting(hp_admin_t *admin, apr_interval_time_t pause)
{
    ag_loop_io_set(admin->accept_io, 0);
    ag_loop_timer_start(admin->accept_timer, pause);
}

static void on_accept_timer(void *baton)
{
    hp_admin_t *admin = baton;

    if (admin->accept_io)
        ag_loop_io_set(admin->accept_io, AG_LOOP_READ);
}

static void on_accept(void *baton, int events)
{
    hp_admin_t *admin = baton;

    (void)events;
    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        int fd = accept4(admin->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), status;
        uid_t uid;
        pid_t pid;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            ag_log(AG_LOG_ERROR, "PSG0181", "fd.exhausted: no administrator can be served: %s", strerror(errno));
            pause_accepting(admin, EMFILE_PAUSE);
        }
        if (fd < 0)
            return;
        if (ag_sock_peer(fd, &uid, &pid) != APR_SUCCESS) {
            close(fd);
        } else if ((status = too_many(admin, uid))) {
            turn_away(fd, status);
            pause_accepting(admin, REFUSED_PAUSE);
        } else {
            begin(admin, fd, uid);
        }
    }
}

hp_admin_t *hp_admin_create(hp_context_t *ctx, const hp_endpoint_t *endpoint)
{
    hp_admin_t *admin = apr_pcalloc(ctx->p, sizeof *admin);

    admin->ctx = ctx;
    admin->endpoint = *endpoint;
    admin->listener = -1;
    TAILQ_INIT(&admin->sessions);
    TAILQ_INIT(&admin->turns);
    admin->accept_timer = ag_loop_timer_create(ctx->loop, on_accept_timer, admin);
    admin->rest_timer = ag_loop_timer_create(ctx->loop, on_rest_over, admin);
    return admin;
}

void hp_admin_listen(hp_admin_t *admin, int fd)
{
    hp_admin_stop(admin);
    admin->listener = fd;
    ag_sock_nonblock(fd, 1);
    admin->accept_io = ag_loop_io_create(admin->ctx->loop, fd, AG_LOOP_READ, on_accept, admin);
}

void hp_admin_stop(hp_admin_t *admin)
{
    ag_loop_io_destroy(&admin->accept_io);
    ag_loop_timer_stop(admin->accept_timer);
    if (admin->listener >= 0)
        close(admin->listener);
    admin->listener = -1;
}
