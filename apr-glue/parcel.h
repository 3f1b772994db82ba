/* Messages of any size on a SOCK_SEQPACKET pair: what is too large for a datagram travels in sealed memory, as a descriptor. */
#ifndef AG_PARCEL_H
#define AG_PARCEL_H

#include "apr-glue/sock.h"

#define AG_PARCEL_DATAGRAM (64 * 1024) /* bytes; fits into every system's default socket buffer */

/* A message that came. `data` points into the caller's buffer or into `map`. */
typedef struct {
    const char *data;
    apr_size_t len;
    int fds[AG_SOCK_MAX_FDS]; /* the caller's from now on */
    int nfds;
    int cut;   /* it carried descriptors, for which this process had no room */
    void *map; /* NULL: none */
} ag_parcel_t;

/* Sends a message of 4 bytes to AG_FRAME_MAX with up to AG_SOCK_MAX_FDS - 1 descriptors; errors as ag_sock_send, E2BIG for one that is
 * larger. */
apr_status_t ag_parcel_send(int fd, const void *data, apr_size_t len, const int *fds, int nfds) AG_MUST_CHECK;

/* Receives one; `buf` is for datagrams, AG_PARCEL_DATAGRAM bytes. Errors as ag_sock_recv; APR_EGENERAL also for memory that the sender
 * could still change. EMFILE: the message travelled in memory that this process had no descriptor for, and is lost; others may come. Nothing is to
 * be released after an error. */
apr_status_t ag_parcel_recv(int fd, char *buf, ag_parcel_t *parcel) AG_MUST_CHECK;

/* Gives the message's memory back; not its descriptors. */
void ag_parcel_done(ag_parcel_t *parcel);

#endif
