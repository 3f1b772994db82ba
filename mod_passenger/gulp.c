#include "mod_passenger/gulp.h"

#include "mod_passenger/calm.h"

#include <apr_buckets.h>
#include <string.h>
#include <sys/socket.h>
#include <util_filter.h>

#define NAME   "PASSENGER_GULP"
#define BUFFER APR_BUCKET_BUFF_SIZE
#define SHORT  8192         /* what is copied rather than kept in a buffer that is much larger */
#define LARGE  (64 * 1024)  /* that is read at once */
#define PIPE   (256 * 1024) /* or as much more as larger pages hold */

/* APR's socket buckets read 8000 bytes at a time, 131 times for a MiB. This filter stands directly above the core's, below all that count or
 * decrypt, and reads from the socket itself when it knows that the core has nothing left. */
struct mp_gulp_t {
    int empty;       /* the core has handed out everything that it has read */
    apr_size_t left; /* otherwise: bytes that it has at most */
    ag_pipe_t *pipe; /* for what comes in large pieces; NULL: none */
    int scattered;   /* the client's bytes lie in pieces of memory that are too small for it, or the kernel can't */
};

static apr_status_t read_nothing(apr_bucket *b, const char **data, apr_size_t *len, apr_read_type_e block)
{
    (void) b;
    (void) block;
    *data = NULL;
    *len = 0;
    return APR_ENOTIMPL;
}

static const apr_bucket_type_t in_pipe = {
    NAME, 5, APR_BUCKET_DATA, apr_bucket_destroy_noop, read_nothing, apr_bucket_setaside_noop, apr_bucket_split_notimpl, apr_bucket_copy_notimpl,
};

int mp_gulp_is_in_pipe(const apr_bucket *b)
{
    return b->type == &in_pipe;
}

/* The core reads into one buffer after another, and into the next one only when it has handed out the last. So if that ends where the buffer ends,
 * there is no more. */
static void look(mp_gulp_t *gulp, const apr_bucket_brigade *bb)
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

static apr_size_t move(mp_gulp_t *gulp, int fd, apr_bucket_brigade *bb, apr_size_t size)
{
    ag_pipe_t *pipe = gulp->pipe;
    apr_bucket *b;
    apr_size_t n;

    if (!pipe || gulp->scattered || size < AG_PIPE_LEAST || ag_pipe_waiting(fd) < AG_PIPE_LEAST)
        return 0;
    if (pipe->in < 0 && ag_pipe_open(pipe, PIPE) != APR_SUCCESS)
        return 0;
    n = ag_pipe_fill(pipe, fd, size);
    gulp->scattered = n < AG_PIPE_LEAST;
    if (n == 0)
        return 0;
    b = apr_bucket_alloc(sizeof(*b), bb->bucket_alloc);
    APR_BUCKET_INIT(b);
    b->free = apr_bucket_free;
    b->list = bb->bucket_alloc;
    b->type = &in_pipe;
    b->length = n;
    b->start = 0;
    b->data = NULL;
    APR_BRIGADE_INSERT_TAIL(bb, b);
    return n;
}

static apr_status_t read_much(ap_filter_t *f, apr_bucket_brigade *bb, ap_input_mode_t mode, apr_read_type_e block, apr_off_t readbytes)
{
    mp_gulp_t *gulp = f->ctx;
    int fd = mp_calm_descriptor(f->c);
    apr_size_t size = (apr_size_t) readbytes;
    apr_status_t rv;

    if (mode != AP_MODE_READBYTES || readbytes <= BUFFER || fd < 0 || f->next->next || !APR_BRIGADE_EMPTY(bb)) {
        gulp->empty = 0;
        gulp->left = BUFFER;
        return ap_get_brigade(f->next, bb, mode, block, readbytes);
    }
    if (gulp->empty && (move(gulp, fd, bb, size) > 0 || take(fd, bb, size < LARGE ? size : LARGE) > 0))
        return APR_SUCCESS;
    rv = ap_get_brigade(f->next, bb, mode, block, (apr_off_t) gulp->left);
    if (rv == APR_SUCCESS)
        look(gulp, bb);
    return rv;
}

mp_gulp_t *mp_gulp_begin(request_rec *r)
{
    conn_rec *c = r->connection;
    ap_filter_t *f;
    mp_gulp_t *gulp;

    for (f = c->input_filters; f && f->frec->filter_func.in_func != read_much; f = f->next)
        ;
    if (f || mp_calm_descriptor(c) < 0)
        return f ? f->ctx : NULL;
    gulp = apr_pcalloc(c->pool, sizeof(*gulp));
    gulp->left = BUFFER;
    ap_add_input_filter(NAME, gulp, r, c);
    return gulp;
}

/* Known to ask for no more than the length of what they pass on. */
int mp_gulp_is_plain(const request_rec *r)
{
    static const char *const known[] = {"http_in", "reqtimeout", "log_input_output", "passenger_gulp", "core_in"};
    const ap_filter_t *f;
    unsigned i;

    for (f = r->input_filters; f; f = f->next) {
        for (i = 0; i < AG_LEN(known) && strcmp(f->frec->name, known[i]) != 0; i++)
            ;
        if (i == AG_LEN(known))
            return 0;
    }
    return 1;
}

void mp_gulp_aim(mp_gulp_t *gulp, ag_pipe_t *pipe)
{
    gulp->pipe = pipe;
}

void mp_gulp_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_register_input_filter(NAME, read_much, NULL, (ap_filter_type) (AP_FTYPE_NETWORK - 1));
}
