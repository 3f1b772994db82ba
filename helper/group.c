#include "helper/group.h"
#include "apr-glue/log.h"
#include "helper/attendants.h"
#include "helper/meter.h"
#include "helper/msg.h"
#include "helper/oob.h"
#include "helper/quiet.h"
#include "helper/refusal.h"
#include "helper/wear.h"
#include <apr_strings.h>
#include <string.h>

#define CRASH_SOON   apr_time_from_sec(10)  /* a process that ends by itself before, without a request, counts as a failed start */
#define NEWS_WAIT    (2 * apr_time_from_sec(1)) /* for the news of a process that takes no connections */
#define OOB_LIMIT    apr_time_from_sec(60)  /* of out-of-band work, as Passenger's users know it */
#define FORGET_AFTER apr_time_from_sec(600) /* of having neither processes nor visitors */

struct hp_group_t {
    hp_room_member_t member; /* processes and queue */
    hp_room_t *room;
    hp_context_t *ctx;
    apr_pool_t *p;
    hp_config_kept_t kept;
    hp_watch_t *watch;
    hp_attendants_t attendants;
    apr_time_t created, used_at; /* used_at: when a request came last */
    int users;
    hp_spawner_t *spawner;

    apr_time_t restarted_at; /* when the newest generation began */
    apr_interval_time_t boot; /* that the last process took to be ready */
    hp_quiet_t quiet;
    int prestart; /* the watchdog is to be told that PassengerPreStart's requests are due */

    int failures;         /* starts that failed in a row */
    apr_time_t failed_at; /* the last of them */
    apr_time_t next_try;  /* not before; 0: at once */
    hp_report_t *failure; /* the last one, while there is no success */
    ag_loop_timer_t *retry_timer;
};

static void advance(void *baton);

static const ag_options_t *options(const hp_group_t *group)
{
    return group->kept.now.options;
}

static hp_policy_counts_t count(const hp_group_t *group)
{
    hp_policy_counts_t c = {.max = (int)group->ctx->settings->max_instances_per_app, .failing = group->failures > 0};

    if (group->kept.most > 0 && (c.max == 0 || group->kept.most < c.max))
        c.max = group->kept.most;
    hp_room_count(group->room, &group->member, &c);
    return c;
}

static void on_expired(void *baton, hp_queue_waiter_t *waiter)
{
    const hp_group_t *group = baton;

    hp_refusal_late(&group->kept.now, waiter, group->p);
}

/* -- processes coming and going -- */

static void over_with_starting(hp_group_t *group, hp_process_t *process)
{
    group->room->starting -= process->counted_starting;
    process->counted_starting = 0;
}

static void on_ready(hp_process_t *process)
{
    hp_group_t *group = process->group;

    over_with_starting(group, process);
    group->next_try = group->quiet.until = 0;
    group->member.fleet.proven = process->generation;
    group->boot = ag_loop_now() - process->started + hp_spawner_load_time(group->spawner);
    hp_spawner_proven(group->spawner, process);
    hp_report_destroy(&group->failure);
    ag_log(AG_LOG_INFO, "PSG0112", "app.ready: process %ld of %s, generation %u, after %ld ms", (long)process->pid, hp_group_name(group),
           process->generation, (long)(group->boot / 1000));
    hp_fleet_relieve(&group->member.fleet, group->member.min, group->restarted_at);
    advance(group);
    if (group->room->starved || group->room->wanting)
        hp_room_retry(group->room); /* one that is idle can make room */
}

static void start_failed(hp_group_t *group)
{
    group->failures++;
    group->failed_at = ag_loop_now();
    group->next_try = ag_loop_now() + hp_policy_backoff(group->failures);
    ag_loop_timer_start(group->retry_timer, hp_policy_backoff(group->failures));
}

/* New code that has never run does not start: the old one goes on, or, where that is not wanted, nothing does. */
static void deployment_failed(hp_group_t *group)
{
    hp_fleet_t *fleet = &group->member.fleet;
    hp_policy_counts_t c = count(group);
    hp_process_t *process;

    if (fleet->proven == fleet->generation || c.outdated == 0 || fleet->held)
        return;
    if (options(group)->resist_deployment_errors != 0) {
        ag_log(AG_LOG_ERROR, "PSG0117", "app.held: %s: generation %u does not start; earlier processes go on serving, and nothing is tried "
               "until the next restart", hp_group_name(group), fleet->generation);
        fleet->held = 1;
        return;
    }
    while ((process = hp_fleet_outworn(fleet)))
        hp_process_retire(process);
}

static void on_failed(hp_process_t *process, const char *sentence, const char *details)
{
    hp_group_t *group = process->group;
    hp_report_t *report;

    over_with_starting(group, process);
    if (process->generation != group->member.fleet.generation)
        return; /* nobody waits for old code */
    start_failed(group);
    group->quiet.until = 0;
    report = hp_report_create(group->p, process->refused ? 503 : 500, "Web application could not be started", sentence, details);
    report->retry_after = process->refused ? (int)apr_time_sec(hp_policy_backoff(group->failures)) : 0;
    if (process->page.bytes)
        report->page = apr_pstrdup(report->p, process->page.bytes);
    ag_log(AG_LOG_ERROR, "PSG0113", "spawn.failed: %s: %s (error id %s; next try in %ld s at the earliest, or after a change of %s)",
           hp_group_name(group), sentence, report->id, (long)apr_time_sec(hp_policy_backoff(group->failures)),
           *group->kept.now.startup_file ? group->kept.now.startup_file : "its configuration");
    hp_report_destroy(&group->failure);
    group->failure = report;
    if (!process->refused)
        deployment_failed(group);
    if (process->ended)
        return; /* what follows from that comes with the room it leaves */
    advance(group);
    if (group->room->wanting)
        hp_room_retry(group->room);
}

static void on_gone(hp_process_t *process)
{
    hp_group_t *group = process->group;

    over_with_starting(group, process);
    hp_oob_step(process);
    TAILQ_REMOVE(&group->member.fleet.processes, process, entry);
    hp_room_gone(group->room, &group->member, process);
    process->group = NULL;
    if (group->failures == 0)
        group->next_try = 0;
    if (process->crashed && !process->failed && process->requests == 0 && ag_loop_now() - process->started < CRASH_SOON)
        start_failed(group);
    if (group->room->starved || group->room->wanting)
        hp_room_retry(group->room);
    else
        advance(group);
}

static void on_back(hp_process_t *process)
{
    advance(process->group);
}

static void on_unborn(hp_process_t *process, const char *sentence)
{
    const hp_group_t *group = process->group;

    hp_spawner_unborn(group->spawner, process, sentence);
}

static const hp_process_events_t process_events = {on_ready, on_failed, on_gone, on_back, on_unborn};

static void count_in(hp_group_t *group, hp_process_t *process)
{
    process->group = group;
    process->events = &process_events;
    TAILQ_INSERT_TAIL(&group->member.fleet.processes, process, entry);
    group->member.fleet.used++;
    group->room->used++;
}

static void start_process(hp_group_t *group)
{
    hp_process_t *process = hp_spawner_make(group->spawner, &group->kept);

    assert(group->room->used < group->room->max);
    process->log = hp_applog_for(group->attendants.log);
    process->restart_stamp = hp_watch_stamp(group->watch);
    process->counted_starting = 1;
    group->room->starting++;
    count_in(group, process);
    hp_spawner_start(group->spawner, process);
}

/* -- the engine: called whenever something changed -- */

static void serve(hp_queue_waiter_t *waiter, hp_process_t *process)
{
    if (!waiter->asks)
        hp_process_begin(process, &waiter->work);
    waiter->serve(waiter, waiter->asks ? NULL : process);
}

static void serve_queue(hp_group_t *group)
{
    hp_queue_t *queue = &group->member.queue;
    hp_queue_waiter_t *waiter, *next;
    hp_process_t *process;

    for (waiter = TAILQ_FIRST(&queue->waiters); waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, entry);
        process = hp_fleet_choose(&group->member.fleet, waiter->sticky);
        if (!process && !waiter->sticky)
            return;
        if (!process)
            continue;
        hp_queue_remove(queue, waiter);
        serve(waiter, process);
        next = TAILQ_FIRST(&queue->waiters); /* anything may have happened */
    }
}

static void be_quiet(hp_group_t *group)
{
    hp_quiet_begin(&group->quiet, &group->member.fleet, group->member.queue.len, group->boot);
}

static int quiet(hp_group_t *group)
{
    return hp_quiet_lasts(&group->quiet, &group->member.fleet, group->member.queue.len);
}

/* A core that ends, or a start that has just failed, has no process to give. */
static void refuse_hopeless(hp_group_t *group, const hp_policy_counts_t *c)
{
    int later = group->ctx->stopping;

    if (c->ready + c->outdated > 0)
        return;
    if (later && !group->failure) { /* what is starting has lost its watchdog, or is not kept by the next one */
        group->failure = hp_report_create(group->p, 503, "This website is being restarted", "No process is left; none is started.", "");
        group->failure->retry_after = 1;
    }
    if (group->failure && (later || (c->starting == 0 && ag_loop_now() < group->next_try)))
        hp_queue_refuse(&group->member.queue, group->failure, hp_config_friendly(&group->kept.now));
}

static void start_what_is_wanted(hp_group_t *group)
{
    hp_policy_counts_t c = count(group);
    int serving = c.ready + c.outdated, n;

    if (group->room->starved && (c.queued == 0 || serving + c.starting > 0))
        return; /* others have nothing at all */
    if (group->failures > 0 && c.starting + c.queued + serving == 0)
        return; /* what keeps failing is tried again when somebody asks for it */
    n = hp_policy_spawns(&c);
    for (int i = 0; i < n; i++)
        start_process(group);
    if (n > 0)
        c = count(group);
    hp_room_want(group->room, &group->member, hp_policy_want(&c));
    if (c.slots <= 0)
        group->room->wanting++;
}

static void advance(void *baton)
{
    hp_group_t *group = baton;
    hp_policy_counts_t c;

    if (hp_watch_pending(group->watch))
        return;
    c = count(group); /* each time that something may have changed: requests that wait come here often */
    if (!group->ctx->stopping)
        hp_oob_start(&group->member.fleet, &c, OOB_LIMIT);
    if (!quiet(group))
        serve_queue(group);
    c = count(group);
    refuse_hopeless(group, &c);
    if (group->ctx->stopping || ag_loop_now() < group->next_try)
        return;
    start_what_is_wanted(group);
    if (group->quiet.until && count(group).starting == 0)
        group->quiet.until = 0; /* there is no room for the new code yet */
    if (!quiet(group))
        serve_queue(group); /* also those who waited for a process that was sent away just now */
    if (!group->prestart)
        return;
    c = count(group);
    if (c.outdated + c.starting == 0) { /* they find the new code, or bring it */
        hp_chan_tell(group->ctx->watchdog, HP_MSG_PRESTART);
        group->prestart = 0;
    }
}

/* -- restarts -- */

/* From now on processes are started anew. `roll`: the old ones serve until their successors are ready. */
static void restart(hp_group_t *group, int roll, const char *why)
{
    hp_fleet_t *fleet = &group->member.fleet;

    fleet->generation++;
    fleet->held = 0;
    group->failures = 0;
    group->next_try = 0;
    group->restarted_at = ag_loop_now();
    group->prestart = fleet->used > 0;
    hp_config_forget(&group->kept);
    hp_spawner_renew(group->spawner);
    hp_report_destroy(&group->failure);
    ag_log(AG_LOG_NOTICE, "PSG0115", "app.restart: %s: %s; generation %u", hp_group_name(group), why, fleet->generation);
    hp_fleet_dismiss(fleet, roll);
    if (roll)
        be_quiet(group);
    else
        group->quiet.until = 0;
}

static void on_news(void *baton, const hp_watch_news_t *news)
{
    hp_group_t *group = baton;

    if ((news->restart || news->env) && group->member.fleet.used > 0)
        restart(group, hp_config_rolling(&group->kept.now), news->restart == 2 ? "always_restart.txt is there"
                                                            : news->restart   ? "restart.txt was touched"
                                                                              : "the environment file changed");
    else if (news->restart || news->env)
        hp_spawner_renew(group->spawner), group->failures = 0, group->next_try = 0;
    if (news->restart == 2)
        group->prestart = 0; /* its requests would find that file again, for ever */
    if (group->failure && news->mended && !group->member.fleet.held)
        group->next_try = 0;
    advance(group);
}

void hp_group_stated(hp_group_t *group, const hp_watch_answer_t *answer)
{
    hp_watch_answer(group->watch, answer);
}

void hp_group_restart(hp_group_t *group, int roll, const char *why)
{
    restart(group, roll < 0 ? hp_config_rolling(&group->kept.now) : roll, why);
    advance(group);
}

int hp_group_detach(hp_process_t *process)
{
    hp_group_t *group = process->group;

    if (!group || process->state != HP_PROCESS_READY)
        return 0;
    hp_process_retire(process);
    advance(group);
    return 1;
}

/* -- configuration -- */

void hp_group_configure(hp_group_t *group, const hp_config_t *config)
{
    int differs = hp_config_update(&group->kept, config);

    group->member.min = options(group)->min_instances;
    if (differs && group->member.fleet.used > 0)
        restart(group, 1, "its configuration changed");
    else if (differs) /* whoever corrected it need not wait */
        hp_spawner_renew(group->spawner), group->failures = 0, group->next_try = 0;
}

/* -- life -- */

hp_group_t *hp_group_create(hp_context_t *ctx, hp_room_t *room, uint64_t cookie, const hp_config_t *config)
{
    apr_pool_t *p;
    hp_group_t *group;

    apr_pool_create(&p, ctx->p);
    group = apr_pcalloc(p, sizeof *group);
    group->p = p;
    group->ctx = ctx;
    group->room = room;
    group->created = group->used_at = ag_loop_now();
    hp_config_keep(&group->kept, config, p);
    group->watch = hp_watch_create(ctx, p, cookie, on_news, group);
    hp_attendants_create(&group->attendants, ctx, &group->kept.now, p);
    group->quiet.timer = ag_loop_timer_pooled(ctx->loop, p, advance, group);
    group->retry_timer = ag_loop_timer_pooled(ctx->loop, p, advance, group);
    group->member.group = group;
    group->member.advance = advance;
    group->member.min = options(group)->min_instances;
    group->member.fleet.generation = 1;
    TAILQ_INIT(&group->member.fleet.processes);
    group->spawner = hp_spawner_create(ctx, &group->member.fleet, group, &process_events, p);
    hp_queue_init(&group->member.queue, ctx->loop, p, on_expired, group);
    hp_room_join(room, &group->member);
    return group;
}

int hp_group_forgettable(const hp_group_t *group, apr_time_t now)
{
    return group->users == 0 && TAILQ_EMPTY(&group->member.fleet.processes) && group->member.queue.len == 0 && now >= group->next_try &&
           now - group->used_at >= FORGET_AFTER && !hp_spawner_preloader(group->spawner);
}

void hp_group_destroy(hp_group_t *group)
{
    hp_room_part(group->room, &group->member);
    hp_attendants_destroy(&group->attendants);
    hp_report_destroy(&group->failure);
    apr_pool_destroy(group->p);
}

void hp_group_use(hp_group_t *group)
{
    group->users++;
}

void hp_group_unuse(hp_group_t *group)
{
    assert(group->users > 0);
    group->users--;
}

void hp_group_adopt(hp_group_t *group, hp_process_t *process)
{
    hp_fleet_t *fleet = &group->member.fleet;

    if (process->spec->errand != HP_SPEC_APP) {
        hp_attendants_adopt(&group->attendants, process);
        return;
    }
    process->log = hp_applog_for(group->attendants.log);
    if (process->generation > fleet->generation)
        fleet->generation = process->generation;
    fleet->proven = fleet->generation;
    hp_watch_inherit(group->watch, process->restart_stamp);
    if (process->handshake.preloader)
        hp_spawner_adopt(group->spawner, process);
    else
        count_in(group, process);
}

/* -- requests -- */

void hp_group_submit(hp_group_t *group, hp_queue_waiter_t *waiter)
{
    int limit = options(group)->max_request_queue_size;
    hp_queue_t *queue = &group->member.queue;
    hp_process_t *process;

    hp_watch_look(group->watch, &group->kept.now, group->ctx->settings->stat_throttle_rate, 1);
    if (queue->len == 0 && !group->quiet.until && !hp_watch_pending(group->watch) &&
        (process = hp_fleet_choose(&group->member.fleet, waiter->sticky))) {
        serve(waiter, process);
        return;
    }
    group->used_at = ag_loop_now();
    if (limit > 0 && queue->len >= limit && !hp_watch_pending(group->watch)) {
        hp_refusal_full(&group->kept.now, waiter, queue->len, group->p);
        return;
    }
    if (waiter->asks && hp_fleet_serves(&group->member.fleet)) {
        serve(waiter, NULL);
        return;
    }
    hp_queue_put(queue, waiter);
    advance(group);
}

void hp_group_cancel(hp_group_t *group, hp_queue_waiter_t *waiter)
{
    hp_queue_remove(&group->member.queue, waiter);
    if (group->member.queue.len == 0 && group->room->starved)
        hp_room_retry(group->room); /* it may not be starving any more */
}

/* One that has never answered may not have ended, but be of no use, as all that are started after it would be: what it is will be known soon. */
static void suspect(hp_group_t *group, hp_process_t *process)
{
    hp_policy_counts_t c;

    hp_process_suspect(process);
    c = count(group);
    if (process->answered || c.ready + c.outdated + c.starting > 0 || group->next_try > ag_loop_now())
        return;
    group->next_try = ag_loop_now() + NEWS_WAIT;
    ag_loop_timer_start(group->retry_timer, NEWS_WAIT);
}

void hp_group_done(hp_process_t *process, hp_process_work_t *work, int broken)
{
    hp_group_t *group = process->group;
    int worn = process->worn;

    if (!group) {
        hp_process_end(process, work); /* it is gone already */
        return;
    }
    group->used_at = ag_loop_now();
    if (broken == 0) {
        process->answered = 1;
        if (process->started >= group->failed_at)
            group->failures = 0; /* others may still do what they did when a start failed */
    }
    if (broken > 0)
        suspect(group, process);
    else if (process->state == HP_PROCESS_READY && hp_room_yield(group->room, &group->member))
        hp_process_retire(process);
    else if (process->state == HP_PROCESS_READY)
        hp_wear_judge(process, work, options(group), hp_group_name(group));
    hp_process_end(process, work);
    hp_oob_step(process);
    if (worn != process->worn && count(group).ready == 0)
        be_quiet(group);
    if (group->member.queue.len > 0 || worn != process->worn || process->oob == HP_PROCESS_OOB_WANTED || group->room->starved)
        advance(group);
    if (group->room->starved)
        hp_room_retry(group->room);
}

/* -- now and then -- */

void hp_group_look(hp_group_t *group, apr_time_t now)
{
    hp_process_t *process, *next;
    hp_policy_counts_t c = count(group);
    unsigned limit = group->ctx->settings->pool_idle_time;
    int serving = c.ready + c.outdated - c.away, least = c.held && c.min == 0 ? 1 : c.min;

    hp_spawner_look(group->spawner, now, options(group)->max_preloader_idle_time);
    hp_attendants_rest(&group->attendants, !TAILQ_EMPTY(&group->member.fleet.processes));
    if (TAILQ_EMPTY(&group->member.fleet.processes))
        return;
    hp_watch_look(group->watch, &group->kept.now, group->ctx->settings->stat_throttle_rate, 0);
    for (process = TAILQ_FIRST(&group->member.fleet.processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        hp_process_note(process);
        hp_wear_look(process, options(group), hp_group_name(group), now);
        if (hp_process_free(process) && process->in_flight == 0 &&
            hp_policy_idle_over(now, process->last_used, limit, serving, least)) {
            serving--;
            hp_process_retire(process);
        }
    }
    c = count(group);
    if (c.outdated > 0 || (c.busy > 0 && c.busy == c.ready))
        advance(group);
}

/* -- for others -- */

const char *hp_group_name(const hp_group_t *group)
{
    return group->kept.now.name;
}

const uint64_t *hp_group_cookie(const hp_group_t *group)
{
    return hp_watch_cookie(group->watch);
}

void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton)
{
    hp_fleet_each(&group->member.fleet, visit, baton);
}

void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_queue_waiter_t *waiter, void *baton), void *baton)
{
    hp_queue_waiter_t *waiter;

    TAILQ_FOREACH (waiter, &group->member.queue.waiters, entry)
        visit(waiter, baton);
}

void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts)
{
    const hp_config_t *config = &group->kept.now;
    hp_policy_counts_t c = count(group);

    *facts = (hp_group_facts_t){.key = config->key, .name = config->name, .app_root = config->app_root, .app_env = config->options->app_env,
                                .kind = config->kind, .startup_file = config->startup_file, .generation = group->member.fleet.generation,
                                .queued = c.queued, .starting = c.starting, .restarting = c.outdated > 0 && !c.held, .held = c.held,
                                .failure = group->failure, .owner = hp_watch_owner(group->watch), .created = group->created,
                                .options = config->options, .preloader = hp_spawner_preloader(group->spawner), .courier = group->attendants.courier};
}
