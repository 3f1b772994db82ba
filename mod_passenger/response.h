/* The core's response, into Apache's request and down its filters. */
#ifndef MP_RESPONSE_H
#define MP_RESPONSE_H

#include "apr-glue/chunk.h"
#include "apr-glue/http_head.h"
#include "mod_passenger/link.h"
#include "mod_passenger/mp.h"

#include <apr_buckets.h>

typedef struct {
    request_rec *r;
    apr_bucket_brigade *out; /* body that was taken from the link, not yet passed on */
    apr_bucket_brigade *collected; /* what stands before it (PassengerBufferResponse, ranges), or NULL: pauses are passed on */
    apr_size_t size;         /* bytes in both */
    apr_size_t piece;        /* bytes to be passed on at once */
    int complete;            /* the link has nothing more of this response */
    int begun;               /* something was passed on */
    int early;               /* set by the caller: the client still sends its request, and may wait for the answer to go on */
    int overridden;          /* status for which PassengerErrorOverride wants Apache's own page (the body is to be dropped), or 0 */
    int chunked;
    apr_int64_t left;        /* of a body that is not chunked */
    ag_chunk_t chunk;
} mp_response_t;

/* Takes over status and fields of a head that was parsed from the link's input, and consumes it. OK, or HTTP_BAD_GATEWAY for what is
 * no final, framed response (logged). */
int mp_response_begin(mp_response_t *response, request_rec *r, mp_link_t *link, const ag_http_head_t *head, apr_size_t head_len);

/* What is passed on at once. With its framing it is less than what Apache's core keeps for a client before it waits for it. */
#define MP_RESPONSE_PIECE (56 * 1024)

/* As much of a response as PassengerBufferResponse collects. */
#define MP_RESPONSE_COLLECTED (1024 * 1024)

/* Takes from the link what is there, response->piece together at most. `wait` as for mp_link_recv. APR_EAGAIN: nothing there. APR_EOF: the
 * core closed. APR_EGENERAL: broken framing. */
apr_status_t mp_response_take(mp_response_t *response, mp_link_t *link, int wait);

/* Takes what is there, and passes nothing of it on. */
void mp_response_drop(mp_response_t *response, mp_link_t *link);

/* With response->collected: puts what was taken there, close together, because more is to come. */
void mp_response_collect(mp_response_t *response);

typedef enum {
    MP_RESPONSE_MORE,  /* more follows soon */
    MP_RESPONSE_PAUSE, /* nothing follows at the moment: what there is must reach the client */
    MP_RESPONSE_END
} mp_response_pass_t;

/* Passes on what was taken, and forgets it. An error means that the client is gone, or that a filter has answered (AP_FILTER_ERROR). */
apr_status_t mp_response_pass(mp_response_t *response, mp_response_pass_t how);

/* Ends a response that can't go on, so that nobody takes it for whole: over HTTP/1.1 without the last chunk and with the
 * connection, over HTTP/2 with a reset of the stream. Returns what the handler must: HTTP_BAD_GATEWAY if the client has seen nothing yet. */
int mp_response_break(mp_response_t *response);

#endif
