/* One link from a web server: hello, request heads and bodies in, responses out, one request at a time. */
#ifndef HP_CONN_H
#define HP_CONN_H

#include "apr-glue/marks.h"
#include "helper/context.h"
#include "helper/variants.h"
#include <sys/queue.h>
#include <sys/uio.h>

typedef struct hp_conn_t hp_conn_t;

/* The beginning of a request, in a buffer that is valid only during the call: its pairs ("name\0value\0...") and what has come of its body,
 * or of what follows it. */
typedef struct {
    const char *pairs, *body;
    apr_size_t len, body_len;
    apr_size_t used; /* set by the callee: bytes of `body` that are the request's */
} hp_conn_begin_t;

/* Whoever serves what comes in. */
typedef struct {
    /* May answer, and end, before it returns; NULL then. */
    void *(*begin)(void *baton, hp_conn_t *conn, hp_conn_begin_t *in);
    /* More of the body; how much of it was the request's. */
    apr_size_t (*body)(void *request, const char *data, apr_size_t len);
    /* Takes what has come of the body from the link's descriptor itself. NULL, or 0: it did not, and it comes through `body`. */
    int (*draw)(void *request, int fd);
    /* The other side has ended its sending. 0: nobody waits for the response, close. */
    int (*client_left)(void *request);
    /* The link is gone; the request must not touch it any more. */
    void (*orphan)(void *request);
    /* The other side has taken enough of what was kept for it. */
    void (*drained)(void *request);
} hp_conn_handler_t;

/* All links of the core. */
typedef struct {
    hp_context_t *ctx;
    const hp_conn_handler_t *handler;
    void *baton; /* for begin */
    LIST_HEAD(, hp_conn_t) conns;
    int nconns;
} hp_conn_server_t;

/* Serves a connection that was accepted; `fd` is taken. */
void hp_conn_create(hp_conn_server_t *server, int fd);
/* No new requests: closes links that have none, and the others when theirs is done. */
void hp_conn_drain(hp_conn_server_t *server);

/* Closes links without a request, those first that have had none for longest, but `n` at most; how many. They are gone in the loop's next round. */
int hp_conn_spare(hp_conn_server_t *server, int n);

/* -- for the request on the link -- */

/* Sends now what the socket takes and keeps the rest. A link that fails is closed later, in the loop;
 * until then everything is swallowed. */
void hp_conn_write(hp_conn_t *conn, const struct iovec *iov, int n);
/* The same, and a descriptor with the first byte, unless it is -1; the vector is changed. Only before anything else of the response, and on a
 * link that has said hello. */
void hp_conn_write_file(hp_conn_t *conn, struct iovec *iov, int n, int fd);
/* The same, with what was taken into `bulk`, which is empty then. */
void hp_conn_write_bulk(hp_conn_t *conn, hp_bulk_t *bulk);
/* How many of `most` bytes it should be given so; 0: rather wait for `drained`, which comes as soon as the other side has taken some. */
apr_size_t hp_conn_room(hp_conn_t *conn, apr_size_t most);
/* Somebody else goes on with the request, which has got no answer yet; `begin` of the handler is not used. */
void hp_conn_hand_over(hp_conn_t *conn, const hp_conn_handler_t *handler, void *request);
/* What the other side does not take at once never goes to disk: for who writes no more before that is less than hp_spool_share. */
void hp_conn_stay_in_memory(hp_conn_t *conn);
/* Bytes that the other side has not taken yet. */
apr_off_t hp_conn_backlog(const hp_conn_t *conn);
/* 1 while there is no room but in memory for what it has not taken: nothing should be written before `drained`. */
int hp_conn_full(const hp_conn_t *conn);
/* Whether more of the request is wanted. */
void hp_conn_want_body(hp_conn_t *conn, int on);
/* 1 if the other side wants to know what becomes of its requests, and where their time goes: then it is told before what it speaks of is written. */
int hp_conn_asks(const hp_conn_t *conn);
void hp_conn_tell(hp_conn_t *conn, const ag_marks_told_t *told);
/* From now on the request may have had an effect. */
void hp_conn_delivering(hp_conn_t *conn);
/* The response is complete; `keep`: the request was consumed to its end, so another can follow. */
void hp_conn_done(hp_conn_t *conn, int keep);
/* Nothing more will be written, but what comes in is still of interest. */
void hp_conn_end(hp_conn_t *conn);
/* The response can't be completed: what was sent so far is followed by the end of the link. */
void hp_conn_break(hp_conn_t *conn);

/* What the link belongs to. */
hp_conn_server_t *hp_conn_server(const hp_conn_t *conn);
/* Which options its requests mean. */
hp_variants_t *hp_conn_variants(hp_conn_t *conn);
/* Of the configuration that the sender had read when it connected, as it says, but none that Apache's parent has not told of; 0: it did not say. */
uint32_t hp_conn_config_generation(const hp_conn_t *conn);

#endif
