#include "helper/http_out.c"
#include "apr-glue/http_head.h"
#include "t/lib/tap.h"
#include <stdlib.h>

#define PAIRS(literal) literal, sizeof(literal) - 1
#define LEAST          "REQUEST_METHOD\0GET\0REQUEST_URI\0/\0"

static ag_http_head_t parsed;

/* The head that the pairs make, in memory of exactly the promised size; NULL: refused. Free it. */
static char *encode(const char *pairs, apr_size_t len, apr_int64_t body)
{
    char *own = malloc(len + 1), *out = malloc(HP_HTTP_OUT_ROOM(len));
    const char *reason = NULL;
    apr_size_t n = 0;
    apr_status_t rv;

    memcpy(own, pairs, len + 1);
    rv = hp_http_out_write(out, &n, own, len, body, &reason);
    free(own);
    if (rv != APR_SUCCESS) {
        if (!reason || !*reason)
            diag("refused without a reason");
        free(out);
        return NULL;
    }
    out = realloc(out, n + 1);
    out[n] = '\0';
    return out;
}

/* The same, as the parser of the other side sees it, which points into *pbytes. */
static const ag_http_head_t *round_trip(const char *pairs, apr_size_t len, apr_int64_t body, char **pbytes)
{
    const char *reason = "refused by the encoder";
    apr_size_t n = 0;

    *pbytes = encode(pairs, len, body);
    if (!*pbytes || ag_http_head_parse_request(&parsed, *pbytes, strlen(*pbytes), &n, &reason) != APR_SUCCESS || n != strlen(*pbytes)) {
        diag("%s: %s", reason, *pbytes ? *pbytes : "");
        return NULL;
    }
    return &parsed;
}

static const char *field(const ag_http_head_t *head, const char *name)
{
    static char value[1000];
    const char *found = NULL;

    for (int i = 0; head && i < head->nfields; i++) {
        if (!ag_http_head_is(&head->fields[i], name))
            continue;
        if (found)
            return "twice";
        snprintf(value, sizeof value, "%.*s", (int)head->fields[i].value_len, head->fields[i].value);
        found = value;
    }
    return found;
}

static void whole(void)
{
    char *bytes = encode(PAIRS("REQUEST_URI\0/a/b?c=%20d\0PATH_INFO\0/b\0QUERY_STRING\0c=%20d\0REQUEST_METHOD\0PUT\0SCRIPT_NAME\0/a\0"
                               "SERVER_NAME\0shop\0SERVER_PORT\08080\0REMOTE_ADDR\000192.0.2.1\0REMOTE_USER\0jo\0CONTENT_TYPE\0text/plain\0"
                               "CONTENT_LENGTH\00012\0HTTP_HOST\0shop:8080\0HTTP_ACCEPT_LANGUAGE\0de, en\0HTTP_X_FORWARDED_FOR\000198.51.100.7\0"
                               "HTTP_ETAG\0\0"),
                         12);

    is_str(bytes,
           "PUT /a/b?c=%20d HTTP/1.1\r\nHost: shop:8080\r\nAccept-Language: de, en\r\nEtag: \r\nContent-Type: text/plain\r\n"
           "X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n",
           "a whole head");
    free(bytes);
    bytes = encode(PAIRS(LEAST), HP_HTTP_OUT_NO_BODY);
    is_str(bytes, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", "the least");
    free(bytes);
}

static void framing(void)
{
    static const char liar[] = LEAST "CONTENT_LENGTH\0005\0HTTP_CONTENT_LENGTH\0006\0HTTP_TRANSFER_ENCODING\0chunked\0HTTP_CONNECTION\0close, host\0"
                                     "HTTP_TE\0trailers\0HTTP_TRAILER\0X\0HTTP_UPGRADE\0websocket\0HTTP_KEEP_ALIVE\0x\0HTTP_EXPECT\000100-continue\0"
                                     "HTTP_PROXY\0evil\0HTTP_PROXY_CONNECTION\0close\0HTTP_CONTENT_TYPE\0x\0";
    const ag_http_head_t *head;
    char *bytes;

    head = round_trip(PAIRS(liar), 7, &bytes);
    ok(head && head->content_length == 7 && !head->chunked, "a length is ours");
    is_int(head ? head->nfields : -1, 3, "... and no other field of this hop passes");
    free(bytes);
    head = round_trip(PAIRS(liar), HP_HTTP_OUT_CHUNKED, &bytes);
    ok(head && head->content_length == -1 && head->chunked, "an unknown length is chunked");
    free(bytes);
    head = round_trip(PAIRS(liar), HP_HTTP_OUT_NO_BODY, &bytes);
    ok(head && head->content_length == -1 && !head->chunked && !head->close, "no body");
    free(bytes);
    head = round_trip(PAIRS(liar), HP_HTTP_OUT_UPGRADE, &bytes);
    ok(head && head->content_length == -1 && !head->chunked && head->upgrade && strstr(bytes, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
       "what the client asks to upgrade to");
    free(bytes);
    head = round_trip(PAIRS(liar), (apr_int64_t)1 << 59, &bytes);
    is_int(head ? head->content_length : -1, (long long)1 << 59, "the longest body");
    free(bytes);
}

static void who(void)
{
    const ag_http_head_t *head;
    char *bytes;

    head = round_trip(PAIRS(LEAST "HTTPS\0on\0SERVER_NAME\0shop\0SERVER_PORT\000443\0HTTP_X_FORWARDED_PROTO\0http\0REMOTE_ADDR\0::1\0"), -1, &bytes);
    is_str(field(head, "x-forwarded-proto"), "https", "https is said once, and truly");
    is_str(field(head, "host"), "shop", "a host without the usual port");
    is_str(field(head, "x-forwarded-for"), "::1", "the client");
    free(bytes);
    head = round_trip(PAIRS(LEAST "SERVER_NAME\0shop\0SERVER_PORT\000443\0HTTP_X_FORWARDED_PROTO\0https\0"), -1, &bytes);
    is_str(field(head, "x-forwarded-proto"), "https", "what a proxy in front said stays");
    is_str(field(head, "host"), "shop:443", "an unusual port is named");
    is_str(field(head, "x-forwarded-for"), NULL, "no client, no word of it");
    free(bytes);
    head = round_trip(PAIRS(LEAST "HTTP_HOST\0a\0HTTP_HOST\0b\0HTTP_X_FORWARDED_FOR\0a\0HTTP_X_FORWARDED_FOR\0b\0"
                            "CONTENT_TYPE\0a\0CONTENT_TYPE\0b\0"), -1, &bytes);
    is_str(field(head, "host"), "b", "of two hosts the later");
    is_str(field(head, "x-forwarded-for"), "b", "... and of two lists");
    is_str(field(head, "content-type"), "b", "... and of two types");
    free(bytes);
}

static void targets(void)
{
    static const struct {
        const char *uri, *target;
    } cases[] = {{"/a%2fb", "/a%2fb"}, {"//x", "//x"}, {"/\xc3\xa9?\xff", "/%C3%A9?%FF"}, {"/a b", "/a%20b"}, {"/a\r\nX: y", "/a%0D%0AX:%20y"},
                 {"/\x01\x7f", "/%01%7F"}, {"*", "*"}, {"", NULL}, {"x", NULL}, {"http://evil/", NULL}, {"** HTTP/1.1", NULL}};

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        char pairs[200], *bytes, *end;
        apr_size_t len = (apr_size_t)snprintf(pairs, sizeof pairs, "REQUEST_METHOD%cGET%cREQUEST_URI%c%s", 0, 0, 0, cases[i].uri) + 1;
        bytes = encode(pairs, len, -1);
        end = bytes ? strstr(bytes, " HTTP/1.1\r\n") : NULL;
        if (end)
            *end = '\0';
        is_str(bytes ? bytes + 4 : NULL, cases[i].target, "target %lu", (unsigned long)i);
        free(bytes);
    }
}

static void refusals(void)
{
    static const struct {
        const char *what, *pairs;
        apr_size_t len;
    } cases[] = {
        {"no method", PAIRS("REQUEST_URI\0/\0")},
        {"no target", PAIRS("REQUEST_METHOD\0GET\0")},
        {"an empty method", PAIRS(LEAST "REQUEST_METHOD\0\0")},
        {"a method with a blank", PAIRS(LEAST "REQUEST_METHOD\0GET /x\0")},
        {"a method with a line end", PAIRS(LEAST "REQUEST_METHOD\0GET\r\n\0")},
        {"a value with CR LF", PAIRS(LEAST "HTTP_X\0a\r\nY: b\0")},
        {"a value with LF", PAIRS(LEAST "HTTP_X\0a\nY: b\0")},
        {"a value with CR", PAIRS(LEAST "HTTP_X\0a\rb\0")},
        {"a value with DEL", PAIRS(LEAST "HTTP_X\0a\x7f\0")},
        {"a host with LF", PAIRS(LEAST "HTTP_HOST\0a\nY: b\0")},
        {"a server with LF", PAIRS(LEAST "SERVER_NAME\0a\nY: b\0")},
        {"a port with LF", PAIRS(LEAST "SERVER_PORT\00080\nY: b\0")},
        {"a type with LF", PAIRS(LEAST "CONTENT_TYPE\0a\nY: b\0")},
        {"a client with LF", PAIRS(LEAST "REMOTE_ADDR\0a\nY: b\0")},
        {"a list of clients with LF", PAIRS(LEAST "HTTP_X_FORWARDED_FOR\0a\nY: b\0")},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        char *bytes = encode(cases[i].pairs, cases[i].len, -1);
        is_str(bytes, NULL, "refused: %s", cases[i].what);
        free(bytes);
    }
}

static void names(void)
{
    const ag_http_head_t *head;
    char *bytes;

    head = round_trip(PAIRS(LEAST "HTTP_\0a\0HTTP_A B\0a\0HTTP_A:\0a\0HTTP_a\0a\0HTTP_A-B\0a\0HTTP_A\r\nB\0a\0HTTP\0a\0"
                            "XHTTP_A\0a\0REMOTE_USER\0a\0"), -1, &bytes);
    is_int(head ? head->nfields : -1, 2, "names that are none of CGI's are left out");
    free(bytes);
    head = round_trip(PAIRS(LEAST "HTTP_A__B_\0\xe4\t \xff\0HTTP_X_2FA\0 y \0"), -1, &bytes);
    is_str(field(head, "a--b-"), "\xe4\t \xff", "bytes beyond ASCII, and blanks within");
    is_str(field(head, "x-2fa"), "y", "a number in a name");
    ok(bytes && strstr(bytes, "\r\nX-2fa:"), "the usual case, as far as CGI lets it be known");
    free(bytes);
}

/* The largest growth for each part of a head. */
static void room(void)
{
    char pairs[3000], *at = pairs, *bytes;

    at += snprintf(at, 100, "REQUEST_METHOD%cG%cREQUEST_URI%c/", 0, 0, 0);
    memset(at, 0xff, 1000);
    at += 1001;
    at[-1] = '\0';
    for (int i = 0; i < 100; i++)
        at += snprintf(at, 20, "HTTP_A%c", 0) + 1;
    at += snprintf(at, 100, "HTTPS%con%cCONTENT_TYPE%c%cREMOTE_ADDR%cx%cHTTP_X_FORWARDED_FOR%cy", 0, 0, 0, 0, 0, 0, 0) + 1;
    bytes = encode(pairs, (apr_size_t)(at - pairs), INT64_MAX);
    ok(bytes != NULL, "it fits into the room that is promised");
    free(bytes);
}

int main(void)
{
    whole();
    framing();
    who();
    targets();
    refusals();
    names();
    room();
    return done_testing();
}
