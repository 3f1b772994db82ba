/* One request: from its head to the last byte of its response, between a link and an application process. */
#ifndef HP_REQUEST_H
#define HP_REQUEST_H

#include "helper/conn.h"
#include "helper/pool.h"

/* Serves requests of links; the server's baton is the pool (hp_pool_t). */
extern const hp_conn_handler_t hp_request_handler;

#endif
