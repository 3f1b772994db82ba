#include "apr-glue/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* sun_path is 108 bytes; a longer path is named through a descriptor of its folder, which the caller closes when *pdir is not -1. */
static apr_status_t address(struct sockaddr_un *sa, const char *path, int *pdir)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];

    *pdir = -1;
    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    if (strlen(path) < sizeof sa->sun_path) {
        memcpy(sa->sun_path, path, strlen(path));
        return APR_SUCCESS;
    }
    if (!slash || (apr_size_t)(slash - path) >= sizeof folder || strlen(slash) > 64)
        return ENAMETOOLONG;
    memcpy(folder, path, (apr_size_t)(slash - path));
    folder[slash - path] = '\0';
    *pdir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*pdir < 0)
        return errno;
    snprintf(sa->sun_path, sizeof sa->sun_path, "/proc/self/fd/%d%s", *pdir, slash);
    return APR_SUCCESS;
}

/* A socket file that refuses connections is a dead server's; one that answers is somebody's. */
static apr_status_t clear_stale(const char *path)
{
    struct stat st;
    int fd = -1;
    apr_status_t rv;

    if (lstat(path, &st))
        return errno == ENOENT ? APR_SUCCESS : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    rv = ag_sock_connect(&fd, path, 1);
    if (rv == APR_SUCCESS)
        close(fd);
    if (rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv))
        return EADDRINUSE;
    return unlink(path) ? errno : APR_SUCCESS;
}

apr_status_t ag_sock_listen(int *pfd, const char *path, int backlog, mode_t mode, uid_t uid)
{
    struct sockaddr_un sa;
    int dir = -1, fd = -1;
    mode_t before;
    apr_status_t rv;

    if (APR_SUCCESS != (rv = clear_stale(path)) || APR_SUCCESS != (rv = address(&sa, path, &dir)))
        goto leave;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Nobody but us may connect between bind and chmod. */
    before = umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa))
        rv = errno;
    umask(before);
    if (rv == APR_SUCCESS && ((uid != (uid_t)-1 && chown(sa.sun_path, uid, (gid_t)-1)) || chmod(sa.sun_path, mode) || listen(fd, backlog)))
        rv = errno;

leave:
    if (dir >= 0)
        close(dir);
    if (rv != APR_SUCCESS && fd >= 0)
        close(fd);
    else if (rv == APR_SUCCESS)
        *pfd = fd;
    return rv;
}

static apr_status_t connect_to(int *pfd, const struct sockaddr_un *sa, int nonblock)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0);
    apr_status_t rv;

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)sa, sizeof *sa)) {
        rv = errno;
        close(fd);
        return rv;
    }
    *pfd = fd;
    return APR_SUCCESS;
}

apr_status_t ag_sock_connect(int *pfd, const char *path, int nonblock)
{
    struct sockaddr_un sa;
    int dir;
    apr_status_t rv = address(&sa, path, &dir);

    if (rv == APR_SUCCESS)
        rv = connect_to(pfd, &sa, nonblock);
    if (dir >= 0)
        close(dir);
    return rv;
}

apr_status_t ag_sock_connect_fd(int *pfd, int path_fd, int nonblock)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d", path_fd);
    return connect_to(pfd, &sa, nonblock);
}

apr_status_t ag_sock_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) ? errno : error;
}

apr_status_t ag_sock_connect_port(int *pfd, int port, int v6)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons((uint16_t)port)};
    int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0)
        return errno;
    if (connect(fd, v6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in, v6 ? sizeof in6 : sizeof in))
        rv = errno;
    /* Neither end has to save packets on a line. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    /* On one machine a refusal has come by now. */
    if (rv == EINPROGRESS)
        rv = ag_sock_error(fd);
    if (rv == APR_SUCCESS)
        *pfd = fd;
    else
        close(fd);
    return rv;
}

apr_status_t ag_sock_pair(int fds[2])
{
    int size = 512 * 1024;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
        return errno;
    for (int i = 0; i < 2; i++) {
        /* FORCE goes beyond net.core.wmem_max and needs root; the plain form is what an unprivileged Apache gets. */
        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    return APR_SUCCESS;
}

apr_status_t ag_sock_peer(int fd, uid_t *puid, pid_t *ppid)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        return errno;
    *puid = cred.uid;
    *ppid = cred.pid;
    return APR_SUCCESS;
}

apr_status_t ag_sock_send(int fd, const void *data, apr_size_t len, const int *fds, int nfds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(AG_SOCK_MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    assert(nfds <= AG_SOCK_MAX_FDS);
    if (nfds > 0) {
        apr_size_t bytes = (apr_size_t)nfds * sizeof(int);
        struct cmsghdr *c;
        memset(&control, 0, sizeof control);
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), fds, bytes);
    }
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    return (apr_size_t)n == len ? APR_SUCCESS : APR_EGENERAL;
}

apr_status_t ag_sock_recv(int fd, void *buf, apr_size_t size, apr_size_t *plen, int *fds, int *pnfds)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(AG_SOCK_MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t n;

    *pnfds = 0;
    do
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *pnfds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(c), (apr_size_t)*pnfds * sizeof(int));
        }
    }
    /* An empty message may have brought some too. */
    if (n == 0 || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (*pnfds > 0)
            close(fds[--*pnfds]);
    }
    if (n == 0)
        return APR_EOF;
    if (msg.msg_flags & MSG_TRUNC)
        return APR_EGENERAL;
    *plen = (apr_size_t)n;
    return msg.msg_flags & MSG_CTRUNC ? EMFILE : APR_SUCCESS;
}

int ag_sock_carries(int fd)
{
    struct msghdr msg = {0};

    /* Without room for them the kernel says that they are there (unix(7)). */
    return recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT) >= 0 && (msg.msg_flags & MSG_CTRUNC);
}

static apr_status_t wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    int n;

    do
        n = poll(&pfd, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    return n > 0 ? APR_SUCCESS : n == 0 ? APR_TIMEUP : errno;
}

apr_status_t ag_sock_wait(int fd, int timeout_ms)
{
    return wait_for(fd, POLLIN, timeout_ms);
}

apr_status_t ag_sock_wait_write(int fd, int timeout_ms)
{
    return wait_for(fd, POLLOUT, timeout_ms);
}

apr_status_t ag_sock_nonblock(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK))
        return errno;
    return APR_SUCCESS;
}
