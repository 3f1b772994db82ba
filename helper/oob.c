#include "helper/oob.h"
#include "apr-glue/log.h"
#include "helper/app_link.h"
#include "helper/kind.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

typedef struct hp_oob_t {
    hp_process_t *process;
    hp_app_link_t *link; /* NULL unless it is told to work */
    ag_loop_timer_t *timer;
    apr_interval_time_t limit;
} hp_oob_t;

/* Nobody else can send a pair of this name: those that begin with '!' are the server's own. */
static const char pairs[] = "REQUEST_METHOD\0OOBW\0!OOB_WORK\0001";

void hp_oob_ask(hp_process_t *process)
{
    const hp_kind_t *kind = hp_kind_find(process->spec->kind);

    if (process->oob != HP_PROCESS_OOB_NONE || !kind || !kind->oob_work || process->handshake.protocol != HP_HANDSHAKE_SESSION)
        return;
    process->oob = HP_PROCESS_OOB_WANTED;
    process->oob_since = ag_loop_now();
}

static void over(hp_oob_t *work)
{
    hp_process_t *process = work->process;
    hp_app_link_t *link = work->link;

    process->oob = HP_PROCESS_OOB_NONE;
    work->link = NULL;
    ag_loop_timer_stop(work->timer);
    if (process->state == HP_PROCESS_READY)
        process->events->back(process);
    hp_app_link_close(&link); /* with it a process that is gone may be freed */
}

static void on_link(void *baton, int events)
{
    hp_oob_t *work = baton;
    const hp_process_t *process = work->process;

    (void)events;
    ag_log(AG_LOG_DEBUG, "PSG1200", "oob.done: process %ld of %s worked out of band for %ld ms", (long)process->pid, process->spec->app_root,
           (long)((ag_loop_now() - process->oob_since) / 1000));
    over(work);
}

static void on_limit(void *baton)
{
    hp_oob_t *work = baton;
    hp_process_t *process = work->process;

    if (process->state == HP_PROCESS_READY && work->link) {
        process->worn = 1;
        ag_log(AG_LOG_WARN, "PSG1201", "oob.timeout: process %ld of %s has been working out of band for %.1f s; it is replaced", (long)process->pid,
               process->spec->app_root, (double)work->limit / APR_USEC_PER_SEC);
        return;
    }
    if (process->state == HP_PROCESS_READY)
        ag_log(AG_LOG_NOTICE, "PSG1202", "oob.busy: process %ld of %s had requests for %.1f s; its out-of-band work is left undone",
               (long)process->pid, process->spec->app_root, (double)work->limit / APR_USEC_PER_SEC);
    over(work);
}

static apr_status_t send_order(const hp_app_link_t *link)
{
    char message[4 + sizeof pairs];
    uint32_t len = htonl(sizeof pairs);

    memcpy(message, &len, sizeof len);
    memcpy(message + sizeof len, pairs, sizeof pairs);
    return send(link->fd, message, sizeof message, MSG_NOSIGNAL) == (ssize_t)sizeof message ? APR_SUCCESS : errno;
}

static void begin_work(hp_oob_t *work)
{
    hp_process_t *process = work->process;
    apr_status_t rv = hp_app_link_get(&work->link, process, on_link, work);
    char text[128];

    if (rv == APR_SUCCESS)
        rv = send_order(work->link);
    if (rv != APR_SUCCESS) {
        ag_log(AG_LOG_WARN, "PSG1203", "oob.failed: process %ld of %s could not be told to work out of band: %s", (long)process->pid,
               process->spec->app_root, apr_strerror(rv, text, sizeof text));
        over(work);
        return;
    }
    process->oob = HP_PROCESS_OOB_WORKING;
    process->oob_since = ag_loop_now();
    ag_loop_timer_start(work->timer, work->limit);
}

static hp_process_t *first_asking(const hp_fleet_t *fleet)
{
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (process, &fleet->processes, entry) {
        if (process->state == HP_PROCESS_READY && process->oob == HP_PROCESS_OOB_WANTED && !hp_fleet_outdated(fleet, process) &&
            (!found || process->oob_since < found->oob_since))
            found = process;
    }
    return found;
}

void hp_oob_start(const hp_fleet_t *fleet, const hp_policy_counts_t *c, apr_interval_time_t limit)
{
    hp_process_t *process = hp_policy_works(c) ? first_asking(fleet) : NULL;
    hp_oob_t *work = process ? process->oob_work : NULL;

    if (!process)
        return;
    if (!work) {
        process->oob_work = work = apr_pcalloc(process->p, sizeof *work);
        work->process = process;
        work->timer = ag_loop_timer_pooled(process->ctx->loop, process->p, on_limit, work);
    }
    work->limit = limit;
    process->oob = HP_PROCESS_OOB_CLEARING;
    process->oob_since = ag_loop_now();
    if (process->in_flight == 0)
        begin_work(work);
    else
        ag_loop_timer_start(work->timer, limit);
}

void hp_oob_step(hp_process_t *process)
{
    if (process->oob != HP_PROCESS_OOB_CLEARING)
        return; /* what works is told of by its connection */
    if (process->state != HP_PROCESS_READY)
        over(process->oob_work);
    else if (process->in_flight == 0)
        begin_work(process->oob_work);
}
