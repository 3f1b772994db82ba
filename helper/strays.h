/* What an application's process leaves behind: descendants in sessions of their own, which come to the watchdog when their parents are gone.
 *
 * Whose they are is told by a mark that the kernel keeps and every descendant inherits, whatever becomes of its environment: the soft limit on
 * real-time processor time without a pause (RLIMIT_RTTIME), far beyond what can be used up. It is read from /proc/<pid>/limits. An environment
 * would have to be read from the process's memory, where a file that does not answer may be mapped, and which takes rights that root may lack. */
#ifndef HP_STRAYS_H
#define HP_STRAYS_H

#include "apr-glue/loop.h"

typedef struct hp_strays_t hp_strays_t;

/* 1 if the process `id` lives, whose descendants are none of our business then, or if `pid` is no descendant, but such a process itself: one
 * that a preloader forked bears the preloader's mark until it has taken its own. */
typedef int (*hp_strays_lives_t)(void *baton, uint64_t id, pid_t pid);

hp_strays_t *hp_strays_create(ag_loop_t *loop, hp_strays_lives_t lives, void *baton, apr_pool_t *p);

/* What is forked from now on carries the mark of `id`; 0: none. Where a hard limit forbids it there are no marks, and strays stay until the end. */
void hp_strays_mark(const hp_strays_t *strays, uint64_t id);

/* The mark as the number that a process which a preloader has forked sets for itself: even root may lack the right to do that (CAP_SYS_RESOURCE). */
uint64_t hp_strays_number(uint64_t id);

/* The id of the process that `pid` is, or descends from; 0: none. */
uint64_t hp_strays_id(pid_t pid);

/* A process of an application has ended: its strays get SIGTERM, and SIGKILL two seconds later, as do theirs. */
void hp_strays_look(hp_strays_t *strays);
/* A descendant that came to us has ended: its own children may have come instead. */
void hp_strays_reaped(hp_strays_t *strays);

/* Ends every child that there is; the number of them. */
int hp_strays_kill_all(void);

#endif
