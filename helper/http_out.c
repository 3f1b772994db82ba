#include "helper/http_out.h"
#include <stdio.h>
#include <string.h>

/* Pairs that become something other than a field of their own. The last of equal names counts. */
typedef struct {
    const char *method, *uri, *host, *server_name, *server_port, *https, *type, *address, *forwarded, *upgrade;
} known_t;

/* Fields that end at this hop, that frame a body, or that are written from what the server knows. As CGI has them, without "HTTP_". */
static int is_ours(const char *name, int https)
{
    static const char *const names[] = {"HOST",       "CONNECTION", "CONTENT_LENGTH",   "CONTENT_TYPE", "TRANSFER_ENCODING", "TE",   "TRAILER",
                                        "UPGRADE",    "KEEP_ALIVE", "PROXY_CONNECTION", "EXPECT",       "PROXY",             "X_FORWARDED_FOR"};

    for (apr_size_t i = 0; i < AG_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return 1;
    }
    return https && strcmp(name, "X_FORWARDED_PROTO") == 0;
}

static int is_cgi_name(const char *name)
{
    return *name && !name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")];
}

static int is_token(const char *text)
{
    return *text && !text[strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static int is_value(const char *text)
{
    for (; *text; text++) {
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            return 0;
    }
    return 1;
}

static known_t look(const char *pairs, apr_size_t len)
{
    static const struct {
        const char *name;
        apr_size_t offset;
    } wanted[] = {{"REQUEST_METHOD", offsetof(known_t, method)},   {"REQUEST_URI", offsetof(known_t, uri)},
                  {"HTTP_HOST", offsetof(known_t, host)},          {"SERVER_NAME", offsetof(known_t, server_name)},
                  {"SERVER_PORT", offsetof(known_t, server_port)}, {"HTTPS", offsetof(known_t, https)},
                  {"CONTENT_TYPE", offsetof(known_t, type)},       {"REMOTE_ADDR", offsetof(known_t, address)},
                  {"HTTP_X_FORWARDED_FOR", offsetof(known_t, forwarded)},
                  {"HTTP_UPGRADE", offsetof(known_t, upgrade)}};
    known_t known = {0};

    for (const char *at = pairs, *value; at < pairs + len; at = value + strlen(value) + 1) {
        value = at + strlen(at) + 1;
        for (apr_size_t i = 0; i < AG_LEN(wanted); i++) {
            if (strcmp(at, wanted[i].name) == 0)
                memcpy((char *)&known + wanted[i].offset, &value, sizeof value);
        }
    }
    return known;
}

static char *put(char *out, const char *text)
{
    apr_size_t len = strlen(text);

    memcpy(out, text, len);
    return out + len;
}

/* What Apache passes on as it was sent may hold bytes that HTTP does not: those are encoded, which means the same. */
static char *put_target(char *out, const char *uri)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *uri; uri++) {
        unsigned char c = (unsigned char)*uri;
        if (c > ' ' && c < 0x7f) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

/* X_FORWARDED_FOR as X-Forwarded-For. */
static char *put_name(char *out, const char *name)
{
    int first = 1;

    for (; *name; name++) {
        int upper = *name >= 'A' && *name <= 'Z';
        *out++ = (char)(*name == '_' ? '-' : upper && !first ? *name + ('a' - 'A') : *name);
        first = *name == '_';
    }
    return out;
}

static char *put_field(char *out, const char *name, const char *value)
{
    out = put(out, name);
    out = put(out, ": ");
    out = put(out, value);
    return put(out, "\r\n");
}

/* HTTP/1.1 has no request without one. */
static char *put_host(char *out, const known_t *known)
{
    const char *name = known->server_name ? known->server_name : "localhost", *port = known->server_port;

    if (known->host)
        return put_field(out, "Host", known->host);
    out = put(put(out, "Host: "), name);
    if (port && strcmp(port, known->https ? "443" : "80") != 0)
        out = put(put(out, ":"), port);
    return put(out, "\r\n");
}

/* The client last, behind those that it has named itself: the only one that is sure to be true. */
static char *put_forwarded(char *out, const known_t *known)
{
    int named = known->forwarded && *known->forwarded;

    if (known->https)
        out = put(out, "X-Forwarded-Proto: https\r\n");
    if (!named && !known->address)
        return out;
    out = put(put(out, "X-Forwarded-For: "), named ? known->forwarded : "");
    if (known->address)
        out = put(put(out, named ? ", " : ""), known->address);
    return put(out, "\r\n");
}

static char *put_framing(char *out, const known_t *known, apr_int64_t body)
{
    char length[32];

    if (body == HP_HTTP_OUT_UPGRADE)
        return put(put_field(put(out, "Connection: Upgrade\r\n"), "Upgrade", known->upgrade), "\r\n");
    if (body == HP_HTTP_OUT_CHUNKED)
        out = put(out, "Transfer-Encoding: chunked\r\n");
    snprintf(length, sizeof length, "%" APR_INT64_T_FMT, body);
    if (body >= 0)
        out = put_field(out, "Content-Length", length);
    return put(out, "Connection: keep-alive\r\n\r\n");
}

/* NULL if all that is known may be written. */
static const char *objection(const known_t *known, apr_int64_t body)
{
    const char *const values[] = {known->host, known->server_name, known->server_port, known->type, known->address, known->forwarded,
                                  known->upgrade};

    if (!known->method || !is_token(known->method))
        return "its method is no token";
    if (!known->uri || (known->uri[0] != '/' && strcmp(known->uri, "*") != 0))
        return "its target is no path";
    if (body == HP_HTTP_OUT_UPGRADE && (!known->upgrade || !*known->upgrade))
        return "it does not say to which protocol";
    for (apr_size_t i = 0; i < AG_LEN(values); i++) {
        if (values[i] && !is_value(values[i]))
            return "a value in its head has control characters";
    }
    return NULL;
}

apr_status_t hp_http_out_write(char *out, apr_size_t *plen, const char *pairs, apr_size_t len, apr_int64_t body, const char **preason)
{
    known_t known = look(pairs, len);
    char *at = out;

    *preason = objection(&known, body);
    if (*preason)
        return APR_EGENERAL;
    at = put(put(at, known.method), " ");
    at = put(put_target(at, known.uri), " HTTP/1.1\r\n");
    at = put_host(at, &known);
    for (const char *name = pairs, *value; name < pairs + len; name = value + strlen(value) + 1) {
        value = name + strlen(name) + 1;
        if (strncmp(name, "HTTP_", 5) != 0 || !is_cgi_name(name + 5) || is_ours(name + 5, known.https != NULL))
            continue;
        if (!is_value(value)) {
            *preason = "a value in its head has control characters";
            return APR_EGENERAL;
        }
        at = put_name(at, name + 5);
        at = put(put(put(at, ": "), value), "\r\n");
    }
    if (known.type)
        at = put_field(at, "Content-Type", known.type);
    at = put_framing(put_forwarded(at, &known), &known, body);
    *plen = (apr_size_t)(at - out);
    return APR_SUCCESS;
}
