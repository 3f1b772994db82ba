#include "apr-glue/parcel.c"
#include "t/lib/tap.h"
#include <stdlib.h>
#include <sys/resource.h>

static char buf[AG_PARCEL_DATAGRAM];

static void travel(int fds[2], apr_size_t len)
{
    char *data = malloc(len);
    ag_parcel_t got;
    int wrong = 0;

    for (apr_size_t i = 0; i < len; i++)
        data[i] = (char)(i * 31 + i / 253);
    is_int(ag_parcel_send(fds[0], data, len, (int[]){fds[1]}, 1), APR_SUCCESS, "%lu bytes are sent", (unsigned long)len);
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_SUCCESS, "... and come");
    is_int((long long)got.len, (long long)len, "... all of them");
    for (apr_size_t i = 0; i < len && i < got.len; i++)
        wrong += got.data[i] != data[i];
    is_int(wrong, 0, "... as they were");
    is_int(got.nfds, 1, "... with the descriptor that went along");
    close(got.fds[0]);
    ag_parcel_done(&got);
    free(data);
}

/* A process without room for descriptors loses them, and nothing else. */
static void cut(int fds[2], const char *large)
{
    struct rlimit before, none;
    ag_parcel_t got;
    int first = dup(fds[0]);

    close(first);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)first + 1; /* one is left, two come */
    is_int(ag_parcel_send(fds[0], "small", 5, (int[]){0, 1}, 2), APR_SUCCESS, "two descriptors are sent");
    is_int(ag_parcel_send(fds[0], "large", 5, NULL, 0), APR_SUCCESS, "... and a message without");
    ok(ag_sock_carries(fds[1]), "... which is seen");
    setrlimit(RLIMIT_NOFILE, &none);
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_SUCCESS, "... come where there is room for one");
    setrlimit(RLIMIT_NOFILE, &before);
    is_int(got.nfds, 0, "... are lost");
    is_int(got.cut, 1, "... which is told");
    is_int((long long)got.len, 5, "... but not the message");
    is_int(dup(fds[0]), first, "... and nothing stays open");
    close(first);
    ok(!ag_sock_carries(fds[1]), "the next carries none");
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_SUCCESS, "... and comes");
    is_int(got.cut, 0, "... whole");
    is_int(ag_parcel_send(fds[0], large, AG_PARCEL_DATAGRAM + 1, NULL, 0), APR_SUCCESS, "memory is sent");
    none.rlim_cur = (rlim_t)first;
    setrlimit(RLIMIT_NOFILE, &none);
    is_int(ag_parcel_recv(fds[1], buf, &got), EMFILE, "... and lost where there is no room");
    setrlimit(RLIMIT_NOFILE, &before);
}

static void refused(int fds[2], int seals, off_t size, const char *what)
{
    int memory = memfd_create("test", MFD_ALLOW_SEALING);
    ag_parcel_t got;

    if (memory < 0 || ftruncate(memory, size) || fcntl(memory, F_ADD_SEALS, seals))
        ok(0, "memfd");
    is_int(ag_sock_send(fds[0], ANNOUNCEMENT, 1, (int[]){fds[1], memory}, 2), APR_SUCCESS, "%s", what);
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_EGENERAL, "... is refused");
    is_int(got.nfds, 0, "... and nothing is left open");
    close(memory);
}

/* A system that lets no memory be executed seals all of it against that. */
static void sealed_more(int fds[2])
{
    int memory = memfd_create("test", MFD_ALLOW_SEALING);
    ag_parcel_t got;

    if (memory < 0 || write(memory, "data", 4) != 4 || fcntl(memory, F_ADD_SEALS, SEALS | F_SEAL_FUTURE_WRITE))
        ok(0, "memfd");
    is_int(ag_sock_send(fds[0], ANNOUNCEMENT, 1, (int[]){memory}, 1), APR_SUCCESS, "memory with one more seal");
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_SUCCESS, "... is taken");
    is_int((long long)got.len, 4, "... all of it");
    ag_parcel_done(&got);
    close(memory);
}

static void empty(int fds[2])
{
    int first = dup(fds[0]);
    ag_parcel_t got;

    close(first);
    is_int(ag_sock_send(fds[0], "", 0, (int[]){fds[0]}, 1), APR_SUCCESS, "an empty message with a descriptor");
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_EOF, "... is like the end");
    is_int(dup(fds[0]), first, "... and leaves nothing open");
    close(first);
}

int main(void)
{
    int fds[2];
    ag_parcel_t got;
    char *large = calloc(1, AG_FRAME_MAX + 1);

    if (!large || ag_sock_pair(fds) != APR_SUCCESS)
        return 1;
    travel(fds, 4);
    travel(fds, AG_PARCEL_DATAGRAM);
    travel(fds, AG_PARCEL_DATAGRAM + 1);
    travel(fds, 1000003);
    travel(fds, AG_FRAME_MAX);
    is_int(ag_parcel_send(fds[0], large, AG_FRAME_MAX + 1, NULL, 0), E2BIG, "there is a limit");
    refused(fds, 0, 100, "memory without seals");
    refused(fds, SEALS & ~F_SEAL_SHRINK, 100, "memory that can shrink");
    refused(fds, SEALS & ~F_SEAL_WRITE, 100, "memory that can change");
    refused(fds, SEALS, 0, "no memory");
    refused(fds, SEALS, AG_FRAME_MAX + 1, "too much memory");
    is_int(ag_sock_send(fds[0], ANNOUNCEMENT, 1, NULL, 0), APR_SUCCESS, "an announcement without memory");
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_EGENERAL, "... is refused");
    is_int(ag_sock_send(fds[0], ANNOUNCEMENT, 1, (int[]){0}, 1), APR_SUCCESS, "a descriptor that is no memory");
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_EGENERAL, "... is refused");
    sealed_more(fds);
    empty(fds);
    cut(fds, large);
    close(fds[0]);
    is_int(ag_parcel_recv(fds[1], buf, &got), APR_EOF, "the end is the end");
    free(large);
    return done_testing();
}
