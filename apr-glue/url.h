/* URLs of websites, as administrators write them. */
#ifndef AG_URL_H
#define AG_URL_H

#include "apr-glue/base.h"

typedef struct {
    int tls;                 /* https */
    const char *host;        /* a name or an address, the latter without brackets */
    uint16_t port;           /* as written, else 80 or 443 */
    const char *authority;   /* for the Host field: without the port where it is the scheme's own */
    const char *target;      /* path and query; never empty */
    const char *credentials; /* "user:password" in base64, or NULL */
    const char *shown;       /* the whole without credentials: the form for logs */
} ag_url_t;

/* Takes http:// and https:// URLs of printable ASCII apart; a fragment is dropped. NULL and *url, in `p`; else what is wrong with
 * the text, as the end of a sentence that begins with its name. */
const char *ag_url_parse(ag_url_t *url, const char *text, apr_pool_t *p) AG_MUST_CHECK;

#endif
