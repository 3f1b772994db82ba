/* What an application says before its response (1xx). */
#ifndef HP_INTERIM_H
#define HP_INTERIM_H

#include "helper/exchange.h"

/* Takes the head of an interim response, `len` bytes long where it came from; no 101. It is passed on if the client can use it, otherwise dropped.
 * 0: there have been too many, and the exchange is over. */
int hp_interim_take(hp_exchange_t *r, const ag_http_head_t *head, apr_size_t len);

#endif
