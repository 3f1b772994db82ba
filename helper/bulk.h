/* Bytes of large bodies from one socket to another, as the pages that the kernel has them in: nobody looks at them, and nobody copies them. */
#ifndef HP_BULK_H
#define HP_BULK_H

#include "apr-glue/base.h"

/* A pipe, through which the bytes go. Whoever takes some gets rid of all of them before anybody takes others. */
typedef struct hp_bulk_t hp_bulk_t;

/* NULL where copying is as good, or there is no descriptor left. */
hp_bulk_t *hp_bulk_create(apr_pool_t *p);
/* Lets the socket `to` hold twice as much as others, which saves both sides half of the wake-ups, or (`wide` 0) no more than they do; 1 if it does
 * now. Only so many are wide at once, since slow readers may leave all of that in the kernel. */
int hp_bulk_widen(hp_bulk_t *bulk, int to, int wide);
/* How many of `most` bytes the unix socket `to` should be given now; 0: it is better to wait until it can be written to. */
apr_size_t hp_bulk_room(int to, apr_size_t most);
/* Takes what has come at the non-blocking socket `from`, `most` bytes at most, and 1 at least. APR_EOF at its end, APR_ENOTIMPL if bytes of such a
 * socket can only be read, else its error. */
apr_status_t hp_bulk_take(hp_bulk_t *bulk, int from, apr_size_t most, apr_size_t *plen) AG_MUST_CHECK;
/* Gives away as much as the non-blocking socket `to` takes, which may be none. An error is that of a socket that takes nothing any more. */
apr_status_t hp_bulk_give(hp_bulk_t *bulk, int to) AG_MUST_CHECK;
/* Copies the next bytes of what is left, `size` at most, and takes them out; 0: there are none. */
apr_size_t hp_bulk_read(hp_bulk_t *bulk, char *data, apr_size_t size);
/* Forgets what is left. */
void hp_bulk_drop(hp_bulk_t *bulk);

#endif
