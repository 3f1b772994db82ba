/* Messages between our own processes: put and got by type, bounded, consumed to the last byte. Never a raw struct. */
#ifndef AG_FRAME_H
#define AG_FRAME_H

#include "apr-glue/base.h"

/* The largest message that any reader accepts, bytes. */
#define AG_FRAME_MAX (16 * 1024 * 1024)

/* A message being written: a type and fields, in a buffer that grows within its pool. */
typedef struct ag_frame_t ag_frame_t;

ag_frame_t *ag_frame_create(apr_pool_t *p, uint32_t type);
void ag_frame_put_u32(ag_frame_t *f, uint32_t value);
void ag_frame_put_u64(ag_frame_t *f, uint64_t value);
/* A string or NULL; the two are kept apart. */
void ag_frame_put_str(ag_frame_t *f, const char *value);
void ag_frame_put_bytes(ag_frame_t *f, const void *data, apr_size_t len);
/* The message as bytes, valid until the next put. */
const char *ag_frame_data(const ag_frame_t *f, apr_size_t *plen);

/* A message being read. The reader does not own the bytes; strings that it hands out are copies in the pool given to open.
 * After the first field that does not fit, every get returns 0 or NULL and ag_frame_end fails, so callers check once, at the end. */
typedef struct {
    const unsigned char *at, *end;
    apr_pool_t *p;
    int bad;
} ag_frame_reader_t;

/* Starts reading; returns the type, 0 when the message is too short or too long to be one. */
uint32_t ag_frame_open(ag_frame_reader_t *in, apr_pool_t *p, const void *data, apr_size_t len);
uint32_t ag_frame_get_u32(ag_frame_reader_t *in);
uint64_t ag_frame_get_u64(ag_frame_reader_t *in);
/* NUL-terminated copy, or NULL as it was put. A string with a NUL inside is bad. */
const char *ag_frame_get_str(ag_frame_reader_t *in);
/* Points into the message; not copied. */
const void *ag_frame_get_bytes(ag_frame_reader_t *in, apr_size_t *plen);
/* APR_SUCCESS if every get fitted and nothing is left, else APR_EGENERAL. */
apr_status_t ag_frame_end(ag_frame_reader_t *in) AG_MUST_CHECK;

#endif
