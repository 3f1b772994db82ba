#include "mod_passenger/park.h"

#include "apr-glue/clock.h"
#include "mod_passenger/block.h"
#include "mod_passenger/calm.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/handler.h"

#include <ap_mpm.h>
#include <apr_hash.h>
#include <apr_portable.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_core.h>
#include <poll.h>
#include <scoreboard.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>
#include <util_filter.h>

#ifdef AP_MPMQ_CAN_WAITIO
#define WAITIO CONN_STATE_ASYNC_WAITIO
#else
#define AP_MPMQ_CAN_WAITIO (-1)
#define WAITIO             CONN_STATE_SUSPENDED
#endif

#define GLANCE_MS   4                      /* is waited in the thread, since most of what is waited for comes at once */
#define STAY        apr_time_from_msec(50) /* may be waited in the thread in all, where threads are plenty: to park costs more than to wait */
#define SOON        apr_time_from_msec(20) /* a request that came back within this time may glance again */
#define VAIN        8                      /* requests of an application that waited in vain, one after another: the next are parked at once */
#define HABITS      64
#define TICK_MAX    apr_time_from_sec(1)
#define SPARE_FDS   64                     /* Apache ends a child that can't accept for want of descriptors, so parking leaves it some */

/* A request whose output has been put aside, so that Apache takes it for answered. In its pool. */
typedef struct aside_t {
    request_rec *r;
    ap_filter_t *output;
    struct aside_t *next;
} aside_t;

/* A connection whose request is, was, or may be parked. Lives in c->pool. */
typedef struct park_t {
    mp_park_lot_t *lot;
    conn_rec *c;
    request_rec *r;
    mp_handler_call_t *call; /* the parked request; NULL: none */
    int nested;              /* the other process_connection hooks run below ours */
    int whole;               /* mp_park_whole runs other modules' quick handlers */
    request_rec *detour;     /* from which an internal redirect may be parked; NULL: none */
    aside_t *aside;          /* while parked below detours */
    int eager;               /* glance before parking */
    int fresh;               /* the request has not been parked yet */
    unsigned char *vain;     /* what is known of its application */
    apr_time_t stay_until;   /* by STAY; 0: the request has not waited in a thread yet */
    int place;               /* the epoll descriptor, or -1 */
    int client_fd;           /* what the socket contained; valid while parked */
    int parked;              /* the socket contains `place` */
    mp_link_want_t want;
    mp_link_wait_t news;
    apr_time_t since, poke_at;
    int poked;
    TAILQ_ENTRY(park_t) others;
} park_t;

struct mp_park_lot_t {
    apr_thread_mutex_t *mutex; /* guards the list, and the places of those on it */
    TAILQ_HEAD(, park_t) parked;
    int bell; /* always readable: in a place, it wakes the request there */
    int fd_limit;
    apr_interval_time_t tick;
    apr_thread_t *clock;
    apr_thread_cond_t *changed;
    int closing;              /* the child ends */
    int staying, staying_max; /* atomic: threads in which requests wait by STAY; half of all */
    int open, waking;         /* atomic: there has been a connection; the listener has been woken and not answered yet */
    unsigned char vain[HABITS]; /* atomic: how many requests in a row waited in vain; by application, which may share one */
};

static apr_status_t close_bell(void *lot)
{
    close(((mp_park_lot_t *) lot)->bell);
    return APR_SUCCESS;
}

/* Requests must be woken well before the shortest time-out ends them. */
static apr_interval_time_t choose_tick(const server_rec *s)
{
    apr_interval_time_t tick = TICK_MAX;

    for (; s; s = s->next) {
        if (s->timeout / 5 < tick)
            tick = s->timeout / 5;
    }
    return tick > apr_time_from_msec(50) ? tick : apr_time_from_msec(50);
}

static park_t *park_of(const conn_rec *c)
{
    return c->master ? NULL : ap_get_module_config(c->conn_config, &passenger_module);
}

/* -- the clock -- */

/* Wakes those whose time has come, or that have to end. The MPM's own time-out would end them, although an application may take as long as it likes;
 * deadlines and mod_reqtimeout's limits are looked at only when a request runs. */
static void poke(mp_park_lot_t *lot)
{
    apr_time_t now = ag_clock_now();
    park_t *park;

    TAILQ_FOREACH (park, &lot->parked, others) {
        struct epoll_event event = {.events = EPOLLIN};

        event.data.fd = lot->bell;
        if (!park->poked && (now >= park->poke_at || mp_handler_due(park->call)))
            park->poked = epoll_ctl(park->place, EPOLL_CTL_ADD, lot->bell, &event) == 0;
    }
}

static void awake(void *baton)
{
    __atomic_store_n(&((mp_park_lot_t *) baton)->waking, 0, __ATOMIC_RELAXED);
}

/* A thread for it, because the MPM's timed callbacks come late: its listener, when it sleeps, does not count with them. But it wakes up when one
 * is made, and that is needed too: see the README, "A listener that sleeps". Before the first connection the MPM has no clock. */
static void *APR_THREAD_FUNC keep_time(apr_thread_t *thread, void *baton)
{
    mp_park_lot_t *lot = baton;

    (void) thread;
    apr_thread_mutex_lock(lot->mutex);
    while (!lot->closing) {
        apr_thread_cond_timedwait(lot->changed, lot->mutex, lot->tick);
        poke(lot);
        if (__atomic_load_n(&lot->open, __ATOMIC_RELAXED) && !__atomic_exchange_n(&lot->waking, 1, __ATOMIC_RELAXED))
            ap_mpm_register_timed_callback(0, awake, lot);
    }
    apr_thread_mutex_unlock(lot->mutex);
    return NULL;
}

static apr_status_t stop_clock(void *baton)
{
    mp_park_lot_t *lot = baton;
    apr_status_t rv;

    apr_thread_mutex_lock(lot->mutex);
    lot->closing = 1;
    apr_thread_cond_signal(lot->changed);
    apr_thread_mutex_unlock(lot->mutex);
    return apr_thread_join(&rv, lot->clock);
}

mp_park_lot_t *mp_park_lot_create(apr_pool_t *pchild, server_rec *s)
{
    mp_park_lot_t *lot = apr_pcalloc(pchild, sizeof(*lot));
    int can = 0, threads = 0;
    struct rlimit nofile;

    if (!mp_conf_global()->async_requests || ap_mpm_query(AP_MPMQ_CAN_WAITIO, &can) != APR_SUCCESS || !can)
        return NULL;
    lot->bell = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lot->bell < 0)
        return NULL;
    apr_pool_cleanup_register(pchild, lot, close_bell, apr_pool_cleanup_null);
    lot->fd_limit = INT_MAX;
    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0 && nofile.rlim_cur < INT_MAX)
        lot->fd_limit = (int) nofile.rlim_cur - SPARE_FDS;
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    lot->staying_max = threads / 2;
    lot->tick = choose_tick(s);
    TAILQ_INIT(&lot->parked);
    if (apr_thread_mutex_create(&lot->mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS ||
        apr_thread_cond_create(&lot->changed, pchild) != APR_SUCCESS ||
        apr_thread_create(&lot->clock, NULL, keep_time, lot, pchild) != APR_SUCCESS)
        return NULL;
    apr_pool_pre_cleanup_register(pchild, lot, stop_clock);
    return lot;
}

static int limits_reading(const conn_rec *c)
{
    const ap_filter_t *f;

    for (f = c->input_filters; f && strcmp(f->frec->name, "reqtimeout") != 0; f = f->next)
        ;
    return f != NULL;
}

static apr_time_t when_to_poke(const park_t *park)
{
    apr_interval_time_t timeout = park->r->server->timeout;
    apr_time_t at;

    if (park->c->base_server->timeout < timeout)
        timeout = park->c->base_server->timeout; /* the MPM takes either */
    at = park->since + timeout / 10 * 6;
    if (park->want.deadline && park->want.deadline < at)
        at = park->want.deadline;
    if (park->want.deadline && (park->want.client_events & POLLIN) && limits_reading(park->c) && park->since + TICK_MAX < at)
        at = park->since + TICK_MAX;
    return at;
}

/* -- places -- */

static void leave_place(park_t *park)
{
    if (park->place >= 0)
        close(park->place);
    park->place = -1;
}

static int watch(int place, int fd, short events)
{
    struct epoll_event event = {.events = (uint32_t) events};

    event.data.fd = fd;
    return epoll_ctl(place, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Everything that can fail is done before the MPM is told. */
static int take_place(park_t *park)
{
    const mp_link_want_t *want = &park->want;

    if ((!want->link && want->client_fd < 0) || (want->deadline && want->client_fd < 0))
        return 0;
    park->place = epoll_create1(EPOLL_CLOEXEC);
    if (park->place >= 0 && park->place < park->lot->fd_limit && (!want->link || watch(park->place, want->link->fd, want->link_events)) &&
        (want->client_fd < 0 || watch(park->place, want->client_fd, want->client_events)))
        return 1;
    leave_place(park);
    return 0;
}

static mp_link_wait_t look(const park_t *park)
{
    struct epoll_event events[3];
    mp_link_wait_t news = MP_LINK_TIMEOUT;
    int i, n = epoll_wait(park->place, events, AG_LEN(events), 0);

    for (i = 0; i < n; i++) {
        if (events[i].data.fd == park->want.client_fd)
            return MP_LINK_CLIENT_READY;
        if (events[i].data.fd != park->lot->bell)
            news = MP_LINK_READY;
    }
    return news;
}

/* -- the request -- */

static apr_status_t on_request_gone(void *baton)
{
    park_t *park = baton;

    if (park->call)
        mp_handler_abandon(park->call);
    park->call = NULL;
    park->aside = NULL;
    if (!park->parked)
        leave_place(park);
    return APR_SUCCESS;
}

/* What is left of STAY. Clients have none, because a few slow ones would be enough to hold all the threads that there are for it. */
static int stay_ms(park_t *park)
{
    apr_time_t now;

    if (park->want.deadline)
        return 0;
    now = ag_clock_now();
    if (!park->stay_until)
        park->stay_until = now + STAY;
    return park->stay_until > now ? (int) apr_time_as_msec(park->stay_until - now) : 0;
}

/* What is known of the application: how many of its latest requests would have held a thread in vain. One that is slow now pays neither for the wait
 * in the thread nor for its end; the first answer that comes in time changes that. */
static unsigned char *habit_of(mp_park_lot_t *lot, const mp_map_app_t *app)
{
    apr_ssize_t len = APR_HASH_KEY_STRING;

    return &lot->vain[apr_hashfunc_default(app->group, &len) % HABITS];
}

static int is_slow(const park_t *park)
{
    return __atomic_load_n(park->vain, __ATOMIC_RELAXED) >= VAIN;
}

static void learn(const park_t *park, int in_time)
{
    unsigned char known = __atomic_load_n(park->vain, __ATOMIC_RELAXED);

    if (in_time && known)
        __atomic_store_n(park->vain, 0, __ATOMIC_RELAXED);
    else if (!in_time && known < VAIN)
        __atomic_store_n(park->vain, (unsigned char) (known + 1), __ATOMIC_RELAXED);
}

/* Waits a little in the thread. 1: something came. */
static int glance(park_t *park, mp_handler_call_t *call)
{
    const mp_link_want_t *want = &park->want;
    mp_link_wait_t news = MP_LINK_TIMEOUT;
    int ms;

    if (want->pause) {
        mp_link_pause(want->pause);
        return 1;
    }
    if (!park->eager || (park->fresh && !want->deadline && is_slow(park)))
        return 0;
    ms = stay_ms(park);
    if (__atomic_add_fetch(&park->lot->staying, 1, __ATOMIC_RELAXED) > park->lot->staying_max)
        ms = 0;
    /* Who receives has waited already. */
    if (ms < GLANCE_MS && (want->deadline || want->link_events != POLLIN))
        ms = GLANCE_MS;
    if (ms) {
        news = mp_link_wait(want, ms);
        mp_handler_hear(call, news);
    }
    __atomic_sub_fetch(&park->lot->staying, 1, __ATOMIC_RELAXED);
    return news != MP_LINK_TIMEOUT;
}

/* Goes on until the request is over (0), or has a place to wait in (1). */
static int advance(park_t *park, mp_handler_call_t *call)
{
    while (mp_handler_go(call, &park->want)) {
        if (glance(park, call))
            continue;
        /* The MPM closes the connection of an aborted request instead of waiting. */
        if (!park->c->aborted && take_place(park))
            return 1;
        mp_block_run(call);
        break;
    }
    mp_calm_end(park->c);
    return 0;
}

static int may_park(const park_t *park, const request_rec *r)
{
    return park && park->nested && !r->main && r->prev == park->detour && park->c->cs && !park->c->clogging_input_filters &&
           !mp_conf_options(r)->buffer_response; /* which hands over more at once than flows on without waiting */
}

/* ap_internal_redirect() ends a request with ap_die(), which makes an error of SUSPENDED, but leaves one alone that cannot be answered any more. */
static int suspend(park_t *park, request_rec *r)
{
    aside_t *aside;

    if (!r->prev)
        return SUSPENDED;
    aside = apr_palloc(r->pool, sizeof(*aside));
    *aside = (aside_t){.r = r, .output = r->output_filters, .next = park->aside};
    park->aside = aside;
    r->output_filters = r->connection->output_filters;
    return SUSPENDED;
}

static void put_back(park_t *park)
{
    for (; park->aside; park->aside = park->aside->next)
        park->aside->r->output_filters = park->aside->output;
}

int mp_park_detour(request_rec *r)
{
    park_t *park = park_of(r->connection);
    request_rec *outer;
    int rc;

    if (!park || !park->nested || r->main || r->prev != park->detour)
        return DECLINED;
    outer = park->detour;
    park->detour = r;
    rc = ap_run_handler(r);
    park->detour = outer;
    return park->call ? suspend(park, r) : rc;
}

/* Has Apache answer with an error, whose page may be parked. */
static void die(park_t *park, request_rec *r, int status)
{
    park->detour = r;
    ap_die(status, r);
    park->detour = NULL;
}

/* 1 if a URI of this server's answers in place of the error. */
static int has_page(request_rec *r, int status)
{
    const char *page = ap_is_HTTP_VALID_RESPONSE(status) ? ap_response_code_string(r, ap_index_of_response(status)) : NULL;

    return page && *page == '/';
}

int mp_park_whole(request_rec *r)
{
    park_t *park = park_of(r->connection);
    int rc;

    if (!park || !park->nested || park->whole || r->main || r->prev)
        return DECLINED;
    park->whole = 1;
    rc = ap_run_quick_handler(r, 0);
    park->whole = 0;
    if (rc == DECLINED && OK == (rc = ap_process_request_internal(r)))
        rc = ap_invoke_handler(r);
    if (!has_page(r, rc))
        return rc;
    die(park, r, rc);
    return park->call ? SUSPENDED : DONE;
}

int mp_park_run(mp_park_lot_t *lot, request_rec *r, const mp_map_app_t *app, mp_link_pool_t *links)
{
    park_t *park = lot ? park_of(r->connection) : NULL;
    mp_handler_call_t *call;
    int gentle = may_park(park, r), rc = mp_handler_create(&call, r, app, links, gentle);

    if (rc != OK || !gentle)
        return rc == OK ? mp_block_run(call) : rc;
    park->eager = park->fresh = 1;
    park->vain = habit_of(lot, app);
    park->stay_until = 0;
    mp_handler_hurry(call, is_slow(park));
    if (!advance(park, call)) {
        learn(park, 1);
        return mp_handler_result(call);
    }
    park->r = r;
    park->call = call;
    apr_pool_cleanup_register(r->pool, park, on_request_gone, apr_pool_cleanup_null);
    return suspend(park, r);
}

/* What Apache does with a handler's result. */
static void conclude(park_t *park, request_rec *r, int result)
{
    int status = r->status;

    if (result == OK) {
        ap_finalize_request_protocol(r);
        return;
    }
    /* An error page of the server's own is looked for only if there was no error before. */
    r->status = r->prev ? r->prev->status : HTTP_OK;
    park->nested = 1;
    die(park, r, result);
    park->nested = 0;
    if (result == AP_FILTER_ERROR && r->status == HTTP_OK)
        r->status = status;
}

static void go_on(park_t *park)
{
    mp_handler_call_t *call = park->call;
    request_rec *r = park->r;
    conn_rec *c = park->c;
    apr_time_t now = ag_clock_now();

    ap_update_child_status(c->sbh, SERVER_BUSY_WRITE, r);
    if (ap_extended_status)
        ap_time_process_request(c->sbh, START_PREQUEST);
    put_back(park);
    park->eager = now - park->since < SOON;
    if (park->fresh && !park->want.deadline)
        learn(park, now < (park->stay_until ? park->stay_until : park->since + STAY));
    park->fresh = 0;
    mp_handler_hurry(call, !park->eager);
    mp_handler_hear(call, park->news);
    if (!advance(park, call)) {
        /* The request may live on for long, until a slow client has taken the last of it. */
        park->call = NULL;
        park->r = NULL;
        apr_pool_cleanup_kill(r->pool, park, on_request_gone);
        conclude(park, r, mp_handler_result(call));
    }
    if (park->call) {
        if (ap_extended_status)
            ap_time_process_request(c->sbh, STOP_PREQUEST);
        c->cs->state = WAITIO;
        c->cs->sense = CONN_SENSE_WANT_READ;
        return;
    }
    while (r->prev)
        r = r->prev;
    ap_process_request_after_handler(r);
}

/* -- the connection -- */

int mp_park_process(mp_park_lot_t *lot, conn_rec *c)
{
    park_t *park = park_of(c);
    int rc;

    if (!lot || c->master || !c->cs || (park && park->nested))
        return DECLINED;
    if (!park) {
        park = apr_pcalloc(c->pool, sizeof(*park));
        park->lot = lot;
        park->c = c;
        park->place = -1;
        ap_set_module_config(c->conn_config, &passenger_module, park);
        __atomic_store_n(&lot->open, 1, __ATOMIC_RELAXED);
    }
    if (park->call) {
        go_on(park);
        return OK;
    }
    park->nested = 1;
    rc = ap_run_process_connection(c);
    park->nested = 0;
    if (park->call) {
        c->cs->state = WAITIO;
        c->cs->sense = CONN_SENSE_WANT_READ;
    }
    return rc == DECLINED ? OK : rc;
}

void mp_park_suspend(conn_rec *c)
{
    park_t *park = park_of(c);
    mp_park_lot_t *lot;
    apr_socket_t *sock;

    if (!park || !park->call || c->cs->state != WAITIO)
        return;
    lot = park->lot;
    sock = ap_get_conn_socket(c);
    apr_os_sock_get(&park->client_fd, sock);
    apr_os_sock_put(&sock, &park->place, c->pool);
    park->parked = 1;
    if (park->want.link)
        mp_link_park(park->want.link, 1);
    park->poked = 0;
    park->since = ag_clock_now();
    park->poke_at = when_to_poke(park);
    apr_thread_mutex_lock(lot->mutex);
    TAILQ_INSERT_TAIL(&lot->parked, park, others);
    apr_thread_mutex_unlock(lot->mutex);
}

void mp_park_resume(conn_rec *c)
{
    park_t *park = park_of(c);
    apr_socket_t *sock;
    apr_os_sock_t fd = -1;

    if (!park || !park->parked)
        return;
    apr_thread_mutex_lock(park->lot->mutex);
    TAILQ_REMOVE(&park->lot->parked, park, others);
    apr_thread_mutex_unlock(park->lot->mutex);
    park->parked = 0;
    if (park->want.link)
        mp_link_park(park->want.link, 0);
    sock = ap_get_conn_socket(c);
    apr_os_sock_get(&fd, sock);
    if (fd != park->place) {
        /* The MPM could not wait and has closed what it took for the client. */
        park->place = -1;
        close(park->client_fd);
        return;
    }
    apr_os_sock_put(&sock, &park->client_fd, c->pool);
    park->news = look(park);
    leave_place(park);
    /* The MPM's own time-out: what it means is decided when the request goes on. */
    if (c->cs->state == CONN_STATE_LINGER)
        c->cs->state = CONN_STATE_PROCESSING;
}
