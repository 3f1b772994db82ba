/* Requests that wait without a thread, on MPMs that can wait for them (event, httpd 2.4.63 and later).
 *
 * A request that has to wait is parked: the handler returns SUSPENDED, and the MPM waits in its own poll for whatever the request waits for, as
 * CONN_STATE_ASYNC_WAITIO makes it do. For the time being the client's socket contains another descriptor, an epoll one of both the link to
 * the core and the client. When that is readable, a worker thread goes on. Nobody else touches the connection meanwhile, so that nothing of it needs
 * a lock but the list of those that are parked. */
#ifndef MP_PARK_H
#define MP_PARK_H

#include "mod_passenger/link.h"
#include "mod_passenger/map.h"

/* What a child has for it. */
typedef struct mp_park_lot_t mp_park_lot_t;

/* NULL where requests can't be parked, or PassengerAsyncRequests is off. */
mp_park_lot_t *mp_park_lot_create(apr_pool_t *pchild, server_rec *s);

/* A content handler: parks the request, or has it wait in this thread where that is unsafe. A NULL lot is allowed everywhere. */
int mp_park_run(mp_park_lot_t *lot, request_rec *r, const mp_map_app_t *app, mp_link_pool_t *links);

/* The handler of a request that another handler is about to redirect within the server: runs that one, so that what it redirects to can be parked
 * too. Only for handlers that do nothing after it. */
int mp_park_detour(request_rec *r);

/* A quick handler, before all others: processes the request as Apache would next, so that its error page can be parked. */
int mp_park_whole(request_rec *r);

/* Hooks of a connection: process_connection, before all others; suspend_connection, after; resume_connection, before. */
int mp_park_process(mp_park_lot_t *lot, conn_rec *c);
void mp_park_suspend(conn_rec *c);
void mp_park_resume(conn_rec *c);

#endif
