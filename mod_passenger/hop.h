/* Fields of a request that its client has said are for this hop only (RFC 9110 7.6.1), taken away as mod_proxy does. What Apache's configuration has
 * set or changed since is Apache's word, which no client takes away. */
#ifndef MP_HOP_H
#define MP_HOP_H

#include "mod_passenger/mp.h"

/* r->headers_in without them. */
const apr_table_t *mp_hop_rest(const request_rec *r);

/* Remembers, of each request, which they are and how they came. */
void mp_hop_register_hooks(apr_pool_t *p);

#endif
