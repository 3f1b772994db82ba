/* The watchdog's eye on what processes use: each has a control group where there are some (cgroups.h); those with a limit of tasks are counted every
 * second. */
#ifndef HP_BUDGETS_H
#define HP_BUDGETS_H

#include "apr-glue/loop.h"
#include "apr-glue/settings.h"
#include "helper/spec.h"

typedef struct hp_budgets_t hp_budgets_t;

/* Process `id` has `tasks`; `at_limit`: that is all that it may have, and it was told less than a minute ago at the earliest. */
typedef void (*hp_budgets_cb_t)(void *baton, uint64_t id, unsigned long tasks, int at_limit);

hp_budgets_t *hp_budgets_create(ag_loop_t *loop, hp_budgets_cb_t cb, void *baton, apr_pool_t *p);

/* What limits are judged by from now on, as it travels. */
void hp_budgets_settings(hp_budgets_t *budgets, const void *settings, apr_size_t len);

/* A process, started from `spec` as it travels. `forked` 1: by a preloader; `may_fork` 1: it may become one. */
typedef struct {
    uint64_t id;
    pid_t pid;
    const void *spec;
    apr_size_t spec_len;
    int forked, may_fork;
    const char *cgroup; /* folder of its control group; NULL: none */
} hp_budgets_new_t;

/* Makes a control group for it, with its limits, before it is there; the folder lives in `p`. NULL: it gets none. `found` 1: it is there, and has one
 * perhaps. */
const char *hp_budgets_group(hp_budgets_t *budgets, const hp_budgets_new_t *process, int found, apr_pool_t *p);
/* Which limits are kept by a control group; bits of cgroup.h. */
unsigned hp_budgets_held(const hp_budgets_t *budgets, const char *cgroup);
/* Its process has ended, or did not come. Accepts NULL. */
void hp_budgets_leave(hp_budgets_t *budgets, const char *cgroup);
/* Kills what is in any control group of ours; `last`: and removes them. */
void hp_budgets_kill_all(hp_budgets_t *budgets, int last);

/* It is there. */
void hp_budgets_add(hp_budgets_t *budgets, const hp_budgets_new_t *process);
/* It has been reaped. Unknown ids are allowed. */
void hp_budgets_remove(hp_budgets_t *budgets, uint64_t id);

#endif
