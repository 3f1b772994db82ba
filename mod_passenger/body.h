/* A request's body, taken from the client in pieces that fit into memory. */
#ifndef MP_BODY_H
#define MP_BODY_H

#include "mod_passenger/gulp.h"

#include <sys/uio.h>

/* Elements that mp_body_vec fills at most. */
#define MP_BODY_VEC 64

typedef struct {
    request_rec *r;
    apr_bucket_brigade *gathered; /* taken from the client, not yet forgotten */
    apr_bucket_brigade *incoming;
    mp_gulp_t *gulp;              /* NULL: nothing of the body goes through the pipe */
    ag_pipe_t pipe;               /* what comes after `gathered`; nothing is taken from the client before it is sent */
    apr_off_t size;               /* bytes in `gathered` */
    apr_off_t taken;              /* bytes taken from the client so far */
    apr_int64_t length;           /* of the whole; -1: not known, so it goes over the link in chunks */
    int present;                  /* the client announced a body, which may be empty */
    int ended;                    /* nothing comes after `gathered` */
    int awaited;                  /* the client has sent nothing, and waits to be told to (Expect: 100-continue) */
    char chunk_head[32];
} mp_body_t;

/* Finds out if there is a body. OK, or an HTTP status for the handler to return. */
int mp_body_open(mp_body_t *body, request_rec *r);

/* Takes in the beginning, so that a small body can travel with the request's head, and settles the length. Errors as for mp_body_gather. A body
 * that is awaited is not read. */
apr_status_t mp_body_begin(mp_body_t *body, apr_read_type_e mode);

/* Tells a client whose body is awaited to send it; `gentle`: without waiting for the client to take that. */
void mp_body_continue(mp_body_t *body, int gentle);

/* Takes more from the client: some pieces of up to 64 KiB, or what the pipe has room for. APR_EAGAIN: nothing there now (APR_NONBLOCK_READ, or the
 * body is awaited). */
apr_status_t mp_body_gather(mp_body_t *body, apr_read_type_e mode);

/* What a failure of mp_body_gather means for the client. */
int mp_body_status(const mp_body_t *body, apr_status_t rv);

/* Points `vec` at what is gathered, framed for the link; valid until mp_body_forget. Returns the number of elements. */
int mp_body_vec(mp_body_t *body, struct iovec vec[MP_BODY_VEC]);

/* Drops what is gathered, after it was sent. A body that was gathered whole is kept, so that it can be sent again. */
void mp_body_forget(mp_body_t *body);

/* 1 if everything that was taken from the client is still here, so that sending can start anew. */
int mp_body_intact(const mp_body_t *body);

/* After an answer that came before the body's end: 1 if so little is left that the client's connection can go on, after Apache has
 * thrown the rest away. */
int mp_body_rest_is_small(const mp_body_t *body);

#endif
