/* Where links come in: who may, and how many the core's descriptors allow. */
#ifndef HP_GATE_H
#define HP_GATE_H

#include "helper/conn.h"

typedef struct hp_gate_t hp_gate_t;

/* Nobody comes in yet. Lives as long as the context. */
hp_gate_t *hp_gate_create(hp_conn_server_t *server);
/* Accepts links from the listening socket `fd`, which is taken, and from no other any more. */
void hp_gate_open(hp_gate_t *gate, int fd);
/* Nobody comes in any more; what is in the socket's backlog stays there. */
void hp_gate_close(hp_gate_t *gate);

#endif
