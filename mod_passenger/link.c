#include "mod_passenger/link.h"

#include "apr-glue/build.h"
#include "apr-glue/link.h"
#include "apr-glue/sock.h"
#include "mod_passenger/helper.h"

#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define IN_SIZE   (8 * 1024)
#define HELLO_MAX 256
#define SEND_BUFFER (208 * 1024) /* that the kernel doubles, so that a body needs fewer turns */

/* One core's marks as this child has mapped them, for as long as a link or the pool has use for them. */
typedef struct mp_link_marks_t {
    char core_id[40];
    ag_marks_t map;
    int users; /* guarded by the pool's mutex */
} mp_link_marks_t;

struct mp_link_pool_t {
    apr_thread_mutex_t *mutex;
    mp_link_t *idle; /* last in, first out: the others may grow old and be closed by the core */
    int nidle, max, asks;
    int stopping; /* atomic; set with the mutex held */
    struct timeval patience;
    LIST_HEAD(, mp_link_t) used;
    const char *hello;
    mp_link_marks_t *marks; /* of the latest core; counts as a user */
};

mp_link_pool_t *mp_link_pool_create(apr_pool_t *pchild, int max, apr_interval_time_t patience, int asks)
{
    mp_link_pool_t *pool = apr_pcalloc(pchild, sizeof(*pool));

    if (apr_thread_mutex_create(&pool->mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS)
        return NULL;
    pool->max = max;
    pool->asks = asks;
    pool->patience.tv_sec = apr_time_sec(patience);
    pool->patience.tv_usec = apr_time_usec(patience);
    LIST_INIT(&pool->used);
    pool->hello = apr_psprintf(pchild, AG_LINK_PROTOCOL " %s %lu", ag_build_id(), (unsigned long) mp_helper_generation());
    return pool;
}

void mp_link_pool_stop(mp_link_pool_t *pool, int parked)
{
    mp_link_t *link;

    apr_thread_mutex_lock(pool->mutex);
    __atomic_store_n(&pool->stopping, 1, __ATOMIC_SEQ_CST);
    LIST_FOREACH (link, &pool->used, in_use) {
        if (parked || !__atomic_load_n(&link->parked, __ATOMIC_SEQ_CST))
            shutdown(link->fd, SHUT_RDWR);
    }
    apr_thread_mutex_unlock(pool->mutex);
}

int mp_link_pool_stopping(const mp_link_pool_t *pool)
{
    return __atomic_load_n(&pool->stopping, __ATOMIC_SEQ_CST);
}

/* With the mutex held. */
static void unuse(mp_link_marks_t *marks)
{
    if (!marks || --marks->users > 0)
        return;
    ag_marks_unmap(&marks->map);
    free(marks);
}

/* What the core said of its marks, "<core id> <slot> <serial>". */
static void take_marks(mp_link_t *link, const char *words)
{
    mp_link_pool_t *pool = link->pool;
    mp_link_marks_t *fresh = NULL;
    char core_id[40];

    if (sscanf(words, "%39s %d %" APR_UINT64_T_FMT, core_id, &link->slot, &link->serial) != 3)
        return;
    if (link->marks_fd >= 0 && (fresh = calloc(1, sizeof(*fresh)))) {
        apr_cpystrn(fresh->core_id, core_id, sizeof(fresh->core_id));
        if (ag_marks_map(&fresh->map, link->marks_fd) != APR_SUCCESS) {
            free(fresh);
            fresh = NULL;
        }
    }
    apr_thread_mutex_lock(pool->mutex);
    if (fresh) {
        unuse(pool->marks);
        pool->marks = fresh;
        fresh->users = 1;
    }
    if (pool->marks && strcmp(pool->marks->core_id, core_id) == 0) {
        link->marks = pool->marks;
        link->marks->users++;
    }
    apr_thread_mutex_unlock(pool->mutex);
}

int mp_link_undelivered(const mp_link_t *link)
{
    return link->marks && ag_marks_undelivered(&link->marks->map, link->slot, link->serial);
}

int mp_link_told(const mp_link_t *link, ag_marks_told_t *told)
{
    if (!link->pool->asks || !link->marks)
        return 0;
    ag_marks_told(&link->marks->map, link->slot, told);
    return 1;
}

int mp_link_asks(const mp_link_pool_t *pool)
{
    return pool->asks;
}

static apr_status_t connect_fresh(const mp_link_pool_t *pool, mp_link_t **plink)
{
    static const int send_buffer = SEND_BUFFER;
    const char *path = mp_helper_socket();
    mp_link_t *link;
    apr_status_t rv;
    int fd;

    if (!path)
        return APR_ENOENT;
    /* Blocking connects to a unix socket with a full backlog wait without a limit. */
    rv = ag_sock_connect(&fd, path, 1);
    if (rv == APR_SUCCESS)
        rv = ag_sock_nonblock(fd, 0);
    if (rv != APR_SUCCESS)
        return rv;
    link = calloc(1, sizeof(*link));
    if (link)
        link->in = malloc(IN_SIZE);
    if (!link || !link->in || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pool->patience, sizeof(pool->patience)) != 0) {
        if (link)
            free(link->in);
        free(link);
        close(fd);
        return APR_ENOMEM;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    link->fd = fd;
    link->marks_fd = link->file_fd = -1;
    link->size = IN_SIZE;
    *plink = link;
    return APR_SUCCESS;
}

apr_status_t mp_link_take(mp_link_pool_t *pool, int fresh, mp_link_t **plink)
{
    mp_link_t *link = NULL;
    int stopping;

    apr_thread_mutex_lock(pool->mutex);
    if (!fresh && pool->idle) {
        link = pool->idle;
        pool->idle = link->next;
        pool->nidle--;
        LIST_INSERT_HEAD(&pool->used, link, in_use);
    }
    stopping = pool->stopping;
    apr_thread_mutex_unlock(pool->mutex);
    if (!link) {
        apr_status_t rv = stopping ? APR_EOF : connect_fresh(pool, &link);

        if (rv != APR_SUCCESS)
            return rv;
        link->pool = pool;
        apr_thread_mutex_lock(pool->mutex);
        LIST_INSERT_HEAD(&pool->used, link, in_use);
        if (pool->stopping)
            shutdown(link->fd, SHUT_RDWR);
        apr_thread_mutex_unlock(pool->mutex);
    }
    *plink = link;
    return APR_SUCCESS;
}

void mp_link_keep(mp_link_pool_t *pool, mp_link_t *link)
{
    if (link->at != link->end) {
        mp_link_close(link);
        return;
    }
    link->kept = 1;
    if (link->file_fd >= 0)
        close(mp_link_file(link));
    link->at = link->end = 0;
    if (link->size > IN_SIZE) {
        char *small = realloc(link->in, IN_SIZE);

        if (small) {
            link->in = small;
            link->size = IN_SIZE;
        }
    }
    apr_thread_mutex_lock(pool->mutex);
    if (pool->nidle < pool->max) {
        LIST_REMOVE(link, in_use);
        link->next = pool->idle;
        pool->idle = link;
        pool->nidle++;
        link = NULL;
    }
    apr_thread_mutex_unlock(pool->mutex);
    if (link)
        mp_link_close(link);
}

void mp_link_close(mp_link_t *link)
{
    apr_thread_mutex_lock(link->pool->mutex);
    LIST_REMOVE(link, in_use);
    unuse(link->marks);
    apr_thread_mutex_unlock(link->pool->mutex);
    close(link->fd);
    if (link->marks_fd >= 0)
        close(link->marks_fd);
    if (link->file_fd >= 0)
        close(link->file_fd);
    free(link->in);
    free(link);
}

int mp_link_file(mp_link_t *link)
{
    int fd = link->file_fd;

    link->file_fd = -1;
    return fd;
}

const char *mp_link_hello(mp_link_pool_t *pool, mp_link_t *link)
{
    if (link->hello_sent)
        return "";
    link->hello_sent = 1;
    apr_thread_mutex_lock(pool->mutex);
    apr_snprintf(link->hello, sizeof(link->hello), "%s %s%s\n", pool->hello, pool->marks ? pool->marks->core_id : "-",
                 pool->asks ? " times" : "");
    apr_thread_mutex_unlock(pool->mutex);
    return link->hello;
}

apr_status_t mp_link_hello_check(mp_link_t *link)
{
    static const char start[] = AG_LINK_PROTOCOL " ";
    char line[HELLO_MAX], *words;
    const char *in = link->in + link->at;
    apr_size_t have = link->end - link->at;
    const char *nl;

    if (link->hello_seen)
        return APR_SUCCESS;
    nl = memchr(in, '\n', have < HELLO_MAX ? have : HELLO_MAX);
    if (memcmp(in, start, have < sizeof(start) - 1 ? have : sizeof(start) - 1) != 0 || (!nl && have >= HELLO_MAX))
        return APR_EGENERAL;
    if (!nl)
        return APR_INCOMPLETE;
    link->at += (apr_size_t) (nl + 1 - in);
    in += sizeof(start) - 1;
    if (nl - in >= 8 && memcmp(in, "mismatch", 8) == 0)
        return APR_EMISMATCH;
    link->hello_seen = 1;
    apr_cpystrn(line, in, (apr_size_t) (nl - in) + 1);
    /* A descriptor ends what is received at once, so one that came with more than the hello is not the hello's. */
    if (link->at < link->end && link->file_fd < 0) {
        link->file_fd = link->marks_fd;
        link->marks_fd = -1;
    }
    words = strchr(line, ' '); /* behind the build id */
    if (words)
        take_marks(link, words);
    if (link->marks_fd >= 0)
        close(link->marks_fd);
    link->marks_fd = -1;
    return APR_SUCCESS;
}

apr_status_t mp_link_send(mp_link_t *link, struct iovec *vec, int n, int *pat)
{
    while (*pat < n) {
        struct msghdr msg = {.msg_iov = vec + *pat, .msg_iovlen = (size_t) (n - *pat)};
        ssize_t sent = sendmsg(link->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno;
        while (*pat < n && (size_t) sent >= vec[*pat].iov_len) {
            sent -= (ssize_t) vec[*pat].iov_len;
            ++*pat;
        }
        if (*pat < n) {
            vec[*pat].iov_base = (char *) vec[*pat].iov_base + sent;
            vec[*pat].iov_len -= (size_t) sent;
        }
    }
    return APR_SUCCESS;
}

/* No flag says for once that it must not wait. */
apr_status_t mp_link_pass(mp_link_t *link, ag_pipe_t *pipe)
{
    apr_size_t sent;

    if (pipe->len == 0)
        return APR_SUCCESS;
    if (!link->nonblock)
        ag_sock_nonblock(link->fd, 1);
    link->nonblock = 1;
    return ag_pipe_send(pipe, link->fd, pipe->len, &sent);
}

/* A descriptor may come with the hello, and with a response's head. */
static ssize_t recv_passed(mp_link_t *link, char *buf, apr_size_t size, int flags)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = size};
    /* With the padding there would be room for two. */
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n = recvmsg(link->fd, &msg, flags | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
        int *pfd = link->hello_seen ? &link->file_fd : &link->marks_fd;

        if (*pfd >= 0)
            close(*pfd);
        memcpy(pfd, CMSG_DATA(c), sizeof(int));
    }
    return n;
}

apr_status_t mp_link_recv(mp_link_t *link, char *buf, apr_size_t size, apr_size_t *plen, int wait)
{
    int flags = wait ? 0 : MSG_DONTWAIT;
    ssize_t n;

    if (wait && link->nonblock) {
        ag_sock_nonblock(link->fd, 0);
        link->nonblock = 0;
    }
    do {
        n = link->hello_seen && !link->takes_file ? recv(link->fd, buf, size, flags) : recv_passed(link, buf, size, flags);
    } while (n < 0 && errno == EINTR);
    *plen = n > 0 ? (apr_size_t) n : 0;
    if (n > 0)
        return APR_SUCCESS;
    return n == 0 ? APR_EOF : errno;
}

apr_status_t mp_link_fill(mp_link_t *link, apr_size_t limit, int wait)
{
    apr_size_t got;
    apr_status_t rv;

    if (link->at == link->end)
        link->at = link->end = 0;
    if (link->end == link->size) {
        char *larger = link->size < limit ? realloc(link->in, link->size * 2) : NULL;

        if (!larger)
            return APR_ENOSPC;
        link->in = larger;
        link->size *= 2;
    }
    rv = mp_link_recv(link, link->in + link->end, link->size - link->end, &got, wait);
    link->end += got;
    return rv;
}

int mp_link_speaks(mp_link_t *link, apr_size_t limit)
{
    apr_status_t rv = mp_link_fill(link, limit, 0);

    if (APR_STATUS_IS_EAGAIN(rv))
        return 0;
    return rv != APR_SUCCESS || (mp_link_hello_check(link) != APR_INCOMPLETE && link->at < link->end);
}

mp_link_wait_t mp_link_wait(const mp_link_want_t *want, int timeout_ms)
{
    struct pollfd fds[2] = {
        {.fd = want->link ? want->link->fd : -1, .events = want->link_events},
        {.fd = want->client_fd, .events = want->client_events},
    };
    int n;

    do {
        n = poll(fds, 2, timeout_ms);
    } while (n < 0 && errno == EINTR);
    if (fds[1].revents)
        return MP_LINK_CLIENT_READY;
    return n == 0 ? MP_LINK_TIMEOUT : MP_LINK_READY;
}

void mp_link_pause(apr_interval_time_t pause)
{
    poll(NULL, 0, (int) apr_time_as_msec(pause));
}

void mp_link_park(mp_link_t *link, int parked)
{
    __atomic_store_n(&link->parked, parked, __ATOMIC_SEQ_CST);
    if (!parked && mp_link_pool_stopping(link->pool))
        shutdown(link->fd, SHUT_RDWR);
}

void mp_link_give_up(const mp_link_t *link)
{
    shutdown(link->fd, SHUT_WR);
}

int mp_link_gone(const mp_link_t *link)
{
    struct pollfd fd = {.fd = link->fd};

    return poll(&fd, 1, 0) > 0;
}

int mp_link_knows(const mp_link_t *link, const char *digest)
{
    unsigned i, n = link->ndigests < AG_LEN(link->digests) ? link->ndigests : (unsigned) AG_LEN(link->digests);

    for (i = 0; i < n; i++) {
        if (memcmp(link->digests[i], digest, sizeof(link->digests[i])) == 0)
            return 1;
    }
    return 0;
}

void mp_link_learn(mp_link_t *link, const char *digest)
{
    if (!mp_link_knows(link, digest))
        memcpy(link->digests[link->ndigests++ % AG_LEN(link->digests)], digest, sizeof(link->digests[0]));
}
