#include "mod_passenger/interim.h"

#include "mod_passenger/calm.h"

#include <apr_strings.h>
#include <http_protocol.h>
#include <strings.h>

int mp_interim_wanted(const request_rec *r)
{
    const char *policy = apr_table_get(r->subprocess_env, "proxy-interim-response");

    return r->proto_num >= HTTP_VERSION(1, 1) && !r->main && !(policy && strcasecmp(policy, "Suppress") == 0);
}

/* What httpd would send are the response's fields, which it then forgets; so they are put aside, as is that a body is awaited. */
void mp_interim_pass(request_rec *r, const ag_http_head_t *head, int gentle)
{
    apr_table_t *fields = r->headers_out;
    const char *line = r->status_line;
    int status = r->status, i;
    unsigned expecting = r->expecting_100;

    r->headers_out = apr_table_make(r->pool, head->nfields);
    for (i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *f = &head->fields[i];

        apr_table_addn(r->headers_out, apr_pstrmemdup(r->pool, f->name, f->name_len), apr_pstrmemdup(r->pool, f->value, f->value_len));
    }
    r->status = head->status;
    r->status_line = apr_psprintf(r->pool, "%d %.*s", head->status, (int) head->reason_len, head->reason);
    if (gentle)
        mp_calm_begin(r);
    ap_send_interim_response(r, 1);
    if (gentle)
        mp_calm_push(r->connection);
    r->headers_out = fields;
    r->status_line = line;
    r->status = status;
    r->expecting_100 = expecting;
}
