#include "mod_passenger/response.h"

#include "apr-glue/link.h"
#include "mod_passenger/conf.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <sys/socket.h>
#include <util_filter.h>

/* The phrase that the application gave is kept; Apache's comes in where there is none. */
static const char *status_line(request_rec *r, const ag_http_head_t *head)
{
    const char *known;

    if (head->reason_len)
        return apr_psprintf(r->pool, "%d %.*s", head->status, (int) head->reason_len, head->reason);
    known = ap_get_status_line(head->status);
    return atoi(known) == head->status ? known : apr_psprintf(r->pool, "%d Unknown Status", head->status);
}

static void set_type(request_rec *r, const char *type)
{
    if (!*type)
        return;
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 132)
    ap_set_content_type_ex(r, type, 0); /* an application's word: never the name of a handler */
#else
    ap_set_content_type(r, type);
#endif
}

/* 1 for fields that httpd makes itself from what we tell it, or that are between the core and us. */
static int is_ours(const ag_http_head_field_t *f)
{
    return ag_http_head_hop_by_hop(f) || ag_http_head_is(f, "content-length") || ag_http_head_is(f, "status") ||
           ag_http_head_is(f, "passenger-try-again");
}

/* The fields that a client needs even with an error page of Apache's. */
static int is_kept_with_errors(const ag_http_head_field_t *f)
{
    return ag_http_head_is(f, "www-authenticate") || ag_http_head_is(f, "retry-after") || ag_http_head_is(f, "set-cookie");
}

static void set_fields(request_rec *r, const ag_http_head_t *head, const char *from, char *copy, int overridden)
{
    int i;

    for (i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *f = &head->fields[i];
        char *name = copy + (f->name - from), *value = copy + (f->value - from);

        if (is_ours(f) || (overridden && !is_kept_with_errors(f)))
            continue;
        name[f->name_len] = '\0';
        value[f->value_len] = '\0';
        if (f->name_len == 12 && ag_http_head_is(f, "content-type"))
            set_type(r, value);
        else
            apr_table_addn(overridden ? r->err_headers_out : r->headers_out, name, value);
    }
}

static int set_framing(mp_response_t *response, const ag_http_head_t *head)
{
    request_rec *r = response->r;
    int bodyless = ag_http_head_bodyless(head->status, r->header_only);

    if (head->status < 200) {
        MP_RLOG(APLOG_ERR, 0, r, "PSG0660", "the application answered %d, which can't be passed on", head->status);
        return HTTP_BAD_GATEWAY;
    }
    if (!bodyless && !head->chunked && head->content_length < 0) {
        MP_RLOG(APLOG_ERR, 0, r, "PSG0661", "a response came without any framing of its body");
        return HTTP_BAD_GATEWAY;
    }
    response->chunked = head->chunked;
    response->left = head->content_length;
    response->complete = bodyless || (!head->chunked && head->content_length == 0);
    ag_chunk_init(&response->chunk);
    return OK;
}

/* httpd cuts ranges out of what reaches it in one piece, which must not be left to how fast the application writes: a short body is
 * waited for, a long one is sent whole. Players ask for "bytes=0-" of endless streams, too, where nothing is to wait. */
static void settle_ranges(mp_response_t *response)
{
    request_rec *r = response->r;
    const char *ranges = apr_table_get(r->headers_in, "Range");

    if (!ranges || response->collected || r->status != HTTP_OK || apr_table_get(r->headers_out, AG_LINK_FILE))
        return;
    if (response->chunked ? !strcmp(ranges, "bytes=0-") : response->left > MP_RESPONSE_PIECE)
        ap_remove_output_filter_byhandle(r->output_filters, "BYTERANGE");
    else
        response->collected = apr_brigade_create(r->pool, r->connection->bucket_alloc);
}

int mp_response_begin(mp_response_t *response, request_rec *r, mp_link_t *link, const ag_http_head_t *head, apr_size_t head_len)
{
    const char *from = link->in + link->at;
    int overridden = ap_is_HTTP_ERROR(head->status) && mp_conf_options(r)->error_override;
    /* The page for an error keeps the error's status, as with any other handler, unless the application has a status of its own. */
    int keeps_status = r->prev && r->status != HTTP_OK && head->status == HTTP_OK;

    memset(response, 0, sizeof(*response));
    response->r = r;
    response->out = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    response->piece = MP_RESPONSE_PIECE;
    if (mp_conf_options(r)->buffer_response) {
        response->collected = apr_brigade_create(r->pool, r->connection->bucket_alloc);
        response->piece = MP_RESPONSE_COLLECTED;
    }
    if (set_framing(response, head) != OK)
        return HTTP_BAD_GATEWAY;
    /* What mod_mime guessed from the URI is not about this response. */
    r->content_type = NULL;
    r->content_encoding = NULL;
    r->content_languages = NULL;
    set_fields(r, head, from, apr_pmemdup(r->pool, from, head_len), overridden);
    if (!overridden) {
        if (!keeps_status) {
            r->status = head->status;
            r->status_line = status_line(r, head);
            apr_table_setn(r->headers_out, "Status", r->status_line);
        }
        if (head->content_length >= 0 && head->status != HTTP_NO_CONTENT)
            ap_set_content_length(r, head->content_length);
    }
    link->at += head_len;
    response->overridden = overridden ? head->status : 0;
    settle_ranges(response);
    return OK;
}

/* Decodes chunks. What `memory` (a bucket over all of data, or NULL) holds is shared, else it is copied. */
static apr_status_t take_chunks(mp_response_t *response, const char *data, apr_size_t len, apr_bucket *memory, apr_size_t *pused)
{
    apr_status_t rv = APR_SUCCESS;

    for (*pused = 0; *pused < len && rv == APR_SUCCESS;) {
        const char *piece;
        apr_size_t used, piece_len;

        rv = ag_chunk_next(&response->chunk, data + *pused, len - *pused, &used, &piece, &piece_len);
        *pused += used;
        response->size += piece_len;
        if (piece_len && memory) {
            apr_bucket *part;

            apr_bucket_copy(memory, &part);
            part->start = piece - data;
            part->length = piece_len;
            APR_BRIGADE_INSERT_TAIL(response->out, part);
        } else if (piece_len) {
            apr_brigade_write(response->out, NULL, NULL, piece, piece_len);
        }
    }
    response->complete = rv == APR_EOF;
    return rv == APR_EGENERAL ? rv : APR_SUCCESS;
}

/* Takes what arrived together with the head: little, so it is copied. */
static apr_status_t take_buffered(mp_response_t *response, mp_link_t *link)
{
    apr_size_t len = link->end - link->at;
    apr_status_t rv = APR_SUCCESS;

    if (response->chunked) {
        apr_size_t used;

        rv = take_chunks(response, link->in + link->at, len, NULL, &used);
        link->at += used;
        return rv;
    }
    if ((apr_int64_t) len > response->left)
        len = (apr_size_t) response->left;
    apr_brigade_write(response->out, NULL, NULL, link->in + link->at, len);
    link->at += len;
    response->size += len;
    response->left -= (apr_int64_t) len;
    response->complete = response->left == 0;
    return rv;
}

apr_status_t mp_response_take(mp_response_t *response, mp_link_t *link, int wait)
{
    apr_bucket_alloc_t *alloc = response->r->connection->bucket_alloc;
    apr_size_t len, size = response->piece - response->size, used;
    apr_bucket *memory;
    apr_status_t rv;
    char *data;

    if (link->at < link->end)
        return take_buffered(response, link);
    if (size > MP_RESPONSE_PIECE)
        size = MP_RESPONSE_PIECE;
    if (!response->chunked && response->left < (apr_int64_t) size)
        size = (apr_size_t) response->left;
    data = apr_bucket_alloc(size, alloc);
    if (!data)
        return APR_ENOMEM;
    rv = mp_link_recv(link, data, size, &len, wait);
    if (rv != APR_SUCCESS) {
        apr_bucket_free(data);
        return rv;
    }
    memory = apr_bucket_heap_create(data, size, apr_bucket_free, alloc);
    if (response->chunked) {
        rv = take_chunks(response, data, len, memory, &used);
        apr_bucket_destroy(memory);
        return rv == APR_SUCCESS && used < len ? APR_EGENERAL : rv;
    }
    memory->length = len;
    APR_BRIGADE_INSERT_TAIL(response->out, memory);
    response->size += len;
    response->left -= (apr_int64_t) len;
    response->complete = response->left == 0;
    return APR_SUCCESS;
}

void mp_response_drop(mp_response_t *response, mp_link_t *link)
{
    while (!response->complete && mp_response_take(response, link, 0) == APR_SUCCESS) {
        apr_brigade_cleanup(response->out);
        response->size = 0;
    }
    apr_brigade_cleanup(response->out);
}

void mp_response_collect(mp_response_t *response)
{
    apr_bucket *b;

    for (b = APR_BRIGADE_FIRST(response->out); b != APR_BRIGADE_SENTINEL(response->out); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;

        if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) == APR_SUCCESS)
            apr_brigade_write(response->collected, NULL, NULL, data, len);
    }
    apr_brigade_cleanup(response->out);
}

apr_status_t mp_response_pass(mp_response_t *response, mp_response_pass_t how)
{
    request_rec *r = response->r;
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_status_t rv;

    if (response->collected)
        APR_BRIGADE_PREPEND(response->out, response->collected);
    if (response->piece == MP_RESPONSE_PIECE)
        response->collected = NULL; /* longer than what ranges are cut out of: its pauses count again */
    if (how == MP_RESPONSE_END)
        APR_BRIGADE_INSERT_TAIL(response->out, apr_bucket_eos_create(alloc));
    if (how == MP_RESPONSE_PAUSE || (how == MP_RESPONSE_END && response->early))
        APR_BRIGADE_INSERT_TAIL(response->out, apr_bucket_flush_create(alloc));
    response->begun = 1;
    rv = ap_pass_brigade(r->output_filters, response->out);
    apr_brigade_cleanup(response->out);
    if (rv == APR_SUCCESS && how == MP_RESPONSE_PAUSE) /* there are filters that take the bucket for a part of the body, and lose it */
        rv = ap_fflush(r->connection->output_filters, response->out);
    response->size = 0;
    return rv == APR_SUCCESS && r->connection->aborted ? APR_ECONNABORTED : rv;
}

/* Without chunks and without a length the end of the connection is the end of the response: only a reset tells that there was more. */
static void reset(request_rec *r)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    conn_rec *c = r->connection;
    apr_socket_t *sock = c->master ? NULL : ap_get_conn_socket(c);
    apr_os_sock_t fd;

    if (!sock || r->chunked || apr_table_get(r->headers_out, "Content-Length") || apr_os_sock_get(&fd, sock) != APR_SUCCESS)
        return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    c->aborted = 1;
}

int mp_response_break(mp_response_t *response)
{
    request_rec *r = response->r;
    conn_rec *c = r->connection;

    if (!response->begun) {
        r->status = HTTP_OK;
        r->status_line = NULL;
        return HTTP_BAD_GATEWAY;
    }
    c->keepalive = AP_CONN_CLOSE;
    r->no_cache = 1;
    if (r->main)
        r->main->no_cache = 1;
    APR_BRIGADE_INSERT_TAIL(response->out, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(response->out, ap_bucket_eoc_create(c->bucket_alloc));
    ap_pass_brigade(r->output_filters, response->out);
    apr_brigade_cleanup(response->out);
    reset(r);
    return OK;
}
