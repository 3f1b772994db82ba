/* A response on its way to the client: as fast as both sides allow, without letting a slow client hold the application up. */
#ifndef HP_RESPONSE_H
#define HP_RESPONSE_H

#include "helper/exchange.h"

/* Takes what the application has sent. May end the exchange. */
void hp_response_read(hp_exchange_t *r);
/* The client has taken enough of what was kept for it: goes on if it was paused. */
void hp_response_resume(hp_exchange_t *r);

#endif
