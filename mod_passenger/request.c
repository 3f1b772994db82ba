#include "mod_passenger/request.h"

#include "apr-glue/link.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/hop.h"
#include "mod_passenger/interim.h"
#include "mod_passenger/target.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <string.h>
#include <strings.h>

/* A buffer that grows in a pool. */
typedef struct {
    apr_pool_t *p;
    char *data;
    apr_size_t len, size;
} buf_t;

static char *room(buf_t *b, apr_size_t n)
{
    if (b->size - b->len < n) {
        apr_size_t size = (b->len + n) * 2;
        char *larger = apr_palloc(b->p, size);

        memcpy(larger, b->data, b->len);
        b->data = larger;
        b->size = size;
    }
    return b->data + b->len;
}

static void pair_len(buf_t *b, const char *name, apr_size_t name_len, const char *value, apr_size_t value_len)
{
    char *at = room(b, name_len + value_len + 2);

    memcpy(at, name, name_len);
    at[name_len] = '\0';
    memcpy(at + name_len + 1, value, value_len);
    at[name_len + 1 + value_len] = '\0';
    b->len += name_len + value_len + 2;
}

#define PAIR_LEN(b, name, value, len) pair_len(b, name, sizeof(name) - 1, value, len)
#define PAIR(b, name, value)          pair_str(b, name, sizeof(name) - 1, value)

static void pair_str(buf_t *b, const char *name, apr_size_t name_len, const char *value)
{
    pair_len(b, name, name_len, value, strlen(value));
}

static apr_size_t decimal(char out[24], apr_uint64_t value)
{
    char *at = out + 24;

    do {
        *--at = (char) ('0' + value % 10);
        value /= 10;
    } while (value);
    memmove(out, at, (apr_size_t) (out + 24 - at));
    return (apr_size_t) (out + 24 - at);
}

/* Request header fields that the application does not get, or not as HTTP_*: those of this hop, those that httpd has dealt with, those
 * with names of their own in CGI, and those that would steer CGI programs and web servers behind us. */
static const struct {
    apr_size_t len;
    const char *name;
} withheld[] = {
#define NAME(text) {sizeof(text) - 1, text}
    NAME("connection"),    NAME("content-type"),      NAME("expect"),           NAME("content-length"),
    NAME("proxy"),         NAME("transfer-encoding"), NAME("te"),               NAME("trailer"),
    NAME("upgrade"),       NAME("keep-alive"),        NAME("proxy-connection"), NAME("x-sendfile-type"),
    NAME("x-accel-mapping"),
#undef NAME
};

static int is_withheld(const char *name, apr_size_t len)
{
    apr_size_t i;

    for (i = 0; i < AG_LEN(withheld); i++) {
        if (withheld[i].len == len && strncasecmp(withheld[i].name, name, len) == 0)
            return 1;
    }
    return 0;
}

/* Names that the server computes, or would if there were anything to tell: SetEnv and RewriteRule must not. */
static int is_computed(request_rec *r, const char *name)
{
    static const char *const names[] = {
        "REQUEST_URI", "PATH_INFO",   "SCRIPT_NAME", "QUERY_STRING", "REQUEST_METHOD", "SERVER_NAME",    "SERVER_PORT",    "SERVER_SOFTWARE",
        "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "AUTH_TYPE",    "HTTPS",          "REQUEST_SCHEME", "DOCUMENT_ROOT",  "CONTENT_TYPE",
        "HTTP_PROXY",  "SCGI",        "SERVER_PROTOCOL",             "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING",
        "SCRIPT_FILENAME", "PATH_TRANSLATED", "GATEWAY_INTERFACE", "SERVER_ADDR",
    };
    apr_size_t i;

    for (i = 0; i < AG_LEN(names); i++) {
        if (*name == *names[i] && strcmp(name, names[i]) == 0)
            return 1;
    }
    if (strncmp(name, "HTTP_", 5) == 0) {
        char *field = apr_pstrdup(r->pool, name + 5), *at;

        for (at = field; *at; at++)
            *at = *at == '_' ? '-' : *at;
        return apr_table_get(r->headers_in, field) != NULL;
    }
    return 0;
}

/* Writes HTTP_<NAME>, or nothing if the name holds what could be mistaken for another name once it is in CGI's form. */
static apr_size_t http_name(char *out, const char *name)
{
    char *at = out + 5;

    memcpy(out, "HTTP_", 5);
    for (; *name; name++) {
        unsigned char c = (unsigned char) *name;

        if (c >= 'a' && c <= 'z')
            *at++ = (char) (c - ('a' - 'A'));
        else if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            *at++ = (char) c;
        else if (c == '-')
            *at++ = '_';
        else
            return 0;
    }
    return (apr_size_t) (at - out);
}

static int same_field(const apr_table_entry_t *a, const apr_table_entry_t *b)
{
    return a->key_checksum == b->key_checksum && a->key && b->key && strcasecmp(a->key, b->key) == 0;
}

/* One field with all its values. The first of equal names speaks for all. */
static void put_field(buf_t *b, request_rec *r, const apr_table_entry_t *e, int i, int n)
{
    apr_size_t name_len = strlen(e[i].key), value_len = strlen(e[i].val);
    char *at;
    int j;

    for (j = 0; j < i; j++) {
        if (same_field(&e[j], &e[i]))
            return;
    }
    if (is_withheld(e[i].key, name_len))
        return;
    at = room(b, 5 + name_len + 1 + value_len + 1);
    name_len = http_name(at, e[i].key);
    if (name_len == 0) {
        MP_RLOG(APLOG_DEBUG, 0, r, "PSG0620", "field %s is kept from the application: its name is not made of letters, digits and hyphens", e[i].key);
        return;
    }
    at[name_len] = '\0';
    memcpy(at + name_len + 1, e[i].val, value_len + 1);
    b->len += name_len + value_len + 2;
    for (j = i + 1; j < n; j++) {
        if (!same_field(&e[j], &e[i]))
            continue;
        value_len = strlen(e[j].val);
        at = room(b, value_len + 2) - 1;
        memcpy(at, strcasecmp(e[i].key, "Cookie") == 0 ? "; " : ", ", 2);
        memcpy(at + 2, e[j].val, value_len + 1);
        b->len += value_len + 2;
    }
}

static void put_fields(buf_t *b, request_rec *r)
{
    const apr_array_header_t *table = apr_table_elts(mp_hop_rest(r));
    const apr_table_entry_t *e = (const apr_table_entry_t *) table->elts;
    int i;

    for (i = 0; i < table->nelts; i++) {
        if (e[i].key && *e[i].key)
            put_field(b, r, e, i, table->nelts);
    }
}

static int is_off(const char *value)
{
    return !*value || strcasecmp(value, "off") == 0 || strcasecmp(value, "0") == 0 || strcasecmp(value, "no") == 0 ||
           strcasecmp(value, "false") == 0;
}

/* TLS here, or, as an administrator has said with SetEnvIf, at a proxy in front. */
static int is_https(request_rec *r)
{
    const char *told = apr_table_get(r->subprocess_env, "HTTPS");

    return told ? !is_off(told) : strcmp(ap_http_scheme(r), "https") == 0;
}

static void put_server(buf_t *b, request_rec *r, int https)
{
    const char *host = apr_table_get(r->headers_in, "Host");
    const char *port = https ? "443" : "80", *name_end;
    char number[24];

    if (!host || !*host) {
        PAIR(b, "SERVER_NAME", ap_get_server_name(r));
        PAIR_LEN(b, "SERVER_PORT", number, decimal(number, ap_get_server_port(r)));
        return;
    }
    name_end = *host == '[' ? strchr(host, ']') : NULL;
    name_end = name_end ? name_end + 1 : host + strcspn(host, ":");
    if (*name_end == ':' && name_end[1] && strspn(name_end + 1, "0123456789") == strlen(name_end + 1))
        port = name_end + 1;
    PAIR_LEN(b, "SERVER_NAME", host, (apr_size_t) (name_end - host));
    PAIR(b, "SERVER_PORT", port);
}

static void put_meta(buf_t *b, request_rec *r, const mp_map_app_t *app, apr_int64_t body)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    int https = is_https(r);
    char number[24];

    PAIR(b, "QUERY_STRING", r->args ? r->args : "");
    PAIR(b, "REQUEST_METHOD", r->method);
    PAIR(b, "SCRIPT_NAME", app->script.file ? app->script.name : app->base_uri);
    if (app->script.file) {
        PAIR(b, "SCRIPT_FILENAME", app->script.file);
        PAIR(b, "REDIRECT_STATUS", "200");
    }
    if (mp_map_is_cgi(app))
        PAIR(b, "SERVER_ADDR", r->connection->local_ip);
    put_server(b, r, https);
    PAIR(b, "SERVER_PROTOCOL", r->protocol);
    PAIR(b, "SERVER_SOFTWARE", ap_get_server_banner());
    PAIR(b, "REMOTE_ADDR", r->useragent_ip);
    PAIR_LEN(b, "REMOTE_PORT", number, decimal(number, r->useragent_addr->port));
    if (r->user)
        PAIR(b, "REMOTE_USER", r->user);
    if (r->ap_auth_type)
        PAIR(b, "AUTH_TYPE", r->ap_auth_type);
    if (https)
        PAIR(b, "HTTPS", "on");
    PAIR(b, "REQUEST_SCHEME", https ? "https" : "http");
    PAIR(b, "DOCUMENT_ROOT", ap_document_root(r));
    if (type)
        PAIR(b, "CONTENT_TYPE", type);
    if (body >= 0)
        PAIR_LEN(b, "CONTENT_LENGTH", number, decimal(number, (apr_uint64_t) body));
    else if (body == MP_REQUEST_ANY_BODY)
        PAIR(b, "HTTP_TRANSFER_ENCODING", "chunked");
}

static void put_upgrade(buf_t *b, const char *protocol)
{
    PAIR(b, "HTTP_CONNECTION", "Upgrade");
    PAIR(b, "HTTP_UPGRADE", protocol);
}

static void put_env(buf_t *b, request_rec *r)
{
    const apr_array_header_t *table = apr_table_elts(r->subprocess_env);
    const apr_table_entry_t *e = (const apr_table_entry_t *) table->elts;
    int i;

    for (i = 0; i < table->nelts; i++) {
        if (e[i].key && *e[i].key && *e[i].key != '!' && e[i].val && !strchr(e[i].key, '=') && !is_computed(r, e[i].key))
            pair_str(b, e[i].key, strlen(e[i].key), e[i].val);
    }
}

int mp_request_build(mp_request_t *req, request_rec *r, const mp_map_app_t *app, apr_int64_t body)
{
    int flags = strcmp(app->kind, "python") == 0 || mp_map_is_cgi(app) ? MP_TARGET_DECODED : 0;
    buf_t b = {.p = r->pool, .size = 3 * 1024};
    mp_target_t target;

    if (mp_conf_options(r)->allow_encoded_slashes)
        flags |= MP_TARGET_AS_SENT;
    mp_target_find(&target, r, app->base_uri, flags);
    if (app->script.file)
        mp_target_original(&target, r);
    b.data = apr_palloc(r->pool, b.size);
    PAIR_LEN(&b, "REQUEST_URI", target.uri, target.uri_len);
    if (!app->script.file)
        PAIR_LEN(&b, "PATH_INFO", target.path_info, target.path_info_len);
    else if (*app->script.path_info)
        PAIR(&b, "PATH_INFO", app->script.path_info);
    put_meta(&b, r, app, body);
    put_fields(&b, r);
    if (req->upgrade)
        put_upgrade(&b, req->upgrade);
    req->env_at = b.len;
    put_env(&b, r);
    if (req->env_at == b.len)
        req->env_at = 0;
    req->pairs = b.data;
    req->pairs_len = b.len;
    if (b.len <= AG_LINK_MAX_HEAD)
        return OK;
    MP_RLOG(APLOG_INFO, 0, r, "PSG0621", "the request's head has %lu bytes, the limit is %lu", (unsigned long) b.len,
            (unsigned long) AG_LINK_MAX_HEAD);
    return HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
}

int mp_request_address(mp_request_t *req, request_rec *r, const mp_map_app_t *app, apr_int64_t body, int with_options)
{
    enum { PREFIX = 12 };
    buf_t b = {.p = r->pool, .len = PREFIX, .size = 768};
    char number[24];
    apr_size_t n;

    b.data = apr_palloc(r->pool, b.size);
    PAIR_LEN(&b, "CONTENT_LENGTH", number, decimal(number, body > 0 ? (apr_uint64_t) body : 0));
    PAIR(&b, "SCGI", "1");
    PAIR(&b, AG_LINK_GROUP, app->group);
    PAIR(&b, AG_LINK_APP_ROOT, app->root);
    PAIR(&b, AG_LINK_KIND, app->kind);
    if (app->startup)
        PAIR(&b, AG_LINK_STARTUP, app->startup);
    PAIR(&b, AG_LINK_BASE_URI, app->base_uri);
    PAIR(&b, AG_LINK_DIGEST, req->wire.digest);
    if (app->author != AG_LINK_NO_AUTHOR)
        PAIR_LEN(&b, AG_LINK_AUTHOR, number, decimal(number, app->author));
    if (with_options)
        PAIR(&b, AG_LINK_OPTIONS, mp_conf_wire_packed(&req->wire, r->pool));
    if (body == MP_REQUEST_ANY_BODY)
        PAIR(&b, AG_LINK_CHUNKED, "1");
    if (req->upgrade)
        PAIR(&b, AG_LINK_UPGRADE, "1");
    if (req->expects)
        PAIR(&b, AG_LINK_EXPECT, "1");
    if (mp_interim_wanted(r))
        PAIR(&b, AG_LINK_INTERIM, "1");
    if (req->env_at)
        PAIR_LEN(&b, AG_LINK_ENV_AT, number, decimal(number, req->env_at));
    /* The netstring's length goes right before what it counts. */
    n = decimal(number, b.len - PREFIX + req->pairs_len);
    number[n++] = ':';
    memcpy(b.data + PREFIX - n, number, n);
    req->control = b.data + PREFIX - n;
    req->control_len = b.len - PREFIX + n;
    if (b.len - PREFIX + req->pairs_len <= AG_LINK_MAX_HEAD)
        return OK;
    MP_RLOG(APLOG_INFO, 0, r, "PSG0622", "the request's head is larger than %lu bytes", (unsigned long) AG_LINK_MAX_HEAD);
    return HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
}
