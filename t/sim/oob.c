/* Connections on which processes are told to work out of band: they work for a while, or do not, and die of it. */
#include "helper/app_link.h"
#include "t/sim/sim.h"
#include <errno.h>

#define FD (-2) /* of all of them */

/* The first member is what the core sees. */
typedef struct work_t {
    hp_app_link_t link;
    sim_process_t *at;
    sim_event_t event;
    LIST_ENTRY(work_t) entry;
} work_t;

static LIST_HEAD(, work_t) works;

/* The answer has come, or the end of the connection. */
static void fire(void *baton)
{
    work_t *work = baton;

    SAY("process %d has worked out of band", (int)work->at->id);
    work->link.cb(work->link.baton, AG_LOOP_READ);
}

apr_status_t hp_app_link_get(hp_app_link_t **plink, hp_process_t *process, ag_loop_io_cb_t cb, void *baton)
{
    sim_process_t *at = sim_watchdog_find(process->id);
    work_t *work;

    MUST(process->state == HP_PROCESS_READY && process->in_flight == 0, "process %d is told to work while it has %d requests", (int)process->id,
         process->in_flight);
    MUST(!hp_process_free(process), "process %d works and takes requests", (int)process->id);
    if (at->life == SIM_DEAD || sim_rarely(100))
        return ECONNREFUSED;
    work = calloc(1, sizeof *work);
    if (!work)
        abort();
    SAY("process %d is told to work out of band", (int)at->id);
    sim_counts.oob++;
    work->link.process = process;
    work->link.fd = FD;
    work->link.cb = cb;
    work->link.baton = baton;
    work->at = at;
    work->event = (sim_event_t){.fire = fire, .baton = work};
    process->nlinks++;
    LIST_INSERT_HEAD(&works, work, entry);
    sim_event_set(&work->event, sim.now + (sim_percent(95) ? sim_time(0, SECOND) : sim_time(0, 90 * SECOND)));
    if (sim_percent(2))
        sim_watchdog_crash(at);
    *plink = &work->link;
    return APR_SUCCESS;
}

static void forget(work_t *work)
{
    sim_event_clear(&work->event);
    LIST_REMOVE(work, entry);
    free(work);
}

void hp_app_link_close(hp_app_link_t **plink)
{
    work_t *work = (work_t *)*plink;
    hp_process_t *process;

    *plink = NULL;
    if (!work)
        return;
    process = work->link.process;
    work->at->worked = sim.now;
    forget(work);
    process->nlinks--;
    hp_process_release(process);
}

ssize_t __real_send(int fd, const void *buf, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t size, int flags)
{
    if (fd != FD)
        return __real_send(fd, buf, size, flags);
    if (sim_rarely(50)) {
        errno = EPIPE;
        return -1;
    }
    return (ssize_t)size;
}

void sim_oob_core_ended(void)
{
    while (!LIST_EMPTY(&works))
        forget(LIST_FIRST(&works));
}

void sim_oob_process_ended(const sim_process_t *process)
{
    work_t *work;

    LIST_FOREACH (work, &works, entry) {
        if (work->at == process)
            sim_event_set(&work->event, sim.now + (sim_percent(50) ? 0 : sim_time(0, 100 * MS)));
    }
}

int sim_oob_works(void)
{
    return !LIST_EMPTY(&works);
}
