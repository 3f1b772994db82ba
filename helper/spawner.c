#include "helper/spawner.h"
#include "apr-glue/log.h"
#include "helper/kind.h"
#include "helper/meter.h"
#include <string.h>

#define LOSSES_MAX 2 /* preloaders in a row that brought nothing: another would not either */

struct hp_spawner_t {
    hp_context_t *ctx;
    apr_pool_t *p;
    hp_fleet_t *fleet;
    void *group;
    const hp_process_events_t *events;
    uint32_t started;        /* processes so far */
    hp_process_t *preloader; /* starting, or ready */
    apr_interval_time_t load_time;
    apr_time_t used_at; /* when it was last told to fork */
    int direct;         /* this code cannot be preloaded */
    int losses;         /* preloaders that died or did not answer, since the last one that brought a process */
};

/* -- those that are nobody's any more -- */

static void ignore(hp_process_t *process)
{
    (void)process;
}

static void ignore_reason(hp_process_t *process, const char *sentence)
{
    (void)process;
    (void)sentence;
}

static void ignore_failure(hp_process_t *process, const char *sentence, const char *details)
{
    (void)details;
    ignore_reason(process, sentence);
}

static const hp_process_events_t nobodys = {ignore, ignore_failure, ignore, ignore, ignore_reason};

static hp_process_t *part(hp_spawner_t *spawner)
{
    hp_process_t *preloader = spawner->preloader;

    spawner->preloader = NULL;
    if (preloader) {
        preloader->events = &nobodys;
        preloader->group = NULL;
        preloader->log = NULL;
    }
    return preloader;
}

void hp_spawner_renew(hp_spawner_t *spawner)
{
    hp_process_t *preloader = part(spawner);

    spawner->direct = spawner->losses = 0;
    if (preloader)
        hp_process_retire(preloader);
}

/* -- those that wait for the preloader -- */

static hp_process_t *waiting(const hp_spawner_t *spawner)
{
    hp_process_t *process;

    TAILQ_FOREACH (process, &spawner->fleet->processes, entry) {
        if (process->state == HP_PROCESS_STARTING && process->id == 0)
            return process;
    }
    return NULL;
}

static void order_waiting(hp_spawner_t *spawner)
{
    hp_process_t *process;

    while ((process = waiting(spawner))) {
        hp_process_order(process, spawner->preloader);
        spawner->used_at = ag_loop_now();
    }
}

/* One of them tells why, as it would have done alone; the others would say the same. */
static void fail_waiting(hp_spawner_t *spawner, const char *sentence, const char *details)
{
    hp_process_t *process = waiting(spawner), *other;

    if (!process)
        return;
    hp_process_kill(process);
    while ((other = waiting(spawner)))
        hp_process_kill(other);
    hp_process_fail(process, sentence, details);
}

/* -- the preloader -- */

/* The loader found that this code must not be shared, and serves it by itself. */
static void take_as_process(hp_spawner_t *spawner, hp_process_t *process)
{
    hp_process_t *place = waiting(spawner);

    part(spawner);
    spawner->direct = 1;
    if (!place) {
        hp_process_retire(process);
        return;
    }
    TAILQ_INSERT_BEFORE(place, process, entry);
    TAILQ_REMOVE(&spawner->fleet->processes, place, entry);
    process->group = place->group;
    process->events = place->events;
    process->counted_starting = place->counted_starting;
    place->state = HP_PROCESS_GONE;
    hp_process_release(place);
    order_waiting(spawner);
    process->events->ready(process);
}

static void on_ready(hp_process_t *process)
{
    hp_spawner_t *spawner = process->group;

    spawner->load_time = ag_loop_now() - process->started;
    if (!process->handshake.preloader) {
        take_as_process(spawner, process);
        return;
    }
    ag_log(AG_LOG_INFO, "PSG1100", "preloader.ready: process %ld of %s, generation %u, after %ld ms", (long)process->pid, process->spec->group,
           process->generation, (long)(spawner->load_time / 1000));
    spawner->used_at = ag_loop_now();
    order_waiting(spawner);
}

static void on_failed(hp_process_t *process, const char *sentence, const char *details)
{
    hp_spawner_t *spawner = process->group;
    hp_process_t *heir = waiting(spawner);

    if (heir) {
        heir->page = process->page;
        heir->refused = process->refused;
        process->page = (hp_output_text_t){0};
    }
    part(spawner);
    fail_waiting(spawner, sentence, details);
}

static void lose(hp_spawner_t *spawner, const char *why)
{
    spawner->losses++;
    ag_log(AG_LOG_WARN, "PSG1101", "preloader.died: %s: %s; %s", spawner->preloader->spec->group, why,
           spawner->losses < LOSSES_MAX ? "the next start brings another" : "processes load the code themselves until the next restart");
    spawner->direct |= spawner->losses >= LOSSES_MAX;
}

static void on_gone(hp_process_t *process)
{
    hp_spawner_t *spawner = process->group;

    if (!spawner->ctx->stopping)
        lose(spawner, "the preloader has ended by itself");
    part(spawner);
}

static const hp_process_events_t preloader_events = {on_ready, on_failed, on_gone, ignore, ignore_reason};

static void load_for(hp_spawner_t *spawner, const hp_process_t *process)
{
    apr_pool_t *p;

    apr_pool_create(&p, spawner->ctx->p);
    spawner->preloader = hp_process_create(spawner->ctx, p, hp_spec_copy(process->spec, p), spawner, &preloader_events);
    spawner->preloader->may_preload = 1;
    spawner->preloader->log = process->log;
    spawner->preloader->restart_stamp = process->restart_stamp;
    spawner->load_time = 0;
    hp_process_order(spawner->preloader, NULL);
}

static int smart(const hp_spec_t *spec)
{
    const hp_kind_t *kind = hp_kind_find(spec->kind);
    const char *method = spec->options->spawn_method;

    if (!kind || kind->preloads == HP_KIND_PRELOADS_NEVER)
        return 0;
    return method ? strncmp(method, "smart", 5) == 0 : kind->preloads == HP_KIND_PRELOADS_USUALLY;
}

/* -- processes -- */

hp_spawner_t *hp_spawner_create(hp_context_t *ctx, hp_fleet_t *fleet, void *group, const hp_process_events_t *events, apr_pool_t *p)
{
    hp_spawner_t *spawner = apr_pcalloc(p, sizeof *spawner);

    spawner->ctx = ctx;
    spawner->p = p;
    spawner->fleet = fleet;
    spawner->group = group;
    spawner->events = events;
    return spawner;
}

/* The process may outlive this configuration, so it gets a copy of its own. */
hp_process_t *hp_spawner_make(hp_spawner_t *spawner, const hp_config_kept_t *kept)
{
    const hp_config_t *config = &kept->now;
    hp_spec_t spec = {.group = config->name, .app_root = config->app_root, .kind = config->kind, .startup_file = config->startup_file,
                      .base_uri = config->base_uri, .author = config->author, .options = config->options,
                      .generation = spawner->fleet->generation, .number = ++spawner->started};
    apr_pool_t *p;

    apr_pool_create(&p, spawner->ctx->p);
    return hp_process_create(spawner->ctx, p, hp_spec_copy(&spec, p), spawner->group, spawner->events);
}

void hp_spawner_start(hp_spawner_t *spawner, hp_process_t *process)
{
    if (spawner->preloader && spawner->preloader->generation != process->generation)
        hp_spawner_renew(spawner);
    if (spawner->direct || !smart(process->spec)) {
        hp_process_order(process, NULL);
    } else if (!spawner->preloader) {
        load_for(spawner, process);
    } else if (spawner->preloader->state == HP_PROCESS_READY) {
        hp_process_order(process, spawner->preloader);
        spawner->used_at = ag_loop_now();
    }
}

void hp_spawner_unborn(hp_spawner_t *spawner, hp_process_t *process, const char *sentence)
{
    hp_process_t *preloader = spawner->preloader;

    if (preloader && preloader->id == process->forked_by) {
        lose(spawner, sentence);
        part(spawner);
        hp_process_kill(preloader);
    }
    hp_spawner_start(spawner, process);
}

void hp_spawner_proven(hp_spawner_t *spawner, const hp_process_t *process)
{
    if (process->forked_by)
        spawner->losses = 0;
}

void hp_spawner_adopt(hp_spawner_t *spawner, hp_process_t *preloader)
{
    hp_spawner_renew(spawner);
    preloader->group = spawner;
    preloader->events = &preloader_events;
    spawner->preloader = preloader;
    spawner->used_at = ag_loop_now();
}

static int busy(const hp_spawner_t *spawner)
{
    const hp_process_t *process;

    TAILQ_FOREACH (process, &spawner->fleet->processes, entry) {
        if (process->state == HP_PROCESS_STARTING)
            return 1;
    }
    return 0;
}

void hp_spawner_look(hp_spawner_t *spawner, apr_time_t now, int idle)
{
    hp_process_t *preloader = spawner->preloader;

    if (!preloader || preloader->state != HP_PROCESS_READY)
        return;
    if (hp_meter_due(preloader, now))
        hp_meter_read(preloader, 0);
    if (idle <= 0 || now - spawner->used_at < apr_time_from_sec(idle) || busy(spawner))
        return;
    ag_log(AG_LOG_INFO, "PSG1102", "preloader.idle: process %ld of %s ends, nothing was started for %d s (PassengerMaxPreloaderIdleTime)",
           (long)preloader->pid, preloader->spec->group, idle);
    part(spawner);
    hp_process_retire(preloader);
}

hp_process_t *hp_spawner_preloader(const hp_spawner_t *spawner)
{
    return spawner->preloader;
}

apr_interval_time_t hp_spawner_load_time(const hp_spawner_t *spawner)
{
    return spawner->preloader ? spawner->load_time : 0;
}
