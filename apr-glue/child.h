/* The one fork and the one exec. */
#ifndef AG_CHILD_H
#define AG_CHILD_H

#include "apr-glue/base.h"

#define AG_CHILD_MAX_FDS 8

/* How a child is born. */
typedef struct {
    const char *const *argv; /* argv[0] is the absolute path of the program */
    const char *const *env;  /* NULL: ours */
    int fds[AG_CHILD_MAX_FDS]; /* the child's descriptors 0, 1, 2, ...; -1 is /dev/null; every other one is closed */
    int nfds;                /* at least 3 */
    int group;               /* cgroup.procs of the control group that the program is started in, open for writing; 0: the one that we are in */
} ag_child_t;

/* Starts the program in a session of its own, with all signals unblocked and at their defaults. A failed exec is the child's exit 127
 * with one line on its descriptor 2; the errors returned here are fork's. */
apr_status_t ag_child_start(const ag_child_t *child, pid_t *ppid) AG_MUST_CHECK;

/* Leaves a process beside this one that is nobody's child: 1 in that, 0 here; -1 with errno. */
int ag_child_aside(void) AG_MUST_CHECK;

/* The exec alone, for a process that has already become the right one: same descriptors rule, no fork. Returns only on failure. */
apr_status_t ag_child_exec(const char *path, const char *const *argv, const char *const *env);

/* Clears what a process inherits through fork from an Apache parent or child: blocked and ignored signals. */
void ag_child_reset_signals(void);

/* Ignores what ends a process by default and means nothing to ours: a peer that closed, and the orders that other daemons take by signal. */
void ag_child_ignore_signals(void);

/* Closes every descriptor from `from` on. */
void ag_child_close_from(int from);

#endif
