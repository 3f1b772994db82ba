#include "helper/head.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *text, apr_int64_t *pvalue)
{
    char *end;

    errno = 0;
    *pvalue = apr_strtoi64(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static int uid(const char *text, uint32_t *puid)
{
    apr_int64_t value;

    if (!number(text, &value) || value >= AG_LINK_NO_AUTHOR)
        return 0;
    *puid = (uint32_t)value;
    return 1;
}

/* For names that are like ours, a "!" and a letter, and for values behind them: so there are as many bytes, and no call is needed. */
#define IS(text, control) (memcmp(text, control, sizeof control) == 0)

/* 0 if the value makes no sense. */
static int control(hp_head_t *head, const char *name, const char *value, apr_int64_t *penv_at)
{
    static const struct {
        char name[sizeof AG_LINK_GROUP];
        apr_size_t offset;
    } strings[] = {{AG_LINK_GROUP, offsetof(hp_head_t, group)},       {AG_LINK_APP_ROOT, offsetof(hp_head_t, app_root)},
                   {AG_LINK_KIND, offsetof(hp_head_t, kind)},         {AG_LINK_STARTUP, offsetof(hp_head_t, startup)},
                   {AG_LINK_BASE_URI, offsetof(hp_head_t, base_uri)}, {AG_LINK_DIGEST, offsetof(hp_head_t, digest)},
                   {AG_LINK_OPTIONS, offsetof(hp_head_t, options)}};

    for (apr_size_t i = 0; i < AG_LEN(strings); i++) {
        if (IS(name, strings[i].name)) {
            memcpy((char *)head + strings[i].offset, &value, sizeof value);
            return 1;
        }
    }
    if (IS(name, AG_LINK_CHUNKED))
        head->chunked = 1;
    else if (IS(name, AG_LINK_UPGRADE))
        head->upgrade = 1;
    else if (IS(name, AG_LINK_EXPECT))
        head->expects = 1;
    else if (IS(name, AG_LINK_INTERIM))
        head->interim = 1;
    else if (IS(name, AG_LINK_ENV_AT))
        return number(value, penv_at);
    else if (IS(name, AG_LINK_AUTHOR))
        return uid(value, &head->author);
    return 1; /* a later version's */
}

/* 1 if the bytes are whole pairs, none of them named like the server's own, and `env` is where one begins or ends; finds the method on the way. */
static int whole_pairs(hp_head_t *head, const char *env)
{
    const char *at = head->pairs, *end = head->pairs + head->len;
    int env_seen = !env || env == end;

    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (value >= end || value == at + 1 || *at == '!')
            return 0;
        env_seen |= at == env;
        if (*at == 'R' && strcmp(at, "REQUEST_METHOD") == 0) /* a call for each pair of each request would be felt */
            head->is_head = strcmp(value, "HEAD") == 0;
        at = value + strlen(value) + 1;
    }
    return env_seen;
}

int hp_head_prefix(const char *data, apr_size_t len, apr_size_t *pvalue)
{
    apr_size_t value = 0;

    for (int i = 0; (apr_size_t)i < len; i++) {
        if (data[i] == ':')
            return i > 0 ? (*pvalue = value, i + 1) : -1;
        if (data[i] < '0' || data[i] > '9' || i > 7)
            return -1;
        value = value * 10 + (apr_size_t)(data[i] - '0');
    }
    return 0;
}

apr_status_t hp_head_parse(hp_head_t *head, const char *pairs, apr_size_t len)
{
    const char *at = pairs, *end = pairs + len;
    apr_int64_t env_at = -1;

    memset(head, 0, sizeof *head);
    head->author = AG_LINK_NO_AUTHOR;
    while (at < end) {
        const char *value = at + strlen(at) + 1, *next;
        if (value >= end)
            return APR_EGENERAL;
        next = value + strlen(value) + 1;
        if (at == pairs) {
            if (strcmp(at, "CONTENT_LENGTH") != 0 || !number(value, &head->content_length))
                return APR_EGENERAL;
        } else if (*at == '!') {
            if (!control(head, at, value, &env_at))
                return APR_EGENERAL;
        } else if (strcmp(at, "SCGI") != 0) {
            break;
        }
        at = next;
    }
    head->pairs = at;
    head->len = (apr_size_t)(end - at);
    if (env_at > (apr_int64_t)head->len)
        return APR_EGENERAL;
    if (env_at >= 0) {
        head->env = at + env_at;
        head->env_len = head->len - (apr_size_t)env_at;
    }
    return whole_pairs(head, head->env) ? APR_SUCCESS : APR_EGENERAL;
}

const char *hp_head_pair(const char *pairs, apr_size_t len, const char *name)
{
    const char *at = pairs, *end = pairs + len;

    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

const char *hp_head_id(const char *pairs, apr_size_t len)
{
    const char *id = pairs ? hp_head_pair(pairs, len, "UNIQUE_ID") : NULL;

    return id || !pairs ? id : hp_head_pair(pairs, len, "HTTP_X_REQUEST_ID");
}

const char *hp_head_line(const char *pairs, apr_size_t len, apr_pool_t *p)
{
    const char *method = hp_head_pair(pairs, len, "REQUEST_METHOD"), *uri = hp_head_pair(pairs, len, "REQUEST_URI");
    const char *host = hp_head_pair(pairs, len, "HTTP_HOST");

    if (!host)
        host = hp_head_pair(pairs, len, "SERVER_NAME");
    return apr_psprintf(p, "%s %s://%s%s", method ? method : "-", hp_head_pair(pairs, len, "HTTPS") ? "https" : "http", host ? host : "",
                        uri ? uri : "/");
}

/* Names of what an application tells the server begin so, as Passenger's users know it. */
static int for_server(const ag_http_head_field_t *field)
{
    return field->name_len > 2 && field->name[0] == '!' && field->name[1] == '~';
}

int hp_head_tells(const ag_http_head_t *response, const char *name)
{
    for (int i = 0; i < response->nfields; i++) {
        if (for_server(&response->fields[i]) && ag_http_head_is(&response->fields[i], name))
            return 1;
    }
    return 0;
}

hp_head_framing_t hp_head_framing(const ag_http_head_t *response, int is_head)
{
    if (ag_http_head_bodyless(response->status, is_head))
        return HP_HEAD_NONE;
    if (response->chunked)
        return HP_HEAD_CHUNKED;
    return response->content_length >= 0 ? HP_HEAD_LENGTH : HP_HEAD_CLOSE;
}

static char *put(char *out, const char *text, apr_size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

apr_size_t hp_head_write(char *out, const ag_http_head_t *response, hp_head_framing_t framing, int closes, const char *powered_by,
                         const char *fields)
{
    char *at = out;

    at = PUT(at, "HTTP/1.1 ");
    *at++ = (char)('0' + response->status / 100);
    *at++ = (char)('0' + response->status / 10 % 10);
    *at++ = (char)('0' + response->status % 10);
    *at++ = ' ';
    at = put(at, response->reason, response->reason_len);
    at = PUT(at, "\r\n");
    for (int i = 0; i < response->nfields; i++) {
        const ag_http_head_field_t *field = &response->fields[i];
        if (for_server(field) || ag_http_head_hop_by_hop(field) || ag_http_head_is(field, "status") ||
            (response->named && ag_http_head_named(response, field)) ||
            (ag_http_head_is(field, "content-length") &&
             (framing == HP_HEAD_CHUNKED || response->status == 204 || response->status < 200)))
            continue;
        at = put(at, field->name, field->name_len);
        at = PUT(at, ": ");
        at = put(at, field->value, field->value_len);
        at = PUT(at, "\r\n");
    }
    if (powered_by) {
        at = PUT(at, "X-Powered-By: ");
        at = put(at, powered_by, strlen(powered_by));
        at = PUT(at, "\r\n");
    }
    at = put(at, fields, strlen(fields));
    if (framing == HP_HEAD_CHUNKED || framing == HP_HEAD_CLOSE)
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    if (closes)
        at = PUT(at, "Connection: close\r\n");
    at = PUT(at, "\r\n");
    return (apr_size_t)(at - out);
}
