/* Chunked transfer coding, taken off piece by piece (RFC 9112 section 7.1). */
#ifndef AG_CHUNK_H
#define AG_CHUNK_H

#include "apr-glue/base.h"

/* State between calls; no memory of its own. Start with ag_chunk_init. */
typedef struct {
    int state;
    apr_uint64_t left; /* bytes of the current chunk still to come */
    unsigned line;     /* bytes of the current size, extension or trailer line, bounded */
    unsigned trailers; /* bytes of trailers so far, bounded */
} ag_chunk_t;

void ag_chunk_init(ag_chunk_t *c);

/* Looks at in[0..len), consumes *pused bytes and hands out at most one piece of payload, which points into `in`. APR_SUCCESS: call again with the
 * rest (*pused may equal len). APR_EOF: the last chunk and the trailers, which are dropped, are over; bytes after *pused belong to
 * something else. APR_EGENERAL: not chunked coding; sizes from 2^60 on, lines beyond 4 KiB and trailers beyond 16 KiB are refused too.
 * A result never depends on how the input was split. */
apr_status_t ag_chunk_next(ag_chunk_t *c, const char *in, apr_size_t len, apr_size_t *pused, const char **pdata, apr_size_t *pdata_len)
    AG_MUST_CHECK;

/* Bytes that ag_chunk_head writes at most. */
#define AG_CHUNK_HEAD_MAX 20

/* Writes the line that opens a chunk of `len` bytes ("1f4\r\n") and returns its length. A chunk ends with CRLF, a body with "0\r\n\r\n". */
apr_size_t ag_chunk_head(char buf[AG_CHUNK_HEAD_MAX], apr_size_t len);

#endif
