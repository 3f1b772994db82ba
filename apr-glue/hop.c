#include "apr-glue/hop.h"

#include <string.h>
#include <strings.h>

/* In lower case; what ends with "-" stands for all that begin so. */
static const char *const stay[] = {
    /* Of the connection itself: no fields, or dealt with elsewhere. First, because these are what is there. */
    "close", "keep-alive", "upgrade", "te", "trailer", "transfer-encoding", "connection",
    /* Who asks, from where. */
    "host", "authorization", "proxy-authorization", "cookie", "forwarded", "x-forwarded-", "x-real-", "x-client-", "x-remote-", "remote-", "x-auth-",
    "x-user", "x-request-id", "x-ssl-", "ssl-", "x-csrf-", "x-xsrf-", "via", "origin", "referer", "user-agent", "sec-", "cf-", "true-client-ip",
    /* What is asked for, what comes. */
    "accept", "accept-", "content-", "range", "if-", "cache-control", "pragma", "expect", "prefer", "date", "etag", "last-modified", "location",
    "vary", "age", "expires", "allow", "retry-after", "link",
    /* What browsers are told. */
    "set-cookie", "www-authenticate", "proxy-authenticate", "access-control-", "cross-origin-", "strict-transport-security", "x-content-type-options",
    "x-frame-options", "x-robots-tag", "x-xss-protection", "referrer-policy", "permissions-policy", "clear-site-data", "reporting-endpoints",
};

static int stays(const char *name, apr_size_t len)
{
    apr_size_t i, n;

    for (i = 0; i < AG_LEN(stay); i++) {
        n = strlen(stay[i]);
        if (n <= len && (n == len || stay[i][n - 1] == '-') && strncasecmp(stay[i], name, n) == 0)
            return 1;
    }
    return 0;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next name at *pat; 0: there is none. */
static int next(const char **pat, const char *end, const char **pname, apr_size_t *plen)
{
    const char *at = *pat, *stop;

    while (at < end && (is_blank(*at) || *at == ','))
        at++;
    *pname = at;
    while (at < end && *at != ',')
        at++;
    *pat = stop = at;
    while (stop > *pname && is_blank(stop[-1]))
        stop--;
    *plen = (apr_size_t) (stop - *pname);
    return *plen > 0;
}

int ag_hop_names(const char *value, apr_size_t len, const char *name, apr_size_t name_len)
{
    const char *at = value, *named;
    apr_size_t n;

    while (next(&at, value + len, &named, &n)) {
        if (n == name_len && strncasecmp(named, name, n) == 0)
            return !stays(name, name_len);
    }
    return 0;
}

int ag_hop_names_any(const char *value, apr_size_t len)
{
    const char *at = value, *named;
    apr_size_t n;

    while (next(&at, value + len, &named, &n)) {
        if (!stays(named, n))
            return 1;
    }
    return 0;
}
