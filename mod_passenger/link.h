/* Connections to the core, kept between requests. See apr-glue/link.h for what travels on them. */
#ifndef MP_LINK_H
#define MP_LINK_H

#include "apr-glue/marks.h"
#include "apr-glue/pipe.h"
#include "mod_passenger/mp.h"

#include <sys/queue.h>
#include <sys/uio.h>

/* The idle links of a child. */
typedef struct mp_link_pool_t mp_link_pool_t;

/* One link. Bytes that were received and not yet consumed are in[at..end). */
typedef struct mp_link_t {
    mp_link_pool_t *pool;
    int fd;
    int kept;       /* has served a request before */
    int parked;     /* atomic: no thread waits for it */
    int hello_sent, hello_seen;
    int nonblock;   /* as long as bytes are passed to it */
    char hello[128]; /* ours */
    char *in;
    apr_size_t at, end, size;
    struct mp_link_t *next;        /* of the idle ones */
    LIST_ENTRY(mp_link_t) in_use;
    struct mp_link_marks_t *marks; /* the core's, shared by links; NULL: unknown */
    int marks_fd;                  /* came with the hello; -1: none */
    int takes_file;                /* the response may have a descriptor: the one who sends the request sets it */
    int file_fd;                   /* that came with it; -1: none */
    int slot;
    apr_uint64_t serial;
    unsigned ndigests;
    char digests[8][16]; /* options that the core knows, a ring */
} mp_link_t;

/* `max` links are kept at most. `patience` is how long receiving waits where it may; the kernel counts in ticks of its clock. `asks`: the core is
 * to tell how requests fare (mp_link_told). */
mp_link_pool_t *mp_link_pool_create(apr_pool_t *pchild, int max, apr_interval_time_t patience, int asks);

/* The child ends at once: whoever uses a link finds its end, and gets no other (APR_EOF). Who is parked only with `parked`, or when he comes back. */
void mp_link_pool_stop(mp_link_pool_t *pool, int parked);
int mp_link_pool_stopping(const mp_link_pool_t *pool);

/* A kept link if there is one and `fresh` is 0, else one just connected; tries once and does not wait. */
apr_status_t mp_link_take(mp_link_pool_t *pool, int fresh, mp_link_t **plink);

/* Gives back a link on which a request and its response are complete. */
void mp_link_keep(mp_link_pool_t *pool, mp_link_t *link);

/* Closes the link for good; what was not received is lost. */
void mp_link_close(mp_link_t *link);

/* The descriptor that came with the response, which is now the caller's; -1: none came. */
int mp_link_file(mp_link_t *link);

/* The line that must go before the first request, "" after that. */
const char *mp_link_hello(mp_link_pool_t *pool, mp_link_t *link);

/* 1 if the core had surely not begun to send this link's request to an application. */
int mp_link_undelivered(const mp_link_t *link);

/* What the core has told so far of this link's request: 1, or 0 if it was not asked, or could not. */
int mp_link_told(const mp_link_t *link, ag_marks_told_t *told);

/* 1 if it is asked. */
int mp_link_asks(const mp_link_pool_t *pool);

/* Consumes the core's hello from what was received. APR_SUCCESS: done, now or earlier. APR_INCOMPLETE: not there yet. APR_EMISMATCH: the
 * core is another build's. APR_EGENERAL: no hello. */
apr_status_t mp_link_hello_check(mp_link_t *link);

/* Sends without waiting; *pat and the vector advance by what was sent. APR_SUCCESS when all is sent, APR_EAGAIN when the link takes no more
 * at the moment. */
apr_status_t mp_link_send(mp_link_t *link, struct iovec *vec, int n, int *pat);
/* The same for what is in a pipe. */
apr_status_t mp_link_pass(mp_link_t *link, ag_pipe_t *pipe);

/* Receives into in[], which grows up to `limit` bytes (APR_ENOSPC beyond), or into `buf`. `wait` allows to wait for the pool's patience.
 * APR_EAGAIN: nothing there. APR_EOF: the core closed. */
apr_status_t mp_link_fill(mp_link_t *link, apr_size_t limit, int wait);
/* 1 if the core has said something, or closed; what it said is in in[]. */
int mp_link_speaks(mp_link_t *link, apr_size_t limit);
apr_status_t mp_link_recv(mp_link_t *link, char *buf, apr_size_t size, apr_size_t *plen, int wait);

typedef enum { MP_LINK_READY, MP_LINK_CLIENT_READY, MP_LINK_TIMEOUT } mp_link_wait_t;

/* What a request waits for: events (poll(2) has them) on a link, if there is one, and on the client's descriptor, if that is not -1. */
typedef struct {
    mp_link_t *link;
    int client_fd;
    short link_events, client_events;
    apr_time_t deadline;       /* on ag_clock_now's clock, after which waiting for the client is in vain; 0: none */
    apr_interval_time_t pause; /* 0, or there is no link yet, and another one may be had after this time */
} mp_link_want_t;

/* Waits. Both: the client counts. A negative timeout is none; the deadline is not looked at. */
mp_link_wait_t mp_link_wait(const mp_link_want_t *want, int timeout_ms);

/* Waits while there is no link. */
void mp_link_pause(apr_interval_time_t pause);

/* No thread waits for the link any more, or one does again. */
void mp_link_park(mp_link_t *link, int parked);

/* Tells the core that nothing more comes from the client. */
void mp_link_give_up(const mp_link_t *link);

/* 1 if the core has closed the link, not only ended its half. */
int mp_link_gone(const mp_link_t *link);

/* Which options (by their digest, 16 hex digits) this link's core has shown to know. */
int mp_link_knows(const mp_link_t *link, const char *digest);
void mp_link_learn(mp_link_t *link, const char *digest);

#endif
