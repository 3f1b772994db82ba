/* Bytes on their way from a side that is fast to one that is not: first in first out, the first of them in memory, what is more in a file
 * without a name. */
#ifndef HP_SPOOL_H
#define HP_SPOOL_H

#include "apr-glue/base.h"
#include <sys/queue.h>

#define HP_SPOOL_MEMORY (128 * 1024)       /* what any spool may hold in memory */
#define HP_SPOOL_BUDGET (32 * 1024 * 1024) /* what all of a process may hold together */

typedef struct hp_spool_block_t hp_spool_block_t;
typedef struct hp_spool_t hp_spool_t;

/* What the spools of a process share: where files are made, how much memory they have, and blocks at rest, which spare the kernel the making of
 * fresh pages for every upload. All zero at first. */
typedef struct {
    const char *dir;
    apr_off_t used;     /* bytes of memory that blocks of spools take */
    apr_off_t promised; /* bytes that spools have been promised beyond HP_SPOOL_MEMORY each */
    TAILQ_HEAD(, hp_spool_t) moving; /* those with blocks that may go to disk; the first has stood still for longest */
    hp_spool_block_t *spare;
    int nspare, unused; /* unused: since hp_spool_store_rest */
    int npipes;
} hp_spool_store_t;

struct hp_spool_t {
    hp_spool_store_t *store;
    TAILQ_ENTRY(hp_spool_t) entry;
    hp_spool_block_t *first, *last; /* what is in memory comes after what is in the file */
    apr_off_t len;                  /* bytes in memory */
    apr_status_t full;              /* the disk's error, while more is in memory than should be */
    apr_off_t promised;             /* what it may hold in memory, and has been added to store->promised */
    int memory_only;                /* whoever puts something in sees to it that it is not much */
    int fd;                         /* -1: no file */
    off_t read_at, write_at;        /* of the file; read_at <= write_at */
};

void hp_spool_store_init(hp_spool_store_t *store, const char *dir);

/* Gives back to the system what none has needed since the last call. */
void hp_spool_store_rest(hp_spool_store_t *store);

void hp_spool_init(hp_spool_t *s, hp_spool_store_t *store);
/* Says how many bytes will come in all, before the first: a few MiB are then kept in memory, if there is some to spare. */
void hp_spool_expect(hp_spool_t *s, apr_int64_t len);
/* Keeps everything in memory, for those who take no more in before some of it was sent; what is in the file already stays there. */
void hp_spool_stay_in_memory(hp_spool_t *s);
/* Bytes that such a spool should hold at most: less when memory is short. */
apr_off_t hp_spool_share(const hp_spool_store_t *store);
/* Appends. When all together hold more than they may in memory, those that have stood still for longest go to disk. An error is the disk's
 * (ENOSPC, ...); nothing was taken then. */
apr_status_t hp_spool_put(hp_spool_t *s, const void *data, apr_size_t len) AG_MUST_CHECK;
/* Takes up to `len` bytes of those that have come to the non-blocking socket `fd`, directly to where they stay: the kernel keeps them where it can.
 * 0: they should go through hp_spool_put, or there are none. */
apr_size_t hp_spool_draw(hp_spool_t *s, int fd, apr_int64_t len) AG_MUST_CHECK;
/* Appends in memory, whatever the limit, what hp_spool_put has just refused with the error `why`. Nothing more goes to the disk until all of it
 * has been sent. */
void hp_spool_hold(hp_spool_t *s, const void *data, apr_size_t len, apr_status_t why);
/* Writes as much to the non-blocking socket `fd` as that takes. APR_SUCCESS when all is sent, APR_EAGAIN when the socket is full, else its
 * error. */
apr_status_t hp_spool_send(hp_spool_t *s, int fd) AG_MUST_CHECK;
/* The same, but no more than *pleft bytes, of which it takes off what was sent; APR_SUCCESS when none of them is left, or nothing more is there. */
apr_status_t hp_spool_send_some(hp_spool_t *s, int fd, apr_off_t *pleft) AG_MUST_CHECK;
/* Bytes that wait. */
apr_off_t hp_spool_len(const hp_spool_t *s);
/* Forgets what waits and frees everything; the spool can be used again. */
void hp_spool_clear(hp_spool_t *s);

#endif
