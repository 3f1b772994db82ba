/* When a process has done its share: how many requests it may serve, and how large it may grow. */
#ifndef HP_WEAR_H
#define HP_WEAR_H

#include "helper/process.h"

/* It has finished `work`: from now on it is worn, perhaps. `group` is a name for the log. */
void hp_wear_judge(hp_process_t *process, const hp_process_work_t *work, const ag_options_t *options, const char *group);

/* Measures it, if that is due, and kills it above the hard limit, mid-request if need be: memory that is gone is everybody's. */
void hp_wear_look(hp_process_t *process, const ag_options_t *options, const char *group, apr_time_t now);

/* It ends, or a request in it does: if the kernel has killed it for its memory, the log says so, and `doom` does from now on. */
void hp_wear_killed(hp_process_t *process);

/* The log says that it has as many tasks as it may have. */
void hp_wear_tasks(const hp_process_t *process);

#endif
