#include "mod_passenger/farewell.h"

#include "apr-glue/clock.h"
#include "mod_passenger/conf.h"

#include <ap_mpm.h>
#include <http_main.h>
#include <scoreboard.h>
#include <signal.h>
#include <strings.h>
#include <unistd.h>

#define PATIENCE apr_time_from_sec(2)  /* old children with nothing to do are gone before */
#define STEP     apr_time_from_sec(6)  /* in which those who went first are gone, and a new child serves */
#define FORCE    apr_time_from_sec(30) /* after which it is better that one request fails than that all visitors wait */
#define LOOK     apr_time_from_msec(200)
#define KEPT     "mod_passenger.farewell/1"

/* Of this child: a signal has to find it. Its threads share it, atomically. */
typedef struct {
    int generation;
    apr_time_t looked, stopping, crowd, shut; /* when it was looked last, and since when it is so; 0: it is not */
    int nplaces;
    int first;                                /* the others wait for what comes of this one's end */
    int serving;                              /* how many children were not to go */
    int told[2];
    mp_link_pool_t *links;
    int hurry; /* the parent sent another SIGTERM */
} self_t;

/* What Apache's places are taken by. */
typedef struct {
    int n;         /* that children are started in */
    int full, accepting;
    int serving;   /* that are not to go, whether they accept connections now or not */
    int reloaded;  /* there are children of before a reload */
    int oldest;
} places_t;

void mp_farewell_child_init(void)
{
    self_t *self = ap_retained_data_create(KEPT, sizeof(*self));

    ap_mpm_query(AP_MPMQ_GENERATION, &self->generation);
}

/* The children send it to themselves, too, to wake up their main thread: so nothing that it waits in is to be restarted. */
static void on_sigterm(int sig, siginfo_t *info, void *context)
{
    (void) sig;
    (void) context;
    if (info->si_pid == getppid())
        __atomic_store_n(&((self_t *) ap_retained_data_get(KEPT))->hurry, 1, __ATOMIC_RELEASE);
}

/* Once they have begun to go, children with threads do nothing upon SIGTERM, and are killed after nine seconds, in which the parent waits. */
void mp_farewell_begin(mp_link_pool_t *links)
{
    struct sigaction action = {.sa_sigaction = on_sigterm, .sa_flags = SA_SIGINFO};
    int threaded = AP_MPMQ_NOT_SUPPORTED;

    ((self_t *) ap_retained_data_get(KEPT))->links = links;
    if (ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded) == APR_SUCCESS && threaded != AP_MPMQ_NOT_SUPPORTED)
        sigaction(SIGTERM, &action, NULL);
}

/* As Apache counts when it decides if it needs more children. */
static int has_idle_thread(int place, int threads)
{
    int i;

    for (i = 0; i < threads; i++) {
        const worker_score *worker = ap_get_scoreboard_worker_from_indexes(place, i);

        if (worker && worker->status <= SERVER_READY)
            return 1;
    }
    return 0;
}

static int is_async(void)
{
    int async = 0;

    return ap_mpm_query(AP_MPMQ_IS_ASYNC, &async) == APR_SUCCESS && async == 1;
}

/* `most`: children that Apache wants at most. Only the event MPM starts them beside old ones, in as many places as ServerLimit says (event.c,
 * prefork.c, worker.c, perform_idle_server_maintenance, 2.4.68). */
static void count(places_t *places, int generation, int most)
{
    const global_score *all = ap_scoreboard_image->global;
    int i, threads = 0;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    *places = (places_t){.full = 1, .oldest = 1, .n = is_async() ? all->server_limit : most};
    for (i = 0; i < all->server_limit; i++) {
        const process_score *child = ap_get_scoreboard_process(i);

        if (!child->pid) {
            places->full &= i >= places->n;
        } else if (child->generation != all->running_generation) {
            places->reloaded = 1;
            places->oldest &= child->generation >= generation;
        } else if (!child->quiescing) {
            places->serving++;
            places->accepting += !child->not_accepting && has_idle_thread(i, threads > 0 ? threads : 1);
        }
    }
}

static void set_since(apr_time_t *psince, int is, apr_time_t now)
{
    apr_time_t since = __atomic_load_n(psince, __ATOMIC_RELAXED);

    if (!is || !since)
        __atomic_store_n(psince, is ? now : 0, __ATOMIC_RELAXED);
}

/* One thread at a time looks, and not too often. */
static void look(self_t *self, apr_time_t now)
{
    apr_time_t looked = __atomic_load_n(&self->looked, __ATOMIC_RELAXED);
    places_t places;
    int most = 0, nobody, first;

    if (now - looked < LOOK || !__atomic_compare_exchange_n(&self->looked, &looked, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    set_since(&self->stopping, 1, now);
    if (!ap_exists_scoreboard_image() || ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &most) != APR_SUCCESS)
        return;
    count(&places, self->generation, most);
    __atomic_store_n(&self->nplaces, places.n, __ATOMIC_RELAXED);
    /* Where there is a place, Apache starts a child within a second or two, unless it is to end. */
    nobody = !places.accepting && places.serving < most;
    first = places.oldest && (places.full || !places.reloaded);
    if (__atomic_exchange_n(&self->serving, places.serving, __ATOMIC_RELAXED) != places.serving ||
        first != __atomic_load_n(&self->first, __ATOMIC_RELAXED)) {
        /* Something happened between two looks: patience begins anew. */
        set_since(&self->crowd, 0, now);
        set_since(&self->shut, 0, now);
    }
    set_since(&self->crowd, nobody && places.full && places.reloaded, now);
    set_since(&self->shut, nobody && !(places.full && places.reloaded), now);
    __atomic_store_n(&self->first, first, __ATOMIC_RELAXED);
}

/* 1 if that has been so for at least `patience`. */
static int lasts(const apr_time_t *psince, apr_time_t now, apr_interval_time_t patience)
{
    apr_time_t since = __atomic_load_n(psince, __ATOMIC_RELAXED);

    return since && now - since >= patience;
}

static void tell(self_t *self, int returns)
{
    const char *places = is_async() ? "ServerLimit" : "MaxRequestWorkers";
    int n = __atomic_load_n(&self->nplaces, __ATOMIC_RELAXED);

    if (__atomic_exchange_n(&self->told[returns], 1, __ATOMIC_RELAXED))
        return;
    if (returns)
        MP_LOG(APLOG_WARNING, 0, ap_server_conf, "PSG3300",
               "this child of Apache is of before a reload, and ends its WebSockets and streams of events, because such children have all of "
               "Apache's %d places, and nobody could accept connections: raise %s, or lower PassengerWebSocketGracefulTimeout",
               n, places);
    else
        MP_LOG(APLOG_ERR, 0, ap_server_conf, "PSG3301",
               "this child of Apache is of before a reload, and ends requests that have gone on since then, because such children have all of "
               "Apache's %d places, and nobody could accept connections for %d seconds: raise %s",
               n, (int) apr_time_sec(FORCE), places);
}

static int is_events(const request_rec *r)
{
    return r->method_number == M_GET && r->content_type && strncasecmp(r->content_type, "text/event-stream", 17) == 0;
}

int mp_farewell_now(const request_rec *r, int tunnel, int answers)
{
    int state = AP_MPMQ_RUNNING, first, returns;
    self_t *self;
    apr_interval_time_t limit;
    apr_time_t now;

    if (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS || state != AP_MPMQ_STOPPING)
        return 0;
    self = ap_retained_data_get(KEPT);
    if (__atomic_load_n(&self->hurry, __ATOMIC_ACQUIRE) && !mp_link_pool_stopping(self->links))
        mp_link_pool_stop(self->links, 1);
    now = ag_clock_now();
    look(self, now);
    returns = tunnel || (answers && is_events(r));
    limit = apr_time_from_sec(mp_conf_options(r)->websocket_graceful_timeout);
    first = __atomic_load_n(&self->first, __ATOMIC_RELAXED);
    if (returns && ((limit && lasts(&self->stopping, now, limit)) || lasts(&self->shut, now, first ? PATIENCE : STEP)))
        return 1;
    if (!lasts(&self->crowd, now, !returns ? FORCE : first ? PATIENCE : STEP))
        return 0;
    tell(self, returns);
    return 1;
}
