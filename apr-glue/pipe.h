/* Bytes on their way between two sockets without being copied: the kernel hands on the memory in which they came. splice(2). */
#ifndef AG_PIPE_H
#define AG_PIPE_H

#include "apr-glue/base.h"

/* Fewer bytes than this are copied for less. */
#define AG_PIPE_LEAST (32 * 1024)

/* What is in a pipe that nobody else has. */
typedef struct {
    int in, out; /* -1: closed */
    apr_size_t len;
} ag_pipe_t;

#define AG_PIPE_CLOSED {-1, -1, 0}

/* 1 if a kernel of that release, NULL: this one (uname(2)), moves pages from socket to socket many at a time: Linux 6.5 does, with MSG_SPLICE_PAGES;
 * those before it wake the reader for each single one. */
int ag_pipe_suits(const char *release);

/* Room for `size` bytes where they came in whole pages. Close-on-exec. Fails where the kernel gives this user no more, or does not suit, and with
 * EMFILE when half of the descriptors are in use: there is always the other way. */
apr_status_t ag_pipe_open(ag_pipe_t *pipe, int size) AG_MUST_CHECK;
void ag_pipe_close(ag_pipe_t *pipe);

/* Bytes that can be received from a socket now. */
apr_size_t ag_pipe_waiting(int fd);

/* Takes up to `len` bytes that have come to a socket, without waiting if there are any. 0: no room for them, there are none, or the kernel can't. */
apr_size_t ag_pipe_fill(ag_pipe_t *pipe, int fd, apr_size_t len) AG_MUST_CHECK;

/* Gives up to `len` bytes to a non-blocking socket, *psent of them. APR_SUCCESS: all of them, or all that there are. APR_EAGAIN: it takes no more.
 * SIGPIPE must be ignored. */
apr_status_t ag_pipe_send(ag_pipe_t *pipe, int fd, apr_size_t len, apr_size_t *psent) AG_MUST_CHECK;

#endif
