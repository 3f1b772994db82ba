/* A response as an application may send it: head, then a chunked or plain body. Whatever the network splits, the verdict is the same. */
#include "apr-glue/chunk.h"
#include "apr-glue/http_head.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds)
        abort();
}

static int is_token(const char *name, apr_size_t len)
{
    for (apr_size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];

        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
            return 0;
    }
    return len > 0;
}

static int is_clean(const char *value, apr_size_t len)
{
    for (apr_size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)value[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return 0;
    }
    return 1;
}

static void check_head(const ag_http_head_t *head, const char *data, apr_size_t head_len)
{
    demand(head->status >= 100 && head->status <= 599);
    demand(head->minor >= 0 && head->minor <= 9);
    demand(head->content_length >= -1);
    demand(!(head->chunked && head->content_length >= 0));
    demand(head->nfields >= 0 && head->nfields <= AG_HTTP_HEAD_FIELDS);
    demand(is_clean(head->reason, head->reason_len));
    for (int i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *field = &head->fields[i];

        demand(field->name >= data && field->value >= field->name && field->value + field->value_len <= data + head_len);
        demand(is_token(field->name, field->name_len));
        demand(is_clean(field->value, field->value_len));
        demand(field->value_len <= AG_HTTP_HEAD_FIELD_MAX);
    }
}

/* Parses data[0..len) in a buffer of exactly that size, so that a byte too far is seen. */
static apr_status_t parse(const uint8_t *data, apr_size_t len, apr_size_t *phead_len)
{
    static ag_http_head_t head;
    char *copy = malloc(len ? len : 1);
    const char *reason = NULL;
    apr_status_t rv;

    memcpy(copy, data, len);
    rv = ag_http_head_parse(&head, copy, len, phead_len, &reason);
    demand(rv == APR_SUCCESS || rv == APR_INCOMPLETE || rv == APR_EGENERAL);
    demand(rv != APR_EGENERAL || (reason && *reason));
    if (rv == APR_SUCCESS) {
        demand(*phead_len > 0 && *phead_len <= len);
        check_head(&head, copy, *phead_len);
    }
    free(copy);
    return rv;
}

/* The same bytes as an administrator's request. */
static void parse_as_request(const uint8_t *data, apr_size_t len)
{
    static ag_http_head_t head;
    char *copy = malloc(len ? len : 1);
    const char *reason = NULL;
    apr_size_t head_len = 0;
    apr_status_t rv;

    memcpy(copy, data, len);
    rv = ag_http_head_parse_request(&head, copy, len, &head_len, &reason);
    demand(rv == APR_SUCCESS || rv == APR_INCOMPLETE || (rv == APR_EGENERAL && reason && *reason));
    if (rv == APR_SUCCESS) {
        demand(head_len > 0 && head_len <= len);
        demand(is_token(head.method, head.method_len) && head.method == copy);
        demand(head.target_len > 0 && !memchr(head.target, ' ', head.target_len) && is_clean(head.target, head.target_len));
        head.status = 200;
        head.reason = "";
        check_head(&head, copy, head_len);
    }
    free(copy);
}

/* A prefix never has another verdict than the whole, only none yet. */
static void check_prefix(const uint8_t *data, apr_size_t cut, apr_status_t whole, apr_size_t head_len)
{
    apr_size_t cut_len = 0;
    apr_status_t rv = parse(data, cut, &cut_len);

    if (whole == APR_SUCCESS) {
        demand(cut < head_len ? rv == APR_INCOMPLETE : rv == APR_SUCCESS && cut_len == head_len);
    } else {
        demand(rv == APR_INCOMPLETE || rv == whole);
    }
}

typedef struct {
    apr_status_t rv;
    apr_size_t used;
    uint64_t payload_len, payload_hash;
} body_t;

static void decode(body_t *body, const uint8_t *data, apr_size_t size, apr_size_t piece)
{
    ag_chunk_t chunk;

    memset(body, 0, sizeof(*body));
    body->payload_hash = 14695981039346656037u;
    ag_chunk_init(&chunk);
    while (body->used < size && body->rv == APR_SUCCESS) {
        apr_size_t len = size - body->used < piece ? size - body->used : piece, used = 0, out_len = 0;
        const char *in = (const char *)data + body->used, *out = NULL;

        body->rv = ag_chunk_next(&chunk, in, len, &used, &out, &out_len);
        demand(used <= len && out_len <= used && (used || body->rv != APR_SUCCESS));
        demand(!out_len || (out >= in && out + out_len <= in + len));
        for (apr_size_t i = 0; i < out_len; i++)
            body->payload_hash = (body->payload_hash ^ (unsigned char)out[i]) * 1099511628211u;
        body->payload_len += out_len;
        body->used += used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_size_t head_len = 0, piece;
    apr_status_t rv;
    body_t whole, split;

    if (size < 2)
        return 0;
    /* The first byte says where the network splits. */
    piece = data[0] % 17 + 1u;
    data++;
    size--;
    parse_as_request(data, size);
    rv = parse(data, size, &head_len);
    for (apr_size_t cut = 0; cut < size; cut += piece * 3)
        check_prefix(data, cut, rv, head_len);
    if (rv == APR_SUCCESS && head_len < size)
        check_prefix(data, head_len, rv, head_len);
    if (rv == APR_SUCCESS) {
        data += head_len;
        size -= head_len;
    }
    decode(&whole, data, size, size ? size : 1);
    decode(&split, data, size, piece);
    demand(whole.rv == split.rv && whole.used == split.used);
    demand(whole.payload_len == split.payload_len && whole.payload_hash == split.payload_hash);
    return 0;
}
