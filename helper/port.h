/* Who listens on a port of this machine, as the kernel lists it: an application says where it listens, and may be wrong, or gone. */
#ifndef HP_PORT_H
#define HP_PORT_H

#include "apr-glue/base.h"

#define HP_PORT_NOBODY ((uid_t)-1)

/* Whose socket gets a connection, as far as rows of the list have been looked at. Start with rank 0. */
typedef struct {
    int rank; /* 0: nobody's; the more an address says, the higher */
    uid_t uid;
} hp_port_found_t;

/* Looks at a row of /proc/net/tcp (row_v6 0) or tcp6 (1); the port is wanted at 127.0.0.1, or if `v6` at ::1. 0: this row and
 * those after it are not of listening sockets. Sockets of two users at one address are nobody's. */
int hp_port_row(hp_port_found_t *found, const char *row, int row_v6, int port, int v6);

/* The user whose socket gets connections to this port of 127.0.0.1, or of ::1; HP_PORT_NOBODY if there is none. Fails if the list cannot be
 * read. */
apr_status_t hp_port_owner(uid_t *puid, int port, int v6) AG_MUST_CHECK;

#endif
