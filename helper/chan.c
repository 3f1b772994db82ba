#include "helper/chan.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "apr-glue/parcel.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN (apr_time_from_sec(1) / 10)

/* A message that the socket had no room for. */
typedef struct waiting_t {
    struct waiting_t *next;
    int fds[AG_SOCK_MAX_FDS], nfds;
    apr_size_t len;
    char data[];
} waiting_t;

struct hp_chan_t {
    ag_loop_io_t *io;
    int fd;
    hp_chan_cb_t cb;
    void *baton;
    waiting_t *first, **plast;
    hp_reserve_t *reserve;
    ag_loop_timer_t *again;
    ag_log_rate_t exhausted;
    char in[AG_PARCEL_DATAGRAM];
};

static void release(waiting_t *w)
{
    while (w->nfds > 0)
        close(w->fds[--w->nfds]);
    free(w);
}

/* What passes without anybody reading: trying again at once would only burn time. */
static int too_little(apr_status_t rv)
{
    return rv == EMFILE || rv == ENFILE || rv == ENOMEM || rv == ENOBUFS || rv == ETOOMANYREFS;
}

static apr_status_t transmit(hp_chan_t *chan, const char *data, apr_size_t len, const int *fds, int nfds)
{
    apr_status_t rv = ag_parcel_send(chan->fd, data, len, fds, nfds);

    if (rv != EMFILE || !chan->reserve)
        return rv;
    hp_reserve_give(chan->reserve);
    rv = ag_parcel_send(chan->fd, data, len, fds, nfds);
    hp_reserve_take(chan->reserve);
    return rv;
}

/* Waits for room in the socket, or for time to pass. */
static void wait_for_room(hp_chan_t *chan, apr_status_t rv)
{
    int short_of = too_little(rv);

    ag_loop_io_set(chan->io, short_of ? AG_LOOP_READ : AG_LOOP_READ | AG_LOOP_WRITE);
    if (short_of)
        ag_loop_timer_start(chan->again, AGAIN);
}

static void flush_waiting(void *baton)
{
    hp_chan_t *chan = baton;
    waiting_t *w;

    while (chan->io && (w = chan->first)) {
        apr_status_t rv = transmit(chan, w->data, w->len, w->fds, w->nfds);
        if (APR_STATUS_IS_EAGAIN(rv) || too_little(rv)) {
            wait_for_room(chan, rv);
            return;
        }
        chan->first = w->next;
        release(w);
    }
    chan->plast = &chan->first;
    if (chan->io)
        ag_loop_io_set(chan->io, AG_LOOP_READ);
}

static void complain(hp_chan_t *chan, const char *what)
{
    const char *more = ag_log_due(&chan->exhausted, ag_loop_now());

    if (more)
        ag_log(AG_LOG_ERROR, "PSG0033", "fd.exhausted: a message came whose %s: too many open files%s", what, more);
}

/* Takes one message, with the reserve for what it carries. Where that is not enough, the message is cut, but the other end is still there. */
static apr_status_t take(hp_chan_t *chan, ag_parcel_t *parcel)
{
    int carries = chan->reserve && ag_sock_carries(chan->fd);
    apr_status_t rv;

    if (carries)
        hp_reserve_give(chan->reserve);
    rv = ag_parcel_recv(chan->fd, chan->in, parcel);
    hp_reserve_take(chan->reserve);
    if (rv == EMFILE)
        complain(chan, "contents are lost");
    else if (rv == APR_SUCCESS && parcel->cut)
        complain(chan, "descriptors are lost");
    return rv;
}

/* One message a round, so that a talkative peer can't starve the rest of the loop. */
static void on_ready(void *baton, int events)
{
    hp_chan_t *chan = baton;
    ag_parcel_t parcel;
    apr_status_t rv;

    if (events & AG_LOOP_WRITE)
        flush_waiting(chan);
    if (!(events & AG_LOOP_READ))
        return;
    rv = take(chan, &parcel);
    if (APR_STATUS_IS_EAGAIN(rv) || rv == EMFILE)
        return;
    if (rv != APR_SUCCESS) {
        ag_loop_io_destroy(&chan->io);
        chan->cb(chan->baton, NULL, 0, NULL, 0);
        return;
    }
    chan->cb(chan->baton, parcel.data, parcel.len, parcel.fds, parcel.nfds);
    ag_parcel_done(&parcel);
}

hp_chan_t *hp_chan_create(ag_loop_t *loop, int fd, hp_reserve_t *reserve, hp_chan_cb_t cb, void *baton)
{
    hp_chan_t *chan = calloc(1, sizeof *chan);

    if (!chan)
        ag_memory_out();
    chan->fd = fd;
    chan->cb = cb;
    chan->baton = baton;
    chan->plast = &chan->first;
    chan->reserve = reserve;
    chan->again = ag_loop_timer_create(loop, flush_waiting, chan);
    ag_sock_nonblock(fd, 1);
    chan->io = ag_loop_io_create(loop, fd, AG_LOOP_READ, on_ready, chan);
    return chan;
}

/* Keeps a message, with copies of its descriptors. One that can't be copied is missed by the other end, as in a message that was cut. */
static void keep(hp_chan_t *chan, const char *data, apr_size_t len, const int *fds, int nfds)
{
    waiting_t *w = malloc(sizeof *w + len);

    if (!w)
        ag_memory_out();
    w->next = NULL;
    w->len = len;
    memcpy(w->data, data, len);
    w->nfds = 0;
    hp_reserve_give(chan->reserve);
    for (int i = 0; i < nfds; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (fd >= 0)
            w->fds[w->nfds++] = fd;
    }
    hp_reserve_take(chan->reserve);
    *chan->plast = w;
    chan->plast = &w->next;
}

void hp_chan_send(hp_chan_t *chan, const ag_frame_t *frame, const int *fds, int nfds)
{
    apr_size_t len;
    const char *data = ag_frame_data(frame, &len);
    int first = !chan->first;
    apr_status_t rv = APR_EAGAIN;

    if (!chan->io)
        return;
    if (first) {
        rv = transmit(chan, data, len, fds, nfds);
        if (!APR_STATUS_IS_EAGAIN(rv) && !too_little(rv))
            return;
    }
    keep(chan, data, len, fds, nfds);
    if (first)
        wait_for_room(chan, rv);
}

void hp_chan_tell(hp_chan_t *chan, uint32_t type)
{
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, NULL);
    hp_chan_send(chan, ag_frame_create(ptemp, type), NULL, 0);
    apr_pool_destroy(ptemp);
}

void hp_chan_destroy(hp_chan_t **pchan)
{
    hp_chan_t *chan = *pchan;

    if (!chan)
        return;
    *pchan = NULL;
    while (chan->first) {
        waiting_t *w = chan->first;
        chan->first = w->next;
        release(w);
    }
    ag_loop_timer_destroy(&chan->again);
    ag_loop_io_destroy(&chan->io);
    close(chan->fd);
    free(chan);
}
