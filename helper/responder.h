/* A request to an application that speaks FastCGI (fcgi.h), on its way there and back: what upload.h and response.h need to know of it. */
#ifndef HP_RESPONDER_H
#define HP_RESPONDER_H

#include "helper/exchange.h"

/* What opens the request, malloc'ed, to be sent on a connection that was just got. APR_EACCES: it is not for this application; *preason is a sentence
 * for the log. */
apr_status_t hp_responder_open(hp_exchange_t *r, char **pbytes, apr_size_t *plen, const char **preason) AG_MUST_CHECK;

/* Sends of the body what there is, in records, and its end; as hp_spool_send. What did not go of a record's header is left in r->unsent. */
apr_status_t hp_responder_send(hp_exchange_t *r) AG_MUST_CHECK;

/* What bytes of the application meant. */
typedef struct {
    char *data; /* of its response, in one piece, where the bytes were */
    apr_size_t len;
    apr_size_t surplus; /* bytes after its end */
} hp_responder_take_t;

/* Takes records apart. What is for the log goes there, line by line. HP_FCGI_MORE, HP_FCGI_END, or HP_FCGI_BAD: r->records.reason says why. */
hp_fcgi_event_t hp_responder_take(hp_responder_take_t *taken, hp_exchange_t *r, char *data, apr_size_t len);

#endif
