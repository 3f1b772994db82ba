/* The control groups of applications' processes, where the system lets us have some (delegation.h):
 *
 *   <ours>/passenger-<watchdog's pid>/<application>/p-<id of the process>
 *
 * The application's has its weight among all, the process's its limits; whatever a process starts is in its group, and cannot leave it. */
#ifndef HP_CGROUPS_H
#define HP_CGROUPS_H

#include "apr-glue/loop.h"
#include "helper/budget.h"

typedef struct hp_cgroups_t hp_cgroups_t;

/* Says in the log which way limits are kept, and why. What a dead watchdog left is ended soon. */
hp_cgroups_t *hp_cgroups_create(ag_loop_t *loop, apr_pool_t *p);
/* What they limit; bits of cgroup.h. 0: there are none. */
unsigned hp_cgroups_held(const hp_cgroups_t *cgroups);

/* A process of the application `app`. */
typedef struct {
    const char *app;
    uint64_t id;
    hp_budget_t budget;
} hp_cgroups_wish_t;

/* Makes its group; the folder lives in `p`. NULL: there is none, other limits must do. `found` 1: only if the process is in such a group already. */
const char *hp_cgroups_make(hp_cgroups_t *cgroups, const hp_cgroups_wish_t *wish, int found, apr_pool_t *p);
/* The process has ended, or was not started: what else is in the group gets SIGTERM and, two seconds later, SIGKILL; the group stays for a second
 * at least, for those who ask why. Accepts NULL. */
void hp_cgroups_leave(hp_cgroups_t *cgroups, const char *group);

/* Kills whatever is in any of them. */
void hp_cgroups_kill(const hp_cgroups_t *cgroups);
/* Removes them all, at the end. */
void hp_cgroups_remove(const hp_cgroups_t *cgroups);

#endif
