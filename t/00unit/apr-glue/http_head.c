#include "t/lib/tap.h"
#include "apr-glue/http_head.c"

#include <stdio.h>
#include <stdlib.h>

static ag_http_head_t head;
static apr_size_t head_len;
static const char *reason;

/* Parses a copy of exactly `len` bytes, so that a sanitizer sees a read beyond them. Fields then point into freed memory: `keep` is
 * for tests that look at them. */
static apr_status_t parse_copy(const char *in, apr_size_t len, char **pkeep)
{
    char *copy = malloc(len ? len : 1);
    apr_status_t rv;

    memcpy(copy, in, len);
    reason = NULL;
    rv = ag_http_head_parse(&head, copy, len, &head_len, &reason);
    if (pkeep)
        *pkeep = copy;
    else
        free(copy);
    return rv;
}

/* The verdict must not change with what came so far: every shorter piece is incomplete, or refused for what is refused in the end. */
static apr_status_t verdict(const char *in, apr_size_t len)
{
    apr_status_t whole = parse_copy(in, len, NULL);
    apr_size_t n;

    for (n = 0; n < len; n++) {
        apr_status_t rv = parse_copy(in, n, NULL);

        if (rv == APR_SUCCESS && whole == APR_SUCCESS && n >= head_len)
            continue;
        if (rv != APR_INCOMPLETE && rv != whole)
            return APR_ENOTIMPL;
        if (rv == APR_SUCCESS)
            return APR_ENOTIMPL;
    }
    return parse_copy(in, len, NULL);
}

static void good(const char *what, const char *in)
{
    ok(verdict(in, strlen(in)) == APR_SUCCESS, "%s", what);
}

static void bad(const char *what, const char *in)
{
    apr_status_t rv = verdict(in, strlen(in));

    ok(rv == APR_EGENERAL && reason && *reason, "refused: %s (%s)", what, reason ? reason : "no reason");
}

static void test_fields(void)
{
    const char *in = "HTTP/1.1 200 Well done\r\nContent-Type:text/html\r\nX-Empty:\r\nSet-Cookie: \t a=b; c \t\r\n\r\nbody";
    char *keep;
    apr_status_t rv = parse_copy(in, strlen(in), &keep);

    ok(rv == APR_SUCCESS && head.status == 200 && head.minor == 1, "a head");
    ok(head.reason_len == 9 && memcmp(head.reason, "Well done", 9) == 0, "its reason");
    ok(head_len == strlen(in) - 4, "its length");
    ok(head.nfields == 3 && head.content_length == -1 && !head.chunked && !head.close && !head.upgrade, "its framing");
    ok(ag_http_head_is(&head.fields[0], "content-type") && !ag_http_head_is(&head.fields[0], "content-typ") &&
           !ag_http_head_is(&head.fields[0], "content-type2"),
       "names are compared whole and without case");
    ok(head.fields[0].value_len == 9 && memcmp(head.fields[0].value, "text/html", 9) == 0, "a value without a blank");
    ok(head.fields[1].value_len == 0, "an empty value");
    ok(head.fields[2].value_len == 6 && memcmp(head.fields[2].value, "a=b; c", 6) == 0, "a value is trimmed");
    free(keep);
}

static void test_framing(void)
{
    good("Content-Length", "HTTP/1.1 200 OK\r\ncontent-LENGTH: 0012\r\n\r\n");
    ok(head.content_length == 12, "is a number");
    good("the largest Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n");
    ok(head.content_length == APR_INT64_C(999999999999999999), "is kept");
    good("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n");
    ok(head.chunked && head.content_length == -1 && !head.close, "is seen");
    good("Connection: a list", "HTTP/1.1 200 OK\r\nConnection: foo , Close,, upgrade\r\n\r\n");
    ok(head.close && head.upgrade, "is taken apart");
    good("a close-like token", "HTTP/1.1 200 OK\r\nConnection: closed\r\n\r\n");
    ok(!head.close, "is not close");
    good("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n");
    ok(head.close && head.minor == 0, "closes");
    good("HTTP/1.0 with keep-alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n");
    ok(!head.close, "does not");
    good("HTTP/1.0 with chunked", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n");
    ok(head.close, "closes all the same");
    good("lines that end in LF", "HTTP/1.1 404 Not Found\nA: b\n\n");
    good("no reason", "HTTP/1.1 404\r\n\r\n");
    ok(head.status == 404 && head.reason_len == 0, "is an empty reason");
    good("an empty reason", "HTTP/1.1 599 \r\n\r\n");
    good("bytes beyond ASCII, HTAB", "HTTP/1.1 200 \xc3\xa9t\xe9\r\nA: \xff\x80\tx\r\n\r\n");
    good("something after the head", "HTTP/1.1 204 No Content\r\n\r\n\r\nX");
}

static void test_refused(void)
{
    bad("another protocol", "220 mail.example ESMTP\r\n");
    bad("HTTP/2", "HTTP/2 200 OK\r\n\r\n");
    bad("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    bad("HTML", "<html>");
    bad("an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n");
    bad("status 99", "HTTP/1.1 099 X\r\n\r\n");
    bad("status 600", "HTTP/1.1 600 X\r\n\r\n");
    bad("status of four digits", "HTTP/1.1 2000 X\r\n\r\n");
    bad("status abc", "HTTP/1.1 abc X\r\n\r\n");
    bad("two blanks before the status", "HTTP/1.1  200 X\r\n\r\n");
    bad("a control character in the reason", "HTTP/1.1 200 a\001b\r\n\r\n");
    bad("a bare CR in the reason", "HTTP/1.1 200 a\rX: y\r\n\r\n");
    bad("a bare CR in a value", "HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n");
    bad("CR CR LF", "HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n");
    bad("a control character deep in a value", "HTTP/1.1 200 OK\r\nA: 0123456789abcdef01\x7f" "3456789\r\n\r\n");
    bad("obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n");
    bad("a blank before the colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n");
    bad("no name", "HTTP/1.1 200 OK\r\n: b\r\n\r\n");
    bad("no colon", "HTTP/1.1 200 OK\r\nA\r\n\r\n");
    bad("a name that is no token", "HTTP/1.1 200 OK\r\nA(b): c\r\n\r\n");
    bad("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    bad("chunked, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n");
    bad("chunked in two fields", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    bad("Transfer-Encoding and Content-Length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n");
    bad("Content-Length twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n");
    bad("Content-Length: 1,1", "HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n\r\n");
    bad("Content-Length: -1", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n");
    bad("Content-Length: +1", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n");
    bad("an empty Content-Length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n");
    bad("a huge Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n");
    ok(verdict("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", 26) == APR_EGENERAL, "refused: NUL in a value");
    ok(verdict("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n", 26) == APR_EGENERAL, "refused: NUL in a name");
}

static apr_size_t build(char *out, int fields, apr_size_t value_len)
{
    apr_size_t at = (apr_size_t) sprintf(out, "HTTP/1.1 200 OK\r\n");

    while (fields-- > 0) {
        at += (apr_size_t) sprintf(out + at, "A: ");
        memset(out + at, 'v', value_len);
        at += value_len;
        at += (apr_size_t) sprintf(out + at, "\r\n");
    }
    return at + (apr_size_t) sprintf(out + at, "\r\n");
}

static void test_limits(void)
{
    static char in[700 * 1024];
    apr_size_t len;

    len = build(in, 1, 65000);
    ok(parse_copy(in, len, NULL) == APR_SUCCESS, "a field of 65000 bytes");
    len = build(in, 1, 66000);
    ok(parse_copy(in, len, NULL) == APR_EGENERAL && strstr(reason, "64 KiB"), "one of 66000 is refused");
    ok(parse_copy(in, len - 100, NULL) == APR_EGENERAL, "before its end has come, too");
    len = build(in, 500, 10);
    ok(parse_copy(in, len, NULL) == APR_SUCCESS && head.nfields == 500, "500 fields");
    len = build(in, 501, 10);
    ok(parse_copy(in, len, NULL) == APR_EGENERAL && strstr(reason, "500"), "501 are refused");
    len = build(in, 4, 64000);
    ok(parse_copy(in, len, NULL) == APR_SUCCESS, "256 kB");
    len = build(in, 10, 64000);
    ok(parse_copy(in, len, NULL) == APR_EGENERAL && strstr(reason, "256 KiB"), "640 kB are refused");
    memset(in, 'x', sizeof(in));
    memcpy(in, "HTTP/1.1 200 ", 13);
    ok(parse_copy(in, 70000, NULL) == APR_EGENERAL, "a reason without an end is refused");
}

static void test_requests(void)
{
    static const struct {
        const char *text, *method, *target;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/"},
        {"POST /a?b=c HTTP/1.0\nContent-Length: 3\n\nabc", "POST", "/a?b=c"},
        {"GET  / HTTP/1.1\r\n\r\n", NULL, NULL},
        {" GET / HTTP/1.1\r\n\r\n", NULL, NULL},
        {"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", NULL, NULL},
        {"GET /a b HTTP/1.1\r\n\r\n", NULL, NULL},
        {"GET / HTTP/2.0\r\n\r\n", NULL, NULL},
        {"GET / HTTP/1.1 \r\n\r\n", NULL, NULL},
        {"GET / HTTP/1.\r\n\r\n", NULL, NULL},
        {"GET /\r\n\r\n", NULL, NULL},
        {"GET\r\n\r\n", NULL, NULL},
        {"\r\nGET / HTTP/1.1\r\n\r\n", NULL, NULL},
        {"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", NULL, NULL},
        {"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, NULL},
        {"HTTP/1.1 200 OK\r\n\r\n", NULL, NULL},
    };
    apr_size_t used;

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        apr_size_t len = strlen(cases[i].text);
        char *bytes = malloc(len);
        apr_status_t rv;
        memcpy(bytes, cases[i].text, len);
        rv = ag_http_head_parse_request(&head, bytes, len, &used, &reason);
        if (cases[i].method)
            ok(rv == APR_SUCCESS && head.method_len == strlen(cases[i].method) && head.target_len == strlen(cases[i].target) &&
                   memcmp(head.method, cases[i].method, head.method_len) == 0 && memcmp(head.target, cases[i].target, head.target_len) == 0,
               "request %d is understood", (int)i);
        else
            ok(rv == APR_EGENERAL && reason, "request %d is refused", (int)i);
        free(bytes);
    }
    ok(ag_http_head_parse_request(&head, "GET / HTT", 9, &used, &reason) == APR_INCOMPLETE, "half a line is waited for");
    ok(ag_http_head_parse_request(&head, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 37, &used, &reason) == APR_SUCCESS && head.close &&
           used == 37 && head.content_length == -1,
       "its fields are known");
}

static int hop(const char *name)
{
    ag_http_head_field_t field = {.name = name, .name_len = strlen(name)};

    return ag_http_head_hop_by_hop(&field);
}

static void test_classes(void)
{
    static const char *const ends_here[] = {"Connection", "Keep-Alive", "PROXY-connection", "Transfer-Encoding", "te", "Trailer", "Upgrade"};
    apr_size_t i;

    for (i = 0; i < AG_LEN(ends_here); i++)
        ok(hop(ends_here[i]), "%s ends at this hop", ends_here[i]);
    ok(!hop("Content-Length") && !hop("Set-Cookie") && !hop("ta") && !hop(""), "others go on");
    ok(ag_http_head_bodyless(204, 0) && ag_http_head_bodyless(304, 0) && ag_http_head_bodyless(101, 0) && ag_http_head_bodyless(200, 1) &&
           !ag_http_head_bodyless(200, 0) && !ag_http_head_bodyless(404, 0),
       "which responses have no body");
}

int main(void)
{
    test_fields();
    test_framing();
    test_refused();
    test_limits();
    test_requests();
    test_classes();
    return done_testing();
}
