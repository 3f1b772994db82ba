#include "helper/spool.c"
#include "t/lib/tap.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static int disk_is_small;
static int in_place; /* what comes is drawn from a socket */
static int in_pipes; /* how often some of it was in a pipe */
static apr_off_t most; /* bytes that are sent at once; 0: all */

static unsigned char byte_at(apr_size_t i)
{
    return (unsigned char)(i * 31 + i / 251);
}

/* Puts `total` bytes in blocks of `block`, taking some out in between through a socket of the kernel's own size; counts what is wrong. */
static int through(hp_spool_store_t *store, apr_size_t total, apr_size_t block, apr_int64_t hint, apr_size_t take)
{
    unsigned char *data = malloc(block), *got = malloc(block + 65536);
    apr_size_t in = 0, out = 0;
    hp_spool_t s;
    int fds[2], feed[2], bad = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, feed))
        return 1;
    hp_spool_init(&s, store);
    hp_spool_expect(&s, hint);
    while (out < total) {
        apr_size_t len = total - in < block ? total - in : block;
        ssize_t n;

        for (apr_size_t i = 0; i < len; i++)
            data[i] = byte_at(in + i);
        while (len > 0 && in_place) {
            ssize_t fed = write(feed[0], data, len);
            apr_size_t at = 0, drawn = 1;
            while (drawn > 0 && at < (apr_size_t)fed) {
                drawn = hp_spool_draw(&s, feed[1], (apr_int64_t)((apr_size_t)fed - at));
                at += drawn;
                in_pipes += s.last && s.last->pipe;
            }
            bad += drawn > 0 && hp_spool_draw(&s, feed[1], 1) != 0;
            memmove(data, data + at, len - at);
            in += at;
            len -= at;
            if (drawn == 0) {
                bad += read(feed[1], got, (apr_size_t)fed - at) != fed - (ssize_t)at;
                break;
            }
        }
        if (len > 0) {
            apr_status_t rv = hp_spool_put(&s, data, len);
            bad += rv != APR_SUCCESS && !disk_is_small;
            if (rv != APR_SUCCESS)
                hp_spool_hold(&s, data, len, rv);
        }
        in += len;
        for (apr_size_t taken = 0; taken < take || in == total; taken += (apr_size_t)n) {
            apr_off_t left = most;
            apr_status_t rv = most ? hp_spool_send_some(&s, fds[0], &left) : hp_spool_send(&s, fds[0]);

            bad += rv != APR_SUCCESS && !APR_STATUS_IS_EAGAIN(rv);
            n = read(fds[1], got, 65536);
            if (n <= 0)
                break;
            for (ssize_t i = 0; i < n; i++)
                bad += got[i] != byte_at(out + (apr_size_t)i);
            out += (apr_size_t)n;
        }
    }
    bad += out != total || hp_spool_len(&s) != 0 || s.fd >= 0 || s.full || s.first;
    hp_spool_clear(&s);
    close(fds[0]);
    close(fds[1]);
    close(feed[0]);
    close(feed[1]);
    free(data);
    free(got);
    return bad;
}

/* Feeds 512 KiB through a socket, 64 KiB at a time; how many bytes were drawn. */
static apr_size_t draw_much(hp_spool_t *s)
{
    static char data[65536];
    apr_size_t n = 0;
    int feed[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, feed))
        return 0;
    for (int i = 0; i < 8; i++) {
        apr_int64_t more = 524288 - i * 65536;
        memset(data, 'a' + i, sizeof data);
        if (write(feed[0], data, sizeof data) == sizeof data)
            n += hp_spool_draw(s, feed[1], more) + hp_spool_draw(s, feed[1], more);
    }
    close(feed[0]);
    close(feed[1]);
    return n;
}

/* How many bytes in their order come out. */
static apr_size_t drain_much(hp_spool_t *s)
{
    static char got[65536];
    apr_size_t n = 0;
    int fds[2];
    ssize_t more = 1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
        return 0;
    while (more > 0) {
        apr_status_t rv = hp_spool_send(s, fds[0]);
        more = rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv) ? read(fds[1], got, sizeof got) : 0;
        for (ssize_t i = 0; i < more && got[i] == (char)('a' + n / 65536); i++)
            n++;
    }
    close(fds[0]);
    close(fds[1]);
    return n;
}

/* More uploads than all may have pipes, or memory; and then without pipes, as where the kernel gives none. */
static void pipes(hp_spool_store_t *store)
{
    enum { N = HP_SPOOL_BUDGET / 524288 + 8 };
    static hp_spool_t s[N];
    int bad = 0, on_disk = 0, most_pipes = 0;

    for (int i = 0; i < N; i++) {
        hp_spool_init(&s[i], store);
        hp_spool_expect(&s[i], 524288);
        if (draw_much(&s[i]) < 524288)
            bad += i < HP_SPOOL_BUDGET / 2 / 524288; /* those have been promised the memory */
        most_pipes = store->npipes > most_pipes ? store->npipes : most_pipes;
    }
    ok(bad == 0 && most_pipes == PIPES_MAX, "uploads are drawn into pipes, %d at most", most_pipes);
    ok(s[0].first && s[0].first->pipe && s[0].fd < 0, "... the first of them as a whole");
    while (s[0].fd < 0 && !s[0].full)
        bad += put_file(&s[0], "", 0) != APR_SUCCESS;
    ok(bad == 0 && !s[0].first && s[0].len == 0, "... which can go to the disk");
    is_int(drain_much(&s[0]), 524288, "... and is as it was");
    store->dir = "/nowhere";
    ok(put_file(&s[1], "", 0) != APR_SUCCESS && s[1].len == 524288, "where there is no disk");
    is_int(drain_much(&s[1]), 524288, "... it is still there");
    for (int i = 0; i < N; i++)
        on_disk += s[i].fd >= 0;
    for (int i = 0; i < N; i++)
        hp_spool_clear(&s[i]);
    ok(store->npipes == 0 && store->used == 0 && store->promised == 0, "pipes are closed, memory is given back");

    setrlimit(RLIMIT_NOFILE, &(struct rlimit){8, 1024});
    hp_spool_expect(&s[0], 524288);
    is_int(draw_much(&s[0]), 524288, "with few descriptors");
    ok(store->npipes == 0 && s[0].first && !s[0].first->pipe, "... uploads are drawn to memory");
    is_int(drain_much(&s[0]), 524288, "... as they are");
    hp_spool_clear(&s[0]);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024});
}

/* Many spools, more than all may hold in memory: the first goes on moving, and so does one that never uses the disk; others stand still. */
static void many(hp_spool_store_t *store)
{
    enum { N = 2 * HP_SPOOL_BUDGET / 100000 };
    static hp_spool_t s[N];
    static char data[100000], got[100000];
    int fds[2], on_disk = 0, bad = 0;
    apr_off_t peak = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
        return;
    is_int(hp_spool_share(store), HP_SPOOL_MEMORY / 2, "there is memory for all");
    for (int i = 0; i < N; i++) {
        apr_off_t left = 1;
        hp_spool_init(&s[i], store);
        if (i == 1)
            hp_spool_stay_in_memory(&s[i]);
        memset(data, i, sizeof data);
        bad += hp_spool_put(&s[i], data, sizeof data) != APR_SUCCESS;
        bad += hp_spool_send_some(&s[0], fds[0], &left) != APR_SUCCESS || read(fds[1], got, 2) != 1;
        peak = store->used > peak ? store->used : peak;
    }
    for (int i = 0; i < N; i++)
        on_disk += s[i].fd >= 0;
    is_int(bad, 0, "%d spools of 100,000 bytes", N);
    ok(peak <= HP_SPOOL_BUDGET && peak > HP_SPOOL_BUDGET - 200000, "... never hold more in memory than they may together (%d)", (int)peak);
    ok(on_disk > N / 3 && on_disk < N * 2 / 3, "... others are on disk (%d)", on_disk);
    ok(s[0].fd < 0 && s[1].fd < 0 && s[2].fd >= 0, "... those that have stood still for longest");
    ok(hp_spool_share(store) < HP_SPOOL_MEMORY / 2, "... and who never uses the disk is to be content with less");
    for (int i = 0; i < N; i++) {
        apr_size_t n = 0, all = i == 0 ? sizeof got - N : sizeof got;
        for (ssize_t more = 1; more > 0 && n < all; n += more > 0 ? (apr_size_t)more : 0) {
            apr_status_t rv = hp_spool_send(&s[i], fds[0]);
            more = rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv) ? read(fds[1], got + n, sizeof got - n) : 0;
        }
        bad += n != all || got[0] != (char)i || got[n - 1] != (char)i || hp_spool_len(&s[i]) > 0 || s[i].fd >= 0;
        hp_spool_clear(&s[i]);
    }
    is_int(bad, 0, "... all is as it was");
    ok(store->used == 0 && store->nspare <= SPARE_MAX && TAILQ_EMPTY(&store->moving), "... and the memory is given back");
    hp_spool_store_rest(store);
    hp_spool_store_rest(store);
    ok(store->nspare == 0 && !store->spare, "... to the system too, as soon as none has needed it for a while");
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    static const apr_size_t totals[] = {1, 4096, HP_SPOOL_MEMORY, HP_SPOOL_MEMORY + 1, 1000000, 9000000};
    static const apr_size_t blocks[] = {4096, 65536, 300000};
    char dir[] = "/tmp/spool-XXXXXX";
    static hp_spool_store_t store;
    hp_spool_t s;
    const char *data;

    signal(SIGPIPE, SIG_IGN);
    hp_spool_store_init(&store, mkdtemp(dir));
    for (apr_size_t i = 0; i < 2 * AG_LEN(totals); i++) {
        in_place = i >= AG_LEN(totals);
        for (apr_size_t j = 0; j < AG_LEN(blocks); j++) {
            is_int(through(&store, totals[i % AG_LEN(totals)], blocks[j], -1, 0), 0, "%d bytes in blocks of %d%s, then out",
                   (int)totals[i % AG_LEN(totals)], (int)blocks[j], in_place ? ", put in place" : "");
            is_int(through(&store, totals[i % AG_LEN(totals)], blocks[j], (apr_int64_t)totals[i % AG_LEN(totals)], 0), 0, "... with a hint");
            is_int(through(&store, totals[i % AG_LEN(totals)], blocks[j], -1, blocks[j] / 2), 0, "... in and out");
            is_int(through(&store, totals[i % AG_LEN(totals)], blocks[j], 1, blocks[j]), 0, "... with a hint that lies");
        }
    }
    ok(store.used == 0 && store.promised == 0 && store.nspare > 0 && TAILQ_EMPTY(&store.moving), "memory was given back");
    for (most = 1000; most < 200000; most = most * 7 + 1) {
        is_int(through(&store, 1000000, 65536, -1, 0), 0, "%d bytes at once, out of memory and a file", (int)most);
        is_int(through(&store, 1000000, 300000, -1, 150000), 0, "... in and out");
    }
    most = 0;

    ok(in_pipes > 100, "some was in pipes (%d times)", in_pipes);
    in_place = 0;
    many(&store);
    pipes(&store);
    store.dir = dir;

    disk_is_small = 1;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){700000, RLIM_INFINITY});
    for (apr_size_t j = 0; j < AG_LEN(blocks); j++) {
        is_int(through(&store, 9000000, blocks[j], -1, 0), 0, "a small disk: blocks of %d, then out", (int)blocks[j]);
        is_int(through(&store, 9000000, blocks[j], -1, blocks[j] / 2), 0, "... in and out");
        is_int(through(&store, 9000000, blocks[j], -1, blocks[j]), 0, "... as fast out as in");
    }
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});

    hp_spool_init(&s, &store);
    is_int(hp_spool_put(&s, "abc", 3), APR_SUCCESS, "a few bytes");
    ok(s.fd < 0 && hp_spool_len(&s) == 3, "... are in memory");
    hp_spool_clear(&s);
    is_int(hp_spool_len(&s), 0, "... and forgotten");

    store.dir = "/nowhere";
    hp_spool_init(&s, &store);
    data = calloc(1, HP_SPOOL_MEMORY + 1);
    ok(hp_spool_put(&s, data, HP_SPOOL_MEMORY + 1) != APR_SUCCESS, "no disk: the error is told");
    is_int(hp_spool_len(&s), 0, "... and nothing was taken");
    is_int(hp_spool_put(&s, data, 10), APR_SUCCESS, "... and small things still fit");
    hp_spool_hold(&s, data, HP_SPOOL_MEMORY, ENOENT);
    is_int(hp_spool_len(&s), HP_SPOOL_MEMORY + 10, "... and what must be kept is kept");
    is_int(hp_spool_put(&s, data, 1), ENOENT, "... and nothing is taken as long as it is there");
    hp_spool_clear(&s);
    is_int(hp_spool_put(&s, data, 1), APR_SUCCESS, "... and no longer");
    hp_spool_clear(&s);
    free((void *)(uintptr_t)data);
    is_int(rmdir(dir), 0, "no file is left");
    return done_testing();
}
