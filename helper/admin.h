/* The socket for administrators: HTTP/1.1 for local users, whom the kernel names. Small limits everywhere, never waiting. */
#ifndef HP_ADMIN_H
#define HP_ADMIN_H

#include "helper/endpoint.h"

typedef struct hp_admin_t hp_admin_t;

/* Serves nobody yet. `endpoint`'s members stay as long as the process. */
hp_admin_t *hp_admin_create(hp_context_t *ctx, const hp_endpoint_t *endpoint);
/* Serves the listening socket `fd`, which is taken and replaces an earlier one. */
void hp_admin_listen(hp_admin_t *admin, int fd);
/* Takes no more connections: whoever comes next serves the socket. */
void hp_admin_stop(hp_admin_t *admin);

#endif
