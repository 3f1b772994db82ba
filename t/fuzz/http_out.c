/* Pairs as anybody could send them to the core: what is made of them is one request with the framing that was asked for, or nothing. */
#include "apr-glue/http_head.h"
#include "helper/head.h"
#include "helper/http_out.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds)
        abort();
}

static int fields_like(const ag_http_head_t *head, const char *name)
{
    int n = 0;

    for (int i = 0; i < head->nfields; i++)
        n += ag_http_head_is(&head->fields[i], name);
    return n;
}

/* No more fields than pairs and what is ours. */
static int most_fields(const char *pairs, apr_size_t len)
{
    int n = 6;

    for (const char *at = pairs; at < pairs + len; at += strlen(at) + 1)
        n++;
    return n;
}

static void check(const char *out, apr_size_t len, const char *pairs, apr_size_t pairs_len, apr_int64_t body)
{
    static ag_http_head_t head;
    const char *reason = NULL;
    apr_size_t used = 0;

    if (len > 60000 || most_fields(pairs, pairs_len) > AG_HTTP_HEAD_FIELDS)
        return;
    demand(ag_http_head_parse_request(&head, out, len, &used, &reason) == APR_SUCCESS);
    demand(used == len && head.nfields <= most_fields(pairs, pairs_len));
    demand(head.chunked == (body == HP_HTTP_OUT_CHUNKED) && head.content_length == (body >= 0 ? body : -1) && !head.close && !head.upgrade);
    demand(fields_like(&head, "host") == 1 && fields_like(&head, "connection") == 1 && fields_like(&head, "x-forwarded-for") <= 1);
    demand(fields_like(&head, "content-length") + fields_like(&head, "transfer-encoding") == (body != HP_HTTP_OUT_NO_BODY));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char first[] = "CONTENT_LENGTH\0000";
    char *bytes = malloc(size + sizeof first + 1), *out;
    const char *reason = NULL;
    apr_int64_t body = size ? data[0] % 4 - 2 : 0;
    apr_size_t len = 0;
    hp_head_t head;

    memcpy(bytes, first, sizeof first);
    memcpy(bytes + sizeof first, data, size);
    bytes[sizeof first + size] = '\0';
    if (hp_head_parse(&head, bytes, sizeof first + size + 1) == APR_SUCCESS) {
        out = malloc(HP_HTTP_OUT_ROOM(head.len));
        if (hp_http_out_write(out, &len, head.pairs, head.len, body, &reason) == APR_SUCCESS)
            check(out, len, head.pairs, head.len, body);
        else
            demand(reason && *reason);
        demand(len <= HP_HTTP_OUT_ROOM(head.len));
        free(out);
    }
    free(bytes);
    return 0;
}
