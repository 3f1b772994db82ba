#include "t/lib/tap.h"
#include "apr-glue/chunk.c"

#include <stdlib.h>

typedef struct {
    apr_status_t rv;
    apr_size_t used;    /* bytes taken from the input */
    apr_size_t out_len;
    char out[64 * 1024];
} result_t;

/* Feeds `in` in pieces of at most `step` bytes. */
static void run(result_t *r, const char *in, apr_size_t len, apr_size_t step)
{
    ag_chunk_t c;

    memset(r, 0, sizeof(*r));
    ag_chunk_init(&c);
    r->rv = APR_SUCCESS;
    while (r->rv == APR_SUCCESS && r->used < len) {
        apr_size_t piece = len - r->used < step ? len - r->used : step, used = 0, got = 0;
        const char *data = NULL;
        /* A copy of its own, so that a sanitizer sees a read beyond the piece. */
        char *copy = malloc(piece);

        memcpy(copy, in + r->used, piece);
        r->rv = ag_chunk_next(&c, copy, piece, &used, &data, &got);
        memcpy(r->out + r->out_len, data, got);
        r->out_len += got;
        r->used += used;
        free(copy);
    }
}

static int all_steps(const char *in, apr_size_t len, apr_status_t rv, const char *out, apr_size_t left)
{
    apr_size_t step;

    for (step = 1; step <= len; step++) {
        result_t r;

        run(&r, in, len, step);
        if (r.rv != rv)
            return 0;
        if (rv != APR_EGENERAL && (r.out_len != strlen(out) || memcmp(r.out, out, r.out_len) != 0 || r.used != len - left))
            return 0;
    }
    return 1;
}

static void good(const char *what, const char *in, const char *out, apr_size_t left)
{
    ok(all_steps(in, strlen(in), APR_EOF, out, left), "%s", what);
}

static void bad(const char *what, const char *in)
{
    ok(all_steps(in, strlen(in), APR_EGENERAL, "", 0), "refused: %s", what);
}

static void test_good(void)
{
    good("an empty body", "0\r\n\r\n", "", 0);
    good("one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", 0);
    good("two chunks, upper and lower case sizes", "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", 0);
    good("leading zeros", "0005\r\nhello\r\n000\r\n\r\n", "hello", 0);
    good("an extension", "5;a=\"b;c\"\r\nhello\r\n0;x\r\n\r\n", "hello", 0);
    good("trailers are dropped", "1\r\nx\r\n0\r\nX-A: b\r\nContent-Length: 7\r\n\r\n", "x", 0);
    good("bytes after the end are left", "1\r\nx\r\n0\r\n\r\nHTTP/1.1", "x", 8);
    ok(all_steps("5\r\nhel", 6, APR_SUCCESS, "hel", 0), "an early end is not the end");
    ok(all_steps("5\r\nhello\r\n0\r\n", 13, APR_SUCCESS, "hello", 0), "the empty line is needed");
}

static void test_bad(void)
{
    bad("a sign", "+5\r\nhello\r\n0\r\n\r\n");
    bad("0x", "0x5\r\nhello\r\n0\r\n\r\n");
    bad("an empty size", "\r\nhello\r\n");
    bad("a size ending in LF", "5\nhello\r\n0\r\n\r\n");
    bad("a blank before the extension", "5 ;a\r\nhello\r\n0\r\n\r\n");
    bad("a blank before the size", " 5\r\nhello\r\n0\r\n\r\n");
    bad("no line end after the data", "5\r\nhello0\r\n\r\n");
    bad("LF alone after the data", "5\r\nhello\n0\r\n\r\n");
    bad("a size beyond 64 bits", "FFFFFFFFFFFFFFFFF\r\n");
    bad("a size of 2^60", "1000000000000000\r\n");
    bad("a size that would be small modulo 2^64", "10000000000000005\r\nhello\r\n0\r\n\r\n");
    bad("a control character in an extension", "5;a\001\r\nhello\r\n0\r\n\r\n");
    bad("a bare CR in a trailer", "0\r\nX: a\rb\r\n\r\n");
    bad("an HTTP head", "HTTP/1.1 200 OK\r\n\r\n");
}

static void test_limits(void)
{
    static char in[40 * 1024];
    result_t r;
    apr_size_t at;

    memset(in, 'x', sizeof(in));
    memcpy(in, "5;", 2);
    run(&r, in, sizeof(in), 1000);
    ok(r.rv == APR_EGENERAL && r.used <= 4200, "an extension beyond 4 KiB is refused");
    memset(in, '0', sizeof(in));
    run(&r, in, sizeof(in), 1000);
    ok(r.rv == APR_EGENERAL, "zeros without an end are refused");
    memcpy(in, "0\r\n", 3);
    for (at = 3; at + 100 < sizeof(in); at += 100) {
        memset(in + at, 'a', 98);
        memcpy(in + at + 98, "\r\n", 2);
    }
    run(&r, in, at, 1000);
    ok(r.rv == APR_EGENERAL && r.used > 16000 && r.used < 17000, "trailers beyond 16 KiB are refused");
}

static void test_after_the_end(void)
{
    ag_chunk_t c;
    const char *data;
    apr_size_t used, got;
    apr_status_t rv;

    ag_chunk_init(&c);
    rv = ag_chunk_next(&c, "0\r\n\r\nx", 6, &used, &data, &got);
    ok(rv == APR_EOF && used == 5, "the end is seen");
    rv = ag_chunk_next(&c, "x", 1, &used, &data, &got);
    ok(rv == APR_EOF && used == 0 && got == 0, "and stays");
    ag_chunk_init(&c);
    rv = ag_chunk_next(&c, "zz", 2, &used, &data, &got);
    ok(rv == APR_EGENERAL && ag_chunk_next(&c, "1", 1, &used, &data, &got) == APR_EGENERAL, "a refusal stays");
}

static void test_head(void)
{
    static const struct {
        apr_size_t len;
        const char *line;
    } rows[] = {{1, "1\r\n"}, {15, "f\r\n"}, {16, "10\r\n"}, {500, "1f4\r\n"}, {65536, "10000\r\n"}, {(apr_size_t) -1, "ffffffffffffffff\r\n"}};
    apr_size_t i;

    for (i = 0; i < AG_LEN(rows); i++) {
        char buf[AG_CHUNK_HEAD_MAX];
        apr_size_t n = ag_chunk_head(buf, rows[i].len);

        ok(n == strlen(rows[i].line) && memcmp(buf, rows[i].line, n) == 0, "the head of a chunk of %lu bytes", (unsigned long) rows[i].len);
    }
}

int main(void)
{
    test_good();
    test_bad();
    test_limits();
    test_after_the_end();
    test_head();
    return done_testing();
}
