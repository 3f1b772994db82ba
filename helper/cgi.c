#include "helper/cgi.h"
#include <string.h>

static const ag_http_head_field_t *find(const ag_http_head_t *head, const char *name)
{
    for (int i = 0; i < head->nfields; i++) {
        if (ag_http_head_is(&head->fields[i], name))
            return &head->fields[i];
    }
    return NULL;
}

static void set_status(ag_http_head_t *head, int status, const char *reason, apr_size_t len)
{
    head->status = status;
    head->reason = reason;
    head->reason_len = len;
}

/* "404", "404 Not Found". */
static int take_status(ag_http_head_t *head, const ag_http_head_field_t *field)
{
    const char *v = field->value;
    apr_size_t len = field->value_len;

    if (len < 3 || v[0] < '2' || v[0] > '5' || v[1] < '0' || v[1] > '9' || v[2] < '0' || v[2] > '9' || (len > 3 && v[3] != ' '))
        return 0;
    set_status(head, (v[0] - '0') * 100 + (v[1] - '0') * 10 + (v[2] - '0'), v + (len > 3 ? 4 : 3), len > 3 ? len - 4 : 0);
    return 1;
}

/* A path here, not of another host. */
static int is_local(const ag_http_head_field_t *location)
{
    return location->value_len > 0 && location->value[0] == '/' && (location->value_len == 1 || location->value[1] != '/');
}

static const char *interpret(ag_http_head_t *head)
{
    const ag_http_head_field_t *status = find(head, "status"), *location = find(head, "location");

    if (head->nfields == 0)
        return "the head has no field";
    if (status && !take_status(head, status))
        return "the value of Status is not a number from 200 to 599 and a phrase";
    if (!status && location && !is_local(location))
        set_status(head, 302, "Found", 5);
    else if (!status)
        set_status(head, 200, "OK", 2);
    return NULL;
}

apr_status_t hp_cgi_head(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
{
    int nph = len >= 5 && memcmp(data, "HTTP/", 5) == 0;
    apr_status_t rv = (nph ? ag_http_head_parse : ag_http_head_parse_fields)(head, data, len, phead_len, preason);

    if (rv != APR_SUCCESS)
        return rv;
    *preason = !nph ? interpret(head) : head->status < 200 ? "its status is one that no response ends with" : NULL;
    head->close = 0;
    return *preason ? APR_EGENERAL : APR_SUCCESS;
}
