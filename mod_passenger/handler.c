#include "mod_passenger/handler.h"

#include "apr-glue/clock.h"
#include "apr-glue/http_head.h"
#include "mod_passenger/accesslog.h"
#include "mod_passenger/body.h"
#include "mod_passenger/calm.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/farewell.h"
#include "mod_passenger/helper.h"
#include "mod_passenger/interim.h"
#include "mod_passenger/redirect.h"
#include "mod_passenger/request.h"
#include "mod_passenger/response.h"
#include "mod_passenger/sendfile.h"
#include "mod_passenger/upgrade.h"

#include <http_core.h>
#include <http_protocol.h>
#include <poll.h>

#define HEAD_LIMIT (AG_HTTP_HEAD_MAX + 1024) /* the core's hello may stand before it */

typedef enum {
    OPEN, /* takes in the beginning of the body */
    CONNECT,
    SEND,      /* the head and what is gathered of the body */
    SEND_BODY, /* gathers more of it */
    READ_HEAD,
    READ_BODY,
    PUSH, /* the client has not taken yet what it was sent */
    TUNNEL, /* after 101 */
    SEND_FILE, /* in pieces, each of which is pushed */
    FINISHED
} state_t;

/* What a step wants before it is run, or the next one is. */
typedef enum {
    GO_ON,        /* nothing: call->state says what is next */
    WANT_BACKEND, /* call->events on the link, or the time call->pause when there is no link yet */
    WANT_CLIENT,  /* call->client_events on the client's connection */
    WANT_EITHER   /* both, whichever comes first; without a limit */
} step_t;

typedef struct mp_handler_call_t {
    request_rec *r;
    const mp_map_app_t *app;
    mp_link_pool_t *links;
    mp_link_t *link;
    state_t state;
    int result; /* what the handler will return */
    apr_file_t *file; /* that is the response's body, or NULL */
    const char *local; /* where a CGI program has sent the request instead, or NULL */

    /* Set by the driver. */
    int may_block;             /* a step may wait for the link a little itself, which saves a poll */
    int gentle;                /* no step waits for the client, neither for its bytes nor for its taking ours */
    int client_fd;             /* or -1 */
    apr_read_type_e read_mode; /* for the next read from the client */
    /* Set by steps. */
    short events, client_events;
    apr_interval_time_t pause;
    apr_time_t deadline; /* of what the client must do; 0: it is not waited for */

    mp_body_t body;
    apr_int64_t body_length; /* as mp_request_build has it */
    mp_request_t request;
    struct iovec vec[MP_BODY_VEC + 4];
    int nvec, at;

    apr_time_t connecting; /* since when */
    int fresh;             /* no kept link, please */
    int retried, resent;   /* each at most once */
    int undelivered;       /* sending failed: the core can't have all of the request */
    int unsound;           /* the link must not be used again */
    int deserted;          /* the client left; the core was told, and may drop the request */
    int spoken;            /* the application has said something, although not its response */
    mp_response_t response;
    mp_upgrade_t upgrade;
} call_t;

/* The link goes back, or is closed if it is not `sound`: before the last bytes go to the client, who may be slow. */
static void let_go(call_t *call, int sound)
{
    if (!call->link)
        return;
    mp_accesslog_note(call->r, call->app, call->link);
    if (sound)
        mp_link_keep(call->links, call->link);
    else
        mp_link_close(call->link);
    call->link = NULL;
}

static step_t finish(call_t *call, int result)
{
    let_go(call, 0);
    call->result = result;
    call->state = FINISHED;
    return GO_ON;
}

static step_t again(call_t *call)
{
    let_go(call, 0);
    call->fresh = 1;
    call->undelivered = 0;
    call->unsound = 0;
    call->state = CONNECT;
    return GO_ON;
}

static step_t want_client(call_t *call, short events)
{
    call->client_events = (short) (events | (call->r->connection->data_in_output_filters ? POLLOUT : 0));
    if (!call->deadline)
        call->deadline = ag_clock_now() + call->r->server->timeout;
    return WANT_CLIENT;
}

static step_t unavailable(call_t *call)
{
    apr_table_setn(call->r->err_headers_out, "Retry-After", "5");
    return finish(call, HTTP_SERVICE_UNAVAILABLE);
}

static step_t step_open(call_t *call)
{
    apr_read_type_e mode = call->read_mode;
    apr_status_t rv;
    int rc;

    call->read_mode = APR_NONBLOCK_READ;
    rv = mp_body_begin(&call->body, mode);
    if (APR_STATUS_IS_EAGAIN(rv))
        return want_client(call, POLLIN);
    if (rv != APR_SUCCESS) {
        MP_RLOG(APLOG_INFO, rv > 0 ? rv : 0, call->r, "PSG0640", "the request's body could not be read");
        return finish(call, mp_body_status(&call->body, rv));
    }
    call->body_length = !call->body.present ? MP_REQUEST_NO_BODY : call->body.length >= 0 ? call->body.length : MP_REQUEST_ANY_BODY;
    mp_conf_wire(&call->request.wire, call->r, call->app->env);
    rc = mp_request_build(&call->request, call->r, call->app, call->body_length);
    if (rc != OK)
        return finish(call, rc);
    call->state = CONNECT;
    return GO_ON;
}

static step_t prepare_to_send(call_t *call)
{
    const char *hello = mp_link_hello(call->links, call->link);
    struct iovec *vec = call->vec;
    /* The core may forget what it knows (at a reload), and what is on its way can't be sent twice. */
    int rc, tell = !call->body.ended || !mp_link_knows(call->link, call->request.wire.digest);

    call->request.expects = call->body.awaited;
    rc = mp_request_address(&call->request, call->r, call->app, call->body_length, tell);
    if (rc != OK)
        return finish(call, rc);
    call->link->takes_file = mp_conf_options(call->r)->x_sendfile;
    vec[0] = (struct iovec){(void *) (apr_uintptr_t) hello, strlen(hello)};
    vec[1] = (struct iovec){(void *) (apr_uintptr_t) call->request.control, call->request.control_len};
    vec[2] = (struct iovec){(void *) (apr_uintptr_t) call->request.pairs, call->request.pairs_len};
    vec[3] = (struct iovec){(void *) (apr_uintptr_t) ",", 1};
    call->nvec = 4 + mp_body_vec(&call->body, vec + 4);
    call->at = 0;
    call->state = SEND;
    return GO_ON;
}

static step_t step_connect(call_t *call)
{
    request_rec *r = call->r;
    apr_status_t rv = mp_link_take(call->links, call->fresh, &call->link);

    if (rv == APR_SUCCESS)
        return prepare_to_send(call);
    if (mp_link_pool_stopping(call->links))
        return unavailable(call);
    if (!call->connecting)
        call->connecting = ag_clock_now();
    if (!mp_helper_may_return(r, rv, ag_clock_now() - call->connecting))
        return unavailable(call);
    /* Many threads wait at once when the helper restarts; they should not come back at once. */
    call->pause = apr_time_from_msec(20 + (ag_clock_now() ^ ((apr_uintptr_t) call >> 8)) % 80);
    return WANT_BACKEND;
}

static step_t read_answer(call_t *call, int unsound)
{
    call->unsound |= unsound;
    call->state = READ_HEAD;
    return GO_ON;
}

static step_t step_send(call_t *call)
{
    apr_status_t rv = mp_link_send(call->link, call->vec, call->nvec, &call->at);

    rv = rv == APR_SUCCESS ? mp_link_pass(call->link, &call->body.pipe) : rv;
    if (APR_STATUS_IS_EAGAIN(rv)) {
        if (mp_link_speaks(call->link, HEAD_LIMIT))
            return read_answer(call, 1);
        call->events = POLLIN | POLLOUT;
        return WANT_BACKEND;
    }
    if (rv != APR_SUCCESS) {
        /* There may be an answer all the same, or a word on why not. */
        call->undelivered = 1;
        return read_answer(call, 1);
    }
    mp_body_forget(&call->body);
    if (call->body.ended || call->body.awaited)
        return read_answer(call, 0);
    call->state = SEND_BODY;
    return GO_ON;
}

static step_t step_send_body(call_t *call)
{
    apr_read_type_e mode = call->read_mode;
    apr_status_t rv;

    call->read_mode = APR_NONBLOCK_READ;
    rv = mp_body_gather(&call->body, mode);
    if (APR_STATUS_IS_EAGAIN(rv) && call->body.awaited)
        return read_answer(call, 0);
    if (APR_STATUS_IS_EAGAIN(rv))
        return want_client(call, POLLIN);
    if (rv == APR_SUCCESS && call->body.ended && call->body.length >= 0 && call->body.taken != call->body.length)
        rv = APR_EGENERAL;
    if (rv != APR_SUCCESS) {
        MP_RLOG(APLOG_INFO, rv > 0 ? rv : 0, call->r, "PSG0682", "the request's body ended early");
        return finish(call, mp_body_status(&call->body, rv));
    }
    call->nvec = mp_body_vec(&call->body, call->vec);
    call->at = 0;
    call->state = SEND;
    return GO_ON;
}

/* The link is gone before anything of a response came. On a unix socket a reset says that not all of the request was read, and a failed
 * write that not all was delivered; after a plain end the core's marks tell if an application may have acted upon it. */
static step_t lost(call_t *call, apr_status_t rv)
{
    int untouched = !call->spoken && call->link->at == call->link->end &&
                    (call->undelivered || APR_STATUS_IS_ECONNRESET(rv) || mp_link_undelivered(call->link));

    if (untouched && !call->deserted && mp_body_intact(&call->body) && (call->link->kept || !call->retried)) {
        call->retried |= !call->link->kept; /* the next one is fresh */
        return again(call);
    }
    MP_RLOG(call->deserted || mp_link_pool_stopping(call->links) ? APLOG_DEBUG : APLOG_ERR, rv, call->r, "PSG0683",
            "the passenger-helper's core closed the link before a whole response head came");
    return finish(call, HTTP_BAD_GATEWAY);
}

static step_t end(call_t *call, apr_status_t rv)
{
    if (rv != APR_SUCCESS)
        MP_RLOG(APLOG_DEBUG, rv, call->r, "PSG0687", "the client left before it had the whole response");
    return finish(call, rv == (apr_status_t) AP_FILTER_ERROR ? AP_FILTER_ERROR : OK);
}

/* Apache's own page replaces the application's. What is here of the latter is read, so that the link stays usable. */
static step_t override(call_t *call)
{
    mp_response_drop(&call->response, call->link);
    if (call->response.complete)
        let_go(call, !call->unsound);
    return finish(call, call->response.overridden);
}

/* The body is a file, and nothing more of the response comes over the link. */
static step_t begin_file(call_t *call)
{
    int rc = mp_sendfile_begin(call->r, mp_link_file(call->link), &call->file);
    apr_status_t rv;

    let_go(call, !call->unsound);
    if (rc != OK)
        return finish(call, rc);
    if (call->gentle)
        mp_calm_begin(call->r);
    rv = mp_sendfile_pass(call->r, call->file, call->gentle);
    if (rv != APR_SUCCESS || !call->gentle)
        return end(call, rv);
    call->state = SEND_FILE;
    return GO_ON;
}

/* The core wants the body, or the application has something to say before its response: that may come in the middle of what is being sent. */
static step_t go_ahead(call_t *call, const ag_http_head_t *head, apr_size_t head_len)
{
    if (head->status != HTTP_CONTINUE)
        mp_interim_pass(call->r, head, call->gentle);
    call->spoken |= head->status != HTTP_CONTINUE;
    call->link->at += head_len;
    if (head->status == HTTP_CONTINUE && call->body.awaited)
        mp_body_continue(&call->body, call->gentle);
    if (!call->body.ended || call->at < call->nvec || call->body.pipe.len > 0)
        call->state = SEND; /* what is left, which may be nothing */
    return GO_ON;
}

static step_t begin_response(call_t *call, const ag_http_head_t *head, apr_size_t head_len)
{
    request_rec *r = call->r;

    if (head->status == HTTP_SERVICE_UNAVAILABLE && ag_http_head_has(head, "passenger-try-again") && !call->retried && mp_body_intact(&call->body)) {
        call->retried = 1;
        return again(call);
    }
    if (head->status == HTTP_MISDIRECTED_REQUEST && ag_http_head_has(head, "passenger-need-options")) {
        if (call->resent || !mp_body_intact(&call->body)) {
            MP_RLOG(APLOG_ERR, 0, r, "PSG0684", "the core does not know the options of %s", call->app->root);
            return unavailable(call);
        }
        call->resent = 1;
        return again(call);
    }
    mp_link_learn(call->link, call->request.wire.digest);
    if (head->status == HTTP_SWITCHING_PROTOCOLS && call->request.upgrade) {
        mp_upgrade_begin(&call->upgrade, r, call->link, head, head_len);
        call->state = TUNNEL;
        return GO_ON;
    }
    if (head->status < 200 && head->status != HTTP_SWITCHING_PROTOCOLS)
        return go_ahead(call, head, head_len);
    call->local = mp_redirect_find(r, call->app, head);
    if (call->local) {
        if (!call->body.ended)
            r->connection->keepalive = AP_CONN_CLOSE;
        return finish(call, OK);
    }
    call->unsound |= head->close || !call->body.ended;
    if (call->body.awaited || !mp_body_rest_is_small(&call->body))
        r->connection->keepalive = AP_CONN_CLOSE;
    if (mp_response_begin(&call->response, r, call->link, head, head_len) != OK)
        return finish(call, HTTP_BAD_GATEWAY);
    if (call->response.overridden)
        return override(call);
    if (call->link->takes_file && mp_sendfile_is(r))
        return begin_file(call);
    call->response.early = !call->body.ended;
    call->state = READ_BODY;
    return GO_ON;
}

static step_t step_read_head(call_t *call)
{
    mp_link_t *link = call->link;
    const char *why = "it greeted with something else";
    ag_http_head_t head;
    apr_size_t head_len;
    apr_status_t rv = APR_INCOMPLETE;

    if (link->at < link->end)
        rv = mp_link_hello_check(link);
    if (rv == APR_SUCCESS)
        rv = ag_http_head_parse(&head, link->in + link->at, link->end - link->at, &head_len, &why);
    if (rv == APR_SUCCESS)
        return begin_response(call, &head, head_len);
    if (rv == APR_EMISMATCH) {
        MP_RLOG(APLOG_CRIT, 0, call->r, "PSG0685", "the passenger-helper is of another build than this module: restart Apache");
        return unavailable(call);
    }
    if (rv != APR_INCOMPLETE) {
        MP_RLOG(APLOG_ERR, 0, call->r, "PSG0686", "the response is no HTTP response: %s", why);
        return finish(call, HTTP_BAD_GATEWAY);
    }
    rv = mp_link_fill(link, HEAD_LIMIT, call->may_block);
    if (APR_STATUS_IS_EAGAIN(rv)) {
        call->events = POLLIN;
        return WANT_BACKEND;
    }
    return rv == APR_SUCCESS ? GO_ON : lost(call, rv);
}

static step_t pass(call_t *call, mp_response_pass_t how)
{
    apr_status_t rv;

    if (how == MP_RESPONSE_END)
        let_go(call, !call->unsound);
    else if (call->gentle)
        mp_calm_begin(call->r);
    rv = mp_response_pass(&call->response, how);
    if (rv == APR_SUCCESS && call->gentle && how == MP_RESPONSE_END && call->response.early)
        rv = mp_calm_push(call->r->connection); /* Apache waits for the rest of the body now */
    if (rv != APR_SUCCESS || how == MP_RESPONSE_END)
        return end(call, rv);
    if (call->gentle)
        call->state = PUSH;
    return GO_ON;
}

static step_t step_push(call_t *call)
{
    apr_status_t rv = mp_calm_push(call->r->connection);

    if (rv != APR_SUCCESS)
        return end(call, rv);
    if (call->r->connection->data_in_output_filters)
        return want_client(call, POLLOUT);
    call->state = call->file ? SEND_FILE : READ_BODY;
    return GO_ON;
}

static step_t step_send_file(call_t *call)
{
    apr_status_t rv = mp_sendfile_push(call->r);

    call->state = PUSH;
    return rv == APR_SUCCESS ? GO_ON : end(call, APR_STATUS_IS_EOF(rv) ? APR_SUCCESS : rv);
}

/* `hurry`: there is no time to wait for the client's end. */
static step_t cut(call_t *call, int hurry)
{
    int result = mp_response_break(&call->response);

    if (hurry && result == OK)
        call->r->connection->aborted = 1;
    return finish(call, result);
}

static step_t step_read_body(call_t *call)
{
    mp_response_t *response = &call->response;
    apr_status_t rv;

    if (response->complete)
        return pass(call, MP_RESPONSE_END);
    rv = mp_response_take(response, call->link, call->may_block && response->size == 0);
    if (rv == APR_SUCCESS && response->collected)
        mp_response_collect(response);
    if (rv == APR_SUCCESS)
        return response->size >= response->piece && !response->complete ? pass(call, MP_RESPONSE_MORE) : GO_ON;
    /* The head alone, too: it is what a stream of events begins with. */
    if (APR_STATUS_IS_EAGAIN(rv) && !response->collected && (response->size > 0 || !response->begun))
        return pass(call, MP_RESPONSE_PAUSE);
    if (APR_STATUS_IS_EAGAIN(rv)) {
        call->events = POLLIN;
        return WANT_BACKEND;
    }
    MP_RLOG(mp_link_pool_stopping(call->links) ? APLOG_DEBUG : APLOG_ERR, rv, call->r, "PSG0688",
            "the application's response ended early; it is cut off at the client as well");
    return cut(call, mp_link_pool_stopping(call->links));
}

static step_t step_tunnel(call_t *call)
{
    apr_status_t rv = mp_upgrade_step(&call->upgrade, call->link);

    if (rv == APR_SUCCESS)
        return GO_ON;
    if (APR_STATUS_IS_EAGAIN(rv)) {
        call->events = call->upgrade.link_events;
        call->client_events = call->upgrade.client_events;
        return WANT_EITHER;
    }
    MP_RLOG(APLOG_DEBUG, rv, call->r, "PSG1600", "the tunnel is over: %s", APR_STATUS_IS_EOF(rv) ? "both sides have ended" : "the client is gone");
    mp_calm_end(call->r->connection);
    if (mp_link_pool_stopping(call->links))
        call->r->connection->aborted = 1; /* there is no time to wait for the client's end */
    return finish(call, OK);
}

static step_t (*const steps[])(call_t *call) = {
    [OPEN] = step_open,           [CONNECT] = step_connect,     [SEND] = step_send, [SEND_BODY] = step_send_body,
    [READ_HEAD] = step_read_head, [READ_BODY] = step_read_body, [PUSH] = step_push, [TUNNEL] = step_tunnel, [SEND_FILE] = step_send_file,
};

int mp_handler_create(mp_handler_call_t **pcall, request_rec *r, const mp_map_app_t *app, mp_link_pool_t *links, int gentle)
{
    call_t *call = apr_palloc(r->pool, sizeof(*call));
    int rc;

    memset(call, 0, offsetof(call_t, vec));
    memset(&call->nvec, 0, offsetof(call_t, response) - offsetof(call_t, nvec));
    call->r = r;
    call->app = app;
    call->links = links;
    call->may_block = 1;
    call->gentle = gentle;
    call->read_mode = gentle ? APR_NONBLOCK_READ : APR_BLOCK_READ;
    call->client_fd = mp_calm_descriptor(r->connection);
    rc = mp_upgrade_refuse(r);
    if (rc != OK || OK != (rc = mp_body_open(&call->body, r)))
        return rc;
    call->request.upgrade = mp_upgrade_wanted(r);
    if (call->request.upgrade) { /* what comes next is the other protocol's, or the next request */
        call->body.present = 0;
        call->body.ended = 1;
    }
    *pcall = call;
    return OK;
}

int mp_handler_due(const mp_handler_call_t *call)
{
    return mp_farewell_now(call->r, call->state == TUNNEL, call->state == READ_BODY);
}

/* This child is to go, and waits for this request. */
static step_t part(call_t *call)
{
    MP_RLOG(call->state == TUNNEL ? APLOG_DEBUG : APLOG_INFO, 0, call->r, "PSG3302", "the request is ended, because its child of Apache is to go");
    if (call->state == READ_BODY && call->response.begun)
        return cut(call, 1);
    if (call->state <= READ_BODY)
        return unavailable(call);
    call->r->connection->aborted = 1; /* others wait for this child's place */
    return end(call, APR_TIMEUP);
}

int mp_handler_go(mp_handler_call_t *call, mp_link_want_t *want)
{
    step_t step = GO_ON;

    if (call->state != FINISHED && mp_handler_due(call))
        part(call);
    while (step == GO_ON && call->state != FINISHED)
        step = steps[call->state](call);
    if (step == GO_ON)
        return 0;
    /* What the link says is looked at when there is room for it. */
    want->link = call->state == PUSH ? NULL : call->link;
    want->link_events = step == WANT_CLIENT ? POLLIN : call->events;
    want->pause = call->link || step == WANT_CLIENT ? 0 : call->pause;
    /* A client that still uploads may close its side after it, and is found out by reading. */
    if (step == WANT_BACKEND && call->state == READ_HEAD && call->body.awaited)
        call->client_events = POLLIN; /* it need not wait */
    else if (step == WANT_BACKEND)
        call->client_events = (call->state == READ_HEAD || call->state == READ_BODY) && !call->deserted ? POLLRDHUP : 0;
    want->client_fd = !call->client_events ? -1 : step == WANT_EITHER ? call->upgrade.client_fd : call->client_fd;
    want->client_events = call->client_events;
    want->deadline = step == WANT_CLIENT ? call->deadline : 0;
    return 1;
}

static void client_left(call_t *call)
{
    MP_RLOG(APLOG_DEBUG, 0, call->r, "PSG0689", "the client left before its response came");
    mp_link_give_up(call->link);
    call->unsound = call->deserted = 1;
}

static void client_late(call_t *call)
{
    if (call->state == PUSH) {
        call->r->connection->aborted = 1;
        end(call, APR_TIMEUP);
        return;
    }
    MP_RLOG(APLOG_INFO, 0, call->r, "PSG0690", "the client sent nothing more of the request's body in time");
    finish(call, HTTP_REQUEST_TIME_OUT);
}

void mp_handler_hear(mp_handler_call_t *call, mp_link_wait_t news)
{
    if (news == MP_LINK_CLIENT_READY && call->client_events == POLLRDHUP) {
        client_left(call);
    } else if (news == MP_LINK_CLIENT_READY) {
        if (call->state == READ_HEAD)
            call->state = SEND_BODY;
        call->deadline = 0;
        call->read_mode = call->gentle ? APR_NONBLOCK_READ : APR_BLOCK_READ;
    } else if (news == MP_LINK_TIMEOUT && call->deadline && ag_clock_now() >= call->deadline) {
        client_late(call);
    } else if (news == MP_LINK_READY && call->state == SEND_BODY && mp_link_speaks(call->link, HEAD_LIMIT)) {
        read_answer(call, 1);
    }
}

void mp_handler_hurry(mp_handler_call_t *call, int hurry)
{
    call->may_block = !hurry;
}

int mp_handler_result(mp_handler_call_t *call)
{
    if (call->local && call->result == OK)
        mp_redirect_run(call->r, call->local);
    return call->result;
}

void mp_handler_abandon(mp_handler_call_t *call)
{
    finish(call, OK);
}

void mp_handler_insist(mp_handler_call_t *call)
{
    call->gentle = 0;
    call->may_block = 1;
    mp_calm_end(call->r->connection);
}
