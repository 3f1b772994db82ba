/* Requests: they come, wait, are served, leave; and do inside the pool's callbacks what real ones do there. */
#include "helper/oob.h"
#include "t/sim/sim.h"
#include <string.h>

typedef struct sim_visitor_t sim_visitor_t;

/* Made for each request, so that whoever touches one that is over is found out. */
typedef struct {
    hp_queue_waiter_t waiter; /* first: the group hands it back */
    sim_visitor_t *visitor;
} request_t;

struct sim_visitor_t {
    TAILQ_ENTRY(sim_visitor_t) entry; /* in its group's queue, or in its process */
    enum { AWAY, WAITING, SERVED } state;
    int number, home, tries;
    int linked; /* has a connection to the process */
    sim_group_t *group, *cookie_group;
    request_t *request;
    hp_process_t *process;
    sim_process_t *at;
    hp_group_t *submitted;
    uint32_t cookie;
    apr_time_t since;
    sim_event_t event;
};

static sim_visitor_t *visitors;

static void go_away(sim_visitor_t *v)
{
    v->state = AWAY;
    free(v->request);
    v->request = NULL;
    if (v->submitted)
        hp_group_unuse(v->submitted);
    v->submitted = NULL;
    if (!sim.closing)
        sim_event_set(&v->event, sim.now + (sim_percent(30) ? 0 : sim_time(0, sim.think)));
}

/* -- connections to processes: only their number matters -- */

static void close_idle(hp_process_t *process)
{
    sim_process_t *at = sim_watchdog_find(process->id);

    process->nlinks -= at->idle_links;
    at->idle_links = 0;
}

static int connect_process(sim_visitor_t *v)
{
    sim_process_t *at = v->at;

    if (at->life == SIM_DEAD && (at->idle_links == 0 || sim_percent(50)))
        return 0;
    if (at->idle_links > 0) {
        at->idle_links--;
    } else {
        v->process->nlinks++;
        v->process->close_idle_links = close_idle;
    }
    v->linked = 1;
    return 1;
}

static void leave(sim_visitor_t *v, int keep, int broken)
{
    hp_process_t *process = v->process;
    sim_process_t *at = v->at;

    if (v->linked && keep && process->state == HP_PROCESS_READY) {
        at->idle_links++;
    } else if (v->linked) {
        process->nlinks--;
        hp_process_release(process);
    }
    v->linked = 0;
    v->process = NULL;
    v->at = NULL;
    v->state = AWAY;
    TAILQ_REMOVE(&at->visitors, v, entry);
    at->in_flight--;
    if (!broken)
        sim_checks_works(v->group);
    hp_group_done(process, &v->request->waiter.work, broken);
}

/* -- what the group says -- */

static void submit(sim_visitor_t *v)
{
    v->state = WAITING;
    v->since = sim_clock_pace();
    TAILQ_INSERT_TAIL(&v->group->queue, v, entry);
    v->group->queued++;
    hp_group_submit(v->submitted, &v->request->waiter);
}

static void unqueue(sim_visitor_t *v)
{
    MUST(v->state == WAITING, "visitor %d gets a second answer", v->number);
    TAILQ_REMOVE(&v->group->queue, v, entry);
    v->group->queued--;
}

/* In the order in which they came, but for those that want a process of their own. */
static void check_order(const sim_visitor_t *v)
{
    const sim_visitor_t *other;

    if (v->request->waiter.sticky)
        return;
    TAILQ_FOREACH(other, &v->group->queue, entry)
    {
        if (other->request->waiter.sticky)
            continue;
        MUST(other == v, "visitor %d is served before visitor %d, who waits for longer", v->number, other->number);
        return;
    }
}

static void check_process(const sim_visitor_t *v, const hp_process_t *process)
{
    const sim_process_t *at = v->at;

    MUST(at && at->known && process->state == HP_PROCESS_READY, "visitor %d is served by process %d, which is not there",
         v->number, (int)process->id);
    MUST(&sim.groups[at->group] == v->group, "visitor %d of group %s is served by process %d of group %s", v->number,
         v->group->name, (int)at->id, sim.groups[at->group].name);
    MUST(process->concurrency == 0 || at->in_flight < process->concurrency, "process %d has %d requests, one too many",
         (int)at->id, at->in_flight + 1);
}

/* Its body has been kept meanwhile. */
static void admit(sim_visitor_t *v)
{
    SAY("visitor %d may send", v->number);
    MUST(v->request->waiter.asks, "visitor %d is served by nobody", v->number);
    unqueue(v);
    v->request->waiter.asks = 0;
    sim_counts.admitted++;
    submit(v);
}

static void serve(hp_queue_waiter_t *waiter, hp_process_t *process)
{
    sim_visitor_t *v = ((request_t *)waiter)->visitor;

    if (!process) {
        admit(v);
        return;
    }
    MUST(!waiter->asks, "visitor %d gets a process, and only asked", v->number);
    SAY("visitor %d is served by process %d", v->number, (int)process->id);
    check_order(v);
    unqueue(v);
    v->at = sim_watchdog_find(process->id);
    check_process(v, process);
    sim_checks_choice(v->group, process, waiter->sticky);
    v->state = SERVED;
    v->process = process;
    v->at->in_flight++;
    TAILQ_INSERT_TAIL(&v->at->visitors, v, entry);
    if (waiter->sticky && waiter->sticky == process->sticky_id)
        sim_counts.sticky++;
    sim_event_clear(&v->event);
    if (connect_process(v)) {
        sim_counts.served++;
        v->cookie = process->sticky_id;
        v->cookie_group = v->group;
        if (sim_percent(99)) {
            sim_event_set(&v->event,
                          sim.now + (sim_percent(95) ? sim_time(0, v->group->service) : sim_time(0, 20 * v->group->service)));
            return;
        }
        sim_counts.lost++; /* short of something; nothing was sent */
        leave(v, 0, 0);
        go_away(v);
        return;
    }
    sim_counts.retried++;
    leave(v, 0, 1);
    if (++v->tries < 3)
        submit(v);
    else
        go_away(v);
}

static void refuse(hp_queue_waiter_t *waiter, const hp_report_t *report, int friendly)
{
    sim_visitor_t *v = ((request_t *)waiter)->visitor;

    (void)friendly;
    SAY("visitor %d is refused: %s", v->number, report->sentence);
    unqueue(v);
    MUST(report->status == 500 || report->status == 503 || report->status == 504, "an answer with status %d", report->status);
    sim_counts.refused++;
    sim_counts.busy += report->status == 503;
    go_away(v);
}

/* -- what visitors do -- */

hp_group_t *sim_visitors_group(sim_group_t *group)
{
    hp_config_t *config = group->former && !sim.closing && sim_percent(2) ? group->former : group->config;
    hp_group_t *found;

    if (!group->taken || config->config_generation > group->taken->config_generation) {
        sim_checks_fresh(group);
        group->taken = config;
        group->taken_since = sim.now;
    }
    found = hp_pool_group(sim.pool, config);
    MUST(found, "no group for %s", config->name);
    group->core = found;
    if (group->cookie != *hp_group_cookie(found)) { /* it was forgotten, or never known */
        group->cookie = *hp_group_cookie(found);
        group->proven = group->least = 0;
        sim_checks_fresh(group);
    }
    return found;
}

static void come(sim_visitor_t *v)
{
    static const char pairs[] = "REQUEST_METHOD\0GET";

    sim_event_clear(&v->event);
    v->group = &sim.groups[sim_percent(85) ? v->home : sim_below(sim.ngroups)];
    SAY("visitor %d comes to %s", v->number, v->group->name);
    v->request = calloc(1, sizeof *v->request);
    if (!v->request)
        abort();
    v->request->visitor = v;
    v->request->waiter.serve = serve;
    v->request->waiter.refuse = refuse;
    v->request->waiter.work.pairs = pairs;
    v->request->waiter.work.pairs_len = sizeof pairs;
    v->tries = 0;
    v->submitted = sim_visitors_group(v->group);
    hp_group_use(v->submitted);
    v->request->waiter.max_wait = sim_percent(95) ? v->group->config->options->max_request_queue_time : sim_below(10);
    if (v->group->config->options->sticky_sessions > 0)
        v->request->waiter.sticky = v->cookie_group == v->group && sim_percent(80) ? v->cookie : sim_percent(10) ? 12345 : 0;
    v->request->waiter.asks = sim_percent(10);
    submit(v);
    if (v->state != WAITING)
        return;
    sim_counts.queued++;
    if (sim_percent(20))
        sim_event_set(&v->event, sim.now + sim_time(0, 10 * SECOND));
}

/* Its time in the process is over, one way or another. */
static void finish(sim_visitor_t *v)
{
    int dead = v->at->life == SIM_DEAD, broken = dead ? sim_percent(50) : sim_rarely(30);

    SAY("visitor %d leaves process %d%s%s", v->number, (int)v->at->id, dead ? ", which is dead" : "", broken ? ", broken" : "");
    sim_counts.broken += broken;
    if (!broken && sim_rarely(20)) { /* it has been there for too long */
        sim_counts.stuck++;
        SAY("process %d is stuck", (int)v->at->id);
        hp_process_stuck(v->process);
    }
    if (!broken && sim_percent(4))
        hp_oob_ask(v->process);
    leave(v, !broken && !dead && sim_percent(80), broken);
    go_away(v);
}

static void fire(void *baton)
{
    sim_visitor_t *v = baton;

    if (v->state == WAITING) {
        SAY("visitor %d gives up", v->number);
        sim_counts.cancelled++;
        unqueue(v);
        hp_group_cancel(v->submitted, &v->request->waiter);
        go_away(v);
    } else if (v->state == SERVED) {
        finish(v);
    } else if (!sim.listening) {
        sim_event_set(&v->event, sim.now + sim_time(0, 300 * MS));
    } else if (!sim.closing) {
        come(v);
    }
}

void sim_visitors_create(int n)
{
    sim.nvisitors = n;
    visitors = calloc((size_t)n, sizeof *visitors);
    if (!visitors)
        abort();
    for (int i = 0; i < n; i++) {
        visitors[i].number = i;
        visitors[i].home = sim_below(sim.ngroups);
        visitors[i].event.fire = fire;
        visitors[i].event.baton = &visitors[i];
        sim_event_set(&visitors[i].event, sim.now + sim_time(0, SECOND));
    }
}

void sim_visitors_core_ended(void)
{
    sim_oob_core_ended();
    for (int i = 0; i < sim.nvisitors; i++) {
        sim_visitor_t *v = &visitors[i];
        if (v->state == WAITING)
            unqueue(v);
        else if (v->state == SERVED)
            TAILQ_REMOVE(&v->at->visitors, v, entry);
        else
            continue;
        sim_counts.disconnected++;
        v->process = NULL;
        v->at = NULL;
        v->linked = 0;
        v->submitted = NULL;
        go_away(v);
    }
}

void sim_visitors_process_ended(sim_process_t *process)
{
    sim_visitor_t *v;

    sim_oob_process_ended(process);
    TAILQ_FOREACH(v, &process->visitors, entry)
    sim_event_set(&v->event, sim.now + (sim_percent(50) ? 0 : sim_time(0, 100 * MS)));
    if (process->known && process->idle_links > 0 && sim_percent(50)) {
        hp_process_t *core = hp_process_find(&sim.ctx, process->id);
        if (core)
            close_idle(core);
    }
}

int sim_visitors_busy(void)
{
    int busy = 0;

    for (int i = 0; i < sim.nvisitors; i++)
        busy += visitors[i].state != AWAY;
    return busy;
}

void sim_visitors_destroy(void)
{
    for (int i = 0; i < sim.nvisitors; i++) {
        sim_event_clear(&visitors[i].event);
        free(visitors[i].request);
    }
    free(visitors);
    visitors = NULL;
    sim.nvisitors = 0;
}

apr_time_t sim_visitors_oldest(const sim_group_t *group)
{
    const sim_visitor_t *v, *oldest = NULL;

    TAILQ_FOREACH(v, &group->queue, entry)
    {
        if (!oldest || v->since < oldest->since)
            oldest = v;
    }
    return oldest ? oldest->since : 0;
}

int sim_visitors_servable(const sim_group_t *group)
{
    const sim_process_t *process;
    const sim_visitor_t *v;
    uint32_t sticky;
    int n = 0, usable;

    TAILQ_FOREACH(v, &group->queue, entry)
    {
        sticky = v->request->waiter.sticky;
        usable = 0;
        TAILQ_FOREACH(process, &group->known, entry)
        {
            if (!process->core)
                continue;
            if (sticky && process->core->sticky_id == sticky && process->core->state == HP_PROCESS_READY) {
                usable = hp_process_free(process->core);
                break;
            }
            usable += hp_process_free(process->core);
        }
        n += usable > 0;
    }
    return n;
}

int sim_visitors_is(const hp_queue_waiter_t *waiter, const sim_group_t *group, int n)
{
    const sim_visitor_t *v = TAILQ_FIRST(&group->queue);

    while (v && n-- > 0)
        v = TAILQ_NEXT(v, entry);
    return v && &v->request->waiter == waiter;
}
