#include "mod_passenger/upgrade.h"

#include "mod_passenger/calm.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <util_filter.h>

#define PIECE (32 * 1024) /* with what may be left of the one before, less than Apache's core keeps for a client without waiting */

/* Protocols of the connection, which is Apache's, not an application's. An application that took up one of these could be sent requests that
 * nobody here has seen. */
static int is_of_the_connection(const char *name, apr_size_t len)
{
    static const char *const names[] = {"h2", "h2c", "h3", "http", "https", "tls", "ssl"};
    apr_size_t i;

    for (i = 0; i < AG_LEN(names); i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
            return 1;
    }
    return 0;
}

static int is_one_protocol(const char *value)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    apr_size_t name = strspn(value, token), version = value[name] == '/' ? strspn(value + name + 1, token) : 0;

    return name > 0 && strlen(value) <= 64 && !value[name + (version ? version + 1 : 0)] && !is_of_the_connection(value, name);
}

/* Where to wait for the client: its socket, or for a stream of HTTP/2 the pipe with which mod_http2 tells of input. -1: none comes. */
static int descriptor_of(conn_rec *c)
{
    apr_os_sock_t sock = -1;
    apr_pollfd_t poll;
    apr_os_file_t file = -1;

    if (!c->master)
        return ap_get_conn_socket(c) && apr_os_sock_get(&sock, ap_get_conn_socket(c)) == APR_SUCCESS ? sock : -1;
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 129)
    memset(&poll, 0, sizeof(poll));
    if (ap_get_pollfd_from_conn(c, &poll, NULL) == APR_SUCCESS && poll.desc_type == APR_POLL_FILE &&
        apr_os_file_get(&file, poll.desc.f) == APR_SUCCESS)
        return file;
#endif
    return -1;
}

const char *mp_upgrade_wanted(request_rec *r)
{
    const char *upgrade = apr_table_get(r->headers_in, "Upgrade"), *length = apr_table_get(r->headers_in, "Content-Length");

    if (!upgrade || r->main || r->status != HTTP_OK || r->proto_num < HTTP_VERSION(1, 1) || strcmp(r->method, "GET") != 0)
        return NULL;
    /* mod_http2 says of each stream without a length that it is chunked. */
    if ((apr_table_get(r->headers_in, "Transfer-Encoding") && !r->connection->master) || (length && strcmp(length, "0") != 0))
        return NULL;
    if (!ap_find_token(r->pool, apr_table_get(r->headers_in, "Connection"), "upgrade") || !is_one_protocol(upgrade))
        return NULL;
    return descriptor_of(r->connection) >= 0 ? upgrade : NULL;
}

int mp_upgrade_refuse(request_rec *r)
{
    if (!r->connection->master || r->main || r->prev || !apr_table_get(r->headers_in, "Upgrade") || mp_upgrade_wanted(r))
        return OK;
    MP_RLOG(APLOG_INFO, 0, r, "PSG1601", "a WebSocket over HTTP/2 is refused: the client's half of its stream has ended already, or has a length");
    return HTTP_BAD_REQUEST;
}

/* mod_http2 (h2_c2.c, 2.4.58 and later) lets the input of such a stream end at once, for the sake of the request, which has no body; what comes from
 * the client begins behind that end. Nothing else is read here, whether somebody has read that far or not. */
static void end_request(request_rec *r)
{
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    int ended = 0;

    r->expecting_100 = 0;
    while (!ended && ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ, PIECE) == APR_SUCCESS && !APR_BRIGADE_EMPTY(bb)) {
        ended = APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(bb));
        apr_brigade_cleanup(bb);
    }
    apr_brigade_destroy(bb);
}

/* Apache's sockets have keep-alives that begin after two hours: for so long the tunnel of a client that vanished would stay, and the application's
 * end of it. After five minutes of silence the kernel asks, and after three more without an answer the connection is over. */
static void ask_if_alive(int fd)
{
    int on = 1, idle = 300, interval = 60, count = 3;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void mp_upgrade_begin(mp_upgrade_t *u, request_rec *r, mp_link_t *link, const ag_http_head_t *head, apr_size_t head_len)
{
    conn_rec *c = r->connection;
    int i;

    memset(u, 0, sizeof(*u));
    u->r = r;
    u->stream = c->master != NULL;
    u->up = apr_brigade_create(r->pool, c->bucket_alloc);
    u->down = apr_brigade_create(r->pool, c->bucket_alloc);
    u->client_fd = descriptor_of(c);
    for (i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *f = &head->fields[i];

        if (!ag_http_head_hop_by_hop(f) && !ag_http_head_is(f, "content-length"))
            apr_table_addn(r->headers_out, apr_pstrmemdup(r->pool, f->name, f->name_len), apr_pstrmemdup(r->pool, f->value, f->value_len));
    }
    apr_table_setn(r->headers_out, "Upgrade", apr_table_get(r->headers_in, "Upgrade"));
    apr_table_setn(r->headers_out, "Connection", "Upgrade");
    link->at += head_len;
    c->keepalive = AP_CONN_CLOSE;
    if (u->stream)
        end_request(r);
    else
        ask_if_alive(u->client_fd);
    r->status = HTTP_SWITCHING_PROTOCOLS;
    r->status_line = ap_get_status_line(r->status);
    ap_send_interim_response(r, 1);
    /* Nobody counts the bytes and seconds of a request's body any more. */
    ap_remove_input_filter_byhandle(c->input_filters, "reqtimeout");
    r->input_filters = r->proto_input_filters = c->input_filters;
    r->output_filters = r->proto_output_filters = c->output_filters;
    r->sent_bodyct = 1; /* so that %b tells how much it was */
}

/* -- from the client -- */

/* Points the vector at what was taken, which stays where it is until it is sent. */
static apr_status_t make_vec(mp_upgrade_t *u)
{
    apr_bucket *b = APR_BRIGADE_FIRST(u->up), *next;
    const char *data;
    apr_size_t len;

    u->nvec = u->at = 0;
    for (; b != APR_BRIGADE_SENTINEL(u->up) && u->nvec < MP_UPGRADE_VEC; b = next) {
        next = APR_BUCKET_NEXT(b);
        u->client_ended |= APR_BUCKET_IS_EOS(b) != 0;
        if (APR_BUCKET_IS_METADATA(b)) {
            apr_bucket_delete(b);
            continue;
        }
        if (apr_bucket_setaside(b, u->r->pool) != APR_SUCCESS || apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS)
            return APR_EGENERAL;
        u->vec[u->nvec++] = (struct iovec){(void *) (apr_uintptr_t) data, len};
        next = APR_BUCKET_NEXT(b);
    }
    return APR_SUCCESS;
}

static void drop_sent(mp_upgrade_t *u)
{
    for (; u->nvec > 0; u->nvec--)
        apr_bucket_delete(APR_BRIGADE_FIRST(u->up));
    u->at = 0;
}

/* APR_EAGAIN: there is nothing now. */
static apr_status_t take_from_client(mp_upgrade_t *u)
{
    apr_status_t rv = APR_SUCCESS;

    if (APR_BRIGADE_EMPTY(u->up))
        rv = ap_get_brigade(u->r->connection->input_filters, u->up, AP_MODE_READBYTES, APR_NONBLOCK_READ, PIECE);
    if (APR_STATUS_IS_EOF(rv)) {
        u->client_ended = 1;
        return APR_SUCCESS;
    }
    if (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(u->up))
        return APR_EAGAIN;
    return rv == APR_SUCCESS ? make_vec(u) : rv;
}

/* APR_SUCCESS: something moved. */
static apr_status_t up(mp_upgrade_t *u, mp_link_t *link)
{
    apr_status_t rv;

    if (u->link_deaf || u->link_told)
        return APR_EAGAIN;
    if (u->nvec == 0 && !u->client_ended) {
        rv = take_from_client(u);
        if (APR_STATUS_IS_EAGAIN(rv))
            u->client_events |= POLLIN;
        if (rv != APR_SUCCESS)
            return rv;
    }
    rv = u->nvec > 0 ? mp_link_send(link, u->vec, u->nvec, &u->at) : APR_SUCCESS;
    if (APR_STATUS_IS_EAGAIN(rv)) {
        u->link_events |= POLLOUT;
        return rv;
    }
    drop_sent(u);
    if (rv != APR_SUCCESS) {
        u->link_deaf = 1;
        return APR_SUCCESS;
    }
    if (u->client_ended && APR_BRIGADE_EMPTY(u->up)) {
        mp_link_give_up(link);
        u->link_told = 1;
    }
    return APR_SUCCESS;
}

/* -- to the client -- */

static int is_plain(const mp_upgrade_t *u)
{
    return strcmp(ap_http_scheme(u->r), "http") == 0;
}

static apr_status_t pass(mp_upgrade_t *u, const char *data, apr_size_t len)
{
    conn_rec *c = u->r->connection;
    apr_status_t rv;

    if (!u->stream)
        mp_calm_begin(u->r);
    APR_BRIGADE_INSERT_TAIL(u->down, apr_bucket_transient_create(data, len, c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(u->down, apr_bucket_flush_create(c->bucket_alloc));
    rv = ap_pass_brigade(c->output_filters, u->down);
    apr_brigade_cleanup(u->down);
    u->r->bytes_sent += (apr_off_t) len;
    if (rv == APR_SUCCESS && !u->stream)
        rv = mp_calm_push(c);
    return rv == APR_SUCCESS && c->aborted ? APR_ECONNABORTED : rv;
}

static apr_status_t take_from_link(mp_upgrade_t *u, mp_link_t *link)
{
    char data[PIECE];
    apr_size_t len = link->end - link->at;
    apr_status_t rv;

    if (len > 0) { /* it came with the head */
        len = len < PIECE ? len : PIECE;
        link->at += len;
        return pass(u, link->in + link->at - len, len);
    }
    rv = mp_link_recv(link, data, sizeof(data), &len, 0);
    if (rv == APR_SUCCESS)
        return pass(u, data, len);
    if (APR_STATUS_IS_EAGAIN(rv)) {
        u->link_events |= POLLIN;
        return rv;
    }
    u->link_ended = 1;
    return APR_SUCCESS;
}

static apr_status_t down(mp_upgrade_t *u, mp_link_t *link)
{
    conn_rec *c = u->r->connection;
    apr_status_t rv;

    if (c->data_in_output_filters && !u->stream) {
        rv = mp_calm_push(c);
        if (rv != APR_SUCCESS || c->aborted)
            return rv != APR_SUCCESS ? rv : APR_ECONNABORTED;
        if (c->data_in_output_filters) {
            u->client_events |= POLLOUT;
            return APR_EAGAIN;
        }
    }
    if (!u->link_ended)
        return take_from_link(u, link);
    /* Only TCP can end one half and go on with the other. */
    if (u->client_ended || u->link_deaf || u->stream || !is_plain(u) || mp_link_gone(link))
        return APR_EOF;
    if (!u->client_told)
        shutdown(u->client_fd, SHUT_WR);
    u->client_told = 1;
    return APR_EAGAIN;
}

apr_status_t mp_upgrade_step(mp_upgrade_t *u, mp_link_t *link)
{
    apr_status_t sent, got;

    u->client_events = u->link_events = 0;
    if (u->stream && u->r->connection->aborted)
        return APR_ECONNABORTED;
    sent = up(u, link);
    if (sent != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(sent))
        return sent;
    got = down(u, link);
    if (got != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(got))
        return got;
    return sent == APR_SUCCESS || got == APR_SUCCESS ? APR_SUCCESS : APR_EAGAIN;
}
