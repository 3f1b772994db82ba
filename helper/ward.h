/* A child of the watchdog's that runs a role of this program: started again whenever it ends. */
#ifndef HP_WARD_H
#define HP_WARD_H

#include "apr-glue/loop.h"
#include "helper/reserve.h"

typedef struct hp_ward_t hp_ward_t;

typedef struct {
    const char *name;           /* for the log */
    const char *const *argv;    /* as ag_child_t's; not copied */
    int follows;                /* it ends by itself, with code 0, when the process that it serves has gone */
    hp_reserve_t *reserve;      /* for its start; NULL: none */
    void (*up)(void *baton, int fd); /* it was started; `fd`, which is the callee's, leads to its descriptor 3 */
    int (*down)(void *baton);   /* it has ended; 0: it is not to be started again */
    void *baton;
} hp_ward_role_t;

/* At rest. */
hp_ward_t *hp_ward_create(ag_loop_t *loop, const hp_ward_role_t *role, apr_pool_t *p);
/* Starts it, a second later if that fails now. One that is still there is ended and forgotten: nobody hears of its end. */
void hp_ward_start(hp_ward_t *ward);
/* Its process, 0: there is none. */
pid_t hp_ward_pid(const hp_ward_t *ward);
/* Ends it at once, if it is there; it comes again unless down says otherwise. */
void hp_ward_kill(hp_ward_t *ward);

#endif
