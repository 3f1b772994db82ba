/* What a request asks for, in the words of CGI. */
#ifndef MP_TARGET_H
#define MP_TARGET_H

#include "mod_passenger/mp.h"

/* Not NUL-terminated. */
typedef struct {
    const char *uri, *path_info;
    apr_size_t uri_len, path_info_len;
} mp_target_t;

enum {
    MP_TARGET_DECODED = 1, /* PATH_INFO is decoded once, as PEP 3333 wants it; else it is as REQUEST_URI has it */
    MP_TARGET_AS_SENT = 2  /* REQUEST_URI is what the client sent, even if Apache rewrote it */
};

/* REQUEST_URI is byte for byte what the client sent, as long as that is what Apache has decided upon: after a rewrite, or with dot segments in
 * it, it is made anew from what Apache decided upon, lest the application act on a path that no access rule has seen. PATH_INFO is the
 * path below base_uri, which r->uri must start with, and at least "/". */
void mp_target_find(mp_target_t *target, request_rec *r, const char *base_uri, int flags);

/* The URI alone, as CGI programs know it: what the client sent, whatever Apache has made of it since. */
void mp_target_original(mp_target_t *target, const request_rec *r);

#endif
