/* A request's way through the core and back. */
#ifndef MP_HANDLER_H
#define MP_HANDLER_H

#include "mod_passenger/link.h"
#include "mod_passenger/map.h"

/* Has the application answer the request. What the result means is what it means for every content handler. */
int mp_handler_run(request_rec *r, const mp_map_app_t *app, mp_link_pool_t *links);

#endif
