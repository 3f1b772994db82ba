/* The pool's decisions as arithmetic over counts, limits and the time: no clock, no process, no memory of its own. */
#ifndef HP_POLICY_H
#define HP_POLICY_H

#include "apr-glue/base.h"
#include <apr_time.h>

/* What is known about one group and the pool around it when a decision is due. */
typedef struct {
    int ready;    /* processes of the newest generation that take requests */
    int starting; /* processes that will */
    int queued;   /* requests that found no free process */
    int min, max; /* processes the group should and may have; max 0: no limit of its own */
    int used;     /* processes of this group that exist, those that are leaving included; always >= ready + starting */
    int pool_used, pool_max; /* processes of all groups; pool_used is never above pool_max */
} hp_policy_counts_t;

/* How many processes to start now. */
int hp_policy_spawns(const hp_policy_counts_t *c);

/* 1 if somebody waits for a group without any process, and only the pool's limit denies it one. */
int hp_policy_starved(const hp_policy_counts_t *c);

/* Time from the `failures`-th failed start in a row to the next try: 1 s, doubling to 60 s; 0 failures: none. */
apr_interval_time_t hp_policy_backoff(int failures);

/* 1 if a process that has been idle since `last_used` is to be ended: beyond the idle time (seconds, 0: never) and more than min are there. */
int hp_policy_idle_over(apr_time_t now, apr_time_t last_used, unsigned idle_time, int ready, int min);

/* How often to look for idle processes. */
apr_interval_time_t hp_policy_idle_look(unsigned idle_time);

/* 1 if a restart is due: the file changed in any direction or appeared since `known` (0: it was not there), or every look means one. */
int hp_policy_restart(uint64_t known, uint64_t found, int always);

#endif
