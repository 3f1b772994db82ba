/* A request's head for an application that speaks HTTP: made anew from its CGI pairs, so that nothing in them can become another field, another
 * request, or another end of the body. */
#ifndef HP_HTTP_OUT_H
#define HP_HTTP_OUT_H

#include "apr-glue/base.h"

enum {
    HP_HTTP_OUT_NO_BODY = -1, /* and nothing is said of one */
    HP_HTTP_OUT_CHUNKED = -2, /* its length is not known */
    HP_HTTP_OUT_UPGRADE = -3  /* there is none, and the client asks for the protocol that HTTP_UPGRADE names */
};

/* Room for the head made of `len` bytes of pairs. */
#define HP_HTTP_OUT_ROOM(len) (3 * (len) + 256)

/* Writes it to `out`, *plen bytes with the empty line. `pairs` are those that hp_head_parse has approved, without the administrators'; `body` is a
 * length in bytes or one of the above. Names that are no CGI form of a field's name are left out, as are fields that end at this hop or
 * frame the body. APR_EGENERAL: the request cannot be said in HTTP; *preason is a sentence for the log. */
apr_status_t hp_http_out_write(char *out, apr_size_t *plen, const char *pairs, apr_size_t len, apr_int64_t body, const char **preason) AG_MUST_CHECK;

#endif
