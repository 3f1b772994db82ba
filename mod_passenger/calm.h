/* Output to a client that may be slow, without waiting for it. */
#ifndef MP_CALM_H
#define MP_CALM_H

#include "mod_passenger/mp.h"

/* Registers the filter. */
void mp_calm_register_hooks(apr_pool_t *p);

/* From now on no filter of the client's connection waits because it is told to flush. Whoever writes pushes after each brigade, and writes no
 * more than 64 KiB before c->data_in_output_filters is 0 again. */
void mp_calm_begin(request_rec *r);

/* Flushing is waiting again. */
void mp_calm_end(conn_rec *c);

/* Writes what the client takes at once; c->data_in_output_filters tells if that was all. An error means that the client is gone. */
apr_status_t mp_calm_push(conn_rec *c);

/* The client's descriptor, or -1 where it is shared with other requests (HTTP/2) or there is none. */
int mp_calm_descriptor(conn_rec *c);

#endif
