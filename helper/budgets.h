/* The watchdog's eye on what processes use: those with a limit are counted every second while there are some. */
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

/* A process is there, started from `spec` as it travels. `forked` 1: by a preloader; `may_fork` 1: it may become one. */
typedef struct {
    uint64_t id;
    pid_t pid;
    const void *spec;
    apr_size_t spec_len;
    int forked, may_fork;
} hp_budgets_new_t;
void hp_budgets_add(hp_budgets_t *budgets, const hp_budgets_new_t *process);
/* It has been reaped. Unknown ids are allowed. */
void hp_budgets_remove(hp_budgets_t *budgets, uint64_t id);

#endif
