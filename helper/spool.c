#include "helper/spool.h"
#include "apr-glue/memory.h"
#include "apr-glue/pipe.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK        (64 * 1024) /* with its head: a mapping of its own, so that what is no longer needed is the kernel's again */
#define SPARE_MAX    256               /* blocks at rest: 16 MiB */
#define PROMISE_MAX  (4 * 1024 * 1024) /* one body of more is the disk's */
#define PROMISES_MAX (HP_SPOOL_BUDGET * 3 / 4)
#define SHARE_LEAST  (16 * 1024)
#define SEND_AT_ONCE 16                /* blocks */
#define ROOMS        3                 /* blocks that are filled at once */
#define PIPE         (1024 * 1024)     /* what a user's pipe may hold, by the kernel's default */
#define PIPES_MAX    32                /* half of what the kernel has for one user, by default */
#define PIPE_WORTH   (128 * 1024)      /* fewer bytes are copied for less than it takes to open a pipe */

struct hp_spool_block_t {
    hp_spool_block_t *next;
    apr_size_t start, end;
    apr_size_t touched; /* highest `end` so far: the pages that it has */
    ag_pipe_t *pipe;    /* that holds what it stands for; NULL: `data` does */
    char data[];
};

#define ROOM (BLOCK - sizeof(hp_spool_block_t))

void hp_spool_store_init(hp_spool_store_t *store, const char *dir)
{
    memset(store, 0, sizeof *store);
    store->dir = dir;
    TAILQ_INIT(&store->moving);
}

void hp_spool_init(hp_spool_t *s, hp_spool_store_t *store)
{
    memset(s, 0, sizeof *s);
    s->store = store;
    s->fd = -1;
}

void hp_spool_expect(hp_spool_t *s, apr_int64_t len)
{
    if (len <= HP_SPOOL_MEMORY || len > PROMISE_MAX || s->store->promised + len > PROMISES_MAX)
        return;
    s->promised = len;
    s->store->promised += len;
}

static void withdraw_promise(hp_spool_t *s)
{
    s->store->promised -= s->promised;
    s->promised = 0;
}

void hp_spool_stay_in_memory(hp_spool_t *s)
{
    if (s->first && !s->memory_only)
        TAILQ_REMOVE(&s->store->moving, s, entry);
    s->memory_only = 1;
}

apr_off_t hp_spool_share(const hp_spool_store_t *store)
{
    return store->used < HP_SPOOL_BUDGET / 2 ? HP_SPOOL_MEMORY / 2 : SHARE_LEAST;
}

/* -- memory -- */

static void moved(hp_spool_t *s)
{
    if (s->memory_only || !s->first)
        return;
    TAILQ_REMOVE(&s->store->moving, s, entry);
    TAILQ_INSERT_TAIL(&s->store->moving, s, entry);
}

static void rest_block(hp_spool_store_t *store, hp_spool_block_t *block)
{
    block->next = store->spare;
    store->spare = block;
    store->nspare++;
}

/* `whole`: all of its pages will be used. */
static hp_spool_block_t *map_block(int whole)
{
    hp_spool_block_t *block = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (whole ? MAP_POPULATE : 0), -1, 0);

    if (block == MAP_FAILED)
        ag_memory_out();
    block->touched = whole ? ROOM : 0;
    block->pipe = NULL;
    return block;
}

void hp_spool_store_rest(hp_spool_store_t *store)
{
    for (; store->unused > 0; store->unused--) {
        hp_spool_block_t *block = store->spare;
        store->spare = block->next;
        store->nspare--;
        munmap(block, BLOCK);
    }
    store->unused = store->nspare;
}

static void append(hp_spool_t *s, hp_spool_block_t *block)
{
    block->next = NULL;
    if (!s->first && !s->memory_only)
        TAILQ_INSERT_TAIL(&s->store->moving, s, entry);
    if (s->last)
        s->last->next = block;
    else
        s->first = block;
    s->last = block;
}

static void add_block(hp_spool_t *s)
{
    hp_spool_block_t *block = s->store->spare;

    if (block) {
        s->store->spare = block->next;
        if (--s->store->nspare < s->store->unused)
            s->store->unused = s->store->nspare;
    } else {
        block = map_block(s->first != NULL); /* most of what waits is short */
    }
    block->start = block->end = 0;
    s->store->used += (apr_off_t)block->touched;
    append(s, block);
}

static hp_spool_block_t *make_pipe(hp_spool_store_t *store)
{
    hp_spool_block_t *block;
    ag_pipe_t pipe;

    if (store->npipes >= PIPES_MAX || ag_pipe_open(&pipe, PIPE) != APR_SUCCESS)
        return NULL;
    block = calloc(1, sizeof *block + sizeof pipe);
    if (!block)
        ag_memory_out();
    block->pipe = memcpy(block + 1, &pipe, sizeof pipe);
    store->npipes++;
    return block;
}

static void free_block(hp_spool_store_t *store, hp_spool_block_t *block)
{
    store->used -= (apr_off_t)block->touched;
    if (block->pipe) {
        ag_pipe_close(block->pipe);
        store->npipes--;
        free(block);
    } else if (store->nspare < SPARE_MAX) {
        rest_block(store, block);
    } else {
        munmap(block, BLOCK);
    }
}

static void drop_block(hp_spool_t *s)
{
    hp_spool_block_t *block = s->first;

    s->first = block->next;
    if (!s->first) {
        s->last = NULL;
        if (!s->memory_only)
            TAILQ_REMOVE(&s->store->moving, s, entry);
    }
    free_block(s->store, block);
}

static void drop_blocks(hp_spool_t *s)
{
    while (s->first)
        drop_block(s);
    s->len = 0;
}

static void count(hp_spool_store_t *store, hp_spool_block_t *block, apr_size_t touched)
{
    store->used += (apr_off_t)touched - (apr_off_t)block->touched;
    block->touched = touched;
}

/* Bytes that the last block can take. */
static apr_size_t room(const hp_spool_t *s)
{
    return s->last && !s->last->pipe ? ROOM - s->last->end : 0;
}

static void extend(hp_spool_t *s, apr_size_t n)
{
    hp_spool_block_t *b = s->last;

    b->end += n;
    if (b->end > b->touched)
        count(s->store, b, b->end);
}

/* `data` is NULL where they are in place already. */
static void put_memory(hp_spool_t *s, const char *data, apr_size_t len)
{
    s->len += (apr_off_t)len;
    while (len > 0) {
        apr_size_t n;
        if (room(s) == 0)
            add_block(s);
        n = room(s) < len ? room(s) : len;
        if (data) {
            memcpy(s->last->data + s->last->end, data, n);
            data += n;
        }
        extend(s, n);
        len -= n;
    }
}

/* Makes memory of what is in a pipe: as much as `block` says, so reading never waits. */
static void empty_pipe(hp_spool_t *s, const hp_spool_block_t *block)
{
    apr_size_t left = block->end - block->start;

    while (left > 0) {
        ssize_t n;
        if (room(s) == 0)
            add_block(s);
        n = read(block->pipe->out, s->last->data + s->last->end, room(s) < left ? room(s) : left);
        if (n <= 0)
            abort(); /* can't be: the pipe is ours alone */
        extend(s, (apr_size_t)n);
        left -= (apr_size_t)n;
    }
}

/* What is to go to the disk must still be here if that has no room. */
static void empty_pipes(hp_spool_t *s)
{
    hp_spool_block_t *next, *b = s->first;

    if (b && !s->memory_only)
        TAILQ_REMOVE(&s->store->moving, s, entry);
    s->first = s->last = NULL;
    for (; b; b = next) {
        next = b->next;
        if (!b->pipe) {
            append(s, b);
            continue;
        }
        empty_pipe(s, b);
        free_block(s->store, b);
    }
}

/* -- disk -- */

static apr_status_t open_file(hp_spool_t *s)
{
    char path[PATH_MAX];

    s->fd = open(s->store->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd >= 0)
        return APR_SUCCESS;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
        return errno;
    /* File systems without O_TMPFILE (NFS, old overlays). */
    apr_snprintf(path, sizeof path, "%s/passenger.XXXXXX", s->store->dir);
    s->fd = mkostemp(path, O_CLOEXEC);
    if (s->fd < 0)
        return errno;
    unlink(path);
    return APR_SUCCESS;
}

static void close_file(hp_spool_t *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->read_at = s->write_at = 0;
}

static apr_status_t write_at(int fd, const char *data, apr_size_t len, off_t *pat)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, *pat);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return ENOSPC;
        if (n > 0) {
            data += n;
            len -= (apr_size_t)n;
            *pat += n;
        }
    }
    return APR_SUCCESS;
}

/* What is in memory goes to the file, and `data` behind it; or nothing does. */
static apr_status_t put_file(hp_spool_t *s, const char *data, apr_size_t len)
{
    off_t at = s->write_at;
    apr_status_t rv = s->fd < 0 ? open_file(s) : APR_SUCCESS;

    empty_pipes(s);
    for (const hp_spool_block_t *b = s->first; b && rv == APR_SUCCESS; b = b->next)
        rv = write_at(s->fd, b->data + b->start, b->end - b->start, &at);
    if (rv == APR_SUCCESS)
        rv = write_at(s->fd, data, len, &at);
    if (rv != APR_SUCCESS) {
        if (s->write_at == s->read_at)
            close_file(s);
        return rv;
    }
    s->write_at = at;
    drop_blocks(s);
    withdraw_promise(s);
    return APR_SUCCESS;
}

/* Memory is for those who use it for a moment. One whose bytes the disk does not take either is tried again when all others have been. */
static void economise(hp_spool_store_t *store)
{
    hp_spool_t *s;

    while (store->used > HP_SPOOL_BUDGET && (s = TAILQ_FIRST(&store->moving))) {
        if (s->full || put_file(s, NULL, 0) != APR_SUCCESS) {
            moved(s);
            return;
        }
    }
}

static apr_off_t limit_of(const hp_spool_t *s)
{
    return s->promised > HP_SPOOL_MEMORY ? s->promised : HP_SPOOL_MEMORY;
}

apr_status_t hp_spool_put(hp_spool_t *s, const void *data, apr_size_t len)
{
    if (s->full)
        return s->full;
    if (!s->memory_only && (s->write_at > s->read_at || s->len + (apr_off_t)len > limit_of(s)))
        return put_file(s, data, len);
    put_memory(s, data, len);
    moved(s);
    economise(s->store);
    return APR_SUCCESS;
}

/* Reads to the end of the last block, and to blocks at rest, which are the next to be added. */
static apr_size_t draw_memory(hp_spool_t *s, int fd, apr_size_t len)
{
    struct iovec iov[ROOMS];
    hp_spool_block_t *next;
    ssize_t got;
    int n = 0;

    if (room(s) > 0)
        iov[n++] = (struct iovec){s->last->data + s->last->end, room(s)};
    while (s->store->nspare < ROOMS)
        rest_block(s->store, map_block(1));
    for (next = s->store->spare; n < ROOMS; next = next->next)
        iov[n++] = (struct iovec){next->data, ROOM};
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > len)
            iov[i].iov_len = len;
        len -= iov[i].iov_len;
    }
    got = readv(fd, iov, n);
    if (got <= 0)
        return 0;
    put_memory(s, NULL, (apr_size_t)got);
    return (apr_size_t)got;
}

/* A pipe has room for so many pieces of memory, whatever is in each. One that is full of small ones may hold pages that are nearly empty, so it
 * counts with all that it could hold. */
static apr_size_t draw_pipe(hp_spool_t *s, int fd, apr_size_t len)
{
    hp_spool_block_t *b = s->last;
    int fresh = !b || !b->pipe || (b->touched == PIPE && b->end > PIPE / 4);
    apr_size_t n;

    if (fresh)
        b = len >= PIPE_WORTH ? make_pipe(s->store) : NULL;
    if (!b || b->touched == PIPE)
        return 0;
    n = ag_pipe_fill(b->pipe, fd, len);
    if (n == 0 && fresh) {
        free_block(s->store, b);
        return 0;
    }
    if (fresh)
        append(s, b);
    b->end += n;
    s->len += (apr_off_t)n;
    count(s->store, b, n > 0 && b->end < PIPE ? b->end : PIPE);
    return n;
}

apr_size_t hp_spool_draw(hp_spool_t *s, int fd, apr_int64_t len)
{
    apr_off_t limit = limit_of(s) - s->len;
    apr_size_t left = (apr_size_t)(len < limit ? len : limit), n = 0;

    if (s->full || s->write_at > s->read_at || len <= 0 || limit <= 0)
        return 0;
    if (left >= AG_PIPE_LEAST && ag_pipe_waiting(fd) >= AG_PIPE_LEAST)
        n = draw_pipe(s, fd, left);
    if (n == 0)
        n = draw_memory(s, fd, left);
    if (n > 0) {
        moved(s);
        economise(s->store);
    }
    return n;
}

void hp_spool_hold(hp_spool_t *s, const void *data, apr_size_t len, apr_status_t why)
{
    assert(why != APR_SUCCESS);
    s->full = why;
    put_memory(s, data, len);
}

/* `n` bytes of the first blocks are gone. */
static void sent(hp_spool_t *s, apr_size_t n, apr_off_t *pleft)
{
    s->len -= (apr_off_t)n;
    *pleft -= (apr_off_t)n;
    while (n > 0) {
        hp_spool_block_t *b = s->first;
        assert(b);
        apr_size_t took = b->end - b->start < n ? b->end - b->start : n;
        b->start += took;
        n -= took;
        if (b->start == b->end)
            drop_block(s);
    }
    moved(s);
}

static apr_status_t send_pipe(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    apr_size_t n;
    apr_status_t rv = ag_pipe_send(s->first->pipe, fd, *pleft < s->len ? (apr_size_t)*pleft : (apr_size_t)s->len, &n);

    sent(s, n, pleft);
    return rv;
}

static apr_status_t send_blocks(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    apr_size_t most = *pleft < s->len ? (apr_size_t)*pleft : (apr_size_t)s->len;
    struct iovec iov[SEND_AT_ONCE];
    struct msghdr msg = {.msg_iov = iov};
    apr_size_t left = most;
    ssize_t n;

    for (hp_spool_block_t *b = s->first; left > 0 && !b->pipe && msg.msg_iovlen < SEND_AT_ONCE; b = b->next) {
        apr_size_t len = b->end - b->start < left ? b->end - b->start : left;
        iov[msg.msg_iovlen++] = (struct iovec){b->data + b->start, len};
        left -= len;
    }
    n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    if (n < 0)
        return errno;
    sent(s, (apr_size_t)n, pleft);
    return (apr_size_t)n < most - left ? APR_EAGAIN : APR_SUCCESS; /* as the next try would say */
}

static apr_status_t send_memory(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    apr_status_t rv = APR_SUCCESS;

    while (s->len > 0 && *pleft > 0 && rv == APR_SUCCESS) {
        assert(s->first);
        rv = s->first->pipe ? send_pipe(s, fd, pleft) : send_blocks(s, fd, pleft);
    }
    return rv;
}

static apr_status_t send_file(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    while (s->read_at < s->write_at && *pleft > 0) {
        apr_off_t there = (apr_off_t)(s->write_at - s->read_at);
        ssize_t n = sendfile(fd, s->fd, &s->read_at, (size_t)(there < *pleft ? there : *pleft));
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO; /* somebody cut the file */
        *pleft -= n;
    }
    if (s->read_at == s->write_at)
        close_file(s);
    return APR_SUCCESS;
}

apr_status_t hp_spool_send_some(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    apr_status_t rv = send_file(s, fd, pleft);

    if (rv == APR_SUCCESS && s->read_at == s->write_at)
        rv = send_memory(s, fd, pleft);
    if (hp_spool_len(s) == 0)
        s->full = APR_SUCCESS;
    return rv;
}

apr_status_t hp_spool_send(hp_spool_t *s, int fd)
{
    apr_off_t left = hp_spool_len(s);

    return hp_spool_send_some(s, fd, &left);
}

apr_off_t hp_spool_len(const hp_spool_t *s)
{
    return s->len + (apr_off_t)(s->write_at - s->read_at);
}

void hp_spool_clear(hp_spool_t *s)
{
    close_file(s);
    drop_blocks(s);
    withdraw_promise(s);
    s->full = APR_SUCCESS;
}
