/* Which part of the tree of control groups is ours to arrange. A tree has one manager: where that is systemd, what it has not delegated is left
 * alone (systemd.resource-control(5), Delegate=). */
#ifndef HP_DELEGATION_H
#define HP_DELEGATION_H

#include "apr-glue/base.h"
#include <apr_pools.h>

#define HP_DELEGATION_REST "passenger-main" /* where Apache's own processes go: a group with controllers for those below has no processes itself */

typedef struct {
    const char *cgroup;    /* what /proc/self/cgroup says */
    const char *mountinfo; /* what /proc/self/mountinfo says */
    int systemd;           /* it manages this system */
    int (*delegated)(const char *folder); /* systemd says that this group is another's to arrange */
} hp_delegation_facts_t;

/* The system's answers. */
void hp_delegation_look(hp_delegation_facts_t *facts, apr_pool_t *p);

/* The folder of the group that is ours; NULL, and why not: a clause that ends with what to do, where something can be done. */
const char *hp_delegation_find(const hp_delegation_facts_t *facts, const char **preason, apr_pool_t *p);

/* Turns those `wanted` controllers on for groups below `base` that can be had; who is in it goes aside. Which ones are on now; 0, and why none is. */
unsigned hp_delegation_enable(const char *base, unsigned wanted, const char **preason, apr_pool_t *p);

#endif
