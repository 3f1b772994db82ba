/* Who listens on a port of this machine, as the kernel lists it: an application says where it listens, and may be wrong, or gone. */
#ifndef HP_PORT_H
#define HP_PORT_H

#include "apr-glue/base.h"

#define HP_PORT_NOBODY ((uid_t)-1)

/* The user whose socket gets connections to this port of 127.0.0.1, or if `v6` of ::1; HP_PORT_NOBODY if there is none, or if sockets of two
 * users are at one address. Fails if the list cannot be read. */
apr_status_t hp_port_owner(uid_t *puid, int port, int v6) AG_MUST_CHECK;

#endif
