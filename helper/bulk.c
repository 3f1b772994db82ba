#include "helper/bulk.h"
#include "apr-glue/pipe.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIPE_SIZE (512 * 1024) /* more than a socket holds; what counts is the number of places, one for every 4 KiB of it */

#define WIDE      (208 * 1024) /* what Linux allows everybody; it takes twice as much (socket(7)) */
#define WIDE_MOST 64

struct hp_bulk_t {
    int fds[2]; /* -1: none could be made */
    apr_size_t len;
    int nwide;
    int narrow; /* what a socket holds otherwise; 0: nobody has asked */
};

static int open_pipe(hp_bulk_t *bulk)
{
    bulk->len = 0;
    if (pipe2(bulk->fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        bulk->fds[0] = bulk->fds[1] = -1;
        return 0;
    }
    (void)fcntl(bulk->fds[1], F_SETPIPE_SZ, PIPE_SIZE); /* a user may have so many of such (pipe(7)); smaller ones will do */
    return 1;
}

hp_bulk_t *hp_bulk_create(apr_pool_t *p)
{
    hp_bulk_t *bulk = apr_pcalloc(p, sizeof *bulk);

    return ag_pipe_suits(NULL) && open_pipe(bulk) ? bulk : NULL;
}

int hp_bulk_widen(hp_bulk_t *bulk, int to, int wide)
{
    socklen_t len = sizeof bulk->narrow;
    int size;

    if (wide && !bulk->narrow && getsockopt(to, SOL_SOCKET, SO_SNDBUF, &bulk->narrow, &len) != 0)
        return 0;
    if (wide && (bulk->nwide >= WIDE_MOST || bulk->narrow >= 2 * WIDE))
        return 0;
    size = wide ? WIDE : bulk->narrow / 2;
    (void)setsockopt(to, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    bulk->nwide += wide ? 1 : -1;
    return wide;
}

/* A unix socket is said to be writable when no more than a quarter of what it may hold is in it. Filling it up whenever there is some room would
 * wake its reader for less. */
apr_size_t hp_bulk_room(int to, apr_size_t most)
{
    int size, used;
    socklen_t len = sizeof size;

    if (getsockopt(to, SOL_SOCKET, SO_SNDBUF, &size, &len) != 0 || ioctl(to, SIOCOUTQ, &used) != 0)
        return most;
    if (used < size && most <= (apr_size_t)(size - used))
        return most;
    return used <= size / 4 ? (apr_size_t)(size - used) : 0;
}

apr_status_t hp_bulk_take(hp_bulk_t *bulk, int from, apr_size_t most, apr_size_t *plen)
{
    ssize_t n;

    assert(bulk->len == 0); /* or one's client would get another's bytes */
    if (bulk->fds[1] < 0)
        return APR_ENOTIMPL;
    n = splice(from, NULL, bulk->fds[1], NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n < 0)
        return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ? APR_ENOTIMPL : errno;
    if (n == 0)
        return APR_EOF;
    *plen = bulk->len = (apr_size_t)n;
    return APR_SUCCESS;
}

apr_status_t hp_bulk_give(hp_bulk_t *bulk, int to)
{
    ssize_t n = splice(bulk->fds[0], NULL, to, NULL, bulk->len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

    if (n < 0)
        return errno == EPIPE || errno == ECONNRESET ? errno : APR_SUCCESS;
    bulk->len -= (apr_size_t)n;
    return APR_SUCCESS;
}

apr_size_t hp_bulk_read(hp_bulk_t *bulk, char *data, apr_size_t size)
{
    ssize_t n = bulk->len > 0 ? read(bulk->fds[0], data, bulk->len < size ? bulk->len : size) : 0;

    if (n <= 0)
        return 0;
    bulk->len -= (apr_size_t)n;
    return (apr_size_t)n;
}

void hp_bulk_drop(hp_bulk_t *bulk)
{
    if (bulk->len == 0)
        return;
    close(bulk->fds[0]);
    close(bulk->fds[1]);
    (void)open_pipe(bulk);
}
