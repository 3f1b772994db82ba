/* Episodes: each is a world with limits, applications and visitors of its own, in which things go wrong at random, and which ends
 * in order. SEED and EVENTS in the environment choose; what is wrong is told with the seed that shows it, and again with all that
 * led to it. */
#include "t/lib/tap.h"
#include "t/sim/sim.h"
#include <apr_strings.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOLD 40 /* events before a violation */

sim_world_t sim;
sim_counts_t sim_counts;

static uint64_t chance, total;
static uint64_t digest; /* of what happened: the same for the same seed */
static uint32_t config_generation;
static sim_event_t core_event, chaos_event;
static struct {
    int touch, code, configure, resize, core, crash, admin; /* weights */
    apr_interval_time_t pause;
} plan;

/* -- chance -- */

uint64_t sim_random(void)
{
    uint64_t z = chance += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

int sim_below(int n)
{
    return (int)(sim_random() % (uint64_t)n);
}

int sim_percent(int percent)
{
    return sim_below(100) < percent;
}

int sim_rarely(int of_10000)
{
    return sim_below(10000) < of_10000;
}

apr_interval_time_t sim_time(apr_interval_time_t least, apr_interval_time_t most)
{
    apr_interval_time_t time = least + (most > least ? (apr_interval_time_t)(sim_random() % (uint64_t)(most - least + 1)) : 0);
    apr_interval_time_t grain = most >= 4 * SECOND ? SECOND : most >= 400 * MS ? 100 * MS : MS;

    return sim_percent(30) && time - time % grain >= least ? time - time % grain : time;
}

/* -- what is told -- */

void sim_tell(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    printf("# %7lu %10.6f  ", (unsigned long)sim.events, (double)sim.now / SECOND);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
}

static void tell_process(hp_process_t *process, void *baton)
{
    const sim_process_t *known = sim_watchdog_find(process->id);

    (void)baton;
    sim_tell("process %d of app%d: state %d, life %d, asked %d, generation %u, %d in flight, %d links", (int)process->id,
             known->group, process->state, known->life, known->asked, process->generation, process->in_flight, process->nlinks);
}

static void tell_all(void)
{
    sim.telling = 1;
    if (sim.pool)
        sim_checks_full(); /* finds the core's groups */
    for (int i = 0; i < sim.ngroups; i++) {
        const sim_group_t *group = &sim.groups[i];
        hp_group_facts_t facts = {0};
        if (!group->core)
            continue;
        hp_group_facts(group->core, &facts);
        sim_tell("app%d: %d processes, %d waiting, generation %u, %d starting, min %d, max %d%s%s", i, group->live, group->queued,
                 facts.generation, facts.starting, facts.options->min_instances, facts.options->max_instances,
                 facts.held ? ", held" : "", facts.failure ? ", failed" : "");
        hp_group_each(group->core, tell_process, NULL);
    }
}

/* The same once more, and told. */
static void again(void)
{
    char seed[40], from[40];

    fflush(stdout);
    if (sim.trace)
        return;
    snprintf(seed, sizeof seed, "%lu", (unsigned long)sim.seed);
    snprintf(from, sizeof from, "%lu", (unsigned long)(sim.events > TOLD ? sim.events - TOLD : 1));
    setenv("SEED", seed, 1);
    setenv("EVENTS", "1", 1);
    setenv("TRACE", from, 1);
    setenv("AGAIN", "1", 1);
    execl("/proc/self/exe", "simulation", (char *)NULL);
}

void sim_violation(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    printf("# SEED=%lu, event %lu, %.3f s: ", (unsigned long)sim.seed, (unsigned long)sim.events, (double)sim.now / SECOND);
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
    again();
    if (!sim.telling)
        tell_all();
    ok(0, "every property holds");
    fflush(stdout);
    _exit(1);
}

static void on_death(void)
{
    printf("# SEED=%lu, event %lu: the program ends\n", (unsigned long)sim.seed, (unsigned long)sim.events);
    again();
}

static void on_abort(int signum)
{
    (void)signum;
    on_death();
    _exit(1);
}

void __asan_set_death_callback(void (*callback)(void)) __attribute__((weak));
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=16:malloc_context_size=6:detect_stack_use_after_return=0";
}

/* -- the log: heard, rarely written -- */

void ag_log(ag_log_level_t level, const char *tag, const char *fmt, ...)
{
    static unsigned said;
    const char *name;
    char line[2048];
    va_list args;

    (void)level;
    sim_counts.evicted += tag && strcmp(tag, "PSG0114") == 0;
    va_start(args, fmt);
    if (tag && strcmp(tag, "PSG0114") == 0) { /* process, its group, for whom */
        (void)va_arg(args, long);
        name = va_arg(args, const char *);
        if (strcmp(va_arg(args, const char *), "its successor") == 0)
            sim_checks_replaced(name);
    } else if (tag && strcmp(tag, "PSG0115") == 0) {
        sim_checks_restarted(va_arg(args, const char *));
    }
    va_end(args);
    sim_counts.overdue += tag && strcmp(tag, "PSG0110") == 0;
    if (!sim.tracing && ++said % 16) /* not by chance: a told episode must be the same */
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    SAY("log %s: %s", tag ? tag : "", line);
}

const char *ag_log_due(ag_log_rate_t *rate, apr_time_t now)
{
    (void)rate;
    (void)now;
    return "";
}

void ag_log_output(const ag_record_origin_t *from, const char *line, apr_size_t len, int more)
{
    SAY("log: App %ld %s: %.*s%s", from->pid, from->stream, (int)len, line, more ? "..." : "");
}

void ag_log_make_lines(const ag_log_output_t *output, ag_log_line_cb_t cb, void *baton)
{
    char text[HP_OUTPUT_LINE + 2];
    int n = snprintf(text, sizeof text, "%.*s\n", (int)output->len, output->text);

    cb(baton, text, (apr_size_t)n);
}

void ag_log_write(const char *line, apr_size_t len)
{
    SAY("log: %.*s", (int)len - 1, line);
}

void ag_log_set_level(ag_log_level_t level)
{
    (void)level;
}

void ag_log_set_role(const char *role)
{
    (void)role;
}

/* -- settings and configuration -- */

static void choose_settings(void)
{
    apr_pool_t *p, *old = sim.settings_pool;
    ag_settings_t *settings;

    apr_pool_create(&p, sim.root);
    settings = apr_pcalloc(p, sizeof *settings);
    if (sim.settings)
        *settings = *sim.settings;
    settings->grants = apr_array_make(p, 1, sizeof(ag_settings_grant_t));
    if (!sim.settings || sim_percent(50))
        settings->max_pool_size = 1 + (uint32_t)sim_below(sim_percent(50) ? 2 * sim.ngroups : 20);
    if (!sim.settings || sim_percent(30))
        settings->max_instances_per_app = sim_percent(50) ? 0 : 1 + (uint32_t)sim_below(5);
    if (!sim.settings || sim_percent(30))
        settings->pool_idle_time = sim_percent(20) ? 0 : 1 + (uint32_t)sim_below(60);
    if (!sim.settings || sim_percent(30))
        settings->stat_throttle_rate = sim_percent(20) ? 0 : (uint32_t)sim_below(11);
    settings->log_level = 3;
    sim.settings = settings;
    sim.settings_pool = p;
    sim.ctx.settings = settings;
    sim.limit_changed = sim.now;
    if (old)
        apr_pool_destroy(old);
    SAY("settings: pool %u, per app %u, idle %u s, throttle %u s", settings->max_pool_size, settings->max_instances_per_app,
        settings->pool_idle_time, settings->stat_throttle_rate);
}

static void set(ag_options_t *options, int id, int *member, int value)
{
    options->set |= (apr_uint64_t)1 << id;
    *member = value;
}
#define SET(field, value) set(options, AG_OPTIONS_##field, &options->field, value)

static void choose_options(ag_options_t *options)
{
    options->spawn_method = "direct"; /* preloaders have a test of their own (46smart.t) */
    options->set |= (apr_uint64_t)1 << AG_OPTIONS_spawn_method;
    if (sim_percent(70))
        SET(min_instances, sim_below(4));
    if (sim_percent(50))
        SET(max_instances, sim_below(5));
    if (sim_percent(30))
        SET(max_requests, sim_below(40));
    if (sim_percent(50))
        SET(max_request_queue_size, sim_percent(20) ? 0 : 1 + sim_below(10));
    if (sim_percent(40))
        SET(max_request_queue_time, 1 + sim_below(20));
    SET(start_timeout, 1 + sim_below(20));
    if (sim_percent(30))
        SET(force_max_concurrent_requests_per_process, sim_below(4));
    if (sim_percent(30))
        SET(sticky_sessions, 1);
    if (sim_percent(30))
        SET(rolling_restarts, sim_below(2));
    if (sim_percent(30))
        SET(resist_deployment_errors, sim_below(2));
    if (sim_percent(20))
        SET(memory_limit, 100 + sim_below(400));
    if (sim_percent(20))
        SET(hard_memory_limit, 300 + sim_below(400));
    /* Ruby's processes work out of band; the simulated watchdog forks none. */
    options->set |= (apr_uint64_t)1 << AG_OPTIONS_spawn_method;
    options->spawn_method = "direct";
    if (sim_percent(20)) {
        options->set |= (apr_uint64_t)1 << AG_OPTIONS_app_env;
        options->app_env = "development";
    }
}

/* Another configuration for the group; `spawn`: of what processes are started with. */
static void configure(sim_group_t *group, int spawn)
{
    hp_config_t *config = apr_pcalloc(sim.root, sizeof *config);
    ag_options_t *options = ag_options_create(sim.root);

    choose_options(options);
    if (sim.closing) {
        SET(min_instances, 0);
        SET(start_timeout, 20);
    }
    *config = (hp_config_t){.name = group->name,
                            .app_root = group->root,
                            .kind = "ruby",
                            .startup_file = "passenger_wsgi.py",
                            .base_uri = "",
                            .options = options,
                            .digest = ++config_generation,
                            .config_generation = config_generation,
                            .spawn_digest = !group->config || spawn ? config_generation : group->config->spawn_digest};
    if (group->config && strcmp(group->config->options->app_env, options->app_env) != 0)
        config->spawn_digest = config_generation;
    group->former = group->config;
    group->config = config;
    SAY("configuration of %s: min %d, max %d, %d requests, queue %d, %d s%s", group->name, options->min_instances,
        options->max_instances, options->max_requests, options->max_request_queue_size, options->max_request_queue_time,
        spawn ? "; processes are replaced" : "");
}

sim_group_t *sim_watchdog_group(const char *root)
{
    int n = root ? atoi(root + strlen("/apps/")) : -1;

    MUST(n >= 0 && n < sim.ngroups, "no group lives in %s", root ? root : "(null)");
    return &sim.groups[n];
}

/* -- cores -- */

static void start_core(void *baton)
{
    static unsigned char key[16] = "sixteen bytes...";

    (void)baton;
    memset(&sim.ctx, 0, sizeof sim.ctx);
    apr_pool_create(&sim.ctx.p, sim.root);
    sim.ctx.settings = sim.settings;
    sim.ctx.data_dir = "/nowhere";
    sim.ctx.core_id = "simulated";
    sim.ctx.next_id = (uint64_t)sim.nprocesses + 1;
    sim.ctx.processes = apr_hash_make(sim.ctx.p);
    memcpy(sim.ctx.key, key, sizeof key);
    sim.pool = hp_pool_create(&sim.ctx);
    hp_pool_settings_changed(sim.pool);
    sim_counts.cores++;
    SAY("core starts");
    sim_watchdog_core();
}

static void end_core(void)
{
    SAY("core ends");
    sim.pool = NULL;
    sim.listening = 0;
    sim_visitors_core_ended();
    sim_watchdog_core_ended();
    for (apr_hash_index_t *hi = apr_hash_first(NULL, sim.ctx.processes); hi; hi = apr_hash_next(hi)) {
        hp_process_t *process = apr_hash_this_val(hi);
        hp_output_forget(&process->words);
        hp_output_forget(&process->error);
    }
    apr_pool_destroy(sim.ctx.p);
    sim_clock_drop();
    for (int i = 0; i < sim.ngroups; i++) {
        sim_group_t *group = &sim.groups[i];
        group->core = NULL;
        group->taken = NULL;
        group->told_startup = 0;
        group->proven = group->least = 0;
        group->cookie = 0;
        group->free_since = 0;
        sim_checks_fresh(group);
    }
}

/* -- what goes wrong, or is wanted -- */

static void touch(sim_group_t *group)
{
    SAY("restart.txt of %s is touched", group->name);
    group->restart_stamp = sim_percent(5) ? 0 : (uint64_t)sim.now + 1;
    group->always = sim_percent(3);
    sim_counts.touched++;
}

static void change_code(sim_group_t *group)
{
    group->bad = sim_percent(60) ? 0 : sim_percent(50) ? 100 : 30;
    group->startup_stamp = (uint64_t)sim.now + 1;
    SAY("new code for %s: %d %% of starts fail", group->name, group->bad);
    if (sim_percent(80))
        touch(group);
}

static void crash_process(void)
{
    sim_process_t *process =
        sim.nprocesses ? sim.processes[sim.nprocesses - 1 - sim_below(sim.nprocesses < 30 ? sim.nprocesses : 30)] : NULL;

    if (process)
        sim_watchdog_crash(process);
}

static void detach_one(hp_process_t *process, void *baton)
{
    int *done = baton;

    if (*done == 0 && sim_percent(50) && hp_group_detach(process)) {
        sim_counts.detached++;
        *done = 1;
    }
}

static void administer(sim_group_t *group)
{
    int done = 0, roll;
    hp_group_facts_t facts;

    sim_checks_full(); /* finds the core's groups */
    if (!sim.pool || !group->core)
        return;
    if (sim_percent(30)) {
        sim_watchdog_looker(!sim.ctx.looker);
        return;
    }
    if (sim_percent(50)) {
        hp_group_each(group->core, detach_one, &done);
        return;
    }
    sim_counts.restarted++;
    sim_checks_fresh(group);
    roll = sim_below(3) - 1;
    if (roll == 0) {
        hp_group_facts(group->core, &facts);
        group->least = facts.generation + 1;
    }
    hp_group_restart(group->core, roll, "an administrator wants it");
}

static void resize(void)
{
    sim_counts.resized++;
    choose_settings();
    if (sim.pool)
        hp_pool_settings_changed(sim.pool);
}

static void chaos(void *baton)
{
    sim_group_t *group = &sim.groups[sim_below(sim.ngroups)];
    int n = sim_below(plan.touch + plan.code + plan.configure + plan.resize + plan.core + plan.crash + plan.admin + 1);

    (void)baton;
    sim_event_set(&chaos_event, sim.now + sim_time(0, plan.pause));
    if ((n -= plan.touch) < 0) {
        touch(group);
    } else if ((n -= plan.code) < 0) {
        change_code(group);
    } else if ((n -= plan.configure) < 0) {
        sim_counts.configured++;
        configure(group, sim_percent(50));
    } else if ((n -= plan.resize) < 0) {
        resize();
    } else if ((n -= plan.core) < 0) {
        if (sim.pool) {
            end_core();
            sim_event_set(&core_event, sim.now + sim_time(0, 250 * MS));
        }
    } else if ((n -= plan.crash) < 0) {
        crash_process();
    } else if (n - plan.admin < 0) {
        administer(group);
    }
}

/* -- one episode -- */

static void make_world(uint64_t seed)
{
    uint64_t trace = sim.trace;

    memset(&sim, 0, sizeof sim);
    chance = seed * 0x2545f4914f6cdd1d + 1;
    sim.seed = seed;
    sim.trace = trace;
    sim.tracing = trace == 1;
    sim.now = 1000 * SECOND;
    config_generation = 0;
    apr_pool_create(&sim.root, NULL);
    sim.ngroups = 1 + sim_below(SIM_GROUPS);
    sim.calm = sim_percent(20);
    sim.think = sim_time(10 * MS, 4 * SECOND);
    choose_settings();
    for (int i = 0; i < sim.ngroups; i++) {
        sim_group_t *group = &sim.groups[i];
        snprintf(group->name, sizeof group->name, "app%d", i);
        snprintf(group->root, sizeof group->root, "/apps/%d", i);
        group->boot = sim_time(10 * MS, 8 * SECOND);
        group->service = sim_time(5 * MS, 2 * SECOND);
        group->bad = sim_percent(80) ? 0 : 20;
        TAILQ_INIT(&group->queue);
        TAILQ_INIT(&group->known);
        configure(group, 1);
    }
#define WEIGHT(n) (sim_percent(50) ? sim_below(n) : 0)
    plan.touch = WEIGHT(10);
    plan.code = WEIGHT(10);
    plan.configure = WEIGHT(10);
    plan.resize = WEIGHT(10);
    plan.core = WEIGHT(4);
    plan.crash = sim.calm ? 0 : WEIGHT(20);
    plan.admin = WEIGHT(10);
    plan.pause = sim_time(SECOND, 40 * SECOND);
    chaos_event = (sim_event_t){.fire = chaos};
    core_event = (sim_event_t){.fire = start_core};
    start_core(NULL);
    sim_visitors_create(1 + sim_below(sim_percent(70) ? 30 : 150));
    sim_event_set(&chaos_event, sim.now + plan.pause);
}

static void step(void)
{
    sim.events++;
    total++;
    if (sim.trace && sim.events >= sim.trace)
        sim.tracing = 1;
    MUST(sim_clock_step(), "nothing is expected any more");
    digest = (digest ^ (uint64_t)sim.now ^ (uint64_t)sim.nprocesses) * 0x100000001b3;
    sim_checks_fast();
    if (sim.events % 61 == 0 || sim.tracing)
        sim_checks_full();
}

static int any_live(void)
{
    int live = 0;

    for (int i = 0; i < sim.ngroups; i++)
        live += sim.groups[i].live;
    return live > 0 || sim_watchdog_talking() || sim_oob_works();
}

/* Goes on while `busy`, and not for longer than `limit`. */
static void settle(int (*busy)(void), apr_interval_time_t limit, const char *what)
{
    apr_time_t start = sim_clock_pace();

    while (busy()) {
        step();
        MUST(sim_clock_pace() - start < limit, "after %ld s there are still %s", (long)apr_time_sec(limit), what);
    }
}

/* What a core without processes and requests has is what a new one has. */
static void check_memory(void)
{
    long pools = sim_memory_pools(), bytes = sim_memory_bytes();
    int timers = sim_clock_timers(), failures = 0, had[SIM_GROUPS];

    for (int i = 0; i < sim.ngroups; i++) {
        hp_group_facts_t facts = {0};
        had[i] = sim.groups[i].core != NULL;
        if (had[i])
            hp_group_facts(sim.groups[i].core, &facts);
        failures += facts.failure != NULL;
    }
    end_core();
    start_core(NULL);
    for (int i = 0; i < sim.ngroups; i++) {
        if (had[i])
            sim_visitors_group(&sim.groups[i]);
    }
    MUST(timers == sim_clock_timers(), "%d timers are left over", timers - sim_clock_timers());
    MUST(pools <= sim_memory_pools() + failures, "%ld pools are left over", pools - sim_memory_pools());
    MUST(bytes <= sim_memory_bytes() + 4000 * failures + 32 * 1024, "%ld bytes are left over", bytes - sim_memory_bytes());
}

static void drain(void)
{
    sim_counts.drained++;
    sim.settings->pool_idle_time = 1;
    sim.limit_changed = sim.now;
    hp_pool_settings_changed(sim.pool);
    settle(sim_visitors_busy, 20 * 60 * SECOND, "requests");
    sim_checks_full();
    for (int i = 0; i < sim.ngroups; i++) {
        sim.groups[i].bad = 0;
        configure(&sim.groups[i], 0);
        sim_checks_fresh(&sim.groups[i]);
        if (sim.groups[i].core) /* a group that is held keeps a process that is idle, until somebody restarts it */
            hp_group_restart(sim_visitors_group(&sim.groups[i]), 0, "the end is near");
    }
    settle(any_live, 10 * 60 * SECOND, "processes");
    sim_checks_full();
    sim_checks_drained();
    check_memory();
}

static void stop(void)
{
    sim_counts.stopped++;
    sim.ctx.stopping = 1;
    hp_pool_stopping(sim.pool);
    settle(sim_visitors_busy, 10 * 60 * SECOND, "requests");
}

static void episode(uint64_t seed)
{
    uint64_t n = 2000 + (uint64_t)sim_below(40000);

    make_world(seed);
    n = 2000 + (uint64_t)sim_below(40000);
    while (sim.events < n)
        step();
    sim_event_clear(&chaos_event);
    while (!sim.listening)
        step();
    sim.closing = 1;
    if (sim_percent(75))
        drain();
    else
        stop();
    end_core();
    sim_watchdog_forget();
    sim_visitors_destroy();
    apr_pool_destroy(sim.root);
    MUST(sim_memory_pools() == 0 && sim_memory_bytes() == 0, "%ld pools are left", sim_memory_pools());
}

int main(void)
{
    const char *seed_text = getenv("SEED"), *events_text = getenv("EVENTS"), *trace = getenv("TRACE");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1,
             events = events_text ? strtoull(events_text, NULL, 10) : 1000000, n = 0;

    if (__asan_set_death_callback)
        __asan_set_death_callback(on_death);
    signal(SIGABRT, on_abort);
    sim.trace = trace ? strtoull(trace, NULL, 10) : 0;
    while (total < events)
        episode(seed + n++);
    diag("SEED=%lu EVENTS=%lu: %lu events in %lu episodes, digest %016lx", (unsigned long)seed, (unsigned long)events,
         (unsigned long)total, (unsigned long)n, (unsigned long)digest);
    ok(!getenv("AGAIN"), "every property holds"); /* what was wrong has been told, even if it is not when it is told at length */
    /* What never happens is not tested; in a short run not everything need happen. */
#define X(name) ok(sim_counts.name > 0 || events < 1000000, "%s: %ld times", #name, sim_counts.name);
    SIM_COUNTS(X)
#undef X
    return done_testing();
}
