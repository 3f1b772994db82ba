/* Large reads of large bodies. */
#ifndef MP_GULP_H
#define MP_GULP_H

#include "apr-glue/pipe.h"
#include "mod_passenger/mp.h"
#include <apr_buckets.h>

typedef struct mp_gulp_t mp_gulp_t;

/* Registers the filter. */
void mp_gulp_register_hooks(apr_pool_t *p);

/* From now on what is read from the client's connection comes in pieces as large as they are asked for, if that much is there. NULL where several
 * requests share a connection. */
mp_gulp_t *mp_gulp_begin(request_rec *r);

/* 1 if nothing between the request and its connection looks at the body's bytes. */
int mp_gulp_is_plain(const request_rec *r);

/* The same, and what comes in a large piece is put in `pipe`, which is opened when it is needed, until this is called with NULL. In its place
 * comes a bucket that is only as long. */
void mp_gulp_aim(mp_gulp_t *gulp, ag_pipe_t *pipe);
int mp_gulp_is_in_pipe(const apr_bucket *b);

#endif
