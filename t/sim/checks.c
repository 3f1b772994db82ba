/* What must hold: after every event, from time to time, and at the end. Seen from outside: by our own account and the pool's
 * public face. */
#include "t/sim/sim.h"
#include <string.h>

#define HOLD  (300 * MS)  /* for news of restart.txt, which has a fifth of a second */
#define QUIET (2300 * MS) /* for a successor, when there are no more than two; the second may begin it anew */
/* A turn, a process that has to be killed (a minute), a start that fails (20 s), and the longest requests, for each application;
 * and whoever came before. */
#define PATIENCE (120 * SECOND)

static hp_process_t *core_of(sim_process_t *process)
{
    if (!process->core)
        process->core = hp_process_find(&sim.ctx, process->id);
    return process->core;
}

void sim_checks_fresh(sim_group_t *group)
{
    group->failures = 0;
    group->not_before = 0;
    group->held = 0;
}

/* As it is promised: a second, doubled up to a minute. */
static apr_interval_time_t backoff(int failures)
{
    apr_interval_time_t wait = SECOND;

    while (--failures > 0 && wait < 60 * SECOND)
        wait *= 2;
    return wait < 60 * SECOND ? wait : 60 * SECOND;
}

static void failed(sim_group_t *group)
{
    sim_counts.failed++;
    group->not_before = sim.now + backoff(++group->failures);
}

static int any_ready(const sim_group_t *group)
{
    const sim_process_t *process;
    int n = 0;

    TAILQ_FOREACH(process, &group->known, entry)
    n += process->core && process->core->state == HP_PROCESS_READY;
    return n;
}

static uint32_t generation_of(const sim_group_t *group)
{
    hp_group_facts_t facts = {0};

    if (group->core)
        hp_group_facts(group->core, &facts);
    return facts.generation;
}

/* Code that has never run does not start, and older code does: so it stays. That there was no process to start it in says nothing about it. */
static void start_failed(sim_group_t *group, const sim_process_t *process, int refused)
{
    failed(group);
    if (!refused && group->taken && group->taken->options->resist_deployment_errors != 0 && process->generation > group->proven &&
        any_ready(group))
        group->held = process->generation;
}

/* What became of processes since we looked last. */
static void notice(sim_group_t *group)
{
    sim_process_t *process;

    TAILQ_FOREACH(process, &group->known, entry)
    {
        const hp_process_t *core = core_of(process);
        if (!core)
            continue;
        if (core->failed && !process->failed) {
            process->failed = 1;
            if (process->generation == generation_of(group))
                start_failed(group, process, core->refused);
        }
        if (core->state == HP_PROCESS_READY && !process->ready) {
            process->ready = 1;
            group->not_before = 0;
            if (process->generation > group->proven)
                group->proven = process->generation;
            sim_counts.ready++;
        }
    }
}

void sim_checks_works(sim_group_t *group)
{
    notice(group);
    group->failures = 0;
}

void sim_checks_gone(const sim_process_t *process, int refused)
{
    sim_group_t *group = &sim.groups[process->group];
    const hp_process_t *core = hp_process_find(&sim.ctx, process->id);

    MUST(core, "process %d has gone before its end was told", (int)process->id);
    notice(group);
    if (core->state == HP_PROCESS_STARTING && !core->failed && process->generation == generation_of(group))
        start_failed(group, process, refused);
    if (group->failures == 0)
        group->not_before = 0;
    if (core->state != HP_PROCESS_ENDING && core->state != HP_PROCESS_STARTING && !core->failed && core->requests == 0 &&
        sim.now - core->started < 10 * SECOND)
        failed(group);
}

static int limit_of(const sim_group_t *group)
{
    int own = group->taken ? group->taken->options->max_instances : 0, all = (int)sim.settings->max_instances_per_app;

    return own > 0 && (all == 0 || own < all) ? own : all;
}

/* Those that count: who takes long to go has given its place away. */
static int counted(const sim_group_t *group)
{
    const sim_process_t *process;
    int n = group->live;

    TAILQ_FOREACH(process, &group->known, entry)
        n -= process->core && process->core->passed_over;
    return n;
}

void sim_checks_spawn(sim_group_t *group, const sim_process_t *process)
{
    int live = 0;

    for (int i = 0; i < sim.ngroups; i++)
        live += counted(&sim.groups[i]);
    sim_counts.lingered += counted(group) < group->live;
    MUST(!sim.ctx.stopping, "process %d is ordered while stopping", (int)process->id);
    MUST(live <= (int)sim.settings->max_pool_size, "process %d is ordered: %d, while the pool may have %d", (int)process->id,
         live, (int)sim.settings->max_pool_size);
    if (group->taken && limit_of(group) > 0)
        MUST(counted(group) <= limit_of(group), "process %d of %s is ordered: %d, while the group may have %d", (int)process->id,
             group->name, counted(group), limit_of(group));
    notice(group);
    if (group->failures == 0 && sim.ending && &sim.groups[sim.ending->group] == group)
        group->not_before = 0; /* something works, and the failed one is gone */
    MUST(sim.now >= group->not_before, "process %d of %s is ordered %ld ms too early after failure %d", (int)process->id,
         group->name, (long)((group->not_before - sim.now) / MS), group->failures);
    MUST(process->generation != group->held || !any_ready(group),
         "process %d of %s is ordered, although generation %u does not start", (int)process->id, group->name,
         process->generation);
}

void sim_checks_choice(const sim_group_t *group, const hp_process_t *chosen, uint32_t sticky)
{
    const sim_process_t *process;
    int before = chosen->in_flight - 1;

    MUST(chosen->generation >= group->least, "process %d of %s serves, which is of generation %u, and must not", (int)chosen->id,
         group->name, chosen->generation);
    TAILQ_FOREACH(process, &group->known, entry)
    {
        const hp_process_t *core = process->core;
        if (!core || core == chosen || core->state != HP_PROCESS_READY)
            continue;
        MUST(!sticky || core->sticky_id != sticky, "a visitor of process %d is served by process %d", (int)core->id,
             (int)chosen->id);
        if ((sticky && chosen->sticky_id == sticky) || !hp_process_free(core))
            continue;
        MUST(core->generation != chosen->generation || core->in_flight >= before,
             "process %d with %d requests is chosen, %d has %d", (int)chosen->id, before, (int)core->id, core->in_flight);
        MUST(core->generation <= chosen->generation || core->in_flight > before,
             "process %d is chosen, %d is newer and has no more requests", (int)chosen->id, (int)core->id);
    }
}

void sim_checks_restarted(const char *name)
{
    for (int i = 0; i < sim.ngroups; i++) {
        if (strcmp(sim.groups[i].name, name) == 0)
            sim_checks_fresh(&sim.groups[i]);
    }
}

void sim_checks_replaced(const char *name)
{
    int live = sim.ending != NULL;

    for (int i = 0; i < sim.ngroups; i++)
        live += counted(&sim.groups[i]);
    for (int i = 0; i < sim.ngroups; i++) {
        const sim_group_t *group = &sim.groups[i];
        int own = counted(group) + (sim.ending && sim.ending->group == i);
        if (strcmp(group->name, name) != 0 || !group->taken)
            continue;
        MUST(live >= (int)sim.settings->max_pool_size || (limit_of(group) > 0 && own >= limit_of(group)),
             "a process of %s goes before its successor is ready: %d of %d, in the pool %d of %d", name, own, limit_of(group),
             live, (int)sim.settings->max_pool_size);
    }
}

/* -- after every event -- */

void sim_checks_fast(void)
{
    apr_time_t pace = sim_clock_pace();

    if (!sim.pool)
        return;
    for (int i = 0; i < sim.ngroups; i++) {
        sim_group_t *group = &sim.groups[i];
        const sim_process_t *process;
        int usable = 0, away = 0, ready = 0;
        notice(group);
        TAILQ_FOREACH(process, &group->known, entry)
        {
            usable += process->core && hp_process_free(process->core);
            ready += process->core && process->core->state == HP_PROCESS_READY;
            away += process->core && process->core->state == HP_PROCESS_READY && process->core->oob >= HP_PROCESS_OOB_CLEARING;
            MUST(!process->core || process->core->in_flight == process->in_flight, "process %d has %d requests, and counts %d",
                 (int)process->id, process->in_flight, process->core->in_flight);
        }
        MUST(away <= 1, "%d processes of %s work out of band", away, group->name);
        if (!group->taken || ready - away <= group->taken->options->min_instances)
            group->few_since = sim.now;
        usable = usable && group->queued ? sim_visitors_servable(group) : 0;
        group->free_since = !usable ? 0 : group->free_since ? group->free_since : pace;
        group->crowd_since = !usable || group->queued <= 2 ? 0 : group->crowd_since ? group->crowd_since : pace;
        if (usable)
            MUST(pace - group->free_since <= QUIET && (!group->crowd_since || pace - group->crowd_since <= HOLD),
                 "%d requests of %s wait, and %d of them could be served", group->queued, group->name, usable);
    }
}

/* -- from time to time -- */

typedef struct {
    sim_group_t *group;
    hp_group_t *core;
    int n, ready, newest, held;
    uint32_t generation;
} look_t;

static void check_process(hp_process_t *process, void *baton)
{
    look_t *look = baton;
    const sim_process_t *known = sim_watchdog_find(process->id);
    const hp_process_work_t *work;
    int n = 0;

    look->n++;
    look->ready += process->state == HP_PROCESS_READY;
    look->newest +=
        process->state == HP_PROCESS_READY && process->generation == look->generation && process->oob < HP_PROCESS_OOB_CLEARING;
    MUST(known && known->known && &sim.groups[known->group] == look->group, "%s lists process %d, which is not its own",
         look->group->name, (int)process->id);
    MUST(hp_process_find(&sim.ctx, process->id) == process, "process %d is not found by its number", (int)process->id);
    MUST(process->state != HP_PROCESS_GONE, "process %d has gone and is still listed", (int)process->id);
    TAILQ_FOREACH(work, &process->work, entry)
    n++;
    MUST(n == process->in_flight, "process %d works on %d requests, and counts %d", (int)process->id, n, process->in_flight);
    MUST(!process->counted_starting || sim.now - process->started < 11 * SECOND || sim.now == sim.stalled_at,
         "process %d keeps others from starting for %ld s", (int)process->id, (long)apr_time_sec(sim.now - process->started));
    MUST(process->nlinks >= 0, "process %d has %d links", (int)process->id, process->nlinks);
    MUST(process->generation <= look->generation, "process %d is of a generation that has not come yet", (int)process->id);
}

static void check_idle(hp_process_t *process, void *baton)
{
    const look_t *look = baton;
    const sim_process_t *known = sim_watchdog_find(process->id);
    apr_time_t since = process->last_used > known->worked ? process->last_used : known->worked,
               limit = apr_time_from_sec(sim.settings->pool_idle_time) + 16 * SECOND;

    if (!hp_process_free(process) || process->in_flight > 0 || !look->group->taken || sim.settings->pool_idle_time == 0)
        return;
    if (sim.now - look->group->few_since < 6 * SECOND)
        return;
    if (sim.now - look->group->taken_since < limit || sim.now - sim.limit_changed < limit)
        return;
    MUST(sim.now - since < limit, "process %d is idle for %ld s, the limit is %d", (int)process->id,
         (long)apr_time_sec(sim.now - since), (int)sim.settings->pool_idle_time);
}

/* Where the new code starts, it is everywhere before long. */
static void check_restart(const look_t *look, const hp_group_facts_t *facts)
{
    sim_group_t *group = look->group;
    int good = group->bad == 0 && facts->options->start_timeout * SECOND > group->boot + 3 * SECOND;

    if (facts->generation != group->generation || look->ready == look->newest || look->held || !good) {
        group->generation = facts->generation;
        group->old_since = sim_clock_pace();
    }
    MUST(sim_clock_pace() - group->old_since < PATIENCE * (1 + sim.ngroups), "generation %u of %s is not everywhere after %ld s",
         facts->generation, facts->name, (long)apr_time_sec(sim_clock_pace() - group->old_since));
}

static void check_waiting(const hp_queue_waiter_t *waiter, void *baton)
{
    look_t *look = baton;

    MUST(sim_visitors_is(waiter, look->group, look->n), "request %d in the queue of %s is not the one that we expect", look->n,
         look->group->name);
    MUST(waiter->max_wait == 0 || sim.now - waiter->work.since < apr_time_from_sec(waiter->max_wait) + 100 * MS ||
             sim.now == sim.stalled_at,
         "a request of %s waits beyond its deadline", look->group->name);
    look->n++;
}

static void check_group(hp_group_t *core, void *baton)
{
    hp_group_facts_t facts;
    look_t look = {.core = core};

    hp_group_facts(core, &facts);
    look.group = sim_watchdog_group(facts.app_root);
    MUST(!look.group->core, "group %s is there twice", facts.name);
    look.group->core = core;
    look.generation = facts.generation;
    if (look.group->taken)
        MUST(facts.options->min_instances == look.group->taken->options->min_instances &&
                 facts.options->max_instances == look.group->taken->options->max_instances,
             "%s goes by a configuration with %d to %d processes, and not the newest, with %d to %d", facts.name,
             facts.options->min_instances, facts.options->max_instances, look.group->taken->options->min_instances,
             look.group->taken->options->max_instances);
    look.held = facts.held;
    hp_group_each(core, check_process, &look);
    MUST(look.n == look.group->live, "%s has %d processes, and lists %d", facts.name, look.group->live, look.n);
    if (look.held || look.newest < look.ready || look.newest <= facts.options->min_instances)
        look.group->few_since = sim.now;
    hp_group_each(core, check_idle, &look);
    check_restart(&look, &facts);
    look.n = 0;
    hp_group_each_waiting(core, check_waiting, &look);
    MUST(look.n == look.group->queued && facts.queued == look.n, "%d requests of %s wait, %d are listed, %d counted",
         look.group->queued, facts.name, look.n, facts.queued);
    (void)baton;
}

void sim_checks_full(void)
{
    apr_time_t oldest;

    if (!sim.pool)
        return;
    sim_counts.checks++;
    for (int i = 0; i < sim.ngroups; i++)
        sim.groups[i].core = NULL;
    hp_pool_each(sim.pool, check_group, NULL);
    for (int i = 0; i < sim.ngroups; i++) {
        oldest = sim_visitors_oldest(&sim.groups[i]);
        MUST(oldest == 0 || sim_clock_pace() - oldest < PATIENCE * (1 + sim.ngroups) + 5 * SECOND * sim.nvisitors,
             "a request of %s waits for %ld s", sim.groups[i].name, (long)apr_time_sec(sim_clock_pace() - oldest));
    }
}

void sim_checks_drained(void)
{
    for (int i = 0; i < sim.ngroups; i++)
        MUST(sim.groups[i].live == 0 && sim.groups[i].queued == 0, "%s is not empty", sim.groups[i].name);
    MUST(apr_hash_count(sim.ctx.processes) == 0, "%u processes are left behind", apr_hash_count(sim.ctx.processes));
    MUST(sim_files_count() == 0, "%d descriptors are left open", sim_files_count());
}
