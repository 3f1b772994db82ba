#include "helper/budgets.h"
#include "apr-glue/clock.h"
#include "helper/birth.h"
#include "helper/budget.h"
#include "helper/census.h"
#include "helper/cgroup.h"
#include "helper/cgroups.h"
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
    const char *cgroup; /* that counts its tasks; NULL: they are counted in /proc */
    apr_uint64_t refused; /* tasks, by its group, so far */
    unsigned long tasks, told;
    apr_time_t told_at; /* that it has reached its limit; 0: never */
} entry_t;

struct hp_budgets_t {
    apr_pool_t *p, *settings_pool;
    const ag_settings_t *settings;
    hp_cgroups_t *cgroups;
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
        if (entry->cgroup)
            continue;
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

/* Between two looks it may have been at its limit. */
static int refused(entry_t *entry)
{
    apr_uint64_t before = entry->refused;

    if (entry->cgroup)
        entry->refused = hp_cgroup_number(entry->cgroup, "pids.events", "max");
    return entry->refused > before;
}

static void tell(const hp_budgets_t *b, entry_t *entry, apr_time_t now)
{
    int full = refused(entry) || entry->tasks >= (unsigned long)entry->limit;
    int at_limit = full && (!entry->told_at || now - entry->told_at >= AGAIN);

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
    apr_array_header_t *all, *uids;
    apr_pool_t *p;

    apr_pool_create(&p, b->p);
    uids = users(b, p);
    all = uids->nelts > 0 ? hp_census_take(uids, p) : uids;
    for (apr_hash_index_t *hi = apr_hash_first(p, b->entries); hi; hi = apr_hash_next(hi)) {
        entry_t *entry = apr_hash_this_val(hi);
        entry->tasks = entry->cgroup ? (unsigned long)hp_cgroup_number(entry->cgroup, "pids.current", NULL) : 0;
    }
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
        if (!entry->cgroup)
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
    b->cgroups = hp_cgroups_create(loop, p);
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

/* Whoever only works for the application has no limits. */
static int read_budget(const hp_budgets_t *b, const hp_budgets_new_t *process, hp_budget_t *budget, const hp_spec_t **pspec, apr_pool_t *p)
{
    ag_frame_reader_t in;
    const hp_spec_t *spec;

    ag_frame_open(&in, p, process->spec, process->spec_len);
    spec = hp_spec_get(&in);
    if (ag_frame_end(&in) != APR_SUCCESS || spec->errand != HP_SPEC_APP)
        return 0;
    hp_budget_make(budget, spec, b->settings);
    if (budget->tasks > 0 && process->may_fork)
        budget->tasks += HP_LIMITS_PRELOADER;
    *pspec = spec;
    return 1;
}

const char *hp_budgets_group(hp_budgets_t *b, const hp_budgets_new_t *process, int found, apr_pool_t *p)
{
    hp_cgroups_wish_t wish = {.id = process->id};
    const char *group = NULL;
    const hp_spec_t *spec;
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, p);
    if (read_budget(b, process, &wish.budget, &spec, ptemp)) {
        wish.app = spec->group;
        group = hp_cgroups_make(b->cgroups, &wish, found, p);
    }
    apr_pool_destroy(ptemp);
    return group;
}

unsigned hp_budgets_held(const hp_budgets_t *b, const char *cgroup)
{
    return cgroup ? hp_cgroups_held(b->cgroups) : 0;
}

void hp_budgets_leave(hp_budgets_t *b, const char *cgroup)
{
    hp_cgroups_leave(b->cgroups, cgroup);
}

void hp_budgets_kill_all(hp_budgets_t *b, int last)
{
    hp_cgroups_kill(b->cgroups);
    if (last)
        hp_cgroups_remove(b->cgroups);
}

void hp_budgets_add(hp_budgets_t *b, const hp_budgets_new_t *process)
{
    unsigned held = hp_budgets_held(b, process->cgroup);
    hp_budget_t budget = {0};
    const hp_spec_t *spec;
    apr_pool_t *p;
    entry_t *entry;

    apr_pool_create(&p, b->p);
    if (read_budget(b, process, &budget, &spec, p) && process->forked && !(held & HP_CGROUP_CPU))
        hp_limits_session(process->pid, budget.weight);
    if (budget.tasks == 0) {
        apr_pool_destroy(p);
        return;
    }
    entry = apr_pcalloc(p, sizeof *entry);
    entry->id = process->id;
    entry->p = p;
    entry->pid = process->pid;
    entry->limit = budget.tasks;
    entry->cgroup = held & HP_CGROUP_PIDS ? apr_pstrdup(p, process->cgroup) : NULL;
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
