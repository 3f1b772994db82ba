/* The pool's decisions as arithmetic over counts, limits and the time: no clock, no process, no memory of its own. */
#ifndef HP_POLICY_H
#define HP_POLICY_H

#include "apr-glue/base.h"
#include <apr_time.h>

/* What is known about one group and the pool around it when a decision is due. */
typedef struct {
    int ready;    /* processes that take requests */
    int outdated; /* processes that take requests until a successor is ready: of older code, or worn */
    int starting; /* processes of the newest code that will be ready */
    int queued;   /* requests that found no free process */
    int away;     /* of `ready` and `outdated`: those that work out of band, and take no requests */
    int asking;   /* of `ready`: those that would */
    int busy;     /* of `ready`: those without a limit of requests whose processor is busy all the time */
    int min, max; /* processes the group should and may have; max 0: no limit of its own */
    int used;     /* processes of this group that exist, those that are leaving included, unless they take long; >= ready + outdated + starting */
    int failing;  /* starts have failed of late: one try at a time */
    int held;     /* the newest code does not start: nothing is tried while anything else serves */
    int pool_used, pool_max; /* processes of all groups; above the limit only if that was lowered */
    int slots;    /* processes that may be started now, next to those of all groups that are starting */
} hp_policy_counts_t;

/* How many processes to start now. */
int hp_policy_spawns(const hp_policy_counts_t *c);

/* 1 if one of those that ask may work out of band now: one at a time, and only while others serve. A process that serves alone is not worth
 * a visitor's wait; where there is room for another, one is started (hp_policy_spawns). */
int hp_policy_works(const hp_policy_counts_t *c);

/* What to do for a group that wants a process and has no room for it. */
typedef enum {
    HP_POLICY_STAY,   /* nothing: it lacks nothing, or is served */
    HP_POLICY_STARVE, /* somebody waits and there is no process at all: any idle process of others makes room, or the next to be idle */
    HP_POLICY_BORROW, /* a successor for the only process: an idle process of others makes room, else as HP_POLICY_REPLACE */
    HP_POLICY_REPLACE, /* a successor: one of the outdated processes makes room */
    HP_POLICY_SQUEEZE  /* somebody waits although processes work: what others have to spare makes room */
} hp_policy_want_t;
hp_policy_want_t hp_policy_want(const hp_policy_counts_t *c);

/* How many processes each of `groups` groups may call its own when all want more. */
int hp_policy_share(int pool_max, int groups);

/* How many processes may be starting at once: they compete for the same processors. */
int hp_policy_starts(int processors);

/* Time from the `failures`-th failed start in a row to the next try: 1 s, doubling to 60 s; 0 failures: none. */
apr_interval_time_t hp_policy_backoff(int failures);

/* 1 if a process that has been idle since `last_used` is to be ended: beyond the idle time (seconds, 0: never) and more than min are there. */
int hp_policy_idle_over(apr_time_t now, apr_time_t last_used, unsigned idle_time, int ready, int min);

/* Time between two looks at an application's files, from PassengerStatThrottleRate (seconds): on account of requests, and without any. A
 * visitor is not needed to notice a restart, and a rate above Passenger's default says that looks are dear. */
apr_interval_time_t hp_policy_look(unsigned rate, int request);

/* 1 if a restart is due: the file changed in any direction or appeared since `known` (0: it was not there), or every look means one. */
int hp_policy_restart(uint64_t known, uint64_t found, int always);

#endif
