/* The limits that a process takes upon itself before it becomes an application. */
#ifndef HP_LIMITS_H
#define HP_LIMITS_H

#include "helper/budget.h"

#define HP_LIMITS_PRELOADER 32 /* tasks that one that may become a preloader has beyond its own: those that it forks count as its own at first */

typedef struct {
    uid_t uid;     /* that it will have */
    int may_fork;  /* it may become a preloader */
    int servant;   /* it is not the application, but works for it: none of its limits hold */
    unsigned held; /* by its control group: those limits need no others; bits of cgroup.h */
} hp_limits_who_t;

/* With root's rights still, where there are any. What cannot be had is left: an application with a lower limit than wished is better than none. */
void hp_limits_apply(const hp_budget_t *budget, const hp_limits_who_t *who);

/* The priority of the session of `pid`, as far as the kernel groups by sessions (sched(7), autogroup): a nice value alone means nothing then. */
void hp_limits_session(pid_t pid, int weight);

#endif
