#include "helper/request.h"
#include "apr-glue/link.h"
#include "apr-glue/log.h"
#include "helper/cookie.h"
#include "helper/kind.h"
#include "helper/response.h"
#include "helper/tunnel.h"
#include "helper/upload.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SHORT_LIMIT apr_time_from_sec(5)        /* for a request to wait while the core is short of descriptors */
#define SHORT_PAUSE (apr_time_from_sec(1) / 50)
#define SHORT_SPARE 4                           /* links that are closed for one connection */

/* -- to the application -- */

static void on_link(void *baton, int events)
{
    hp_exchange_t *r = baton;

    if (r->tunnel) {
        hp_tunnel_ready(r, events);
        return;
    }
    if (events & AG_LOOP_WRITE) {
        hp_upload_more(r);
        return; /* whatever can be read will be told again */
    }
    if (events & AG_LOOP_READ)
        hp_response_read(r);
}

/* 1 if it is we who lack something, not the process that is at fault. */
static int our_fault(apr_status_t rv)
{
    return rv == EMFILE || rv == ENFILE || rv == ENOMEM || rv == ENOBUFS || rv == EAGAIN;
}

static void connect_later(void *baton);

/* Whoever holds descriptors without need gives them up, and the request waits a moment. 0: it has waited long enough. */
static int wait_for_room(hp_exchange_t *r)
{
    apr_time_t now = ag_loop_now();

    if (r->short_since == 0)
        r->short_since = now;
    if (!r->conn || now - r->short_since > SHORT_LIMIT)
        return 0;
    hp_conn_spare(hp_conn_server(r->conn), SHORT_SPARE);
    if (!r->link_timer)
        r->link_timer = ag_loop_timer_create(r->ctx->loop, connect_later, r);
    ag_loop_timer_start(r->link_timer, SHORT_PAUSE);
    return 1;
}

static void connect_process(hp_exchange_t *r)
{
    apr_status_t rv;
    char text[128];

    if (r->had_body)
        hp_app_link_doubt(r->process);
    rv = hp_app_link_get(&r->link, r->process, on_link, r);

    if (our_fault(rv) && hp_app_link_spare(r->ctx) > 0)
        rv = hp_app_link_get(&r->link, r->process, on_link, r);
    if (rv == APR_SUCCESS) {
        r->short_since = 0;
        hp_exchange_start(r);
        if (r->expects)
            hp_upload_invite(r);
        hp_upload_begin(r);
    } else if (our_fault(rv)) {
        if (wait_for_room(r))
            return;
        hp_exchange_leave(r, 0, -1);
        hp_exchange_error(r, 503, "The server is short of resources", apr_strerror(rv, text, sizeof text));
    } else if (r->tries < HP_EXCHANGE_TRIES) {
        hp_exchange_leave(r, 0, 1);
        hp_exchange_submit(r);
    } else {
        hp_exchange_fail(r, "no connection could be made", 1);
    }
}

static void connect_later(void *baton)
{
    connect_process(baton);
}

/* The application will serve it: now the body may come, before a process is asked for. */
static void receive(hp_exchange_t *r)
{
    r->waiter.asks = 0;
    r->state = HP_EXCHANGE_RECEIVING;
    hp_upload_invite(r);
    if (r->body_over)
        hp_exchange_submit(r);
}

static void serve(hp_queue_waiter_t *waiter, hp_process_t *process)
{
    hp_exchange_t *r = (hp_exchange_t *)waiter;

    if (!process) {
        receive(r);
        return;
    }
    r->process = process;
    r->state = HP_EXCHANGE_SERVING;
    r->tries++;
    connect_process(r);
}

static void refuse(hp_queue_waiter_t *waiter, const hp_report_t *report, int friendly)
{
    hp_exchange_answer((hp_exchange_t *)waiter, report, friendly);
}

/* -- from the client -- */

/* More of the body has come. */
static void go_on(hp_exchange_t *r)
{
    if (r->body_over && r->conn)
        hp_conn_want_body(r->conn, 0);
    if (r->state == HP_EXCHANGE_RECEIVING && r->body_over)
        hp_exchange_submit(r);
    else if (r->state == HP_EXCHANGE_SERVING && r->link)
        hp_upload_more(r);
}

static apr_size_t on_body(void *request, const char *data, apr_size_t len)
{
    hp_exchange_t *r = request;
    apr_size_t used;
    apr_status_t rv;

    if (r->tunnel)
        return hp_tunnel_take(r, data, len);
    rv = hp_upload_take(r, data, len, &used);
    if (rv != APR_SUCCESS) {
        hp_upload_refuse(r, rv);
        return len;
    }
    go_on(r);
    return used;
}

static int on_draw(void *request, int fd)
{
    if (hp_upload_draw(request, fd) == 0)
        return 0;
    go_on(request);
    return 1;
}

/* An event loop is told of clients that leave: it is no longer busy for them, and waits for this where it sends events. */
static int hears_of_clients(const hp_exchange_t *r)
{
    return r->process->concurrency == 0;
}

static int on_client_left(void *request)
{
    hp_exchange_t *r = request;

    if (r->tunnel) {
        hp_tunnel_client_ended(r);
        return 1;
    }
    r->client_ended = 1;
    /* One that is being served may have a client that only said that it will send no more. */
    return r->state == HP_EXCHANGE_SERVING && r->link && r->body_over && !hears_of_clients(r);
}

static void on_orphan(void *request)
{
    hp_exchange_t *r = request;

    r->conn = NULL;
    if (r->tunnel) {
        hp_exchange_abandon(r);
    } else if (r->state == HP_EXCHANGE_WAITING) {
        hp_group_cancel(r->group, &r->waiter);
        hp_exchange_destroy(r);
    } else if (r->state == HP_EXCHANGE_RECEIVING) {
        hp_exchange_destroy(r);
    } else if (r->state == HP_EXCHANGE_SERVING &&
               (!r->link || r->begun || !r->body_over || hp_spool_len(&r->up) > 0 || hears_of_clients(r))) {
        hp_exchange_abandon(r);
    }
    /* Otherwise the application is thinking; its process is counted as busy until it speaks. */
}

static void on_drained(void *request)
{
    hp_exchange_t *r = request;

    if (r->tunnel)
        hp_tunnel_drained(r);
    else
        hp_response_resume(r);
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
    hp_config_t config = {.name = head->group, .app_root = head->app_root, .kind = head->kind, .startup_file = head->startup ? head->startup : "",
                          .base_uri = head->base_uri ? head->base_uri : "", .author = head->author, .options = known->options,
                          .digest = known->digest, .spawn_digest = known->spawn_digest,
                          .config_generation = hp_conn_config_generation(conn)};

    return hp_pool_group(pool, &config);
}

static void stick(hp_exchange_t *r, const ag_options_t *options)
{
    const char *pairs = r->waiter.work.pairs, *path;
    apr_size_t len = r->waiter.work.pairs_len;

    r->waiter.sticky = hp_cookie_number(hp_head_pair(pairs, len, "HTTP_COOKIE"), options->sticky_sessions_cookie_name);
    path = hp_head_pair(pairs, len, "SCRIPT_NAME");
    r->cookie = hp_cookie_template(options->sticky_sessions_cookie_name, path ? path : "", options->sticky_sessions_cookie_attributes);
}

/* How the request is served, as the options of its folder say. */
static void follow(hp_exchange_t *r, const ag_options_t *options, const hp_kind_t *kind)
{
    /* CGI has no word for a body whose length is not known. */
    r->buffered = options->buffer_upload || (r->chunked && kind && kind->cgi);
    if (!r->buffered)
        hp_spool_stay_in_memory(&r->up);
    r->limit = options->max_request_time;
    r->delivers = options->x_sendfile && hp_conn_config_generation(r->conn) != 0;
    r->idle_limit = apr_time_from_sec(options->websocket_idle_timeout);
    r->uncut = !options->abort_websockets_on_process_shutdown;
    r->waiter.max_wait = options->max_request_queue_time;
    r->waiter.serve = serve;
    r->waiter.refuse = refuse;
    if (options->sticky_sessions)
        stick(r, options);
}

/* Takes what came of the body with the head, and asks for a process if it can be served now. 0: the exchange is over, and gone. */
static int start(hp_exchange_t *r, hp_conn_begin_t *in)
{
    apr_status_t rv = hp_upload_first(r, in->body, in->body_len, &in->used);

    if (rv != APR_SUCCESS) {
        hp_upload_refuse(r, rv);
        return 0;
    }
    r->in_begin = 1;
    r->waiter.asks = r->expects && r->buffered && !r->body_over;
    if (r->body_over || !r->buffered || r->waiter.asks) {
        hp_conn_want_body(r->conn, !r->body_over && !r->expects);
        hp_exchange_submit(r);
    }
    r->in_begin = 0;
    if (r->freed) {
        hp_exchange_destroy(r);
        return 0;
    }
    hp_upload_own(r);
    return 1;
}

static void *on_begin(void *baton, hp_conn_t *conn, hp_conn_begin_t *in)
{
    hp_pool_t *pool = baton;
    const hp_pool_options_t *known;
    hp_pool_asked_t asked;
    hp_group_t *group;
    hp_head_t head;
    hp_exchange_t *r;

    if (hp_head_parse(&head, in->pairs, in->len) != APR_SUCCESS || !head.group || !head.app_root || !head.kind || !head.digest ||
        head.content_length < 0 || (head.upgrade && (head.chunked || head.content_length > 0))) {
        ag_log(AG_LOG_WARN, "PSG0155", "link.protocol: a request without the pairs that say which application it is for");
        answer_plainly(conn, 400, "");
        return NULL;
    }
    asked = (hp_pool_asked_t){head.digest, head.options, head.app_root, hp_conn_config_generation(conn)};
    known = hp_pool_options(pool, hp_conn_variants(conn), &asked);
    if (!known) {
        answer_plainly(conn, head.options ? 400 : 421, head.options ? "" : AG_LINK_NEED_OPTIONS ": 1\r\n");
        return NULL;
    }
    group = find_group(pool, conn, &head, known);
    if (!group) {
        answer_plainly(conn, 503, "");
        return NULL;
    }
    r = hp_exchange_create(hp_pool_context(pool), conn, &head);
    r->group = group;
    hp_group_use(group);
    follow(r, known->options, hp_kind_find(head.kind));
    return start(r, in) ? r : NULL;
}

const hp_conn_handler_t hp_request_handler = {on_begin, on_body, on_draw, on_client_left, on_orphan, on_drained};
