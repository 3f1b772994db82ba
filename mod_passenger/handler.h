/* A request's way through the core and back. */
#ifndef MP_HANDLER_H
#define MP_HANDLER_H

#include "mod_passenger/link.h"
#include "mod_passenger/map.h"

/* The request as steps, none of which waits for long. Lives in r->pool. */
typedef struct mp_handler_call_t mp_handler_call_t;

/* `gentle`: no step waits for the client, whose slowness is waited for between the steps. OK, or what the handler must return. */
int mp_handler_create(mp_handler_call_t **pcall, request_rec *r, const mp_map_app_t *app, mp_link_pool_t *links, int gentle);

/* Takes steps until the request is over (0), or something must be waited for (1, *want is set). A `want` with a deadline waits for the client. */
int mp_handler_go(mp_handler_call_t *call, mp_link_want_t *want);

/* What the waiting came to; MP_LINK_TIMEOUT counts only when the deadline has passed. */
void mp_handler_hear(mp_handler_call_t *call, mp_link_wait_t news);

/* 1: steps wait for the link not even a tick of the clock. */
void mp_handler_hurry(mp_handler_call_t *call, int hurry);

/* From now on steps may wait, for the client too. */
void mp_handler_insist(mp_handler_call_t *call);

/* 1 if the request has to end, because its child of Apache is to go (farewell.h), which mp_handler_go sees to. For whoever keeps others from it. */
int mp_handler_due(const mp_handler_call_t *call);

/* What the handler returns, once the request is over: what it means for every content handler. */
int mp_handler_result(mp_handler_call_t *call);

/* The request goes away before it is over: the link is closed. Otherwise harmless. */
void mp_handler_abandon(mp_handler_call_t *call);

#endif
