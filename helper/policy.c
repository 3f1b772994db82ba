#include "helper/policy.h"

#define STARTING_MAX 4 /* at once in one group: starts compete for the same processors */

static int wanted(const hp_policy_counts_t *c)
{
    int more = c->min - c->ready - c->starting;

    /* Each process that is starting will take a request off the queue. */
    if (c->queued > c->starting && c->queued - c->starting > more)
        more = c->queued - c->starting;
    if (c->max > 0 && more > c->max - c->used)
        more = c->max - c->used;
    if (more > STARTING_MAX - c->starting)
        more = STARTING_MAX - c->starting;
    return more > 0 ? more : 0;
}

int hp_policy_spawns(const hp_policy_counts_t *c)
{
    int more = wanted(c), room = c->pool_max - c->pool_used;

    assert(c->used >= c->ready + c->starting && c->pool_used >= c->used);
    return more < room ? more : room > 0 ? room : 0;
}

int hp_policy_starved(const hp_policy_counts_t *c)
{
    return c->queued > 0 && wanted(c) > 0 && c->pool_used >= c->pool_max && c->ready + c->starting == 0;
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

apr_interval_time_t hp_policy_idle_look(unsigned idle_time)
{
    apr_interval_time_t look = apr_time_from_sec(idle_time) / 4, least = apr_time_from_sec(1) / 4, most = apr_time_from_sec(5);

    return look < least ? least : look > most ? most : look;
}

int hp_policy_restart(uint64_t known, uint64_t found, int always)
{
    return always || (found != 0 && found != known);
}
