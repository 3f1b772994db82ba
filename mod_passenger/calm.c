#include "mod_passenger/calm.h"

#include <apr_portable.h>
#include <http_core.h>
#include <util_filter.h>

#define NAME "PASSENGER_CALM"

/* Between the filters that hold something back until they see a FLUSH bucket (mod_ssl's, mod_deflate's) and the core's, which would wait for the
 * client. It is put in when first needed, so that other connections do without, and stays with the connection. */
static apr_status_t hold_flushes(ap_filter_t *f, apr_bucket_brigade *bb)
{
    const int *calm = f->ctx;
    apr_bucket *b, *next;

    for (b = APR_BRIGADE_FIRST(bb); *calm && b != APR_BRIGADE_SENTINEL(bb); b = next) {
        next = APR_BUCKET_NEXT(b);
        if (APR_BUCKET_IS_FLUSH(b))
            apr_bucket_delete(b);
    }
    return *calm && APR_BRIGADE_EMPTY(bb) ? APR_SUCCESS : ap_pass_brigade(f->next, bb);
}

static int *state_of(conn_rec *c)
{
    ap_filter_t *f;

    for (f = c->output_filters; f && f->frec->filter_func.out_func != hold_flushes; f = f->next)
        ;
    return f ? f->ctx : NULL;
}

void mp_calm_begin(request_rec *r)
{
    conn_rec *c = r->connection;
    int *calm = state_of(c);

    if (!calm) {
        calm = apr_palloc(c->pool, sizeof(*calm));
        ap_add_output_filter(NAME, calm, r, c);
    }
    *calm = 1;
}

void mp_calm_end(conn_rec *c)
{
    int *calm = state_of(c);

    if (calm)
        *calm = 0;
}

apr_status_t mp_calm_push(conn_rec *c)
{
    ap_filter_t *f = c->output_filters;

    while (f->next)
        f = f->next;
    return f->frec->filter_func.out_func(f, NULL);
}

int mp_calm_descriptor(conn_rec *c)
{
    apr_socket_t *sock = c->master ? NULL : ap_get_conn_socket(c);
    apr_os_sock_t fd;

    return sock && apr_os_sock_get(&fd, sock) == APR_SUCCESS ? fd : -1;
}

void mp_calm_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_register_output_filter(NAME, hold_flushes, NULL, (ap_filter_type) (AP_FTYPE_NETWORK - 1));
}
