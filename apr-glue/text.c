#include "apr-glue/text.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *ag_text_html(apr_pool_t *p, const char *text)
{
    apr_size_t len = text ? strlen(text) : 0;
    char *out = apr_palloc(p, len * 6 + 1), *o = out;

    for (apr_size_t i = 0; i < len; i++) {
        const char *entity = text[i] == '<'    ? "&lt;"
                             : text[i] == '>'  ? "&gt;"
                             : text[i] == '&'  ? "&amp;"
                             : text[i] == '"'  ? "&quot;"
                             : text[i] == '\'' ? "&#39;"
                                               : NULL;
        if (entity) {
            memcpy(o, entity, strlen(entity));
            o += strlen(entity);
        } else {
            *o++ = text[i];
        }
    }
    *o = '\0';
    return out;
}

const char *ag_text_random(apr_pool_t *p, int digits)
{
    static const char hex[] = "0123456789abcdef";
    char *out = apr_palloc(p, (apr_size_t)digits + 1);

    if (getrandom(out, (size_t)digits, 0) != digits)
        abort(); /* the kernel always has that many once it has booted (getrandom(2)) */
    for (int i = 0; i < digits; i++)
        out[i] = hex[out[i] & 15];
    out[digits] = '\0';
    return out;
}

const char *ag_text_error(apr_pool_t *p, apr_status_t rv)
{
    char text[256];

    return apr_pstrdup(p, apr_strerror(rv, text, sizeof text));
}
