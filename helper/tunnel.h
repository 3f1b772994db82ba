/* A request after 101: bytes of another protocol between a link and an application, both ways at once, at the slower side's speed. None of them is
 * looked at. */
#ifndef HP_TUNNEL_H
#define HP_TUNNEL_H

#include "helper/exchange.h"

/* 101 has been passed on; `data` is what the application has sent behind it. May end the exchange, as may all that follow. */
void hp_tunnel_begin(hp_exchange_t *r, const char *data, apr_size_t len);
/* Bytes from the client; how many of them were taken. */
apr_size_t hp_tunnel_take(hp_exchange_t *r, const char *data, apr_size_t len);
/* No more will come from the client. */
void hp_tunnel_client_ended(hp_exchange_t *r);
/* The client has taken enough of what was kept for it. */
void hp_tunnel_drained(hp_exchange_t *r);
/* Events on the connection to the application. */
void hp_tunnel_ready(hp_exchange_t *r, int events);

#endif
