#include "mod_passenger/hop.h"

#include "apr-glue/hop.h"

#include <http_protocol.h>
#include <string.h>

#define KEY "mod_passenger:hop"

/* Before anything else looks at the request, what it names is remembered as it came: RequestHeader and others put in their own later. */
static int note_fields(request_rec *r)
{
    const char *connection = apr_table_get(r->headers_in, "Connection");
    const apr_array_header_t *table = apr_table_elts(r->headers_in);
    const apr_table_entry_t *e = (const apr_table_entry_t *) table->elts;
    apr_table_t *fields;
    int i;

    if (!connection || r->prev || r->main || !ag_hop_names_any(connection, strlen(connection)))
        return DECLINED;
    fields = apr_table_make(r->pool, 2);
    for (i = 0; i < table->nelts; i++) {
        if (ag_hop_names(connection, strlen(connection), e[i].key, strlen(e[i].key)))
            apr_table_addn(fields, e[i].key, e[i].val);
    }
    apr_pool_userdata_setn(fields, KEY, NULL, r->pool);
    return DECLINED;
}

/* Told by the value's address: one that was put in its place is another's, even if it says the same. */
static int has_value(const apr_table_t *fields, const char *value)
{
    const apr_array_header_t *table = apr_table_elts(fields);
    const apr_table_entry_t *e = (const apr_table_entry_t *) table->elts;
    int i = 0;

    while (i < table->nelts && e[i].val != value)
        i++;
    return i < table->nelts;
}

const apr_table_t *mp_hop_rest(const request_rec *r)
{
    const request_rec *first = r;
    const apr_array_header_t *table = apr_table_elts(r->headers_in);
    const apr_table_entry_t *e = (const apr_table_entry_t *) table->elts;
    apr_table_t *rest;
    void *fields;
    int i;

    while (first->prev || first->main)
        first = first->prev ? first->prev : first->main;
    if (apr_pool_userdata_get(&fields, KEY, first->pool) != APR_SUCCESS || !fields)
        return r->headers_in;
    rest = apr_table_make(r->pool, table->nelts);
    for (i = 0; i < table->nelts; i++) {
        if (!has_value(fields, e[i].val))
            apr_table_addn(rest, e[i].key, e[i].val);
    }
    return rest;
}

void mp_hop_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_hook_post_read_request(note_fields, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
