#include "helper/pool.h"
#include "apr-glue/log.h"
#include "helper/bounds.h"
#include "helper/orders.h"
#include "helper/wear.h"
#include <apr_base64.h>
#include <apr_hash.h>
#include <apr_siphash.h>
#include <apr_strings.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_MAX  10000 /* applications: more than any host has, fewer than could hurt the core */
#define LOOK        (apr_time_from_sec(1) / 2) /* between looks at all applications */
#define OPTIONS_MAX 1024 /* variants known at a time; more are asked for again */
#define RECENT      64

/* An application that a request was for, and how that was said but for what its key tells. */
typedef struct {
    hp_group_t *group; /* NULL: none */
    const char *key;
    apr_uint64_t digest;
    uint32_t author;
} recent_t;

struct hp_pool_t {
    hp_room_t room;
    hp_context_t *ctx;
    apr_hash_t *groups;  /* by the keys that key_of makes */
    apr_hash_t *by_cookie;
    uint64_t cookies; /* given out so far */
    apr_pool_t *ptemp;   /* of one call */
    apr_pool_t *options_pool;
    apr_hash_t *options; /* by the id that id_of makes of their packed form */
    hp_bounds_t *bounds;
    ag_log_rate_t exceeded; /* of lines about those who ask for more */
    ag_loop_timer_t *look;
    recent_t recent[RECENT]; /* by digest */
};

/* Hosts with thousands of applications, most of them never visited again, must not come to the limit. */
static void forget_group(hp_pool_t *pool, hp_group_t *group)
{
    hp_group_facts_t facts;

    memset(pool->recent, 0, sizeof pool->recent);
    hp_group_facts(group, &facts);
    apr_hash_set(pool->by_cookie, hp_group_cookie(group), sizeof(uint64_t), NULL);
    apr_hash_set(pool->groups, facts.key, APR_HASH_KEY_STRING, NULL);
    hp_group_destroy(group);
}

static void on_look(void *baton)
{
    hp_pool_t *pool = baton;
    apr_time_t now = ag_loop_now();
    hp_group_t *group;

    for (apr_hash_index_t *hi = apr_hash_first(NULL, pool->groups); hi; hi = apr_hash_next(hi)) {
        group = apr_hash_this_val(hi);
        if (hp_group_forgettable(group, now))
            forget_group(pool, group);
        else
            hp_group_look(group, now);
    }
    hp_room_look(&pool->room, now);
    hp_spool_store_rest(&pool->ctx->store);
    ag_loop_timer_start(pool->look, LOOK);
}

static void forget_options(hp_pool_t *pool)
{
    if (pool->options_pool)
        apr_pool_destroy(pool->options_pool);
    apr_pool_create(&pool->options_pool, pool->ctx->p);
    pool->options = apr_hash_make(pool->options_pool);
}

hp_pool_t *hp_pool_create(hp_context_t *ctx)
{
    hp_pool_t *pool = apr_pcalloc(ctx->p, sizeof *pool);

    pool->ctx = ctx;
    apr_pool_create(&pool->ptemp, ctx->p);
    hp_room_init(&pool->room);
    pool->groups = apr_hash_make(ctx->p);
    pool->by_cookie = apr_hash_make(ctx->p);
    forget_options(pool);
    pool->bounds = hp_bounds_create(ctx->p);
    pool->look = ag_loop_timer_create(ctx->loop, on_look, pool);
    ag_loop_timer_start(pool->look, LOOK);
    return pool;
}

hp_context_t *hp_pool_context(const hp_pool_t *pool)
{
    return pool->ctx;
}

static uint64_t id_of(const hp_pool_t *pool, const char *text)
{
    uint64_t id = apr_siphash24(text, strlen(text), pool->ctx->key);

    return id ? id : 1;
}

static hp_pool_options_t *keep_options(hp_pool_t *pool, uint64_t id, const ag_options_t *options)
{
    apr_pool_t *p = pool->options_pool;
    hp_pool_options_t *entry = apr_pcalloc(p, sizeof *entry);

    entry->options = options;
    entry->digest = ag_options_digest(options, pool->ctx->key, p);
    entry->spawn_digest = ag_options_spawn_digest(options, pool->ctx->key, p);
    apr_hash_set(pool->options, apr_pmemdup(p, &id, sizeof id), sizeof id, entry);
    return entry;
}

static hp_pool_options_t *learn(hp_pool_t *pool, uint64_t id, const char *base64)
{
    ag_options_t *options;
    char *bytes;
    int len;

    if (apr_hash_count(pool->options) >= OPTIONS_MAX)
        forget_options(pool);
    bytes = apr_palloc(pool->options_pool, (apr_size_t)apr_base64_decode_len(base64) + 1);
    len = apr_base64_decode(bytes, base64);
    options = ag_options_unpack(pool->options_pool, bytes, len > 0 ? (apr_size_t)len : 0);
    return options ? keep_options(pool, id, options) : NULL;
}

/* Those of whoever asks for more than there is to have become others, with an id of their own. The children of Apache that end after a reload may
 * still have numbers that have been lowered since. */
static hp_pool_options_t *within_bounds(hp_pool_t *pool, hp_pool_options_t *entry, uint64_t id, const hp_pool_asked_t *asked)
{
    const ag_settings_t *settings = pool->ctx->settings;
    ag_options_t lowered = *entry->options;
    const ag_options_row_t *row = hp_bounds_lower(&lowered, hp_bounds_find(pool->bounds, settings, asked->app_root));
    const char *more;

    if (!row)
        return entry;
    more = asked->config_generation == settings->config_generation ? ag_log_due(&pool->exceeded, ag_loop_now()) : NULL;
    if (more)
        ag_log(AG_LOG_WARN, "PSG3200", "pool.bounds: a request for the application in %s asks for %s %d, and the server's configuration allows %d "
               "there, which is used; if nobody has taken over Apache's user, say the number in a section with PassengerAppRoot %s%s",
               asked->app_root, row->directive, hp_bounds_number(entry->options, row), hp_bounds_number(&lowered, row), asked->app_root, more);
    apr_pool_clear(pool->ptemp);
    id = id_of(pool, apr_psprintf(pool->ptemp, "%" APR_UINT64_T_HEX_FMT "\n%s", id, asked->app_root));
    entry = apr_hash_get(pool->options, &id, sizeof id);
    return entry ? entry : keep_options(pool, id, apr_pmemdup(pool->options_pool, &lowered, sizeof lowered));
}

const hp_pool_options_t *hp_pool_options(hp_pool_t *pool, hp_variants_t *variants, const hp_pool_asked_t *asked)
{
    uint64_t called = id_of(pool, asked->name), id = asked->base64 ? id_of(pool, asked->base64) : hp_variants_get(variants, called);
    hp_pool_options_t *entry;

    if (apr_hash_count(pool->options) >= 2 * OPTIONS_MAX)
        forget_options(pool);
    entry = apr_hash_get(pool->options, &id, sizeof id);
    if (!entry && asked->base64)
        entry = learn(pool, id, asked->base64);
    if (entry && asked->base64)
        hp_variants_put(variants, called, id);
    return entry ? within_bounds(pool, entry, id, asked) : NULL;
}

/* What requests must have in common to share processes. A name alone would let whoever can write it (in an .htaccess file, or as Apache's user)
 * join somebody else's application and take its visitors; only names of the server's own configuration stand for several folders. No part can
 * hold a newline where it matters: such a folder is never started (hp_spec_get). */
static const char *key_of(const hp_pool_t *pool, const hp_config_t *config, apr_pool_t *p)
{
    const char *named = config->options->app_group_name;
    int shared = named && strcmp(named, config->name) == 0 &&
                 ag_settings_granted(pool->ctx->settings, "app_group_name", named, config->app_root);

    return apr_pstrcat(p, config->name, "\n", shared ? "" : config->app_root, "\n",
                       config->author == AG_LINK_NO_AUTHOR ? "" : apr_psprintf(p, "%lu", (unsigned long)config->author), NULL);
}

/* The same application was there before somebody wrote an .htaccess file for it, or removed one: its idle processes are not needed any more. */
static void relieve_others(hp_pool_t *pool, const hp_config_t *config)
{
    hp_room_member_t *member;

    TAILQ_FOREACH(member, &pool->room.members, entry) {
        hp_group_facts_t facts;
        hp_group_facts(member->group, &facts);
        if (strcmp(facts.name, config->name) == 0 && strcmp(facts.app_root, config->app_root) == 0)
            member->min = 0; /* until it is used again */
    }
}

static hp_group_t *make_group(hp_pool_t *pool, const hp_config_t *config)
{
    hp_group_t *group;
    hp_group_facts_t facts;

    relieve_others(pool, config);
    group = hp_group_create(pool->ctx, &pool->room, ++pool->cookies, config);
    hp_group_facts(group, &facts);
    apr_hash_set(pool->groups, facts.key, APR_HASH_KEY_STRING, group);
    apr_hash_set(pool->by_cookie, hp_group_cookie(group), sizeof(uint64_t), group);
    return group;
}

/* The group, if a request that said the same has just found it: its key, which is dear to make and to look up, is compared instead. */
static hp_group_t *recent(const hp_pool_t *pool, const hp_config_t *config)
{
    const recent_t *slot = &pool->recent[config->digest % RECENT];
    apr_size_t name_len, root_len;
    const char *root;

    if (!slot->group || slot->digest != config->digest || slot->author != config->author)
        return NULL;
    name_len = strlen(config->name);
    root_len = strlen(config->app_root);
    if (strncmp(slot->key, config->name, name_len) != 0 || slot->key[name_len] != '\n')
        return NULL;
    root = slot->key + name_len + 1;
    if (strncmp(root, config->app_root, root_len) != 0 || root[root_len] != '\n' || strchr(root + root_len + 1, '\n'))
        return NULL;
    return slot->group;
}

static void note_recent(hp_pool_t *pool, const hp_config_t *config, hp_group_t *group)
{
    hp_group_facts_t facts;

    hp_group_facts(group, &facts);
    if (config->digest)
        pool->recent[config->digest % RECENT] = (recent_t){group, facts.key, config->digest, config->author};
}

hp_group_t *hp_pool_group(hp_pool_t *pool, hp_config_t *config)
{
    hp_group_t *group;

    group = recent(pool, config);
    if (group) {
        hp_group_configure(group, config);
        return group;
    }
    apr_pool_clear(pool->ptemp);
    config->key = key_of(pool, config, pool->ptemp);
    group = apr_hash_get(pool->groups, config->key, APR_HASH_KEY_STRING);
    if (!group && apr_hash_count(pool->groups) >= GROUPS_MAX) {
        ag_log(AG_LOG_ERROR, "PSG0131", "pool.groups: %s is one application too many; %d are known", config->name, GROUPS_MAX);
        return NULL;
    }
    if (!group)
        return make_group(pool, config);
    note_recent(pool, config, group);
    hp_group_configure(group, config);
    return group;
}

/* Rebuilds the group around a process of an earlier core from what the process was started with. */
static void adopt(hp_pool_t *pool, ag_frame_reader_t *in, const int fds[3])
{
    hp_process_heritage_t found = {.id = ag_frame_get_u64(in), .fds = fds};
    apr_size_t spec_len, note_len;
    const void *spec_bytes, *note_bytes;
    ag_frame_reader_t spec_in;
    hp_spec_t *spec;
    hp_group_t *group;
    hp_process_t *process;
    hp_config_t config = {0};
    apr_pool_t *p;

    found.pid = (pid_t)ag_frame_get_u32(in);
    spec_bytes = ag_frame_get_bytes(in, &spec_len);
    note_bytes = ag_frame_get_bytes(in, &note_len);
    apr_pool_create(&p, pool->ctx->p);
    ag_frame_open(&spec_in, p, spec_bytes, spec_len);
    found.spec = spec = hp_spec_get(&spec_in);
    ag_frame_open(&found.note, p, note_bytes, note_len);
    if (ag_frame_end(in) != APR_SUCCESS || ag_frame_end(&spec_in) != APR_SUCCESS) {
        ag_log(AG_LOG_ERROR, "PSG0130", "core.adopt: the watchdog's word about process %ld is not understood", (long)found.pid);
        for (int i = 0; i < HP_MSG_FDS; i++)
            close(fds[i]);
        apr_pool_destroy(p);
        return;
    }
    config.name = spec->group;
    config.app_root = spec->app_root;
    config.kind = spec->kind;
    config.startup_file = spec->startup_file;
    config.base_uri = spec->base_uri;
    config.author = spec->author;
    config.options = spec->options;
    config.digest = ag_options_digest(spec->options, pool->ctx->key, p);
    config.spawn_digest = ag_options_spawn_digest(spec->options, pool->ctx->key, p);
    process = hp_process_adopt(pool->ctx, p, &found);
    group = process ? hp_pool_group(pool, &config) : NULL;
    if (group)
        hp_group_adopt(group, process);
}

static void process_news(hp_process_t *process, uint32_t type, ag_frame_reader_t *in, const int *fds)
{
    const char *sentence;
    uint32_t value;

    if (type == HP_MSG_REFUSED) {
        sentence = ag_frame_get_str(in);
        hp_process_refused(process, sentence ? sentence : "");
        return;
    }
    value = ag_frame_get_u32(in);
    if (type == HP_MSG_SPAWNED) {
        hp_process_spawned(process, (pid_t)value, fds);
        return;
    }
    hp_wear_killed(process);
    hp_process_exited(process, (int)value);
}

static void stated(hp_pool_t *pool, ag_frame_reader_t *in)
{
    uint64_t cookie = ag_frame_get_u64(in);
    hp_watch_answer_t answer = {.restart = ag_frame_get_u64(in)};
    hp_group_t *group = apr_hash_get(pool->by_cookie, &cookie, sizeof cookie);

    answer.always = (int)ag_frame_get_u32(in);
    answer.startup = ag_frame_get_u64(in);
    answer.env = ag_frame_get_u64(in);
    answer.owner = (uid_t)ag_frame_get_u32(in);
    if (group && ag_frame_end(in) == APR_SUCCESS)
        hp_group_stated(group, &answer);
}

int hp_pool_news(hp_pool_t *pool, uint32_t type, ag_frame_reader_t *in, const int *fds, int nfds)
{
    hp_process_t *process;
    uint64_t id;

    switch ((hp_msg_t)type) {
    case HP_MSG_ADOPT:
        if (nfds == HP_MSG_FDS)
            adopt(pool, in, fds);
        else
            hp_orders_signal(pool->ctx, ag_frame_get_u64(in), HP_MSG_SIGNAL_KILL); /* of no use without its descriptors */
        return 1;
    case HP_MSG_SPAWNED:
    case HP_MSG_REFUSED:
    case HP_MSG_EXITED:
        id = ag_frame_get_u64(in);
        process = hp_process_find(pool->ctx, id);
        if (process && type == HP_MSG_SPAWNED && nfds != HP_MSG_FDS) {
            hp_orders_signal(pool->ctx, id, HP_MSG_SIGNAL_KILL);
            hp_process_refused(process, "the helper has no file descriptor left for it (fd.exhausted)");
        } else if (process) {
            process_news(process, type, in, fds);
        }
        return 1;
    case HP_MSG_CGROUP:
        process = hp_process_find(pool->ctx, ag_frame_get_u64(in));
        if (process)
            process->cgroup = apr_pstrdup(process->p, ag_frame_get_str(in));
        return 1;
    case HP_MSG_BUDGET:
        process = hp_process_find(pool->ctx, ag_frame_get_u64(in));
        if (process) {
            process->tasks = ag_frame_get_u32(in);
            if (ag_frame_get_u32(in))
                hp_wear_tasks(process);
        }
        return 1;
    case HP_MSG_STATED:
        stated(pool, in);
        return 1;
    default:
        return 0;
    }
}

void hp_pool_each(hp_pool_t *pool, void (*visit)(hp_group_t *group, void *baton), void *baton)
{
    for (apr_hash_index_t *hi = apr_hash_first(NULL, pool->groups); hi; hi = apr_hash_next(hi))
        visit(apr_hash_this_val(hi), baton);
}

void hp_pool_settings_changed(hp_pool_t *pool)
{
    memset(pool->recent, 0, sizeof pool->recent); /* which names may join folders may have changed */
    hp_bounds_forget(pool->bounds);
    forget_options(pool); /* some of them have been lowered to bounds that are others now */
    hp_room_limit(&pool->room, (int)pool->ctx->settings->max_pool_size);
}

static int waiting(const hp_pool_t *pool)
{
    int n = 0;

    for (apr_hash_index_t *hi = apr_hash_first(NULL, pool->groups); hi; hi = apr_hash_next(hi)) {
        hp_group_facts_t facts;
        hp_group_facts(apr_hash_this_val(hi), &facts);
        n += facts.queued;
    }
    return n;
}

void hp_pool_stopping(hp_pool_t *pool)
{
    int before = waiting(pool), refused;

    hp_room_retry(&pool->room);
    refused = before - waiting(pool);
    if (refused > 0)
        ag_log(AG_LOG_NOTICE, "PSG0159", "core.stopping: %d requests that waited are left to the next core, or answered 503", refused);
}
