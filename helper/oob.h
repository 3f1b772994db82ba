/* Out-of-band work: what a process does between requests, because it asked for that in a response: collecting garbage, for instance. While it
 * works it gets no requests; others serve. It is told to by a request of its own (loaders/PROTOCOL.md). */
#ifndef HP_OOB_H
#define HP_OOB_H

#include "helper/fleet.h"

/* A response says that its process wants to work. Nothing where the loader would not know what that means. */
void hp_oob_ask(hp_process_t *process);

/* Of those that have asked, the first takes its leave, if the counts allow that: requests that it has are finished, then it works, then the
 * event `back` comes. The work, as the wait for those requests, has `limit`: beyond it the wait is given up, and a process that works on is
 * worn, so that it is replaced, not waited for. */
void hp_oob_start(const hp_fleet_t *fleet, const hp_policy_counts_t *c, apr_interval_time_t limit);

/* A request in the process is over, or the process itself. */
void hp_oob_step(hp_process_t *process);

#endif
