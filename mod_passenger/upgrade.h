/* Requests that ask for another protocol (RFC 9110 7.8), and what passes between client and link after 101: bytes, both ways. */
#ifndef MP_UPGRADE_H
#define MP_UPGRADE_H

#include "apr-glue/http_head.h"
#include "mod_passenger/link.h"
#include "mod_passenger/mp.h"

#include <apr_buckets.h>

#define MP_UPGRADE_VEC 16

typedef struct {
    request_rec *r;
    apr_bucket_brigade *up, *down;  /* taken from the client and not sent yet; on its way to the client */
    struct iovec vec[MP_UPGRADE_VEC]; /* over what is in `up` */
    int nvec, at;
    int client_fd;
    int stream; /* of HTTP/2: mod_http2 waits in writes, and does not always tell of a client that is gone */
    int client_ended, link_ended; /* nothing more comes from there */
    int client_told, link_told;   /* the other side's end */
    int link_deaf;                /* nothing more gets there */
    /* What the next step waits for: poll(2) has the events. */
    short client_events, link_events;
} mp_upgrade_t;

/* The protocol that the request asks for, if an application may be asked too; NULL: there is none, and the request is an ordinary one. */
const char *mp_upgrade_wanted(request_rec *r);

/* OK, or HTTP_BAD_REQUEST for a WebSocket in a stream of HTTP/2 (RFC 8441) that can be none. */
int mp_upgrade_refuse(request_rec *r);

/* Passes on the head with status 101 that was parsed from the link's input, and consumes it. The client's connection has nothing of HTTP any more,
 * and ends with the request. */
void mp_upgrade_begin(mp_upgrade_t *u, request_rec *r, mp_link_t *link, const ag_http_head_t *head, apr_size_t head_len);

/* Passes on what there is, as far as each side takes it, without waiting. APR_EAGAIN: wait for the events (those of a side that are 0 mean its end).
 * APR_SUCCESS: there may be more at once. APR_EOF: both sides have ended. Another error: the client is gone. */
apr_status_t mp_upgrade_step(mp_upgrade_t *u, mp_link_t *link);

#endif
