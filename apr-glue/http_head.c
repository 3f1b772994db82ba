#include "apr-glue/http_head.h"

#include "apr-glue/hop.h"

#include <apr_strings.h>
#include <string.h>

/* Bytes of a token (RFC 9110 5.6.2). */
static const unsigned char token_bytes[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
    ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static int same(const char *text, apr_size_t len, const char *word)
{
    apr_size_t i;

    for (i = 0; i < len; i++) {
        if (word[i] == '\0' || lower(text[i]) != word[i])
            return 0;
    }
    return word[len] == '\0';
}

/* 1 if a byte below 0x20 other than HTAB, or 0x7f, is there. Eight bytes at a time, since every byte of every response passes here. */
static int has_control(const char *text, apr_size_t len)
{
    const uint64_t ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
    apr_size_t i = 0;

    while (i < len) {
        apr_size_t end = len;

        if (len - i >= 8) {
            uint64_t word, del;

            memcpy(&word, text + i, 8);
            del = word ^ (ones * 0x7f);
            if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & tops) {
                end = i + 8;
            } else {
                i += 8;
                continue;
            }
        }
        for (; i < end; i++) {
            unsigned char c = (unsigned char) text[i];

            if ((c < 0x20 && c != '\t') || c == 0x7f)
                return 1;
        }
    }
    return 0;
}

static const char *parse_status_line(ag_http_head_t *head, const char *line, apr_size_t len)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[7] < '0' || line[7] > '9' || line[8] != ' ')
        return "the answer does not begin with an HTTP/1 status line";
    if (line[9] < '1' || line[9] > '5' || line[10] < '0' || line[10] > '9' || line[11] < '0' || line[11] > '9' ||
        (len > 12 && line[12] != ' '))
        return "the status is not a number from 100 to 599";
    head->minor = line[7] - '0';
    head->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    head->reason = line + (len > 12 ? 13 : 12);
    head->reason_len = (apr_size_t) (line + len - head->reason);
    if (has_control(head->reason, head->reason_len))
        return "the reason phrase holds a control character";
    return NULL;
}

static const char *parse_request_line(ag_http_head_t *head, const char *line, apr_size_t len)
{
    const char *at = line, *end = line + len;

    while (at < end && token_bytes[(unsigned char) *at])
        at++;
    head->method = line;
    head->method_len = (apr_size_t) (at - line);
    if (head->method_len == 0 || at == end || *at != ' ')
        return "the request does not begin with a method";
    head->target = ++at;
    while (at < end && *at > ' ' && *at < 0x7f)
        at++;
    head->target_len = (apr_size_t) (at - head->target);
    if (head->target_len == 0 || at == end || *at != ' ')
        return "the request's target is not printable ASCII without blanks";
    at++;
    if (end - at != 8 || memcmp(at, "HTTP/1.", 7) != 0 || at[7] < '0' || at[7] > '9')
        return "the request is not of HTTP/1";
    head->minor = at[7] - '0';
    return NULL;
}

static const char *note_length(ag_http_head_t *head, const ag_http_head_field_t *field)
{
    apr_int64_t length = 0;
    apr_size_t i;

    if (head->content_length >= 0)
        return "Content-Length is there twice";
    if (field->value_len == 0 || field->value_len > 18)
        return "Content-Length is not a plain decimal number below 10^18";
    for (i = 0; i < field->value_len; i++) {
        if (field->value[i] < '0' || field->value[i] > '9')
            return "Content-Length is not a plain decimal number below 10^18";
        length = length * 10 + (field->value[i] - '0');
    }
    head->content_length = length;
    return NULL;
}

static void note_connection(ag_http_head_t *head, const ag_http_head_field_t *field, int *pkeep)
{
    const char *at = field->value, *end = at + field->value_len;

    head->named |= ag_hop_names_any(field->value, field->value_len);
    while (at < end) {
        const char *comma = memchr(at, ',', (apr_size_t) (end - at));
        const char *stop = comma ? comma : end;
        const char *last = stop;

        while (at < last && is_blank(*at))
            at++;
        while (last > at && is_blank(last[-1]))
            last--;
        if (same(at, (apr_size_t) (last - at), "close"))
            head->close = 1;
        else if (same(at, (apr_size_t) (last - at), "keep-alive"))
            *pkeep = 1;
        else if (same(at, (apr_size_t) (last - at), "upgrade"))
            head->upgrade = 1;
        at = comma ? comma + 1 : end;
    }
}

static const char *note_framing(ag_http_head_t *head, const ag_http_head_field_t *field, int *pkeep)
{
    switch (field->name_len) {
    case 10:
        if (ag_http_head_is(field, "connection"))
            note_connection(head, field, pkeep);
        return NULL;
    case 14:
        return ag_http_head_is(field, "content-length") ? note_length(head, field) : NULL;
    case 17:
        if (!ag_http_head_is(field, "transfer-encoding"))
            return NULL;
        if (head->chunked || !same(field->value, field->value_len, "chunked"))
            return "Transfer-Encoding is something else than chunked";
        head->chunked = 1;
        return NULL;
    default:
        return NULL;
    }
}

static const char *parse_field(ag_http_head_field_t *field, const char *line, apr_size_t len)
{
    const char *end = line + len, *at = line;

    if (is_blank(*line))
        return "a field is continued on the next line, which is obsolete and refused";
    while (at < end && token_bytes[(unsigned char) *at])
        at++;
    if (at == line || at == end || *at != ':')
        return "a line of the head is no field, or its name is no token";
    field->name = line;
    field->name_len = (apr_size_t) (at - line);
    at++;
    while (at < end && is_blank(*at))
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    field->value = at;
    field->value_len = (apr_size_t) (end - at);
    if (has_control(at, field->value_len))
        return "the value of a field holds a control character";
    return NULL;
}

/* Takes in one line after the first. */
static const char *parse_line(ag_http_head_t *head, const char *line, apr_size_t len, int *pkeep)
{
    ag_http_head_field_t *field;
    const char *wrong;

    if (head->nfields == AG_HTTP_HEAD_FIELDS)
        return "the head has more than " APR_STRINGIFY(AG_HTTP_HEAD_FIELDS) " fields";
    field = &head->fields[head->nfields++];
    wrong = parse_field(field, line, len);
    return wrong ? wrong : note_framing(head, field, pkeep);
}

static const char *finish(ag_http_head_t *head, int keep)
{
    if (head->chunked && head->content_length >= 0)
        return "Transfer-Encoding and Content-Length are there both";
    /* A 1.0 peer that chunks is confused about the framing (RFC 9112 6.1): take this response, but no other. */
    if (head->minor == 0 && (!keep || head->chunked))
        head->close = 1;
    return NULL;
}

/* The first line. */
typedef enum { STATUS_LINE, REQUEST_LINE, NO_LINE } first_t;

/* What can be said of a line whose end has not come yet. */
static apr_status_t judge_rest(int status_line, const char *line, apr_size_t len, apr_size_t total, const char **preason)
{
    if (status_line && memcmp(line, "HTTP/1.", len < 7 ? len : 7) != 0)
        *preason = "the answer does not begin with an HTTP/1 status line";
    else if (len > AG_HTTP_HEAD_FIELD_MAX)
        *preason = "a field is longer than 64 KiB";
    else if (total > AG_HTTP_HEAD_MAX)
        *preason = "the head is longer than 256 KiB";
    else
        return APR_INCOMPLETE;
    return APR_EGENERAL;
}

static apr_status_t parse(ag_http_head_t *head, first_t first, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
{
    const char *at = data, *end = data + len;
    int keep = 0;

    memset(head, 0, offsetof(ag_http_head_t, fields));
    head->content_length = -1;
    head->minor = 1;
    for (;;) {
        const char *nl = memchr(at, '\n', (apr_size_t) (end - at));
        apr_size_t line_len;

        if (!nl)
            return judge_rest(at == data && first == STATUS_LINE, at, (apr_size_t) (end - at), len, preason);
        line_len = (apr_size_t) (nl - at);
        if (line_len > 0 && nl[-1] == '\r')
            line_len--;
        if (line_len > AG_HTTP_HEAD_FIELD_MAX || nl - data >= AG_HTTP_HEAD_MAX) {
            *preason = line_len > AG_HTTP_HEAD_FIELD_MAX ? "a field is longer than 64 KiB" : "the head is longer than 256 KiB";
            return APR_EGENERAL;
        }
        if (at == data && first != NO_LINE)
            *preason = first == REQUEST_LINE ? parse_request_line(head, at, line_len) : parse_status_line(head, at, line_len);
        else
            *preason = line_len == 0 ? finish(head, keep) : parse_line(head, at, line_len, &keep);
        if (*preason)
            return APR_EGENERAL;
        at = nl + 1;
        if (line_len == 0) {
            *phead_len = (apr_size_t) (at - data);
            return APR_SUCCESS;
        }
    }
}

apr_status_t ag_http_head_parse(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
{
    return parse(head, STATUS_LINE, data, len, phead_len, preason);
}

apr_status_t ag_http_head_parse_request(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
{
    return parse(head, REQUEST_LINE, data, len, phead_len, preason);
}

apr_status_t ag_http_head_parse_fields(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
{
    return parse(head, NO_LINE, data, len, phead_len, preason);
}

int ag_http_head_is(const ag_http_head_field_t *field, const char *name)
{
    return same(field->name, field->name_len, name);
}

int ag_http_head_has(const ag_http_head_t *head, const char *name)
{
    for (int i = 0; i < head->nfields; i++) {
        if (ag_http_head_is(&head->fields[i], name))
            return 1;
    }
    return 0;
}

int ag_http_head_named(const ag_http_head_t *head, const ag_http_head_field_t *field)
{
    for (int i = 0; i < head->nfields; i++) {
        const ag_http_head_field_t *f = &head->fields[i];

        if (ag_http_head_is(f, "connection") && ag_hop_names(f->value, f->value_len, field->name, field->name_len))
            return 1;
    }
    return 0;
}

int ag_http_head_hop_by_hop(const ag_http_head_field_t *field)
{
    switch (field->name_len) {
    case 2:
        return ag_http_head_is(field, "te");
    case 7:
        return ag_http_head_is(field, "trailer") || ag_http_head_is(field, "upgrade");
    case 10:
        return ag_http_head_is(field, "connection") || ag_http_head_is(field, "keep-alive");
    case 16:
        return ag_http_head_is(field, "proxy-connection");
    case 17:
        return ag_http_head_is(field, "transfer-encoding");
    default:
        return 0;
    }
}

int ag_http_head_bodyless(int status, int is_head)
{
    return is_head || status < 200 || status == 204 || status == 304;
}
