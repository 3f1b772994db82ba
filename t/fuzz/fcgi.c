/* Bytes of an application that speaks FastCGI, or lies: records taken apart mean the same in any split, and a head is a head or is refused. */
#include "apr-glue/http_head.h"
#include "helper/cgi.h"
#include "helper/fcgi.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    char *out;
    apr_size_t len, errors, consumed;
    hp_fcgi_event_t last;
} taken_t;

static void demand(int holds)
{
    if (!holds)
        abort();
}

static taken_t take(const char *data, apr_size_t size, apr_size_t step)
{
    taken_t t = {.out = malloc(size + 1), .last = HP_FCGI_MORE};
    hp_fcgi_reader_t in = {.have = 0};

    while (t.consumed < size && t.last != HP_FCGI_END && t.last != HP_FCGI_BAD) {
        apr_size_t n = size - t.consumed < step ? size - t.consumed : step, used, len = 0;
        const char *piece = NULL, *from = data + t.consumed;
        t.last = hp_fcgi_next(&in, from, n, &used, &piece, &len);
        demand(used <= n && (used > 0 || t.last == HP_FCGI_BAD));
        t.consumed += used;
        if (t.last == HP_FCGI_STDOUT || t.last == HP_FCGI_STDERR)
            demand(piece >= from && piece + len <= from + used && len > 0);
        if (t.last == HP_FCGI_STDOUT) {
            memcpy(t.out + t.len, piece, len);
            t.len += len;
        }
        t.errors += t.last == HP_FCGI_STDERR ? len : 0;
    }
    demand(t.last != HP_FCGI_BAD || (in.reason && *in.reason));
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ag_http_head_t head;
    apr_size_t step = size ? data[0] % 16 + 1 : 1, head_len = 0;
    const char *bytes = (const char *)data + (size > 0), *reason = NULL;
    apr_size_t len = size > 0 ? size - 1 : 0;
    taken_t whole = take(bytes, len, len + 1), split = take(bytes, len, step);

    demand(whole.len == split.len && memcmp(whole.out, split.out, whole.len) == 0 && whole.errors == split.errors);
    demand(whole.consumed == split.consumed && (whole.last == HP_FCGI_END) == (split.last == HP_FCGI_END));
    if (hp_cgi_head(&head, bytes, len, &head_len, &reason) == APR_SUCCESS)
        demand(head_len <= len && head.status >= 200 && head.status <= 599 && !head.close);
    free(whole.out);
    free(split.out);
    return 0;
}
