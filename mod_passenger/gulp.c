#include "mod_passenger/gulp.h"

#include "mod_passenger/calm.h"

#include <apr_buckets.h>
#include <string.h>
#include <sys/socket.h>
#include <util_filter.h>

#define NAME   "PASSENGER_GULP"
#define BUFFER APR_BUCKET_BUFF_SIZE
#define SHORT  8192 /* what is copied rather than kept in a buffer that is much larger */

/* APR's socket buckets read 8000 bytes at a time, 131 times for a MiB. This filter stands directly above the core's, below all that count or
 * decrypt, and reads from the socket itself when it knows that the core has nothing left. */
typedef struct {
    int empty;       /* the core has handed out everything that it has read */
    apr_size_t left; /* otherwise: bytes that it has at most */
} gulp_t;

/* The core reads into one buffer after another, and into the next one only when it has handed out the last. So if that ends where the buffer ends,
 * there is no more. */
static void look(gulp_t *gulp, const apr_bucket_brigade *bb)
{
    const apr_bucket *b = APR_BRIGADE_LAST(bb);
    const apr_bucket_heap *heap;
    apr_size_t end;

    gulp->empty = 0;
    gulp->left = BUFFER;
    if (APR_BRIGADE_EMPTY(bb) || !APR_BUCKET_IS_HEAP(b))
        return;
    heap = b->data;
    end = (apr_size_t) b->start + b->length;
    if (heap->alloc_len != BUFFER || end > BUFFER)
        return;
    gulp->empty = end == BUFFER;
    gulp->left = end == BUFFER ? BUFFER : BUFFER - end;
}

/* Bytes that were there. An end or an error is left to the core's next read. */
static apr_size_t take(int fd, apr_bucket_brigade *bb, apr_size_t size)
{
    char *data = apr_bucket_alloc(size, bb->bucket_alloc), *copy;
    ssize_t n = data ? recv(fd, data, size, MSG_DONTWAIT) : 0;

    if (n > 0 && n < SHORT && size > SHORT && (copy = apr_bucket_alloc((apr_size_t) n, bb->bucket_alloc))) {
        memcpy(copy, data, (apr_size_t) n);
        apr_bucket_free(data);
        data = copy;
    }
    if (n > 0)
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_heap_create(data, (apr_size_t) n, apr_bucket_free, bb->bucket_alloc));
    else if (data)
        apr_bucket_free(data);
    return n > 0 ? (apr_size_t) n : 0;
}

static apr_status_t read_much(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode, apr_read_type_e block, apr_off_t readbytes)
{
    gulp_t *gulp = f->ctx;
    int fd = mp_calm_descriptor(f->c);
    apr_size_t size = (apr_size_t) readbytes;
    apr_status_t rv;

    if (mode != AP_MODE_READBYTES || readbytes <= BUFFER || fd < 0 || f->next->next || !APR_BRIGADE_EMPTY(bb)) {
        gulp->empty = 0;
        gulp->left = BUFFER;
        return ap_get_brigade(f->next, bb, mode, block, readbytes);
    }
    if (gulp->empty && take(fd, bb, size) > 0)
        return APR_SUCCESS;
    rv = ap_get_brigade(f->next, bb, mode, block, (apr_off_t) gulp->left);
    if (rv == APR_SUCCESS)
        look(gulp, bb);
    return rv;
}

void mp_gulp_begin(request_rec *r)
{
    conn_rec *c = r->connection;
    ap_filter_t *f;
    gulp_t *gulp;

    for (f = c->input_filters; f && f->frec->filter_func.in_func != read_much; f = f->next)
        ;
    if (f || mp_calm_descriptor(c) < 0)
        return;
    gulp = apr_pcalloc(c->pool, sizeof(*gulp));
    gulp->left = BUFFER;
    ap_add_input_filter(NAME, gulp, r, c);
}

void mp_gulp_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_register_input_filter(NAME, read_much, NULL, (ap_filter_type) (AP_FTYPE_NETWORK - 1));
}
