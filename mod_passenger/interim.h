/* Interim responses of applications (1xx), such as 103 Early Hints. */
#ifndef MP_INTERIM_H
#define MP_INTERIM_H

#include "apr-glue/http_head.h"
#include "mod_passenger/mp.h"

/* 1 if the client can be told: HTTP/1.1 at least, nothing of the response has been sent, and the variable proxy-interim-response, as mod_proxy
 * knows it, does not say Suppress. mod_http2 passes 103 on where H2EarlyHints is on. */
int mp_interim_wanted(const request_rec *r);

/* Tells it; `gentle`: without waiting for it. */
void mp_interim_pass(request_rec *r, const ag_http_head_t *head, int gentle);

#endif
