/* The event loop of the helper: libev behind a handful of calls. The only user of <ev.h> is loop.c. One thread, no locks. */
#ifndef AG_LOOP_H
#define AG_LOOP_H

#include "apr-glue/base.h"

enum { AG_LOOP_READ = 1, AG_LOOP_WRITE = 2 };

typedef struct ag_loop_t ag_loop_t;
typedef struct ag_loop_io_t ag_loop_io_t;
typedef struct ag_loop_timer_t ag_loop_timer_t;

typedef void (*ag_loop_io_cb_t)(void *baton, int events);
typedef void (*ag_loop_cb_t)(void *baton);
typedef void (*ag_loop_signal_cb_t)(void *baton, int signum);
/* `status` is wait(2)'s. */
typedef void (*ag_loop_child_cb_t)(void *baton, pid_t pid, int status);

/* The process's one loop; it is the reaper of the process's children too. NULL when the kernel refuses. */
ag_loop_t *ag_loop_create(apr_pool_t *p);
void ag_loop_run(ag_loop_t *loop);
/* Lets run() return after the current round. */
void ag_loop_stop(ag_loop_t *loop);
/* Microseconds of the monotonic clock: a point in time to compare with others, never a date. */
apr_time_t ag_loop_now(void);

/* Watches `fd`, which stays the caller's, for `events`; 0 is allowed and watches nothing. */
ag_loop_io_t *ag_loop_io_create(ag_loop_t *loop, int fd, int events, ag_loop_io_cb_t cb, void *baton);
/* Changes what is watched; costs nothing when nothing changes. */
void ag_loop_io_set(ag_loop_io_t *io, int events);
/* Ends the watch. Accepts a pointer to NULL; nulls. Allowed within the watcher's own callback. */
void ag_loop_io_destroy(ag_loop_io_t **pio);

/* A timer at rest. */
ag_loop_timer_t *ag_loop_timer_create(ag_loop_t *loop, ag_loop_cb_t cb, void *baton);
/* The same in pool `p`, with which it ends. */
ag_loop_timer_t *ag_loop_timer_pooled(ag_loop_t *loop, apr_pool_t *p, ag_loop_cb_t cb, void *baton);
/* Fires once, `after` from now, whatever was set before. */
void ag_loop_timer_start(ag_loop_timer_t *timer, apr_interval_time_t after);
void ag_loop_timer_stop(ag_loop_timer_t *timer);
int ag_loop_timer_active(const ag_loop_timer_t *timer);
void ag_loop_timer_destroy(ag_loop_timer_t **ptimer);

/* Calls back for a signal, in the loop, for as long as the loop lives. */
void ag_loop_signal(ag_loop_t *loop, int signum, ag_loop_signal_cb_t cb, void *baton);

/* Calls back once, when the child `pid` has ended. */
void ag_loop_child(ag_loop_t *loop, pid_t pid, ag_loop_child_cb_t cb, void *baton);

/* Calls back once for every child that ends without a watcher of its own: descendants that a subreaper inherits. */
void ag_loop_orphans(ag_loop_t *loop, ag_loop_child_cb_t cb, void *baton);

#endif
