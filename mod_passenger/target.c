#include "mod_passenger/target.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char) (c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 1 if Apache made `uri` of the path raw[0..len) by decoding and merging slashes alone, and nothing in it needs escaping.
 * `keep_slash`: encoded slashes stay encoded (AllowEncodedSlashes NoDecode). */
static int same_path(const char *raw, apr_size_t len, const char *uri, int keep_slash)
{
    const char *end = raw + len, *start = uri;

    while (raw < end) {
        unsigned char c = (unsigned char) *raw;
        int step = 1;

        if (c <= ' ' || c == 0x7f)
            return 0;
        if (c == '%' && end - raw >= 3 && hex(raw[1]) >= 0 && hex(raw[2]) >= 0) {
            int decoded = hex(raw[1]) * 16 + hex(raw[2]);

            if (decoded != '/' || !keep_slash) {
                c = (unsigned char) decoded;
                step = 3;
            }
        }
        if (c == (unsigned char) *uri) {
            uri++;
        } else if (c != '/' || step != 1 || uri == start || uri[-1] != '/') {
            return 0;
        }
        raw += step;
    }
    return *uri == '\0';
}

/* The path and query in what the client sent: without scheme and host, which proxies' clients send, and fragment. */
static const char *sent(const request_rec *r, apr_size_t *plen, apr_size_t *ppath_len)
{
    const char *raw = r->unparsed_uri ? r->unparsed_uri : "/";

    if (*raw != '/') {
        const char *host = strstr(raw, "://");

        raw = host ? strchr(host + 3, '/') : raw;
        if (!raw)
            raw = "/";
    }
    *plen = strcspn(raw, "#");
    *ppath_len = strcspn(raw, "?#");
    return raw;
}

static int same_query(const request_rec *r, const char *raw, apr_size_t len, apr_size_t path_len)
{
    const char *query = path_len < len ? raw + path_len + 1 : "";
    apr_size_t n = path_len < len ? len - path_len - 1 : 0;
    const char *args = r->args ? r->args : "";
    apr_size_t i;

    if (strlen(args) != n || memcmp(args, query, n) != 0)
        return 0;
    for (i = 0; i < n; i++) {
        if ((unsigned char) query[i] <= ' ' || query[i] == 0x7f)
            return 0;
    }
    return 1;
}

/* 1 if Apache took an encoded slash of the path raw[0..len) for one (AllowEncodedSlashes On). */
static int slash_decoded(const core_dir_config *core, const char *raw, apr_size_t len)
{
    const char *end = raw + len;

    if (!core->allow_encoded_slashes || !core->decode_encoded_slashes)
        return 0;
    while ((raw = memchr(raw, '%', (apr_size_t) (end - raw))) && end - raw >= 3) {
        if (raw[1] == '2' && (raw[2] | 0x20) == 'f')
            return 1;
        raw++;
    }
    return 0;
}

static void set_path_info(mp_target_t *target, const char *path, apr_size_t len)
{
    target->path_info = len ? path : "/";
    target->path_info_len = len ? len : 1;
}

void mp_target_original(mp_target_t *target, const request_rec *r)
{
    apr_size_t path_len;

    while (r->prev || r->main)
        r = r->prev ? r->prev : r->main;
    target->uri = sent(r, &target->uri_len, &path_len);
}

void mp_target_find(mp_target_t *target, request_rec *r, const char *base_uri, int flags)
{
    const core_dir_config *core = ap_get_core_module_config(r->server->lookup_defaults); /* sections that are merged later reset it */
    apr_size_t len, path_len, base_len = strlen(base_uri);
    const char *raw = sent(r, &len, &path_len);
    int same = same_path(raw, path_len, r->uri, core->allow_encoded_slashes && !core->decode_encoded_slashes) &&
               same_query(r, raw, len, path_len);
    int as_apache = !(flags & MP_TARGET_AS_SENT) && slash_decoded(core, raw, path_len);
    const char *path = r->uri;

    if (!same && (flags & MP_TARGET_AS_SENT)) {
        char *copy = apr_pstrmemdup(r->pool, raw, path_len);

        same = 1;
        if (ap_unescape_url(copy) == OK && strncmp(copy, base_uri, base_len) == 0)
            path = copy;
    }
    if (same) {
        target->uri = raw;
        target->uri_len = len;
    } else {
        raw = ap_escape_uri(r->pool, r->uri);
        path_len = strlen(raw);
        target->uri = r->args ? apr_pstrcat(r->pool, raw, "?", r->args, NULL) : raw;
        target->uri_len = strlen(target->uri);
    }
    if (flags & MP_TARGET_DECODED) {
        set_path_info(target, path + base_len, strlen(path + base_len));
    } else if (!as_apache && path_len >= base_len && memcmp(raw, base_uri, base_len) == 0 && (path_len == base_len || raw[base_len] == '/')) {
        set_path_info(target, raw + base_len, path_len - base_len);
    } else {
        const char *escaped = ap_escape_uri(r->pool, path + base_len);

        set_path_info(target, escaped, strlen(escaped));
    }
}
