/* Large reads of large bodies. */
#ifndef MP_GULP_H
#define MP_GULP_H

#include "mod_passenger/mp.h"

/* Registers the filter. */
void mp_gulp_register_hooks(apr_pool_t *p);

/* From now on what is read from the client's connection comes in pieces as large as they are asked for, if that much is there. */
void mp_gulp_begin(request_rec *r);

#endif
