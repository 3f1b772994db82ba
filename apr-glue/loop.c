#include "apr-glue/loop.h"
#include "apr-glue/memory.h"
#include "apr-glue/clock.h"
#include <ev.h>
#include <stdlib.h>

struct ag_loop_t {
    struct ev_loop *ev;
    ev_child orphans;
    ag_loop_child_cb_t orphan_cb;
    void *orphan_baton;
};

struct ag_loop_io_t {
    ev_io w; /* first: libev hands it back */
    struct ev_loop *ev;
    ag_loop_io_cb_t cb;
    void *baton;
    int events;
};

struct ag_loop_timer_t {
    ev_timer w;
    struct ev_loop *ev;
    ag_loop_cb_t cb;
    void *baton;
};

typedef struct {
    ev_signal w;
    ag_loop_signal_cb_t cb;
    void *baton;
} signal_watch_t;

typedef struct {
    ev_child w;
    ag_loop_child_cb_t cb;
    void *baton;
} child_watch_t;

static void *must(void *memory)
{
    if (!memory)
        ag_memory_out();
    return memory;
}

ag_loop_t *ag_loop_create(apr_pool_t *p)
{
    ag_loop_t *loop = apr_pcalloc(p, sizeof *loop);

    /* libev reaps in its default loop only. Environment variables must not choose the backend of a root process. */
    loop->ev = ev_default_loop(EVFLAG_NOENV);
    return loop->ev ? loop : NULL;
}

void ag_loop_run(ag_loop_t *loop)
{
    ev_run(loop->ev, 0);
}

void ag_loop_stop(ag_loop_t *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

apr_time_t ag_loop_now(void)
{
    return ag_clock_now();
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    ag_loop_io_t *io = (ag_loop_io_t *)w;
    int events = (revents & EV_READ ? AG_LOOP_READ : 0) | (revents & EV_WRITE ? AG_LOOP_WRITE : 0);

    (void)ev;
    if (revents & EV_ERROR)
        events = AG_LOOP_READ | AG_LOOP_WRITE;
    io->cb(io->baton, events);
}

ag_loop_io_t *ag_loop_io_create(ag_loop_t *loop, int fd, int events, ag_loop_io_cb_t cb, void *baton)
{
    ag_loop_io_t *io = must(calloc(1, sizeof *io));

    io->ev = loop->ev;
    io->cb = cb;
    io->baton = baton;
    ev_io_init(&io->w, on_io, fd, 0);
    ag_loop_io_set(io, events);
    return io;
}

void ag_loop_io_set(ag_loop_io_t *io, int events)
{
    if (events == io->events)
        return;
    ev_io_stop(io->ev, &io->w);
    ev_io_set(&io->w, io->w.fd, (events & AG_LOOP_READ ? EV_READ : 0) | (events & AG_LOOP_WRITE ? EV_WRITE : 0));
    if (events)
        ev_io_start(io->ev, &io->w);
    io->events = events;
}

void ag_loop_io_destroy(ag_loop_io_t **pio)
{
    ag_loop_io_t *io = *pio;

    if (!io)
        return;
    *pio = NULL;
    ev_io_stop(io->ev, &io->w);
    free(io);
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
    ag_loop_timer_t *timer = (ag_loop_timer_t *)w;

    (void)ev;
    (void)revents;
    timer->cb(timer->baton);
}

static ag_loop_timer_t *init_timer(ag_loop_timer_t *timer, const ag_loop_t *loop, ag_loop_cb_t cb, void *baton)
{
    timer->ev = loop->ev;
    timer->cb = cb;
    timer->baton = baton;
    ev_init(&timer->w, on_timer);
    return timer;
}

ag_loop_timer_t *ag_loop_timer_create(ag_loop_t *loop, ag_loop_cb_t cb, void *baton)
{
    return init_timer(must(calloc(1, sizeof(ag_loop_timer_t))), loop, cb, baton);
}

static apr_status_t stop_timer(void *timer)
{
    ag_loop_timer_stop(timer);
    return APR_SUCCESS;
}

ag_loop_timer_t *ag_loop_timer_pooled(ag_loop_t *loop, apr_pool_t *p, ag_loop_cb_t cb, void *baton)
{
    ag_loop_timer_t *timer = apr_pcalloc(p, sizeof *timer);

    apr_pool_cleanup_register(p, timer, stop_timer, apr_pool_cleanup_null);
    return init_timer(timer, loop, cb, baton);
}

void ag_loop_timer_start(ag_loop_timer_t *timer, apr_interval_time_t after)
{
    ev_timer_stop(timer->ev, &timer->w);
    /* Counted from now, not from the start of this round: a round may have been long. */
    ev_now_update(timer->ev);
    ev_timer_set(&timer->w, after > 0 ? (double)after / APR_USEC_PER_SEC : 0., 0.);
    ev_timer_start(timer->ev, &timer->w);
}

void ag_loop_timer_stop(ag_loop_timer_t *timer)
{
    ev_timer_stop(timer->ev, &timer->w);
}

int ag_loop_timer_active(const ag_loop_timer_t *timer)
{
    return ev_is_active(&timer->w);
}

void ag_loop_timer_destroy(ag_loop_timer_t **ptimer)
{
    ag_loop_timer_t *timer = *ptimer;

    if (!timer)
        return;
    *ptimer = NULL;
    ev_timer_stop(timer->ev, &timer->w);
    free(timer);
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
    signal_watch_t *watch = (signal_watch_t *)w;

    (void)ev;
    (void)revents;
    watch->cb(watch->baton, w->signum);
}

void ag_loop_signal(ag_loop_t *loop, int signum, ag_loop_signal_cb_t cb, void *baton)
{
    signal_watch_t *watch = must(calloc(1, sizeof *watch));

    watch->cb = cb;
    watch->baton = baton;
    ev_signal_init(&watch->w, on_signal, signum);
    ev_signal_start(loop->ev, &watch->w);
    ev_unref(loop->ev);
}

static void on_child(struct ev_loop *ev, ev_child *w, int revents)
{
    child_watch_t *watch = (child_watch_t *)w;

    (void)revents;
    ev_child_stop(ev, w);
    watch->cb(watch->baton, w->rpid, w->rstatus);
    free(watch);
}

void ag_loop_child(ag_loop_t *loop, pid_t pid, ag_loop_child_cb_t cb, void *baton)
{
    child_watch_t *watch = must(calloc(1, sizeof *watch));

    watch->cb = cb;
    watch->baton = baton;
    ev_child_init(&watch->w, on_child, pid, 0);
    ev_child_start(loop->ev, &watch->w);
}

static void on_any_child(struct ev_loop *ev, ev_child *w, int revents)
{
    ag_loop_t *loop = w->data;

    (void)ev;
    (void)revents;
    loop->orphan_cb(loop->orphan_baton, w->rpid, w->rstatus);
}

void ag_loop_orphans(ag_loop_t *loop, ag_loop_child_cb_t cb, void *baton)
{
    loop->orphan_cb = cb;
    loop->orphan_baton = baton;
    ev_child_init(&loop->orphans, on_any_child, 0, 0);
    loop->orphans.data = loop;
    ev_child_start(loop->ev, &loop->orphans);
    ev_unref(loop->ev);
}
