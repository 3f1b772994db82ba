#include "helper/fleet.h"
#include "helper/route.h"

#define BUSY 85 /* percent: of an event loop that is late for everything, because of itself or of others on this machine */

int hp_fleet_outdated(const hp_fleet_t *fleet, const hp_process_t *process)
{
    return process->worn || (process->generation != fleet->generation && !fleet->held);
}

void hp_fleet_count(const hp_fleet_t *fleet, hp_policy_counts_t *c)
{
    const hp_process_t *process;

    c->ready = c->outdated = c->starting = c->busy = c->away = c->asking = 0;
    c->used = fleet->used;
    c->held = fleet->held;
    TAILQ_FOREACH (process, &fleet->processes, entry) {
        if (process->state == HP_PROCESS_STARTING) {
            c->starting += process->generation == fleet->generation && !process->failed;
        } else if (process->state == HP_PROCESS_READY) {
            c->away += process->oob >= HP_PROCESS_OOB_CLEARING;
            if (hp_fleet_outdated(fleet, process)) {
                c->outdated++;
                continue;
            }
            c->ready++;
            c->asking += process->oob == HP_PROCESS_OOB_WANTED;
            c->busy += process->concurrency == 0 && process->in_flight > 0 && (process->cpu >= BUSY || process->load >= BUSY);
        }
    }
}

int hp_fleet_serves(const hp_fleet_t *fleet)
{
    hp_policy_counts_t c = {0};

    hp_fleet_count(fleet, &c);
    return c.ready + c.outdated > 0;
}

int hp_fleet_in_flight(const hp_fleet_t *fleet)
{
    const hp_process_t *process;
    int sum = 0;

    TAILQ_FOREACH (process, &fleet->processes, entry)
        sum += process->in_flight;
    return sum;
}

hp_process_t *hp_fleet_choose(const hp_fleet_t *fleet, uint32_t sticky)
{
    hp_route_candidate_t best = {0}, candidate;
    hp_process_t *process, *chosen = NULL;

    TAILQ_FOREACH (process, &fleet->processes, entry) {
        if (sticky && process->sticky_id == sticky && process->state == HP_PROCESS_READY)
            return hp_process_free(process) ? process : NULL;
        if (!hp_process_free(process))
            continue;
        candidate = (hp_route_candidate_t){process->generation, process->worn, process->in_flight};
        if (!chosen || hp_route_better(&candidate, &best)) {
            best = candidate;
            chosen = process;
        }
    }
    return chosen;
}

hp_process_t *hp_fleet_outworn(const hp_fleet_t *fleet)
{
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (process, &fleet->processes, entry) {
        if (process->state == HP_PROCESS_READY && hp_fleet_outdated(fleet, process) &&
            (!found || process->generation < found->generation ||
             (process->generation == found->generation && process->in_flight < found->in_flight)))
            found = process;
    }
    return found;
}

hp_process_t *hp_fleet_idle(const hp_fleet_t *fleet, apr_time_t before)
{
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (process, &fleet->processes, entry) {
        if (process->state == HP_PROCESS_READY && process->oob < HP_PROCESS_OOB_CLEARING && process->in_flight == 0 && process->last_used < before &&
            (!found || process->last_used < found->last_used))
            found = process;
    }
    return found;
}

void hp_fleet_each(const hp_fleet_t *fleet, void (*visit)(hp_process_t *process, void *baton), void *baton)
{
    hp_process_t *process, *next;

    for (process = TAILQ_FIRST(&fleet->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        visit(process, baton);
    }
}

void hp_fleet_dismiss(hp_fleet_t *fleet, int only_starting)
{
    hp_process_t *process, *next;

    for (process = TAILQ_FIRST(&fleet->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        if (!only_starting || process->state == HP_PROCESS_STARTING)
            hp_process_retire(process);
    }
}

void hp_fleet_relieve(hp_fleet_t *fleet, int min, apr_time_t restarted_at)
{
    hp_process_t *process = hp_fleet_outworn(fleet), *next;
    hp_policy_counts_t c;

    if (process)
        hp_process_retire(process);
    hp_fleet_count(fleet, &c);
    for (process = TAILQ_FIRST(&fleet->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        if (process->state == HP_PROCESS_READY && process->generation != fleet->generation && process->in_flight == 0 &&
            process->last_used < restarted_at && c.ready + c.outdated > (min > 1 ? min : 1)) {
            hp_process_retire(process);
            c.outdated--;
        }
    }
}
