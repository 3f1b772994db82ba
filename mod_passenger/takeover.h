/* Which requests the applications get, among all the other modules that would serve them. */
#ifndef MP_TAKEOVER_H
#define MP_TAKEOVER_H

#include "mod_passenger/mp.h"

/* Registers child_init, fixups, the content handler, and the hooks of a connection. */
void mp_takeover_register_hooks(apr_pool_t *p);

#endif
