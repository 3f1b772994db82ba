/* What a process of an application may use: what its options ask for, and no more than root's configuration allows. Pure. */
#ifndef HP_BUDGET_H
#define HP_BUDGET_H

#include "apr-glue/settings.h"
#include "helper/spec.h"

typedef struct {
    int memory;        /* megabytes above which it is killed; 0: any */
    int tasks;         /* processes and threads, with its descendants; 0: any */
    int files;         /* descriptors; 0: 1024, and its own affair */
    int files_granted; /* root's configuration says how many it may have */
    int weight;        /* of 1 to 10000: its application's share of the processors; 100 is everybody's */
} hp_budget_t;

/* Whoever can speak to the core can ask for anything in `spec`. */
void hp_budget_make(hp_budget_t *budget, const hp_spec_t *spec, const ag_settings_t *settings);

/* 1 if there is a limit on its memory, above which it is replaced or killed. */
int hp_budget_limits_memory(const hp_spec_t *spec, const ag_settings_t *settings);

/* The nice value, -20 to 19, that comes nearest to a weight: one step is a quarter (sched(7)). */
int hp_budget_nice(int weight);

/* Tasks that its user may have (RLIMIT_NPROC counts those), so that a process with `own` of the user's `all` gets to `tasks`, or a little more:
 * others of the same user may start before the next count. With as many as it may have, there is no more. */
unsigned long hp_budget_nproc(unsigned long all, unsigned long own, int tasks);

#endif
