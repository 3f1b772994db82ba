#include "mod_passenger/body.h"

#include "apr-glue/chunk.h"
#include "mod_passenger/calm.h"

#include <http_core.h>
#include <http_protocol.h>
#include <strings.h>
#include <util_filter.h>

#define GATHER     (64 * 1024)
#define REST_SMALL (256 * 1024)
#define PIPE_WORTH (128 * 1024) /* fewer bytes are copied for less than it takes to open a pipe */
#define PIECES     (MP_BODY_VEC - 4) /* chunk framing needs some of the elements */

static int take_bucket(mp_body_t *body, apr_bucket *b)
{
    const char *data;
    apr_size_t len;

    if (APR_BUCKET_IS_EOS(b))
        body->ended = 1;
    if (APR_BUCKET_IS_METADATA(b)) {
        apr_bucket_delete(b);
        return APR_SUCCESS;
    }
    if (mp_gulp_is_in_pipe(b)) {
        body->taken += (apr_off_t) b->length;
        apr_bucket_delete(b);
        return APR_SUCCESS;
    }
    /* Makes memory of whatever it is, with a known length, that outlives the next read. */
    if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS || apr_bucket_setaside(b, body->r->pool) != APR_SUCCESS)
        return APR_EGENERAL;
    APR_BUCKET_REMOVE(b);
    if (len == 0) {
        apr_bucket_destroy(b);
        return APR_SUCCESS;
    }
    APR_BRIGADE_INSERT_TAIL(body->gathered, b);
    body->size += (apr_off_t) len;
    body->taken += (apr_off_t) len;
    return APR_SUCCESS;
}

/* Makes one piece of many, for clients that send a byte at a time and filters that take things apart. */
static apr_status_t join(mp_body_t *body)
{
    apr_bucket_alloc_t *alloc = body->r->connection->bucket_alloc;
    apr_size_t len = (apr_size_t) body->size;
    char *data = apr_bucket_alloc(len, alloc);
    apr_status_t rv = data ? apr_brigade_flatten(body->gathered, data, &len) : APR_ENOMEM;

    if (!data)
        return rv;
    apr_brigade_cleanup(body->gathered);
    APR_BRIGADE_INSERT_TAIL(body->gathered, apr_bucket_heap_create(data, len, apr_bucket_free, alloc));
    return rv;
}

static apr_status_t close_pipe(void *body)
{
    ag_pipe_close(&((mp_body_t *) body)->pipe);
    return APR_SUCCESS;
}

/* Only what somebody else does not want to see goes through a pipe; it is not there to be sent again either. */
static void begin_to_gulp(mp_body_t *body)
{
    request_rec *r = body->r;

    body->gulp = mp_gulp_begin(r);
    if (!body->gulp || body->length - body->taken < PIPE_WORTH || !mp_gulp_is_plain(r))
        body->gulp = NULL;
    else
        apr_pool_cleanup_register(r->pool, body, close_pipe, apr_pool_cleanup_null);
}

static apr_status_t take(mp_body_t *body, apr_read_type_e mode)
{
    apr_off_t most = GATHER - body->size;
    apr_status_t rv;

    if (!body->gulp)
        return ap_get_brigade(body->r->input_filters, body->incoming, AP_MODE_READBYTES, mode, most);
    mp_gulp_aim(body->gulp, &body->pipe);
    rv = ap_get_brigade(body->r->input_filters, body->incoming, AP_MODE_READBYTES, mode, body->length - body->taken);
    mp_gulp_aim(body->gulp, NULL);
    return rv;
}

apr_status_t mp_body_gather(mp_body_t *body, apr_read_type_e mode)
{
    int pieces = 0;

    if (body->awaited)
        mode = APR_NONBLOCK_READ; /* a blocking read tells the client to go on */
    while (pieces < PIECES && body->size < GATHER && body->pipe.len == 0 && !body->ended) {
        apr_status_t rv = take(body, mode);

        if (APR_STATUS_IS_EAGAIN(rv) || (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(body->incoming))) {
            if (pieces > 0)
                return APR_SUCCESS;
            return mode == APR_BLOCK_READ ? APR_EGENERAL : APR_EAGAIN;
        }
        while (rv == APR_SUCCESS && !APR_BRIGADE_EMPTY(body->incoming) && !body->ended) {
            rv = take_bucket(body, APR_BRIGADE_FIRST(body->incoming));
            pieces++;
        }
        apr_brigade_cleanup(body->incoming);
        if (rv != APR_SUCCESS)
            return rv;
        mode = APR_NONBLOCK_READ;
    }
    if (pieces > 0)
        body->awaited = body->r->expecting_100 = 0; /* also one who did not wait */
    return pieces > PIECES ? join(body) : APR_SUCCESS;
}

int mp_body_status(const mp_body_t *body, apr_status_t rv)
{
    if (body->r->connection->aborted)
        return HTTP_BAD_REQUEST;
    return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
}

/* A filter between Apache's framing and us (inflation, say) may change the length, so only an unfiltered one is believed. */
static void settle_length(mp_body_t *body)
{
    const char *value = apr_table_get(body->r->headers_in, "Content-Length");
    apr_off_t length;

    body->length = -1;
    if (body->ended)
        body->length = body->size;
    else if (value && !apr_table_get(body->r->headers_in, "Transfer-Encoding") &&
             body->r->input_filters == body->r->proto_input_filters && ap_parse_strict_length(&length, value))
        body->length = length;
}

int mp_body_open(mp_body_t *body, request_rec *r)
{
    const char *coding = apr_table_get(r->headers_in, "Transfer-Encoding");

    memset(body, 0, sizeof(*body));
    body->r = r;
    body->pipe = (ag_pipe_t) AG_PIPE_CLOSED;
    body->ended = 1;
    /* A subrequest has its parent's headers, but the body is for the parent to read. */
    if (r->main || (!apr_table_get(r->headers_in, "Content-Length") && !coding))
        return OK;
    /* Apache takes chunks off and leaves what is below, of which the application would not know (RFC 9112 6.1). */
    if (coding && strcasecmp(coding, "chunked") != 0) {
        MP_RLOG(APLOG_INFO, 0, r, "PSG0641", "the request's body has a transfer coding besides chunked: %s", coding);
        return HTTP_NOT_IMPLEMENTED;
    }
    body->present = 1;
    body->ended = 0;
    body->gathered = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    body->incoming = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    return OK;
}

/* 1 if the client may be waiting. One whose body is empty, or larger than Apache takes, has its answer when the body is read. */
static int may_wait(const mp_body_t *body)
{
    const request_rec *r = body->r;
    apr_off_t limit = ap_get_limit_req_body(r);

    return r->expecting_100 && r->proto_num >= HTTP_VERSION(1, 1) && body->length != 0 && (limit <= 0 || body->length <= limit);
}

apr_status_t mp_body_begin(mp_body_t *body, apr_read_type_e mode)
{
    apr_status_t rv;

    if (!body->present)
        return APR_SUCCESS;
    settle_length(body);
    body->awaited = may_wait(body);
    if (body->awaited)
        return APR_SUCCESS;
    rv = mp_body_gather(body, mode);
    if (rv == APR_SUCCESS)
        settle_length(body);
    if (rv == APR_SUCCESS && !body->ended)
        begin_to_gulp(body);
    return rv;
}

void mp_body_continue(mp_body_t *body, int gentle)
{
    request_rec *r = body->r;
    const char *line = r->status_line;
    int status = r->status;

    body->awaited = 0;
    if (gentle)
        mp_calm_begin(r);
    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);
    r->status_line = line;
    r->status = status;
    if (gentle)
        mp_calm_push(r->connection);
}

int mp_body_vec(mp_body_t *body, struct iovec vec[MP_BODY_VEC])
{
    int n = 0, chunked = body->length < 0;
    apr_bucket *b;

    if (!body->present)
        return 0;
    if (chunked && body->size > 0) {
        vec[n].iov_base = body->chunk_head;
        vec[n++].iov_len = ag_chunk_head(body->chunk_head, (apr_size_t) body->size);
    }
    for (b = APR_BRIGADE_FIRST(body->gathered); b != APR_BRIGADE_SENTINEL(body->gathered); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS)
            len = 0; /* can't be: mp_body_gather made memory of them */
        vec[n].iov_base = (char *) (apr_uintptr_t) data;
        vec[n++].iov_len = len;
    }
    if (chunked) {
        const char *tail = body->size > 0 ? body->ended ? "\r\n0\r\n\r\n" : "\r\n" : body->ended ? "0\r\n\r\n" : "";

        vec[n].iov_base = (char *) (apr_uintptr_t) tail;
        vec[n++].iov_len = strlen(tail);
    }
    return n;
}

void mp_body_forget(mp_body_t *body)
{
    if (body->ended)
        ag_pipe_close(&body->pipe);
    if (!body->present || (body->ended && mp_body_intact(body)))
        return;
    apr_brigade_cleanup(body->gathered);
    body->size = 0;
}

int mp_body_intact(const mp_body_t *body)
{
    return body->size == body->taken;
}

int mp_body_rest_is_small(const mp_body_t *body)
{
    return body->ended || (body->length >= 0 && body->length - body->taken <= REST_SMALL);
}
