/* A request on its way to the application: pairs, then the body, from memory, from disk, or as it comes. */
#ifndef HP_UPLOAD_H
#define HP_UPLOAD_H

#include "helper/exchange.h"

/* Takes body bytes off the link, *pused of them. Otherwise APR_EGENERAL, not framed as it should be, or the disk's error. */
apr_status_t hp_upload_take(hp_exchange_t *r, const char *data, apr_size_t len, apr_size_t *pused) AG_MUST_CHECK;
/* The same directly from the link's descriptor, of a body that is kept, and whose length is known: how many bytes. 0: not so. */
apr_size_t hp_upload_draw(hp_exchange_t *r, int fd) AG_MUST_CHECK;
/* The same for what came together with the head: if it is all of the body, it is sent from where it lies. */
apr_status_t hp_upload_first(hp_exchange_t *r, const char *data, apr_size_t len, apr_size_t *pused) AG_MUST_CHECK;
/* Ends an exchange whose body could not be taken for this reason. */
void hp_upload_refuse(hp_exchange_t *r, apr_status_t why);
/* What was borrowed by hp_upload_first is copied. */
void hp_upload_own(hp_exchange_t *r);

/* The body is wanted: a client that waits to be told so is. */
void hp_upload_invite(hp_exchange_t *r);

/* Sends to the application what there is, on a connection that was just got. May end the exchange. */
void hp_upload_begin(hp_exchange_t *r);
/* Sends on. May end the exchange. */
void hp_upload_more(hp_exchange_t *r);

#endif
