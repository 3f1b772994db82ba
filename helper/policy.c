#include "helper/policy.h"

#define STARTING_MAX 4 /* at once in one group */
#define RATE_DEFAULT 10
#define LOOK_ALONE   apr_time_from_sec(1) /* with what the rest takes, a touch is noticed within two */

static int without_limits(const hp_policy_counts_t *c)
{
    int serving = c->ready + c->outdated, more = c->min - serving - c->starting;

    if (c->held && serving > 0)
        return 0;
    /* Each process that is starting will take a request off the queue. */
    if (c->queued > c->starting && c->queued - c->starting > more)
        more = c->queued - c->starting;
    /* One successor at a time: the others go on serving while it takes the processor. */
    if (more < 1 && c->starting == 0 && (c->outdated > 0 || (c->ready > 0 && c->busy == c->ready)))
        more = 1;
    /* Somebody must serve while the only process works out of band. */
    if (more < 1 && c->starting == 0 && c->asking > 0 && serving == 1)
        more = 1;
    return more;
}

static int full(const hp_policy_counts_t *c)
{
    return c->max > 0 && c->used >= c->max;
}

static int wanted(const hp_policy_counts_t *c)
{
    int more = without_limits(c);

    if (c->max > 0 && more > c->max - c->used)
        more = c->max - c->used;
    if (more > (c->failing ? 1 : STARTING_MAX) - c->starting)
        more = (c->failing ? 1 : STARTING_MAX) - c->starting;
    return more > 0 ? more : 0;
}

int hp_policy_spawns(const hp_policy_counts_t *c)
{
    int more = wanted(c), room = c->pool_max - c->pool_used;

    assert(c->used >= c->ready + c->outdated + c->starting && c->pool_used >= c->used);
    if (more > room)
        more = room;
    if (more > c->slots)
        more = c->slots;
    return more > 0 ? more : 0;
}

int hp_policy_works(const hp_policy_counts_t *c)
{
    return c->asking > 0 && c->away == 0 && c->ready + c->outdated > 1;
}

hp_policy_want_t hp_policy_want(const hp_policy_counts_t *c)
{
    int serving = c->ready + c->outdated, leaving = c->used - serving - c->starting;

    if (without_limits(c) <= 0 || (c->pool_used < c->pool_max && !full(c)))
        return HP_POLICY_STAY;
    if (c->outdated > 0 && c->starting == 0)
        return leaving > 0 ? HP_POLICY_STAY : serving == 1 && !full(c) ? HP_POLICY_BORROW : HP_POLICY_REPLACE;
    if (full(c) || c->queued == 0)
        return HP_POLICY_STAY;
    return serving + c->starting == 0 ? HP_POLICY_STARVE : wanted(c) > 0 ? HP_POLICY_SQUEEZE : HP_POLICY_STAY;
}

int hp_policy_share(int pool_max, int groups)
{
    return groups > 1 && pool_max / groups > 1 ? pool_max / groups : groups > 1 ? 1 : pool_max;
}

int hp_policy_starts(int processors)
{
    return 2 * (processors > 1 ? processors : 1);
}

apr_interval_time_t hp_policy_backoff(int failures)
{
    if (failures <= 0)
        return 0;
    return failures > 6 ? apr_time_from_sec(60) : apr_time_from_sec((apr_time_t)1 << (failures - 1));
}

int hp_policy_idle_over(apr_time_t now, apr_time_t last_used, unsigned idle_time, int ready, int min)
{
    return idle_time > 0 && ready > min && now - last_used >= apr_time_from_sec(idle_time);
}

apr_interval_time_t hp_policy_look(unsigned rate, int request)
{
    return request || rate > RATE_DEFAULT ? apr_time_from_sec(rate) : LOOK_ALONE;
}

int hp_policy_restart(uint64_t known, uint64_t found, int always)
{
    return always || (found != 0 && found != known);
}
