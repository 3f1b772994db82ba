#include "apr-glue/pipe.c"
#include "t/lib/tap.h"
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define SIZE (64 * 1024)

int main(void)
{
    static char data[SIZE], got[SIZE];
    ag_pipe_t pipe = AG_PIPE_CLOSED;
    apr_size_t sent = 0;
    int from[2], to[2];

    signal(SIGPIPE, SIG_IGN);
    ok(ag_pipe_suits("6.5.0-1-amd64") && ag_pipe_suits("6.18.44") && ag_pipe_suits("10.0"), "kernels that move pages");
    ok(!ag_pipe_suits("6.1.0-18-amd64") && !ag_pipe_suits("5.15.0") && !ag_pipe_suits("6") && !ag_pipe_suits(""), "... and those that do not");
    ag_pipe_close(&pipe);
    if (!ag_pipe_suits(NULL)) {
        ok(ag_pipe_open(&pipe, SIZE) != APR_SUCCESS && pipe.in < 0, "... have no pipes");
        return done_testing();
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, from) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, to))
        return 1;
    for (int i = 0; i < SIZE; i++)
        data[i] = (char)(i * 31 + i / 251);
    is_int(ag_pipe_open(&pipe, 2 * SIZE), APR_SUCCESS, "a pipe");
    is_int(ag_pipe_waiting(from[1]), 0, "nothing waits");
    is_int(ag_pipe_fill(&pipe, from[1], SIZE), 0, "... so nothing is taken");
    is_int(write(from[0], data, SIZE), SIZE, "something is sent");
    is_int(ag_pipe_waiting(from[1]), SIZE, "... and waits");
    is_int(ag_pipe_fill(&pipe, from[1], 1000), 1000, "as much is taken as is asked for");
    is_int(ag_pipe_fill(&pipe, from[1], SIZE), SIZE - 1000, "... and the rest");
    ok(pipe.len == SIZE && ag_pipe_waiting(from[1]) == 0, "... which is in the pipe");
    is_int(ag_pipe_send(&pipe, to[0], 3000, &sent), APR_SUCCESS, "as much is given as is asked for");
    ok(sent == 3000 && pipe.len == SIZE - 3000, "... and counted");
    is_int(ag_pipe_send(&pipe, to[0], SIZE, &sent), APR_SUCCESS, "... no more than there is");
    ok(pipe.len == 0 && read(to[1], got, SIZE) == SIZE && memcmp(data, got, SIZE) == 0, "it is what it was");

    for (sent = 1; sent > 0;)
        sent = send(to[0], data, SIZE, MSG_DONTWAIT) > 0;
    ok(write(from[0], data, SIZE) == SIZE && ag_pipe_fill(&pipe, from[1], SIZE) == SIZE, "the pipe is full again");
    ok(APR_STATUS_IS_EAGAIN(ag_pipe_send(&pipe, to[0], SIZE, &sent)) && sent == 0 && pipe.len == SIZE, "a socket that takes no more");
    close(to[1]);
    ok(ag_pipe_send(&pipe, to[0], SIZE, &sent) == EPIPE && pipe.len == SIZE, "... and one whose other end is gone");
    ag_pipe_close(&pipe);
    ok(pipe.in < 0 && pipe.len == 0, "closed");
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){8, 1024});
    ok(ag_pipe_open(&pipe, SIZE) == EMFILE && pipe.in < 0, "none when half of the descriptors are in use");
    return done_testing();
}
