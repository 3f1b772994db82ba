/* Bytes on their way from a side that is fast to one that is not: first in first out, the first of them in memory, what is more in a file
 * without a name. */
#ifndef HP_SPOOL_H
#define HP_SPOOL_H

#include "apr-glue/base.h"

#define HP_SPOOL_MEMORY (128 * 1024) /* what any spool may hold in memory */

typedef struct hp_spool_block_t hp_spool_block_t;

/* What the spools of a process share: where files are made, memory that may be promised to bodies of known length, and blocks at rest, which
 * spare the kernel the making of fresh pages for every upload. */
typedef struct {
    const char *dir;
    apr_off_t memory_left; /* bytes beyond HP_SPOOL_MEMORY each that spools may still be promised */
    hp_spool_block_t *spare;
    int nspare;
} hp_spool_store_t;

/* Blocks in memory. */
typedef struct {
    hp_spool_block_t *first, *last;
    apr_off_t len; /* bytes in them */
} hp_spool_blocks_t;

typedef struct hp_spool_t {
    hp_spool_store_t *store;
    hp_spool_blocks_t memory; /* what is in the file comes after it */
    hp_spool_blocks_t held;   /* comes after the file: there was no room in that */
    apr_status_t full;        /* the disk's error, while more is in memory than should be */
    apr_off_t promised;             /* taken from store->memory_left */
    int memory_only;                /* whoever puts something in sees to it that it is not much */
    int fd;                         /* -1: no file */
    off_t read_at, write_at;        /* of the file; read_at <= write_at */
} hp_spool_t;

void hp_spool_init(hp_spool_t *s, hp_spool_store_t *store);
/* Says how many bytes will come in all, before the first: a few MiB are then kept in memory, if there is some to spare. */
void hp_spool_expect(hp_spool_t *s, apr_int64_t len);
/* Keeps everything in memory, for those who take no more in before some of it was sent. */
void hp_spool_stay_in_memory(hp_spool_t *s);
/* Appends. An error is the disk's (ENOSPC, ...); nothing was taken then. */
apr_status_t hp_spool_put(hp_spool_t *s, const void *data, apr_size_t len) AG_MUST_CHECK;
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
