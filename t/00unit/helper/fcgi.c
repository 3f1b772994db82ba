#include "helper/fcgi.c"
#include "t/lib/tap.h"
#include <stdlib.h>

/* -- what we write, read by the letter of the specification -- */

typedef struct {
    char *bytes;
    apr_size_t len;
} stream_t;

static stream_t params_of(const char *out, apr_size_t len, int *precords)
{
    stream_t s = {calloc(1, len + 1), 0};
    apr_size_t at = 16;

    for (*precords = 0;; ++*precords) {
        apr_size_t n = (apr_size_t)((unsigned char)out[at + 4] << 8 | (unsigned char)out[at + 5]);
        if (at + 8 + n > len || out[at] != 1 || out[at + 1] != 4 || out[at + 3] != 1 || out[at + 6] != 0)
            break;
        memcpy(s.bytes + s.len, out + at + 8, n);
        s.len += n;
        at += 8 + n;
        if (n == 0 && at == len)
            return s;
    }
    *precords = -1;
    return s;
}

static apr_size_t length_at(const unsigned char **pat)
{
    const unsigned char *at = *pat;

    *pat += *at & 0x80 ? 4 : 1;
    return *at & 0x80 ? (apr_size_t)(at[0] & 0x7f) << 24 | (apr_size_t)at[1] << 16 | (apr_size_t)at[2] << 8 | at[3] : *at;
}

/* The last value of a name, for the caller to free; NULL: not there. */
static char *value_of(const stream_t *s, const char *name)
{
    const unsigned char *at = (const unsigned char *)s->bytes, *end = at + s->len;
    char *found = NULL;

    while (at < end) {
        apr_size_t name_len = length_at(&at), value_len = length_at(&at);
        if (name_len == strlen(name) && memcmp(at, name, name_len) == 0) {
            free(found);
            found = strndup((const char *)at + name_len, value_len);
        }
        at += name_len + value_len;
    }
    return found;
}

static void is_value(const stream_t *s, const char *name, const char *want)
{
    char *got = value_of(s, name);

    is_str(got, want, "%s", name);
    free(got);
}

static void opening(void)
{
    static const char pairs[] = "REQUEST_METHOD\0GET\0QUERY_STRING\0\0HTTP_PROXY\0evil\0PHP_VALUE\0auto_prepend_file=/evil\0X\0one\0X\0two";
    char out[HP_FCGI_OPEN_ROOM(sizeof pairs)];
    apr_size_t len = hp_fcgi_open(out, pairs, sizeof pairs, 42);
    stream_t s;
    int n;

    is_int(memcmp(out, "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", 16), 0, "BEGIN_REQUEST: Responder, keep the connection");
    s = params_of(out, len, &n);
    is_int(n, 1, "PARAMS in one record, and its end");
    is_value(&s, "REQUEST_METHOD", "GET");
    is_value(&s, "QUERY_STRING", "");
    is_value(&s, "GATEWAY_INTERFACE", "CGI/1.1");
    is_value(&s, "CONTENT_LENGTH", "42");
    is_value(&s, "X", "two");
    is_value(&s, "HTTP_PROXY", NULL);
    is_value(&s, "PHP_VALUE", NULL);
    free(s.bytes);
    hp_fcgi_stdin(out, 0x1234);
    is_int(memcmp(out, "\1\5\0\1\x12\x34\0\0", 8), 0, "STDIN");
    len = hp_fcgi_question(out);
    is_int(memcmp(out, "\1\11\0\0\0\21\0\0\17\0FCGI_MPXS_CONNS", len), 0, "FCGI_GET_VALUES");
}

static void large(void)
{
    static const apr_size_t sizes[] = {100, 127, 128, 65000, 65528, 65528 * 2 - 60, 200000};

    for (apr_size_t i = 0; i < AG_LEN(sizes); i++) {
        apr_size_t len = 2 + sizes[i] + 1;
        char *pairs = malloc(len), *out = malloc(HP_FCGI_OPEN_ROOM(len)), *got;
        stream_t s;
        int n;
        memcpy(pairs, "N", 2);
        for (apr_size_t j = 0; j < sizes[i]; j++)
            pairs[2 + j] = (char)('a' + j % 26);
        pairs[len - 1] = '\0';
        s = params_of(out, hp_fcgi_open(out, pairs, len, -1), &n);
        got = value_of(&s, "N");
        ok(got && strcmp(got, pairs + 2) == 0, "a value of %d bytes in %d records", (int)sizes[i], n);
        free(got);
        free(s.bytes);
        free(out);
        free(pairs);
    }
}

/* -- what we read -- */

static apr_size_t record(char *out, int type, int id, const char *content, int padding)
{
    apr_size_t len = strlen(content);
    const int header[8] = {1, type, id >> 8, id & 255, (int)len >> 8, (int)len & 255, padding, 0};

    for (int i = 0; i < 8; i++)
        out[i] = (char)header[i];
    memcpy(out + 8, content, len);
    memset(out + 8 + len, 'p', (apr_size_t)padding);
    return 8 + len + (apr_size_t)padding;
}

static apr_size_t end(char *out, int app, int protocol)
{
    apr_size_t len = record(out, 3, 1, "12345678", 0);

    memset(out + 8, 0, 8);
    out[11] = (char)app;
    out[12] = (char)protocol;
    return len;
}

/* Takes bytes in pieces of `step`; what came on each stream goes to `text`: "out|err". Returns the last event; *psurplus: what was left. */
static hp_fcgi_event_t take(const char *bytes, apr_size_t len, apr_size_t step, char text[2][256], apr_size_t *psurplus)
{
    hp_fcgi_reader_t in = {.have = 0};
    hp_fcgi_event_t event = HP_FCGI_MORE;
    apr_size_t at = 0;

    text[0][0] = text[1][0] = '\0';
    while (at < len && event != HP_FCGI_END && event != HP_FCGI_BAD) {
        apr_size_t n = len - at < step ? len - at : step, used, piece_len = 0;
        const char *piece = NULL;
        event = hp_fcgi_next(&in, bytes + at, n, &used, &piece, &piece_len);
        at += used;
        if (event == HP_FCGI_STDOUT || event == HP_FCGI_STDERR)
            strncat(text[event == HP_FCGI_STDERR], piece, piece_len);
    }
    *psurplus = len - at;
    return event;
}

static void reading(void)
{
    char bytes[512], text[2][256];
    apr_size_t len = 0, surplus;

    len += record(bytes + len, 10, 0, "about the connection", 3);
    len += record(bytes + len, 6, 1, "Status: 200\n\n", 0);
    len += record(bytes + len, 7, 1, "a warning\n", 6);
    len += record(bytes + len, 6, 1, "body", 4);
    len += record(bytes + len, 6, 1, "", 0);
    len += record(bytes + len, 7, 1, "", 8);
    len += end(bytes + len, 7, 0);
    memcpy(bytes + len, "xyz", 3);
    for (apr_size_t step = 1; step <= len + 3; step++) {
        hp_fcgi_event_t event = take(bytes, len + 3, step, text, &surplus);
        if (event != HP_FCGI_END || surplus != 3 || strcmp(text[0], "Status: 200\n\nbody") != 0 || strcmp(text[1], "a warning\n") != 0)
            ok(0, "in pieces of %d: event %d, surplus %d, \"%s\", \"%s\"", (int)step, event, (int)surplus, text[0], text[1]);
    }
    is_int(surplus, 3, "whatever the split: the response, the log, the end, and what is left");
    is_int(take(bytes, len - 1, 7, text, &surplus), HP_FCGI_MORE, "without the last byte it is not over");
}

static void lies(void)
{
    char bytes[64], text[2][256];
    apr_size_t surplus;

    for (int status = 1; status <= 4; status++)
        is_int(take(bytes, end(bytes, 0, status), 5, text, &surplus), HP_FCGI_BAD, "protocol status %d", status);
    is_int(take(bytes, record(bytes, 6, 2, "x", 0), 9, text, &surplus), HP_FCGI_BAD, "another request's");
    is_int(take(bytes, record(bytes, 6, 257, "x", 0), 9, text, &surplus), HP_FCGI_BAD, "another's with the same low byte");
    is_int(take(bytes, record(bytes, 6, 0, "x", 0), 9, text, &surplus), HP_FCGI_BAD, "a response of the connection's");
    is_int(take(bytes, record(bytes, 5, 1, "x", 0), 9, text, &surplus), HP_FCGI_BAD, "STDIN");
    is_int(take(bytes, record(bytes, 99, 1, "x", 0), 9, text, &surplus), HP_FCGI_BAD, "an unknown type");
    is_int(take(bytes, record(bytes, 3, 1, "1234567", 0), 9, text, &surplus), HP_FCGI_BAD, "END_REQUEST that is too short");
    is_int(take("HTTP/1.1 200 OK\r\n\r\n", 19, 9, text, &surplus), HP_FCGI_BAD, "HTTP");
}

int main(void)
{
    opening();
    large();
    reading();
    lies();
    return done_testing();
}
