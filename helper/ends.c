#include "helper/ends.h"
#include "apr-glue/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BACKLOG 511

/* A listening socket without a name: made in our folder, then unlinked. The core gets there through an O_PATH descriptor; nobody else
 * can, and nothing that happens to the folder matters any more. */
static apr_status_t make_socket(int *plisten, int *ppath, const char *path, uid_t owner)
{
    apr_status_t rv = ag_sock_listen(plisten, path, BACKLOG, 0600, owner);

    if (rv != APR_SUCCESS)
        return rv;
    *ppath = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    rv = *ppath < 0 ? errno : APR_SUCCESS;
    unlink(path);
    /* Loaders are written for blocking descriptors. */
    return rv != APR_SUCCESS ? rv : ag_sock_nonblock(*plisten, 0);
}

apr_status_t hp_ends_make(hp_ends_t *theirs, hp_ends_ours_t *ours, const char *path, uid_t owner)
{
    int in[2], out[2], err[2];

    if (pipe2(in, O_CLOEXEC))
        return errno;
    theirs->in = in[0];
    ours->in = in[1];
    if (pipe2(out, O_CLOEXEC))
        return errno;
    ours->out = out[0];
    theirs->out = out[1];
    if (pipe2(err, O_CLOEXEC))
        return errno;
    ours->err = err[0];
    theirs->err = err[1];
    return make_socket(&theirs->listener, &ours->sock, path, owner);
}

void hp_ends_give(const hp_ends_t *theirs, uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        return;
    (void)!fchown(theirs->in, uid, gid);
    (void)!fchown(theirs->out, uid, gid);
    (void)!fchown(theirs->err, uid, gid);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void hp_ends_close(const hp_ends_t *theirs)
{
    close_fd(theirs->in);
    close_fd(theirs->out);
    close_fd(theirs->err);
    close_fd(theirs->listener);
}

void hp_ends_close_ours(const hp_ends_ours_t *ours)
{
    close_fd(ours->in);
    close_fd(ours->out);
    close_fd(ours->err);
    close_fd(ours->sock);
}
