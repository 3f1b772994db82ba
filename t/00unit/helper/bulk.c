#include "helper/bulk.c"
#include "t/lib/tap.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TOTAL (3 * 1024 * 1024)

static unsigned char byte_at(apr_size_t i)
{
    return (unsigned char)(i * 31 + i / 251);
}

static void pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
        abort();
}

/* TOTAL bytes through it, in blocks as they come; the reader takes `step` bytes at a time, what the other side does not take at once is read. Counts
 * what is wrong; *pread: bytes that were read. */
static int through(hp_bulk_t *bulk, apr_size_t block, apr_size_t step, apr_size_t *pread)
{
    apr_size_t sent = 0, taken = 0, held = 0, got = 0, len;
    unsigned char *data = malloc(block), *in = malloc(step), *rest = malloc(TOTAL);
    int from[2], to[2], bad = 0;

    pair(from);
    pair(to);
    *pread = 0;
    while (got < TOTAL) {
        ssize_t n = block < TOTAL - sent ? (ssize_t)block : (ssize_t)(TOTAL - sent);
        for (ssize_t i = 0; i < n; i++)
            data[i] = byte_at(sent + (apr_size_t)i);
        n = n > 0 ? write(from[0], data, (size_t)n) : 0;
        sent += n > 0 ? (apr_size_t)n : 0;
        if (held == 0 && hp_bulk_take(bulk, from[1], TOTAL, &len) == APR_SUCCESS) {
            taken += len;
            bad += len == 0 || taken > sent || hp_bulk_give(bulk, to[0]) != APR_SUCCESS;
            while ((len = hp_bulk_read(bulk, (char *)rest + held, 1000)) > 0)
                held += len;
            *pread += held;
            bad += bulk->len != 0;
        }
        n = held > 0 ? write(to[0], rest, held) : 0;
        if (n > 0)
            memmove(rest, rest + n, held -= (apr_size_t)n);
        while ((n = read(to[1], in, step)) > 0) {
            for (ssize_t i = 0; i < n; i++)
                bad += in[i] != byte_at(got + (apr_size_t)i);
            got += (apr_size_t)n;
            if (step < 4096)
                break;
        }
    }
    for (int i = 0; i < 2; i++) {
        close(from[i]);
        close(to[i]);
    }
    free(data);
    free(in);
    free(rest);
    return bad;
}

static void test_bytes(hp_bulk_t *bulk)
{
    apr_size_t nread;

    is_int(through(bulk, 1 << 20, 1 << 20, &nread), 0, "large blocks, a reader that keeps up: the bytes are the same");
    ok(nread < TOTAL / 4, "... and hardly any was read");
    is_int(through(bulk, 700, 1 << 20, &nread), 0, "small blocks");
    is_int(through(bulk, 1 << 20, 3000, &nread), 0, "a slow reader");
    ok(nread > 0, "... for whom some is read");
}

static void test_ends(hp_bulk_t *bulk)
{
    apr_size_t len;
    char one;
    int from[2], to[2], file = open("/dev/null", O_RDONLY);

    pair(from);
    pair(to);
    ok(hp_bulk_take(bulk, from[1], 100, &len) == EAGAIN, "nothing has come");
    ok(hp_bulk_take(bulk, file, 100, &len) != APR_SUCCESS && bulk->len == 0, "what is no socket gives nothing");
    (void)!write(from[0], "abcdef", 6);
    ok(hp_bulk_take(bulk, from[1], 4, &len) == APR_SUCCESS && len == 4, "no more than was asked for");
    close(to[1]);
    is_int(hp_bulk_give(bulk, to[0]), EPIPE, "the other side is gone");
    hp_bulk_drop(bulk);
    ok(hp_bulk_take(bulk, from[1], 4, &len) == APR_SUCCESS && len == 2, "what was dropped does not come again");
    ok(hp_bulk_read(bulk, &one, 1) == 1 && one == 'e' && hp_bulk_read(bulk, &one, 1) == 1 && one == 'f', "... but what followed it");
    is_int((int)hp_bulk_read(bulk, &one, 1), 0, "... and nothing more");
    (void)!write(from[0], "gh", 2);
    ok(hp_bulk_take(bulk, from[1], 4, &len) == APR_SUCCESS && hp_bulk_give(bulk, file) == APR_SUCCESS && bulk->len == 2,
           "who takes no pages gets them otherwise");
    hp_bulk_drop(bulk);
    close(from[0]);
    ok(hp_bulk_take(bulk, from[1], 4, &len) == APR_EOF, "the end is one");
    close(from[1]);
    close(to[0]);
    close(file);
}

static int size_of(int fd)
{
    int size = 0;
    socklen_t len = sizeof size;

    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len);
    return size;
}

static void test_room(hp_bulk_t *bulk)
{
    static char data[4096];
    int fds[WIDE_MOST + 1][2], size, n = 0, wide = 0;

    pair(fds[0]);
    size = size_of(fds[0][0]);
    is_int((int)hp_bulk_room(fds[0][0], 10), 10, "an empty socket has room for little");
    is_int((int)hp_bulk_room(fds[0][0], 1 << 30), size, "... and for what it may hold");
    while (write(fds[0][0], data, sizeof data) > 0)
        n++;
    is_int((int)hp_bulk_room(fds[0][0], 1 << 30), 0, "a full one for nothing");
    (void)!read(fds[0][1], data, sizeof data);
    is_int((int)hp_bulk_room(fds[0][0], 1 << 30), 0, "... nor for a little more when a little was taken");
    for (; n > 0 && hp_bulk_room(fds[0][0], 1 << 30) == 0; n--)
        (void)!read(fds[0][1], data, sizeof data);
    ok(n > 0 && n < 20 && hp_bulk_room(fds[0][0], 1 << 30) >= (apr_size_t)size / 2, "... but when most was");
    for (int i = 1; i <= WIDE_MOST; i++)
        pair(fds[i]);
    for (int i = 0; i <= WIDE_MOST; i++)
        wide += hp_bulk_widen(bulk, fds[i][0], 1);
    is_int(wide, WIDE_MOST, "so many may be wide at once");
    ok(size_of(fds[0][0]) > size, "... and hold more");
    is_int(hp_bulk_widen(bulk, fds[0][0], 0), 0, "one is no longer");
    is_int(size_of(fds[0][0]), size, "... and holds what it did");
    is_int(hp_bulk_widen(bulk, fds[WIDE_MOST][0], 1), 1, "... so another one may");
}

int main(void)
{
    hp_bulk_t *bulk;
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    signal(SIGPIPE, SIG_IGN);
    bulk = apr_pcalloc(p, sizeof *bulk); /* whatever this kernel's release is */
    if (!open_pipe(bulk))
        return 1;
    test_bytes(bulk);
    test_ends(bulk);
    test_room(bulk);
    return done_testing();
}
