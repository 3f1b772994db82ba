/* Local redirects of CGI programs (RFC 3875 6.2.2): the answer is what is at another path here. */
#ifndef MP_REDIRECT_H
#define MP_REDIRECT_H

#include "apr-glue/http_head.h"
#include "mod_passenger/map.h"

/* That path, in r's pool, if the response is such a redirect; else NULL. */
const char *mp_redirect_find(const request_rec *r, const mp_map_app_t *app, const ag_http_head_t *head);

/* Answers with what is there. */
void mp_redirect_run(request_rec *r, const char *path);

#endif
