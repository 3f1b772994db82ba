#include "apr-glue/url.h"
#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <string.h>

/* Bytes that would end a request line or a header field are no part of a URL. */
static int printable(const char *text)
{
    while (*text > ' ' && *text < 0x7f)
        text++;
    return *text == '\0';
}

/* Undoes %XX in place; 0 for what is none, and for control characters. */
static int decode(char *text)
{
    char *out = text;

    for (const char *in = text; *in; in++) {
        char c = *in;
        if (c == '%') {
            char hex[3] = {in[1], in[1] ? in[2] : '\0', '\0'};
            if (!apr_isxdigit(hex[0]) || !apr_isxdigit(hex[1]))
                return 0;
            c = (char)apr_strtoi64(hex, NULL, 16);
            in += 2;
        }
        if (apr_iscntrl(c))
            return 0;
        *out++ = c;
    }
    *out = '\0';
    return 1;
}

/* NULL when they are not what a user and a password can be. */
static const char *encode_credentials(const apr_uri_t *uri, apr_pool_t *p)
{
    char *user = apr_pstrdup(p, uri->user ? uri->user : ""), *password = apr_pstrdup(p, uri->password ? uri->password : "");
    char *plain, *encoded;

    if (!decode(user) || !decode(password) || strchr(user, ':'))
        return NULL;
    plain = apr_pstrcat(p, user, ":", password, NULL);
    encoded = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)strlen(plain)));
    apr_base64_encode(encoded, plain, (int)strlen(plain));
    return encoded;
}

static int host_is_sound(const char *host)
{
    int address = strchr(host, ':') != NULL;

    for (const char *c = host; *c; c++) {
        if (address ? !apr_isxdigit(*c) && *c != ':' && *c != '.' : !apr_isalnum(*c) && !strchr("-._", *c))
            return 0;
    }
    return *host != '\0';
}

/* The port as a number; 0 for what is none. */
static uint16_t port_of(const apr_uri_t *uri, uint16_t usual)
{
    apr_int64_t port = usual;
    char *end = NULL;

    if (uri->port_str && *uri->port_str) {
        port = apr_strtoi64(uri->port_str, &end, 10);
        if (!apr_isdigit(uri->port_str[0]) || *end)
            return 0;
    }
    return port > 0 && port <= 65535 ? (uint16_t)port : 0;
}

const char *ag_url_parse(ag_url_t *url, const char *text, apr_pool_t *p)
{
    ag_url_t found = {0};
    const char *brackets;
    uint16_t usual;
    apr_uri_t uri;

    if (!printable(text))
        return "must be printable ASCII without blanks";
    if (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
        return "must begin with http:// or https://";
    if (apr_uri_parse(p, text, &uri) != APR_SUCCESS || !uri.hostname)
        return "must be a URL: https://host/path";
    found.tls = strcasecmp(uri.scheme, "https") == 0;
    found.host = uri.hostname;
    if (!host_is_sound(found.host))
        return "must name a host: a name, or an address (IPv6 in brackets)";
    usual = found.tls ? 443 : 80;
    found.port = port_of(&uri, usual);
    if (found.port == 0)
        return "must have a port from 1 to 65535, or none";
    if ((uri.user || uri.password) && !(found.credentials = encode_credentials(&uri, p)))
        return "must have %XX for special characters in user and password";
    brackets = strchr(found.host, ':') ? "[]" : "";
    found.authority = apr_psprintf(p, "%.1s%s%s", brackets, found.host, *brackets ? brackets + 1 : "");
    if (found.port != usual)
        found.authority = apr_psprintf(p, "%s:%u", found.authority, found.port);
    found.target = apr_pstrcat(p, uri.path && *uri.path ? uri.path : "/", uri.query ? "?" : NULL, uri.query, NULL);
    found.shown = apr_pstrcat(p, found.tls ? "https://" : "http://", found.authority, found.target, NULL);
    *url = found;
    return NULL;
}
