#include "apr-glue/pipe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

int ag_pipe_suits(const char *release)
{
    struct utsname kernel;
    int major, minor;

    if (!release && uname(&kernel) != 0)
        return 0;
    return sscanf(release ? release : kernel.release, "%d.%d", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 5));
}

/* Whoever opens the highest descriptor has been refused nothing yet, but the next one may be. */
static int descriptors_are_short(int fd)
{
    struct rlimit nofile;

    return getrlimit(RLIMIT_NOFILE, &nofile) != 0 || (rlim_t)fd >= nofile.rlim_cur / 2;
}

apr_status_t ag_pipe_open(ag_pipe_t *pipe, int size)
{
    int fds[2];
    apr_status_t rv = APR_SUCCESS;

    if (!ag_pipe_suits(NULL))
        return APR_ENOTIMPL;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    *pipe = (ag_pipe_t){fds[1], fds[0], 0};
    if (descriptors_are_short(pipe->in))
        rv = EMFILE;
    else if (fcntl(pipe->in, F_SETPIPE_SZ, size) < 0)
        rv = errno;
    if (rv != APR_SUCCESS)
        ag_pipe_close(pipe);
    return rv;
}

void ag_pipe_close(ag_pipe_t *pipe)
{
    if (pipe->in < 0)
        return;
    close(pipe->in);
    close(pipe->out);
    *pipe = (ag_pipe_t)AG_PIPE_CLOSED;
}

apr_size_t ag_pipe_waiting(int fd)
{
    int n = 0;

    return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (apr_size_t)n : 0;
}

apr_size_t ag_pipe_fill(ag_pipe_t *pipe, int fd, apr_size_t len)
{
    ssize_t n = splice(fd, NULL, pipe->in, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

    if (n <= 0)
        return 0;
    pipe->len += (apr_size_t)n;
    return (apr_size_t)n;
}

apr_status_t ag_pipe_send(ag_pipe_t *pipe, int fd, apr_size_t len, apr_size_t *psent)
{
    *psent = 0;
    if (len > pipe->len)
        len = pipe->len;
    while (*psent < len) {
        ssize_t n = splice(pipe->out, NULL, fd, NULL, len - *psent, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (n < 0)
            return errno;
        if (n == 0)
            return EIO;
        pipe->len -= (apr_size_t)n;
        *psent += (apr_size_t)n;
    }
    return APR_SUCCESS;
}
