/* How many tasks (processes and threads) there are, from /proc. One look costs a system call for each process of the machine, and three more for
 * each of a user that is asked for. */
#ifndef HP_CENSUS_H
#define HP_CENSUS_H

#include "apr-glue/base.h"
#include <apr_pools.h>
#include <apr_tables.h>

/* A process of one of the users. */
typedef struct {
    pid_t pid;
    uid_t uid;
    unsigned long tasks;
    uint64_t id; /* whose mark it bears (strays.h); 0: none */
} hp_census_entry_t;

/* Tasks of a user; of a process that has hidden itself (PR_SET_DUMPABLE) they are not seen. */
unsigned long hp_census_user(uid_t uid);

/* Every process of the users in `uids`, an array of uid_t; an array of hp_census_entry_t. Empty where /proc cannot be read. */
apr_array_header_t *hp_census_take(const apr_array_header_t *uids, apr_pool_t *p);

#endif
