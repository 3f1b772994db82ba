#include "helper/fcgi.h"
#include <stdio.h>
#include <string.h>

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS = 4, STDIN = 5, STDOUT = 6, STDERR = 7, GET_VALUES = 9, GET_VALUES_RESULT = 10, UNKNOWN_TYPE = 11 };

#define VERSION   1
#define RESPONDER 1
#define KEEP_CONN 1
#define ID        1 /* of the one request on a connection; 0 is for words about the connection itself */

/* -- to the application -- */

static void put_header(char out[HP_FCGI_HEADER], int type, int id, apr_size_t len)
{
    const unsigned char header[HP_FCGI_HEADER] = {VERSION, (unsigned char)type, 0, (unsigned char)id, (unsigned char)(len >> 8), (unsigned char)len};

    assert(len <= HP_FCGI_CONTENT_MAX);
    memcpy(out, header, sizeof header);
}

/* The content of PARAMS is one stream in as many records as it needs: here it is written in one piece first. */
static char *put_length(char *out, apr_size_t len)
{
    if (len < 128) {
        *out++ = (char)len;
        return out;
    }
    for (int shift = 24; shift >= 0; shift -= 8)
        *out++ = (char)((len >> shift & 0xff) | (shift == 24 ? 0x80 : 0));
    return out;
}

static char *put_pair(char *out, const char *name, const char *value)
{
    apr_size_t name_len = strlen(name), value_len = strlen(value);

    out = put_length(put_length(out, name_len), value_len);
    memcpy(out, name, name_len);
    memcpy(out + name_len, value, value_len);
    return out + name_len + value_len;
}

/* Cuts what lies behind the first record's header into records, from its end, so that nothing is moved twice. */
static apr_size_t cut(char *out, apr_size_t len)
{
    apr_size_t n = (len + HP_FCGI_CONTENT_MAX - 1) / HP_FCGI_CONTENT_MAX, total = len + n * HP_FCGI_HEADER;

    for (apr_size_t i = n; i-- > 0;) {
        apr_size_t from = i * HP_FCGI_CONTENT_MAX, size = len - from < HP_FCGI_CONTENT_MAX ? len - from : HP_FCGI_CONTENT_MAX;
        memmove(out + from + (i + 1) * HP_FCGI_HEADER, out + HP_FCGI_HEADER + from, size);
        put_header(out + from + i * HP_FCGI_HEADER, PARAMS, ID, size);
    }
    put_header(out + total, PARAMS, ID, 0);
    return total + HP_FCGI_HEADER;
}

/* php-fpm takes settings from the first two; PHP runs what the third names where SCRIPT_FILENAME is not there. A body has been taken off its
 * chunks. */
static int is_withheld(const char *name)
{
    static const char *const names[] = {"PHP_VALUE", "PHP_ADMIN_VALUE", "PATH_TRANSLATED", "HTTP_PROXY", "HTTP_TRANSFER_ENCODING"};

    for (apr_size_t i = 0; i < AG_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return 1;
    }
    return 0;
}

apr_size_t hp_fcgi_open(char *out, const char *pairs, apr_size_t len, apr_int64_t length)
{
    static const char begin[8] = {0, RESPONDER, KEEP_CONN};
    char *params = out + HP_FCGI_HEADER + sizeof begin, *at = params + HP_FCGI_HEADER, number[24];

    put_header(out, BEGIN_REQUEST, ID, sizeof begin);
    memcpy(out + HP_FCGI_HEADER, begin, sizeof begin);
    at = put_pair(at, "GATEWAY_INTERFACE", "CGI/1.1");
    for (const char *name = pairs, *value; name < pairs + len; name = value + strlen(value) + 1) {
        value = name + strlen(name) + 1;
        if (!is_withheld(name))
            at = put_pair(at, name, value);
    }
    snprintf(number, sizeof number, "%" APR_INT64_T_FMT, length);
    if (length >= 0)
        at = put_pair(at, "CONTENT_LENGTH", number);
    return (apr_size_t)(params - out) + cut(params, (apr_size_t)(at - params) - HP_FCGI_HEADER);
}

void hp_fcgi_stdin(char out[HP_FCGI_HEADER], apr_size_t len)
{
    put_header(out, STDIN, ID, len);
}

apr_size_t hp_fcgi_question(char out[HP_FCGI_QUESTION_ROOM])
{
    char *end = put_pair(out + HP_FCGI_HEADER, "FCGI_MPXS_CONNS", "");

    put_header(out, GET_VALUES, 0, (apr_size_t)(end - out) - HP_FCGI_HEADER);
    return (apr_size_t)(end - out);
}

/* -- from the application -- */

static hp_fcgi_event_t bad(hp_fcgi_reader_t *in, const char *reason)
{
    in->reason = reason;
    return HP_FCGI_BAD;
}

/* A whole header. */
static hp_fcgi_event_t begin_record(hp_fcgi_reader_t *in)
{
    int type = in->header[1], id = in->header[2] << 8 | in->header[3];

    in->content = (unsigned)in->header[4] << 8 | in->header[5];
    in->padding = in->header[6];
    if (in->header[0] != VERSION)
        return bad(in, "what it sent is no record of FastCGI 1.0");
    if (id == 0 ? type != GET_VALUES_RESULT && type != UNKNOWN_TYPE : id != ID)
        return bad(in, "it sent a record of another request");
    if (id == ID && type != STDOUT && type != STDERR && type != END_REQUEST)
        return bad(in, "it sent a record that only a web server sends");
    if (type == END_REQUEST && in->content != sizeof in->end)
        return bad(in, "its END_REQUEST record has not 8 bytes");
    return HP_FCGI_MORE;
}

static hp_fcgi_event_t end_request(hp_fcgi_reader_t *in)
{
    static const char *const refusals[] = {"", "it takes one request at a time on a connection, and refused a second",
                                           "it is overloaded, and refused the request",
                                           "it is no Responder, and refused the request"};
    unsigned status = in->end[4];

    if (status >= AG_LEN(refusals))
        return bad(in, "its END_REQUEST record has an unknown protocol status");
    if (status > 0)
        return bad(in, refusals[status]);
    in->status = (int)((unsigned)in->end[0] << 24 | (unsigned)in->end[1] << 16 | (unsigned)in->end[2] << 8 | in->end[3]);
    return HP_FCGI_MORE;
}

/* Content of the current record. */
static hp_fcgi_event_t take_content(hp_fcgi_reader_t *in, const char *data, apr_size_t n)
{
    int type = in->header[1];

    in->content -= (unsigned)n;
    if (type == END_REQUEST) {
        memcpy(in->end + in->end_have, data, n);
        in->end_have += (unsigned)n;
        return in->content ? HP_FCGI_MORE : end_request(in);
    }
    return type == STDOUT ? HP_FCGI_STDOUT : type == STDERR ? HP_FCGI_STDERR : HP_FCGI_MORE;
}

/* The record is over; the next one may come, or nothing but silence. */
static hp_fcgi_event_t end_record(hp_fcgi_reader_t *in)
{
    in->have = 0;
    in->over = in->header[1] == END_REQUEST;
    return in->over ? HP_FCGI_END : HP_FCGI_MORE;
}

hp_fcgi_event_t hp_fcgi_next(hp_fcgi_reader_t *in, const char *data, apr_size_t len, apr_size_t *pused, const char **ppiece, apr_size_t *ppiece_len)
{
    hp_fcgi_event_t event = in->reason ? HP_FCGI_BAD : HP_FCGI_MORE;
    const char *at = data, *end = data + len;

    assert(!in->over);
    while (event == HP_FCGI_MORE && at < end) {
        apr_size_t left = (apr_size_t)(end - at), n;
        if (in->have < HP_FCGI_HEADER) {
            in->header[in->have++] = (unsigned char)*at++;
            if (in->have == HP_FCGI_HEADER)
                event = begin_record(in);
        } else if (in->content > 0) {
            n = left < in->content ? left : in->content;
            *ppiece = at;
            *ppiece_len = n;
            at += n;
            event = take_content(in, *ppiece, n);
        } else {
            n = left < in->padding ? left : in->padding;
            in->padding -= (unsigned)n;
            at += n;
        }
        if (event == HP_FCGI_MORE && in->have == HP_FCGI_HEADER && in->content == 0 && in->padding == 0)
            event = end_record(in);
    }
    *pused = (apr_size_t)(at - data);
    return event;
}
