/* Children of Apache that are to go (graceful, graceful-stop, MaxConnectionsPerChild) and still serve requests: when those have to end. */
#ifndef MP_FAREWELL_H
#define MP_FAREWELL_H

#include "mod_passenger/link.h"

/* In a new child, before it has threads. */
void mp_farewell_child_init(void);

/* This child was told to go, and has time. Apache's own threads do not hear when it is told again that it has none: whoever asks next finds it out,
 * and stops `links`. */
void mp_farewell_begin(mp_link_pool_t *links);

/* 1 if a request of this child has to end. Tunnels and streams of events, whose clients come again by themselves, end when they have gone on for
 * PassengerWebSocketGracefulTimeout, and soon where nobody accepts connections any more, because Apache is to end, or because children of before a
 * reload have all of Apache's places. Others end in that last case only, and later; it is logged once per child. `answers`: what the application
 * sends is being passed on. Any thread may ask, as often as it likes. */
int mp_farewell_now(const request_rec *r, int tunnel, int answers);

#endif
