#include "helper/group.h"
#include "apr-glue/log.h"
#include "helper/msg.h"
#include "helper/policy.h"
#include "helper/route.h"
#include <apr_strings.h>
#include <string.h>

#define STAT_LIMIT  (apr_time_from_sec(1) / 5) /* a file system that does not answer must not hold requests up */
#define CRASH_SOON  apr_time_from_sec(10)      /* a process that ends by itself before, without a request, counts as a failed start */

struct hp_group_t {
    TAILQ_ENTRY(hp_group_t) pool_entry;
    hp_group_pool_t *pool;
    hp_context_t *ctx;
    apr_pool_t *p;
    hp_config_kept_t kept;

    TAILQ_HEAD(, hp_process_t) processes;
    int used;            /* length of the list */
    uint32_t generation; /* of the code; processes of earlier ones serve only until one of this is ready */
    uint32_t started;    /* processes so far */

    TAILQ_HEAD(, hp_group_waiter_t) queue;
    int queued; /* length of the list */
    ag_loop_timer_t *queue_timer;

    apr_time_t created;
    uid_t owner; /* of the folder */
    uint64_t cookie;
    int stat_pending; /* the watchdog was asked; requests wait for the answer */
    int stat_known;   /* an answer has come, so that changes can be told */
    apr_time_t stat_at;
    uint64_t restart_stamp, startup_stamp;
    ag_loop_timer_t *stat_timer;

    int failures;         /* starts that failed in a row */
    apr_time_t next_try;  /* not before; 0: at once */
    hp_report_t *failure; /* the last one, while there is no success */
    ag_loop_timer_t *retry_timer;
};

static void advance(hp_group_t *group);

/* -- what there is -- */

/* Counted when asked for: a handful of processes, and no second bookkeeping that could differ from the list. */
static hp_policy_counts_t count(const hp_group_t *group, int *pany_ready)
{
    const ag_settings_t *settings = group->ctx->settings;
    const ag_options_t *options = group->kept.now.options;
    hp_policy_counts_t c = {.queued = group->queued, .min = options->min_instances, .max = (int)settings->max_instances_per_app,
                            .used = group->used, .pool_used = group->pool->used, .pool_max = (int)settings->max_pool_size};
    const hp_process_t *process;
    int old = 0;

    TAILQ_FOREACH (process, &group->processes, entry) {
        if (process->generation != group->generation)
            old += process->state == HP_PROCESS_READY;
        else if (process->state == HP_PROCESS_READY)
            c.ready++;
        else if (process->state == HP_PROCESS_STARTING && !process->failed)
            c.starting++;
    }
    *pany_ready = c.ready + old;
    if (options->max_instances > 0 && (c.max == 0 || options->max_instances < c.max))
        c.max = options->max_instances;
    if (old > 0 && c.min == 0)
        c.min = 1; /* otherwise nothing would ever replace them */
    return c;
}

static hp_process_t *choose(const hp_group_t *group)
{
    hp_route_candidate_t best = {0}, candidate;
    hp_process_t *process, *chosen = NULL;

    TAILQ_FOREACH (process, &group->processes, entry) {
        if (!hp_process_free(process))
            continue;
        candidate = (hp_route_candidate_t){process->generation, process->in_flight};
        if (!chosen || hp_route_better(&candidate, &best)) {
            best = candidate;
            chosen = process;
        }
    }
    return chosen;
}

/* -- refusing -- */

static int friendly(const hp_group_t *group)
{
    const ag_options_t *options = group->kept.now.options;

    return options->friendly_error_pages >= 0 ? options->friendly_error_pages : strcmp(options->app_env, "development") == 0;
}

static void dequeue(hp_group_t *group, hp_group_waiter_t *waiter)
{
    assert(waiter->queued && group->queued > 0);
    TAILQ_REMOVE(&group->queue, waiter, entry);
    waiter->queued = 0;
    group->queued--;
}

static void refuse_all(hp_group_t *group, const hp_report_t *report)
{
    hp_group_waiter_t *waiter;

    while ((waiter = TAILQ_FIRST(&group->queue))) {
        dequeue(group, waiter);
        waiter->refuse(waiter, report, friendly(group));
    }
}

static void refuse_busy(hp_group_t *group, hp_group_waiter_t *waiter, const char *sentence)
{
    hp_report_t *report = hp_report_create(group->p, 503, "This website is under heavy load", sentence, "");

    report->retry_after = 5;
    waiter->refuse(waiter, report, friendly(group));
    hp_report_destroy(&report);
}

static void on_queue_timer(void *baton)
{
    hp_group_t *group = baton;
    apr_time_t now = ag_loop_now();
    hp_group_waiter_t *waiter = TAILQ_FIRST(&group->queue), *next;

    for (; waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, entry);
        if (waiter->deadline == 0)
            continue;
        if (waiter->deadline > now) {
            ag_loop_timer_start(group->queue_timer, waiter->deadline - now);
            return;
        }
        dequeue(group, waiter);
        ag_log(AG_LOG_WARN, "PSG0110", "queue.timeout: %s: a request waited longer than PassengerMaxRequestQueueTime", group->kept.now.name);
        refuse_busy(group, waiter, "The request waited longer than PassengerMaxRequestQueueTime for a process.");
    }
}

static void enqueue(hp_group_t *group, hp_group_waiter_t *waiter)
{
    int seconds = group->kept.now.options->max_request_queue_time;

    TAILQ_INSERT_TAIL(&group->queue, waiter, entry);
    waiter->queued = 1;
    group->queued++;
    waiter->work.since = ag_loop_now();
    waiter->deadline = seconds > 0 ? ag_loop_now() + apr_time_from_sec(seconds) : 0;
    if (seconds > 0 && !ag_loop_timer_active(group->queue_timer))
        ag_loop_timer_start(group->queue_timer, apr_time_from_sec(seconds));
}

/* -- processes coming and going -- */

static void on_ready(hp_process_t *process)
{
    hp_group_t *group = process->group;
    hp_process_t *other, *next;

    group->next_try = 0;
    hp_report_destroy(&group->failure);
    ag_log(AG_LOG_INFO, "PSG0112", "app.ready: process %ld of %s, generation %u, after %ld ms", (long)process->pid, group->kept.now.name,
           process->generation, (long)((ag_loop_now() - process->started) / 1000));
    for (other = TAILQ_FIRST(&group->processes); other; other = next) {
        next = TAILQ_NEXT(other, entry);
        if (other->generation != group->generation)
            hp_process_retire(other);
    }
    advance(group);
    if (group->pool->starved)
        hp_group_retry(group->pool); /* one that is idle can make room */
}

static void start_failed(hp_group_t *group)
{
    group->failures++;
    group->next_try = ag_loop_now() + hp_policy_backoff(group->failures);
    ag_loop_timer_start(group->retry_timer, hp_policy_backoff(group->failures));
}

static void on_failed(hp_process_t *process, const char *sentence, const char *details)
{
    hp_group_t *group = process->group;
    hp_report_t *report;

    if (process->generation != group->generation)
        return; /* nobody waits for old code */
    start_failed(group);
    report = hp_report_create(group->p, 500, "This web application could not be started", sentence, details);
    ag_log(AG_LOG_ERROR, "PSG0113", "spawn.failed: %s: %s (error id %s; next try in %ld s at the earliest, or after a change of %s)",
           group->kept.now.name, sentence, report->id, (long)apr_time_sec(hp_policy_backoff(group->failures)), group->kept.now.startup_file);
    hp_report_destroy(&group->failure);
    group->failure = report;
    advance(group);
}

static void on_gone(hp_process_t *process)
{
    hp_group_t *group = process->group;
    hp_group_pool_t *pool = group->pool;

    TAILQ_REMOVE(&group->processes, process, entry);
    group->used--;
    pool->used--;
    assert(group->used >= 0 && pool->used >= group->used);
    process->group = NULL;
    if (process->crashed && !process->failed && process->requests == 0 && ag_loop_now() - process->started < CRASH_SOON)
        start_failed(group);
    if (pool->starved)
        hp_group_retry(pool);
    else
        advance(group);
}

static const hp_process_events_t process_events = {on_ready, on_failed, on_gone};

static void count_in(hp_group_t *group, hp_process_t *process)
{
    process->group = group;
    process->events = &process_events;
    TAILQ_INSERT_TAIL(&group->processes, process, entry);
    group->used++;
    group->pool->used++;
}

/* The process may outlive this configuration, so it gets a copy of its own. */
static void start_process(hp_group_t *group)
{
    const hp_config_t *config = &group->kept.now;
    hp_spec_t spec = {.group = config->name, .app_root = config->app_root, .kind = config->kind, .startup_file = config->startup_file,
                      .base_uri = config->base_uri, .options = config->options, .generation = group->generation, .number = ++group->started};
    apr_pool_t *p;

    apr_pool_create(&p, group->ctx->p);
    count_in(group, hp_process_create(group->ctx, p, hp_spec_copy(&spec, group->kept.env, group->kept.env_len, p), group, &process_events));
    assert(group->pool->used <= (int)group->ctx->settings->max_pool_size);
}

/* -- making room -- */

/* The process that would be missed least: idle, of a group that nobody waits for, unused for longest. Old code of `group` itself goes first. */
static hp_process_t *least_useful(const hp_group_t *group)
{
    hp_group_t *other;
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (process, &group->processes, entry) {
        if (process->state == HP_PROCESS_READY && process->generation != group->generation)
            return process;
    }
    TAILQ_FOREACH (other, &group->pool->groups, pool_entry) {
        TAILQ_FOREACH (process, &other->processes, entry) {
            if (process->state == HP_PROCESS_ENDING)
                return NULL; /* room is on its way */
            if (other != group && other->queued == 0 && process->state == HP_PROCESS_READY && process->in_flight == 0 &&
                (!found || process->last_used < found->last_used))
                found = process;
        }
    }
    return found;
}

static void make_room(hp_group_t *group)
{
    hp_process_t *process = least_useful(group);

    if (process) {
        ag_log(AG_LOG_INFO, "PSG0114", "pool.evict: process %ld of %s makes room for %s", (long)process->pid, process->spec->group,
               group->kept.now.name);
        hp_process_retire(process);
    }
    group->pool->starved++;
}

/* Those that somebody waits for come first. */
void hp_group_retry(hp_group_pool_t *pool)
{
    hp_group_t *group;

    pool->starved = 0;
    TAILQ_FOREACH (group, &pool->groups, pool_entry) {
        if (group->queued > 0)
            advance(group);
    }
    TAILQ_FOREACH (group, &pool->groups, pool_entry) {
        if (group->queued == 0 && !pool->starved)
            advance(group);
    }
}

/* -- the engine: called whenever something changed -- */

static void serve_queue(hp_group_t *group)
{
    hp_group_waiter_t *waiter;
    hp_process_t *process;

    while ((waiter = TAILQ_FIRST(&group->queue)) && (process = choose(group))) {
        dequeue(group, waiter);
        hp_process_begin(process, &waiter->work);
        waiter->serve(waiter, process);
    }
}

static void advance(hp_group_t *group)
{
    hp_policy_counts_t c;
    int any_ready, n;

    if (group->stat_pending)
        return;
    if (group->queued > 0)
        serve_queue(group);
    c = count(group, &any_ready);
    if (group->ctx->stopping && !group->failure) /* what is starting has lost its watchdog, or is not kept by the next one */
        group->failure = hp_report_create(group->p, 503, "This website is being restarted", "No process is left; none is started.", "");
    if (group->failure && any_ready == 0 && (group->ctx->stopping || (c.starting == 0 && ag_loop_now() < group->next_try)))
        refuse_all(group, group->failure);
    if (group->ctx->stopping || ag_loop_now() < group->next_try)
        return;
    if (group->pool->starved && c.queued == 0)
        return; /* another group's visitors need the room more than we need our spare processes */
    if (group->failures > 0 && c.starting == 0 && c.queued == 0 && !any_ready)
        return; /* what keeps failing is tried again when somebody asks for it */
    for (n = hp_policy_spawns(&c); n > 0; n--)
        start_process(group);
    c = count(group, &any_ready);
    if (hp_policy_starved(&c))
        make_room(group);
}

static void on_retry_timer(void *baton)
{
    advance(baton);
}

/* -- restarts -- */

/* From now on processes are started anew. `rolling`: the old ones serve until the first new one is ready. */
static void restart(hp_group_t *group, int rolling, const char *why)
{
    hp_process_t *process, *next;

    group->generation++;
    group->failures = 0;
    hp_config_forget(&group->kept);
    group->next_try = 0;
    hp_report_destroy(&group->failure);
    ag_log(AG_LOG_NOTICE, "PSG0115", "app.restart: %s: %s; generation %u", group->kept.now.name, why, group->generation);
    for (process = TAILQ_FIRST(&group->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        if (!rolling || process->state == HP_PROCESS_STARTING)
            hp_process_retire(process);
    }
}

static void on_stat_timer(void *baton)
{
    hp_group_t *group = baton;

    ag_log(AG_LOG_WARN, "PSG0116", "stat.slow: %s: the file system of %s does not answer; restart.txt is not looked at", group->kept.now.name,
           group->kept.now.app_root);
    group->stat_pending = 0;
    advance(group);
}

/* Asks the watchdog to look at the files, when that is due. */
static void look(hp_group_t *group)
{
    apr_interval_time_t rate = apr_time_from_sec(group->ctx->settings->stat_throttle_rate);
    apr_time_t now;
    apr_pool_t *ptemp;
    ag_frame_t *f;

    if (group->stat_pending || group->ctx->stopping)
        return;
    now = ag_loop_now();
    if (group->failure && rate > apr_time_from_sec(1))
        rate = apr_time_from_sec(1); /* somebody is mending it */
    if (group->stat_known && now - group->stat_at < rate)
        return;
    group->stat_at = now;
    group->stat_pending = 1;
    apr_pool_create(&ptemp, group->p);
    f = ag_frame_create(ptemp, HP_MSG_STAT);
    ag_frame_put_u64(f, group->cookie);
    ag_frame_put_str(f, group->kept.now.app_root);
    ag_frame_put_str(f, group->kept.now.options->restart_dir);
    ag_frame_put_str(f, group->kept.now.startup_file);
    if (group->ctx->looker)
        hp_chan_send(group->ctx->looker, f, NULL, 0);
    apr_pool_destroy(ptemp);
    ag_loop_timer_start(group->stat_timer, STAT_LIMIT);
}

void hp_group_stated(hp_group_t *group, uint64_t restart_stamp, int always, uint64_t startup_stamp)
{
    ag_loop_timer_stop(group->stat_timer);
    group->stat_pending = 0;
    if (group->stat_known && hp_policy_restart(group->restart_stamp, restart_stamp, always))
        restart(group, 0, always ? "always_restart.txt" : "restart.txt was touched");
    if (group->failure && startup_stamp != group->startup_stamp)
        group->next_try = 0;
    group->restart_stamp = restart_stamp;
    group->startup_stamp = startup_stamp;
    group->stat_known = 1;
    advance(group);
}

/* -- configuration -- */

void hp_group_configure(hp_group_t *group, const hp_config_t *config)
{
    if (hp_config_update(&group->kept, config) && group->used > 0)
        restart(group, 1, "its configuration changed");
}

void hp_group_environment(hp_group_t *group, const char *pairs, apr_size_t len)
{
    hp_config_environment(&group->kept, pairs, len);
}

hp_group_t *hp_group_create(hp_group_pool_t *pool, const hp_config_t *config)
{
    apr_pool_t *p;
    hp_group_t *group;

    apr_pool_create(&p, pool->ctx->p);
    group = apr_pcalloc(p, sizeof *group);
    group->p = p;
    group->pool = pool;
    group->ctx = pool->ctx;
    group->cookie = ++pool->cookies;
    group->generation = 1;
    group->created = ag_loop_now();
    group->owner = (uid_t)-1;
    hp_config_keep(&group->kept, config, p);
    TAILQ_INIT(&group->processes);
    TAILQ_INIT(&group->queue);
    group->queue_timer = ag_loop_timer_pooled(group->ctx->loop, p, on_queue_timer, group);
    group->stat_timer = ag_loop_timer_pooled(group->ctx->loop, p, on_stat_timer, group);
    group->retry_timer = ag_loop_timer_pooled(group->ctx->loop, p, on_retry_timer, group);
    TAILQ_INSERT_TAIL(&pool->groups, group, pool_entry);
    return group;
}

void hp_group_adopt(hp_group_t *group, hp_process_t *process)
{
    if (process->generation > group->generation)
        group->generation = process->generation;
    count_in(group, process);
}

/* -- requests -- */

void hp_group_submit(hp_group_t *group, hp_group_waiter_t *waiter)
{
    int limit = group->kept.now.options->max_request_queue_size;
    hp_process_t *process;

    look(group);
    if (!group->stat_pending && group->queued == 0 && (process = choose(group))) {
        hp_process_begin(process, &waiter->work);
        waiter->serve(waiter, process);
        return;
    }
    if (!group->stat_pending && limit > 0 && group->queued >= limit) {
        ag_log(AG_LOG_WARN, "PSG0111", "queue.full: %s: %d wait already (PassengerMaxRequestQueueSize)", group->kept.now.name, group->queued);
        refuse_busy(group, waiter, "As many requests as PassengerMaxRequestQueueSize allows are waiting already.");
        return;
    }
    enqueue(group, waiter);
    advance(group);
}

void hp_group_cancel(hp_group_t *group, hp_group_waiter_t *waiter)
{
    dequeue(group, waiter);
}

void hp_group_done(hp_process_t *process, hp_process_work_t *work, int broken)
{
    hp_group_t *group = process->group;
    int limit = process->spec->options->max_requests;

    if (!group) {
        hp_process_end(process, work); /* it is gone already */
        return;
    }
    group->failures = 0;
    if (broken) {
        hp_process_suspect(process);
    } else if ((limit > 0 && process->requests >= (unsigned long)limit) || (group->pool->starved && group->used > 1)) {
        hp_process_retire(process);
    }
    hp_process_end(process, work);
    if (group->queued > 0 || group->pool->starved)
        advance(group);
    if (group->pool->starved)
        hp_group_retry(group->pool);
}

void hp_group_reap_idle(hp_group_t *group, apr_time_t now)
{
    unsigned limit = group->ctx->settings->pool_idle_time;
    hp_process_t *process, *next;
    int any_ready;

    (void)count(group, &any_ready);
    for (process = TAILQ_FIRST(&group->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        hp_process_note(process);
        if (process->state == HP_PROCESS_READY && process->in_flight == 0 &&
            hp_policy_idle_over(now, process->last_used, limit, any_ready, group->kept.now.options->min_instances)) {
            any_ready--;
            hp_process_retire(process);
        }
    }
}

const char *hp_group_name(const hp_group_t *group)
{
    return group->kept.now.name;
}

uint64_t hp_group_cookie(const hp_group_t *group)
{
    return group->cookie;
}

void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton)
{
    hp_process_t *process, *next;

    for (process = TAILQ_FIRST(&group->processes); process; process = next) {
        next = TAILQ_NEXT(process, entry);
        visit(process, baton);
    }
}

void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_group_waiter_t *waiter, void *baton), void *baton)
{
    hp_group_waiter_t *waiter;

    TAILQ_FOREACH (waiter, &group->queue, entry)
        visit(waiter, baton);
}

void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts)
{
    const hp_config_t *config = &group->kept.now;
    int any_ready;

    *facts = (hp_group_facts_t){.name = config->name, .app_root = config->app_root, .app_env = config->options->app_env, .kind = config->kind,
                                .startup_file = config->startup_file, .generation = group->generation, .queued = group->queued,
                                .starting = count(group, &any_ready).starting, .failure = group->failure, .owner = group->owner,
                                .created = group->created, .options = config->options};
}

void hp_group_restart(hp_group_t *group, int rolling, const char *why)
{
    restart(group, rolling > 0, why);
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
