#include "mod_passenger/redirect.h"

#include <apr_strings.h>
#include <http_request.h>

const char *mp_redirect_find(const request_rec *r, const mp_map_app_t *app, const ag_http_head_t *head)
{
    int i;

    for (i = 0; i < head->nfields && head->status == HTTP_OK && mp_map_is_cgi(app); i++) {
        const ag_http_head_field_t *f = &head->fields[i];

        if (ag_http_head_is(f, "location") && f->value_len && f->value[0] == '/')
            return apr_pstrmemdup(r->pool, f->value, f->value_len);
    }
    return NULL;
}

/* As mod_cgi does it. */
void mp_redirect_run(request_rec *r, const char *path)
{
    r->method = "GET";
    r->method_number = M_GET;
    apr_table_unset(r->headers_in, "Content-Length");
    apr_table_unset(r->headers_in, "Transfer-Encoding");
    ap_internal_redirect_handler(path, r);
}
