/* The loop: a heap of what happens when. Time passes only between events. */
#include "t/sim/sim.h"

struct ag_loop_t {
    int none;
};

struct ag_loop_timer_t {
    sim_event_t event;
    ag_loop_cb_t cb;
    void *baton;
    int pooled;
    LIST_ENTRY(ag_loop_timer_t) entry;
};

struct ag_loop_io_t {
    int fd, events;
    ag_loop_io_cb_t cb;
    void *baton;
    LIST_ENTRY(ag_loop_io_t) entry;
};

static LIST_HEAD(, ag_loop_timer_t) timers;
static LIST_HEAD(, ag_loop_io_t) ios;
static int ntimers;

static sim_event_t **heap; /* from 1 */
static int nheap, heap_size;

static int before(const sim_event_t *a, const sim_event_t *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put(sim_event_t *event, int pos)
{
    heap[pos] = event;
    event->pos = pos;
}

static void sift(sim_event_t *event, int pos)
{
    int child;

    while (pos > 1 && before(event, heap[pos / 2])) {
        put(heap[pos / 2], pos);
        pos /= 2;
    }
    while ((child = pos * 2) <= nheap) {
        if (child < nheap && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], event))
            break;
        put(heap[child], pos);
        pos = child;
    }
    put(event, pos);
}

void sim_event_clear(sim_event_t *event)
{
    int pos = event->pos;
    sim_event_t *last;

    if (pos == 0)
        return;
    event->pos = 0;
    last = heap[nheap--];
    if (last != event)
        sift(last, pos);
}

void sim_event_set(sim_event_t *event, apr_time_t at)
{
    sim_event_clear(event);
    event->at = at;
    event->order = sim_random();
    if (nheap + 2 > heap_size) {
        heap_size = heap_size * 2 + 64;
        heap = realloc(heap, (size_t)heap_size * sizeof *heap);
        if (!heap)
            abort();
    }
    sift(event, ++nheap);
}

int sim_clock_step(void)
{
    sim_event_t *event = nheap > 0 ? heap[1] : NULL;

    if (!event)
        return 0;
    sim_event_clear(event);
    if (event->at > sim.now)
        sim.now = event->at;
    if (!sim.calm && sim_rarely(2)) { /* the machine was busy with something else: much is due at once */
        apr_interval_time_t stall = sim_time(0, 3 * SECOND);
        sim.now += stall;
        sim.stalled += stall;
        sim.stalled_at = sim.now;
        sim_counts.stalled++;
    }
    event->fire(event->baton);
    return 1;
}

void sim_clock_drop(void)
{
    ag_loop_timer_t *timer;
    ag_loop_io_t *io;

    while ((timer = LIST_FIRST(&timers)))
        ag_loop_timer_destroy(&timer);
    while ((io = LIST_FIRST(&ios)))
        ag_loop_io_destroy(&io);
    sim_files_drop();
}

apr_time_t sim_clock_pace(void)
{
    return sim.now - sim.stalled;
}

int sim_clock_watched(int fd)
{
    const ag_loop_io_t *io;

    LIST_FOREACH(io, &ios, entry)
    {
        if (io->fd == fd && (io->events & AG_LOOP_READ))
            return 1;
    }
    return 0;
}

int sim_clock_timers(void)
{
    return ntimers;
}

void sim_clock_readable(int fd)
{
    ag_loop_io_t *io;

    LIST_FOREACH(io, &ios, entry)
    {
        if (io->fd == fd && (io->events & AG_LOOP_READ)) {
            io->cb(io->baton, AG_LOOP_READ);
            return;
        }
    }
}

/* -- what loop.h promises -- */

apr_time_t ag_loop_now(void)
{
    return sim.now;
}

static void fire_timer(void *baton)
{
    ag_loop_timer_t *timer = baton;

    SAY("timer %p", (void *)timer->baton);
    timer->cb(timer->baton);
}

static ag_loop_timer_t *set_up(ag_loop_timer_t *timer, ag_loop_cb_t cb, void *baton)
{
    timer->event.fire = fire_timer;
    timer->event.baton = timer;
    timer->cb = cb;
    timer->baton = baton;
    return timer;
}

ag_loop_timer_t *ag_loop_timer_create(ag_loop_t *loop, ag_loop_cb_t cb, void *baton)
{
    ag_loop_timer_t *timer = calloc(1, sizeof *timer);

    (void)loop;
    if (!timer)
        abort();
    LIST_INSERT_HEAD(&timers, timer, entry);
    ntimers++;
    return set_up(timer, cb, baton);
}

static apr_status_t stop_timer(void *timer)
{
    ag_loop_timer_stop(timer);
    return APR_SUCCESS;
}

ag_loop_timer_t *ag_loop_timer_pooled(ag_loop_t *loop, apr_pool_t *p, ag_loop_cb_t cb, void *baton)
{
    ag_loop_timer_t *timer = apr_pcalloc(p, sizeof *timer);

    (void)loop;
    timer->pooled = 1;
    apr_pool_cleanup_register(p, timer, stop_timer, apr_pool_cleanup_null);
    return set_up(timer, cb, baton);
}

void ag_loop_timer_start(ag_loop_timer_t *timer, apr_interval_time_t after)
{
    /* libev's timers may come a little late, never early. */
    sim_event_set(&timer->event, sim.now + (after > 0 ? after : 0) + (sim_percent(20) ? sim_below(2 * MS) : 0));
}

void ag_loop_timer_stop(ag_loop_timer_t *timer)
{
    sim_event_clear(&timer->event);
}

int ag_loop_timer_active(const ag_loop_timer_t *timer)
{
    return timer->event.pos > 0;
}

void ag_loop_timer_destroy(ag_loop_timer_t **ptimer)
{
    ag_loop_timer_t *timer = *ptimer;

    if (!timer)
        return;
    *ptimer = NULL;
    ag_loop_timer_stop(timer);
    if (timer->pooled)
        return;
    LIST_REMOVE(timer, entry);
    ntimers--;
    free(timer);
}

ag_loop_io_t *ag_loop_io_create(ag_loop_t *loop, int fd, int events, ag_loop_io_cb_t cb, void *baton)
{
    ag_loop_io_t *io = calloc(1, sizeof *io);

    (void)loop;
    if (!io)
        abort();
    MUST(sim_files_is_open(fd), "descriptor %d is watched and not open", fd);
    *io = (ag_loop_io_t){.fd = fd, .events = events, .cb = cb, .baton = baton};
    LIST_INSERT_HEAD(&ios, io, entry);
    return io;
}

void ag_loop_io_set(ag_loop_io_t *io, int events)
{
    io->events = events;
}

void ag_loop_io_destroy(ag_loop_io_t **pio)
{
    ag_loop_io_t *io = *pio;

    if (!io)
        return;
    *pio = NULL;
    LIST_REMOVE(io, entry);
    free(io);
}
