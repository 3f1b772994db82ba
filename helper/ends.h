/* What connects an application's process with the helper: its input, its outputs and the socket that it listens on, with both ends of each. */
#ifndef HP_ENDS_H
#define HP_ENDS_H

#include "apr-glue/base.h"
#include <apr_pools.h>

/* The process's ends, in the order that it gets them; -1: none. */
typedef struct {
    int in, out, err, listener;
} hp_ends_t;
#define HP_ENDS_NONE {-1, -1, -1, -1}

/* Ours: its input's write end, its outputs' read ends, its socket (O_PATH). */
typedef struct {
    int in, out, err, sock;
} hp_ends_ours_t;

/* What is made belongs to `theirs` and `ours`, failure or not. `path`: where the socket is for a moment; `owner` may connect to it, unless that is
 * -1. */
apr_status_t hp_ends_make(hp_ends_t *theirs, hp_ends_ours_t *ours, const char *path, uid_t owner) AG_MUST_CHECK;
/* Gives the process's ends to its user, so that it can open /dev/stdin, /dev/stdout and /dev/stderr. */
void hp_ends_give(const hp_ends_t *theirs, uid_t uid, gid_t gid);
void hp_ends_close(const hp_ends_t *theirs);
void hp_ends_close_ours(const hp_ends_ours_t *ours);

#endif
