#include "helper/chan.h"
#include "apr-glue/parcel.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    char in[AG_PARCEL_DATAGRAM];
};

static void release(waiting_t *w)
{
    while (w->nfds > 0)
        close(w->fds[--w->nfds]);
    free(w);
}

static void flush_waiting(hp_chan_t *chan)
{
    waiting_t *w;

    while ((w = chan->first)) {
        if (APR_STATUS_IS_EAGAIN(ag_parcel_send(chan->fd, w->data, w->len, w->fds, w->nfds)))
            return;
        chan->first = w->next;
        release(w);
    }
    chan->plast = &chan->first;
    ag_loop_io_set(chan->io, AG_LOOP_READ);
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
    rv = ag_parcel_recv(chan->fd, chan->in, &parcel);
    if (APR_STATUS_IS_EAGAIN(rv))
        return;
    if (rv != APR_SUCCESS) {
        ag_loop_io_destroy(&chan->io);
        chan->cb(chan->baton, NULL, 0, NULL, 0);
        return;
    }
    chan->cb(chan->baton, parcel.data, parcel.len, parcel.fds, parcel.nfds);
    ag_parcel_done(&parcel);
}

hp_chan_t *hp_chan_create(ag_loop_t *loop, int fd, hp_chan_cb_t cb, void *baton)
{
    hp_chan_t *chan = calloc(1, sizeof *chan);

    if (!chan)
        abort();
    chan->fd = fd;
    chan->cb = cb;
    chan->baton = baton;
    chan->plast = &chan->first;
    ag_sock_nonblock(fd, 1);
    chan->io = ag_loop_io_create(loop, fd, AG_LOOP_READ, on_ready, chan);
    return chan;
}

void hp_chan_send(hp_chan_t *chan, const ag_frame_t *frame, const int *fds, int nfds)
{
    apr_size_t len;
    const char *data = ag_frame_data(frame, &len);
    waiting_t *w;

    if (!chan->io)
        return;
    if (!chan->first && !APR_STATUS_IS_EAGAIN(ag_parcel_send(chan->fd, data, len, fds, nfds)))
        return;
    w = malloc(sizeof *w + len);
    if (!w)
        abort();
    w->next = NULL;
    w->len = len;
    memcpy(w->data, data, len);
    for (w->nfds = 0; w->nfds < nfds; w->nfds++)
        w->fds[w->nfds] = fcntl(fds[w->nfds], F_DUPFD_CLOEXEC, 3);
    *chan->plast = w;
    chan->plast = &w->next;
    ag_loop_io_set(chan->io, AG_LOOP_READ | AG_LOOP_WRITE);
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
    ag_loop_io_destroy(&chan->io);
    close(chan->fd);
    free(chan);
}
