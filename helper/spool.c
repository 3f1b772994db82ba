#include "helper/spool.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK_SMALL  (16 * 1024) /* a spool's first block: most of what waits is short */
#define BLOCK        (64 * 1024)
#define SPARE_MAX    64                /* blocks at rest: 4 MiB */
#define PROMISE_MAX  (4 * 1024 * 1024) /* one body of more is the disk's */
#define SEND_AT_ONCE 16                /* blocks */

struct hp_spool_block_t {
    hp_spool_block_t *next;
    apr_size_t start, end, size;
    char data[];
};

void hp_spool_init(hp_spool_t *s, hp_spool_store_t *store)
{
    memset(s, 0, sizeof *s);
    s->store = store;
    s->fd = -1;
}

void hp_spool_expect(hp_spool_t *s, apr_int64_t len)
{
    if (len <= HP_SPOOL_MEMORY || len > PROMISE_MAX || len > s->store->memory_left)
        return;
    s->promised = len;
    s->store->memory_left -= len;
}

void hp_spool_stay_in_memory(hp_spool_t *s)
{
    s->memory_only = 1;
}

static void add_block(hp_spool_t *s, hp_spool_blocks_t *to)
{
    apr_size_t size = to->first ? BLOCK : BLOCK_SMALL;
    hp_spool_block_t *block = NULL;

    if (size == BLOCK && s->store->spare) {
        block = s->store->spare;
        s->store->spare = block->next;
        s->store->nspare--;
    } else {
        block = malloc(sizeof *block + size);
    }
    if (!block)
        abort();
    block->next = NULL;
    block->start = block->end = 0;
    block->size = size;
    if (to->last)
        to->last->next = block;
    else
        to->first = block;
    to->last = block;
}

static void drop_block(hp_spool_t *s)
{
    hp_spool_block_t *block = s->memory.first;

    s->memory.first = block->next;
    if (!s->memory.first)
        s->memory.last = NULL;
    if (block->size == BLOCK && s->store->nspare < SPARE_MAX) {
        block->next = s->store->spare;
        s->store->spare = block;
        s->store->nspare++;
    } else {
        free(block);
    }
}

static void put_memory(hp_spool_t *s, hp_spool_blocks_t *to, const char *data, apr_size_t len)
{
    to->len += (apr_off_t)len;
    while (len > 0) {
        apr_size_t n;
        if (!to->last || to->last->end == to->last->size)
            add_block(s, to);
        n = to->last->size - to->last->end < len ? to->last->size - to->last->end : len;
        memcpy(to->last->data + to->last->end, data, n);
        to->last->end += n;
        data += n;
        len -= n;
    }
}

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

apr_status_t hp_spool_put(hp_spool_t *s, const void *data, apr_size_t len)
{
    apr_off_t limit = s->promised > HP_SPOOL_MEMORY ? s->promised : HP_SPOOL_MEMORY;
    off_t at = s->write_at;
    apr_status_t rv;

    if (s->full)
        return s->full;
    if (s->write_at == s->read_at && (s->memory_only || s->memory.len + (apr_off_t)len <= limit)) {
        put_memory(s, &s->memory, data, len);
        return APR_SUCCESS;
    }
    if (s->fd < 0 && APR_SUCCESS != (rv = open_file(s)))
        return rv;
    for (apr_size_t done = 0; done < len;) {
        ssize_t n = pwrite(s->fd, (const char *)data + done, len - done, at);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return ENOSPC;
        if (n > 0) {
            done += (apr_size_t)n;
            at += n;
        }
    }
    s->write_at = at;
    return APR_SUCCESS;
}

void hp_spool_hold(hp_spool_t *s, const void *data, apr_size_t len, apr_status_t why)
{
    assert(why != APR_SUCCESS);
    s->full = why;
    put_memory(s, s->write_at > s->read_at ? &s->held : &s->memory, data, len);
}

static apr_status_t send_memory(hp_spool_t *s, int fd, apr_off_t *pleft)
{
    while (s->memory.len > 0 && *pleft > 0) {
        apr_size_t most = *pleft < s->memory.len ? (apr_size_t)*pleft : (apr_size_t)s->memory.len;
        struct iovec iov[SEND_AT_ONCE];
        struct msghdr msg = {.msg_iov = iov};
        ssize_t n;
        for (hp_spool_block_t *b = s->memory.first; most > 0 && msg.msg_iovlen < SEND_AT_ONCE; b = b->next) {
            apr_size_t len = b->end - b->start < most ? b->end - b->start : most;
            iov[msg.msg_iovlen++] = (struct iovec){b->data + b->start, len};
            most -= len;
        }
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
        if (n < 0)
            return errno;
        s->memory.len -= n;
        *pleft -= n;
        while (n > 0) {
            hp_spool_block_t *b = s->memory.first;
            assert(b);
            apr_size_t took = b->end - b->start < (apr_size_t)n ? b->end - b->start : (apr_size_t)n;
            b->start += took;
            n -= (ssize_t)took;
            if (b->start == b->end)
                drop_block(s);
        }
    }
    return APR_SUCCESS;
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
    apr_status_t rv = send_memory(s, fd, pleft);

    if (rv == APR_SUCCESS && s->memory.len == 0)
        rv = send_file(s, fd, pleft);
    if (rv == APR_SUCCESS && s->memory.len == 0 && s->read_at == s->write_at && s->held.len > 0) {
        s->memory = s->held;
        memset(&s->held, 0, sizeof s->held);
        rv = send_memory(s, fd, pleft);
    }
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
    return s->memory.len + (apr_off_t)(s->write_at - s->read_at) + s->held.len;
}

void hp_spool_clear(hp_spool_t *s)
{
    close_file(s);
    for (int i = 0; i < 2; i++) {
        while (s->memory.first)
            drop_block(s);
        s->memory = s->held;
        memset(&s->held, 0, sizeof s->held);
    }
    s->full = APR_SUCCESS;
    s->store->memory_left += s->promised;
    s->promised = 0;
}
