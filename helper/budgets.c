#include "helper/budgets.h"
#include "apr-glue/clock.h"
#include "helper/birth.h"
#include "helper/budget.h"
#include "helper/census.h"
#include "helper/limits.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <sys/resource.h>

#define INTERVAL apr_time_from_sec(1)
#define SHARE    50 /* of the time, one part at most goes into counting */
#define AGAIN    apr_time_from_sec(60)

typedef struct {
    uint64_t id; /* first: it is the hash key */
    apr_pool_t *p;
    pid_t pid;
    uid_t uid;
    int limit;
    unsigned long tasks, told;
    apr_time_t told_at; /* that it has reached its limit; 0: never */
} entry_t;

struct hp_budgets_t {
    apr_pool_t *p, *settings_pool;
    const ag_settings_t *settings;
    apr_hash_t *entries;
    ag_loop_timer_t *timer;
    hp_budgets_cb_t cb;
    void *baton;
};

static entry_t *find(const hp_budgets_t *b, uint64_t id)
{
    return apr_hash_get(b->entries, &id, sizeof id);
}

/* Whom its processes run as is known when `prepare` has become that user. */
static apr_array_header_t *users(const hp_budgets_t *b, apr_pool_t *p)
{
    apr_array_header_t *uids = apr_array_make(p, 4, sizeof(uid_t));

    for (apr_hash_index_t *hi = apr_hash_first(p, b->entries); hi; hi = apr_hash_next(hi)) {
        entry_t *entry = apr_hash_this_val(hi);
        hp_birth_facts_t facts;
        int known = 0;
        if (hp_birth_look(&facts, entry->pid) != APR_SUCCESS || facts.uid == (uid_t)-1 || facts.uid == 0)
            continue;
        entry->uid = facts.uid;
        for (int i = 0; i < uids->nelts; i++)
            known |= APR_ARRAY_IDX(uids, i, uid_t) == facts.uid;
        if (!known)
            APR_ARRAY_PUSH(uids, uid_t) = facts.uid;
    }
    return uids;
}

static unsigned long of_user(const apr_array_header_t *all, uid_t uid)
{
    unsigned long n = 0;

    for (int i = 0; i < all->nelts; i++) {
        const hp_census_entry_t *one = &APR_ARRAY_IDX(all, i, hp_census_entry_t);
        n += one->uid == uid ? one->tasks : 0;
    }
    return n;
}

/* What was allowed to each when it started counted others of its user who have come or gone since. Root may lack the right to raise a limit
 * (CAP_SYS_RESOURCE); then the first one stays. */
static void adjust(const entry_t *entry, const apr_array_header_t *all)
{
    rlim_t tasks = (rlim_t)hp_budget_nproc(of_user(all, entry->uid), entry->tasks, entry->limit);
    const struct rlimit wish = {.rlim_cur = tasks, .rlim_max = tasks};

    for (int i = 0; i < all->nelts; i++) {
        const hp_census_entry_t *one = &APR_ARRAY_IDX(all, i, hp_census_entry_t);
        if (one->id == entry->id && one->uid == entry->uid)
            (void)!prlimit(one->pid, RLIMIT_NPROC, &wish, NULL);
    }
}

static void tell(const hp_budgets_t *b, entry_t *entry, apr_time_t now)
{
    int at_limit = entry->tasks >= (unsigned long)entry->limit && (!entry->told_at || now - entry->told_at >= AGAIN);

    if (!at_limit && entry->tasks == entry->told)
        return;
    if (at_limit)
        entry->told_at = now;
    entry->told = entry->tasks;
    b->cb(b->baton, entry->id, entry->tasks, at_limit);
}

static void count(void *baton)
{
    hp_budgets_t *b = baton;
    apr_time_t began = ag_clock_now(), now = ag_loop_now(), took;
    apr_array_header_t *all;
    apr_pool_t *p;

    apr_pool_create(&p, b->p);
    all = hp_census_take(users(b, p), p);
    for (apr_hash_index_t *hi = apr_hash_first(p, b->entries); hi; hi = apr_hash_next(hi))
        ((entry_t *)apr_hash_this_val(hi))->tasks = 0;
    for (int i = 0; i < all->nelts; i++) {
        const hp_census_entry_t *one = &APR_ARRAY_IDX(all, i, hp_census_entry_t);
        entry_t *entry = one->id ? find(b, one->id) : NULL;
        if (entry)
            entry->tasks += one->tasks;
    }
    for (apr_hash_index_t *hi = apr_hash_first(p, b->entries); hi; hi = apr_hash_next(hi)) {
        entry_t *entry = apr_hash_this_val(hi);
        if (entry->tasks == 0)
            continue; /* a user's that is not known yet */
        adjust(entry, all);
        tell(b, entry, now);
    }
    apr_pool_destroy(p);
    took = ag_clock_now() - began;
    ag_loop_timer_start(b->timer, took * SHARE > INTERVAL ? took * SHARE : INTERVAL);
}

hp_budgets_t *hp_budgets_create(ag_loop_t *loop, hp_budgets_cb_t cb, void *baton, apr_pool_t *p)
{
    hp_budgets_t *b = apr_pcalloc(p, sizeof *b);

    b->p = p;
    b->cb = cb;
    b->baton = baton;
    b->entries = apr_hash_make(p);
    b->timer = ag_loop_timer_create(loop, count, b);
    return b;
}

void hp_budgets_settings(hp_budgets_t *b, const void *settings, apr_size_t len)
{
    ag_frame_reader_t in;

    if (b->settings_pool)
        apr_pool_destroy(b->settings_pool);
    apr_pool_create(&b->settings_pool, b->p);
    ag_frame_open(&in, b->settings_pool, apr_pmemdup(b->settings_pool, settings, len), len);
    b->settings = ag_settings_get(&in);
}

void hp_budgets_add(hp_budgets_t *b, const hp_budgets_new_t *process)
{
    hp_budget_t budget = {0};
    ag_frame_reader_t in;
    apr_pool_t *p;
    const hp_spec_t *spec;
    entry_t *entry;

    apr_pool_create(&p, b->p);
    ag_frame_open(&in, p, process->spec, process->spec_len);
    spec = hp_spec_get(&in);
    if (ag_frame_end(&in) == APR_SUCCESS && spec->errand == HP_SPEC_APP)
        hp_budget_make(&budget, spec, b->settings);
    if (process->forked && budget.weight > 0)
        hp_limits_session(process->pid, budget.weight);
    if (budget.tasks == 0) {
        apr_pool_destroy(p);
        return;
    }
    entry = apr_pcalloc(p, sizeof *entry);
    entry->id = process->id;
    entry->p = p;
    entry->pid = process->pid;
    entry->limit = budget.tasks + (process->may_fork ? HP_LIMITS_PRELOADER : 0);
    apr_hash_set(b->entries, &entry->id, sizeof entry->id, entry);
    if (!ag_loop_timer_active(b->timer))
        ag_loop_timer_start(b->timer, INTERVAL);
}

void hp_budgets_remove(hp_budgets_t *b, uint64_t id)
{
    entry_t *entry = find(b, id);

    if (!entry)
        return;
    apr_hash_set(b->entries, &entry->id, sizeof entry->id, NULL);
    apr_pool_destroy(entry->p);
    if (apr_hash_count(b->entries) == 0)
        ag_loop_timer_stop(b->timer);
}
