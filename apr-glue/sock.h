/* Unix sockets: listening, connecting, who is at the other end, and descriptors as messages. */
#ifndef AG_SOCK_H
#define AG_SOCK_H

#include "apr-glue/base.h"

#define AG_SOCK_MAX_FDS 8

/* Binds and listens at `path`, replacing a socket file that nobody serves. The file gets `mode`, and owner `uid` unless that is -1.
 * A path longer than sockaddr_un takes is reached through its folder's descriptor. Close-on-exec, non-blocking. */
apr_status_t ag_sock_listen(int *pfd, const char *path, int backlog, mode_t mode, uid_t uid) AG_MUST_CHECK;

/* Connects to `path` (of any length). Close-on-exec; `nonblock` also makes the descriptor non-blocking (a unix connect never waits
 * then: a full backlog is EAGAIN). */
apr_status_t ag_sock_connect(int *pfd, const char *path, int nonblock) AG_MUST_CHECK;

/* Connects to the socket file behind an O_PATH descriptor, whether it still has a name or not (proc(5), /proc/self/fd). */
apr_status_t ag_sock_connect_fd(int *pfd, int path_fd, int nonblock) AG_MUST_CHECK;

/* Connects to a port of 127.0.0.1, or if `v6` of ::1. Close-on-exec, non-blocking; still in progress if the other end is slow. */
apr_status_t ag_sock_connect_port(int *pfd, int port, int v6) AG_MUST_CHECK;
/* What went wrong meanwhile, or APR_SUCCESS. */
apr_status_t ag_sock_error(int fd) AG_MUST_CHECK;

/* A connected pair of SOCK_SEQPACKET sockets, close-on-exec, with send buffers that hold some messages of 64 KiB. */
apr_status_t ag_sock_pair(int fds[2]) AG_MUST_CHECK;

/* The other end's credentials as the kernel noted them (unix(7), SO_PEERCRED). */
apr_status_t ag_sock_peer(int fd, uid_t *puid, pid_t *ppid) AG_MUST_CHECK;

/* One message with up to AG_SOCK_MAX_FDS descriptors. Never raises SIGPIPE. */
apr_status_t ag_sock_send(int fd, const void *data, apr_size_t len, const int *fds, int nfds) AG_MUST_CHECK;

/* One message into `buf`; *plen is its length, descriptors are close-on-exec and the caller's. APR_EOF when the other end is gone or sends an
 * empty message, APR_EGENERAL for one larger than `size`; their descriptors are closed. EMFILE: the message is there and *plen says how long
 * it is, but this process had no room for its descriptors, which are lost. */
apr_status_t ag_sock_recv(int fd, void *buf, apr_size_t size, apr_size_t *plen, int *fds, int *pnfds) AG_MUST_CHECK;

/* 1 if the next message carries descriptors. Takes nothing. */
int ag_sock_carries(int fd);

/* Waits until `fd` is readable, or writable, or `timeout_ms` is over: APR_TIMEUP then. With fd -1 only the time counts. */
apr_status_t ag_sock_wait(int fd, int timeout_ms) AG_MUST_CHECK;
apr_status_t ag_sock_wait_write(int fd, int timeout_ms) AG_MUST_CHECK;

/* Sets or clears O_NONBLOCK; fails only for what is no descriptor. */
apr_status_t ag_sock_nonblock(int fd, int on);

#endif
