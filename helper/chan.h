/* One end of the core-watchdog socketpair, on the loop: whole messages in, whole messages out, never blocking. */
#ifndef HP_CHAN_H
#define HP_CHAN_H

#include "apr-glue/frame.h"
#include "apr-glue/loop.h"
#include "helper/reserve.h"

typedef struct hp_chan_t hp_chan_t;

/* One message; its descriptors belong to the callee: all that it carried, or none if this process had no room for them. `data` NULL: the other
 * end is gone; the channel is of no use any more. */
typedef void (*hp_chan_cb_t)(void *baton, const char *data, apr_size_t len, const int *fds, int nfds);

/* Takes over `fd`. `reserve` is for the descriptors of messages, and may be NULL. */
hp_chan_t *hp_chan_create(ag_loop_t *loop, int fd, hp_reserve_t *reserve, hp_chan_cb_t cb, void *baton);
/* Sends or queues; the descriptors stay the caller's (copies are sent). A peer that is gone swallows messages. */
void hp_chan_send(hp_chan_t *chan, const ag_frame_t *frame, const int *fds, int nfds);
/* The same with a message that says nothing but its type. */
void hp_chan_tell(hp_chan_t *chan, uint32_t type);
/* Allowed within the callback. Accepts a pointer to NULL; nulls. */
void hp_chan_destroy(hp_chan_t **pchan);

#endif
