/* Requests that wait in their threads. */
#ifndef MP_BLOCK_H
#define MP_BLOCK_H

#include "mod_passenger/handler.h"

/* Goes on with the request to its end; the handler's result. */
int mp_block_run(mp_handler_call_t *call);

#endif
