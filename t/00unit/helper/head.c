#include "helper/head.c"
#include "t/lib/tap.h"
#include <stdlib.h>

#define PAIRS(literal) literal, sizeof(literal) - 1

static void requests(void)
{
    static const struct {
        const char *what;
        const char *pairs;
        apr_size_t len;
        int good;
    } cases[] = {
        {"the least", PAIRS("CONTENT_LENGTH\0000\0"), 1},
        {"pairs of the application", PAIRS("CONTENT_LENGTH\0000\0SCGI\0001\0!g\0g\0A\0b\0C\0\0"), 1},
        {"nothing", PAIRS(""), 1},
        {"another pair first", PAIRS("SCGI\0001\0CONTENT_LENGTH\0000\0"), 0},
        {"a length that is none", PAIRS("CONTENT_LENGTH\0x\0"), 0},
        {"a negative length", PAIRS("CONTENT_LENGTH\000-1\0"), 0},
        {"a length beyond all numbers", PAIRS("CONTENT_LENGTH\00099999999999999999999\0"), 0},
        {"no length", PAIRS("CONTENT_LENGTH\0\0"), 0},
        {"a name without a value", PAIRS("CONTENT_LENGTH\0000\0A\0"), 0},
        {"a control name without a value", PAIRS("CONTENT_LENGTH\0000\0!g\0"), 0},
        {"an empty name", PAIRS("CONTENT_LENGTH\0000\0\0b\0"), 0},
        {"something from a later version", PAIRS("CONTENT_LENGTH\0000\0!z\0001\0A\0b\0"), 1},
        {"a pair of the server's own among the application's", PAIRS("CONTENT_LENGTH\0000\0A\0b\0!OOB_WORK\0001\0"), 0},
        {"variables after the first pair", PAIRS("CONTENT_LENGTH\0000\0!e\0004\0A\0b\0C\0d\0"), 1},
        {"no variables after all pairs", PAIRS("CONTENT_LENGTH\0000\0!e\0004\0A\0b\0"), 1},
        {"variables from the start", PAIRS("CONTENT_LENGTH\0000\0!e\0000\0A\0b\0"), 1},
        {"variables that begin with a value", PAIRS("CONTENT_LENGTH\0000\0!e\0002\0A\0b\0C\0d\0"), 0},
        {"variables that begin within a name", PAIRS("CONTENT_LENGTH\0000\0!e\0001\0AA\0b\0C\0d\0"), 0},
        {"variables beyond the end", PAIRS("CONTENT_LENGTH\0000\0!e\0005\0A\0b\0"), 0},
        {"a place that is no number", PAIRS("CONTENT_LENGTH\0000\0!e\000-4\0A\0b\0C\0d\0"), 0},
    };
    hp_head_t head;

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        /* In memory of its own, so that a sanitizer sees a byte too many. */
        char *bytes = malloc(cases[i].len + 1);
        memcpy(bytes, cases[i].pairs, cases[i].len + 1);
        is_int(hp_head_parse(&head, bytes, cases[i].len) == APR_SUCCESS, cases[i].good, "%s: %s", cases[i].what,
               cases[i].good ? "taken" : "refused");
        free(bytes);
    }
    is_int(hp_head_parse(&head, PAIRS("CONTENT_LENGTH\00012\0SCGI\0001\0!g\0shop\0!c\0001\0!e\00020\0REQUEST_METHOD\0HEAD\0X\0y\0")), APR_SUCCESS,
           "a whole request");
    is_int(head.content_length, 12, "... its body's length");
    is_str(head.group, "shop", "... its group");
    is_int(head.chunked && head.is_head && !head.expects, 1, "... chunked, HEAD, nobody waits to be told to send it");
    is_str(head.pairs, "REQUEST_METHOD", "... the application's pairs");
    is_str(head.env, "X", "... the administrator's");
    is_int((long long)head.env_len, 4, "... to the end");
    is_int(hp_head_parse(&head, PAIRS("CONTENT_LENGTH\00012\0SCGI\0001\0!x\0001\0A\0b\0")), APR_SUCCESS, "a body that is awaited");
    is_int(head.expects, 1, "... is known to be");
}

static void pairs(void)
{
    static const char all[] = "REQUEST_METHOD\0PUT\0REQUEST_URI\0/a?b=c\0"
                              "HTTP_X\0REQUEST_URI\0HTTP_HOST\0shop:8080\0HTTPS\0on\0EMPTY\0\0";
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    is_str(hp_head_pair(PAIRS(all), "HTTP_HOST"), "shop:8080", "a pair");
    is_str(hp_head_pair(PAIRS(all), "EMPTY"), "", "... an empty one, the last");
    ok(!hp_head_pair(PAIRS(all), "shop:8080") && !hp_head_pair(PAIRS(all), "HTTP") && !hp_head_pair(PAIRS(all), ""), "... none");
    ok(!hp_head_pair(PAIRS(""), "HTTP_HOST"), "... none in nothing");
    is_str(hp_head_line(PAIRS(all), p), "PUT https://shop:8080/a?b=c", "what was asked");
    is_str(hp_head_line(PAIRS("SERVER_NAME\0shop\0"), p), "- http://shop/", "... as far as it is known");
    apr_pool_destroy(p);
}

/* The largest growth: line ends of one byte, no blanks, and as many fields as are taken. */
static void response_grows(int fields, int is_head)
{
    static ag_http_head_t head;
    const char *wrong = NULL;
    apr_size_t len = 0, head_len = 0, written;
    char *in = malloc(64 + (apr_size_t)fields * 4), *out;

    len += PUT(in, "HTTP/1.1 200\n") - in;
    for (int i = 0; i < fields; i++)
        len += PUT(in + len, "a:b\n") - (in + len);
    in[len++] = '\n';
    is_int(ag_http_head_parse(&head, in, len, &head_len, &wrong), APR_SUCCESS, "a head of %d small fields", fields);
    out = malloc(HP_HEAD_ROOM(head_len));
    written = hp_head_write(out, &head, hp_head_framing(&head, is_head), 1, "mod_passenger " AG_VERSION, "");
    ok(written <= HP_HEAD_ROOM(head_len), "... has room");
    ok(written > 20 && memcmp(out, "HTTP/1.1 200 \r\n", 15) == 0 && memcmp(out + written - 4, "\r\n\r\n", 4) == 0, "... and is whole");
    free(in);
    free(out);
}

static void framing(void)
{
    static const struct {
        const char *head;
        int is_head, framing;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 0, HP_HEAD_LENGTH},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 1, HP_HEAD_NONE},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, HP_HEAD_CHUNKED},
        {"HTTP/1.1 200 OK\r\n\r\n", 0, HP_HEAD_CLOSE},
        {"HTTP/1.1 204 No\r\n\r\n", 0, HP_HEAD_NONE},
        {"HTTP/1.1 304 Not\r\nContent-Length: 3\r\n\r\n", 0, HP_HEAD_NONE},
    };
    static ag_http_head_t head;
    const char *wrong;
    apr_size_t len;

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        if (ag_http_head_parse(&head, cases[i].head, strlen(cases[i].head), &len, &wrong) == APR_SUCCESS)
            is_int(hp_head_framing(&head, cases[i].is_head), cases[i].framing, "framing of case %d", (int)i);
    }
}

static void response(void)
{
    static ag_http_head_t head;
    const char *in = "HTTP/1.0 404 Gone fishing\nX: 1\n!~Request-OOB-Work: true\n!~x: y\nConnection: close, x-hop\nStatus: 404\nKeep-Alive: 1\n"
                     "X-Hop: 1\nSet-Cookie: a\nSet-Cookie: b\nConnection: Set-Cookie\nX-HOP: 2\n\n";
    const char *wrong;
    char out[1024];
    apr_size_t len;

    is_int(ag_http_head_parse(&head, in, strlen(in), &len, &wrong), APR_SUCCESS, "an old head");
    is_int(hp_head_tells(&head, HP_HEAD_WORK), 1, "it asks for out-of-band work");
    out[hp_head_write(out, &head, HP_HEAD_CLOSE, 0, "us", "A: b\r\n")] = '\0';
    is_str(out, "HTTP/1.1 404 Gone fishing\r\nX: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Powered-By: us\r\nA: b\r\n"
                "Transfer-Encoding: chunked\r\n\r\n",
           "what ends here, or is for the server, ends here; the rest stays in order");
    in = "HTTP/1.1 200\r\n!~Request-OOB-Workers: 1\r\nRequest-OOB-Work: 1\r\n\r\n";
    if (ag_http_head_parse(&head, in, strlen(in), &len, &wrong) == APR_SUCCESS)
        is_int(hp_head_tells(&head, HP_HEAD_WORK), 0, "other names do not");
}

static void prefix(void)
{
    apr_size_t value = 1;

    ok(hp_head_prefix("17:abc", 6, &value) == 3 && value == 17, "a netstring's prefix");
    ok(hp_head_prefix("", 0, &value) == 0 && hp_head_prefix("17", 2, &value) == 0, "... not all of it");
    ok(hp_head_prefix(":", 1, &value) == -1 && hp_head_prefix("1a:", 3, &value) == -1 && hp_head_prefix("123456789:", 10, &value) == -1, "... none");
}

int main(void)
{
    apr_initialize();
    prefix();
    requests();
    pairs();
    response_grows(1, 0);
    response_grows(AG_HTTP_HEAD_FIELDS, 0);
    response_grows(AG_HTTP_HEAD_FIELDS, 1);
    framing();
    response();
    return done_testing();
}
