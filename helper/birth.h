/* A process that a preloader forks, until the kernel has told who it is. loaders/PROTOCOL.md says what a preloader does.
 *
 * Everything that the preloader's side says may be a lie but for two things that the kernel adds to a message: pid and uid of its sender.
 * Whoever is the watchdog's own child by then, runs as the preloader's user and leads a session of its own, is taken: the watchdog will reap it,
 * and can harm nobody else by a signal to it. */
#ifndef HP_BIRTH_H
#define HP_BIRTH_H

#include "apr-glue/loop.h"

typedef struct hp_birth_t hp_birth_t;

/* pid 0: it was not born, and `reason` says why, without control characters; else it waits for hp_birth_answer. The callee ends the birth. */
typedef void (*hp_birth_cb_t)(void *baton, pid_t pid, const char *reason);

/* Who a process is, from /proc. */
typedef struct {
    pid_t parent, session, group;
    uid_t uid; /* (uid_t)-1 where real, effective and saved id differ */
    gid_t gid;
} hp_birth_facts_t;
apr_status_t hp_birth_look(hp_birth_facts_t *pfacts, pid_t pid) AG_MUST_CHECK;

/* What is asked of the preloader at the other end of `channel`. */
typedef struct {
    int channel;
    uid_t uid;  /* that the process must have */
    int fds[4]; /* its input, stdout, stderr and listening socket; they stay the caller's */
} hp_birth_order_t;

/* Asks without waiting; the callback comes once, if at all, from the loop. Errors: a preloader that takes no orders any more, no descriptors. */
apr_status_t hp_birth_create(hp_birth_t **pbirth, ag_loop_t *loop, const hp_birth_order_t *order, hp_birth_cb_t cb, void *baton,
                             apr_pool_t *p) AG_MUST_CHECK;
/* Lets the process go on, with the number that marks it and its descendants (strays.h). */
void hp_birth_answer(const hp_birth_t *birth, uint64_t number);
/* A process that has no answer yet ends itself. Accepts a pointer to NULL; nulls. */
void hp_birth_destroy(hp_birth_t **pbirth);

#endif
