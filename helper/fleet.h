/* The processes of one application: counted, chosen from, looked through for the one that would be missed least. Counted when asked for: they
 * are a handful, and no second bookkeeping can differ from the list. */
#ifndef HP_FLEET_H
#define HP_FLEET_H

#include "helper/policy.h"
#include "helper/process.h"

typedef struct {
    TAILQ_HEAD(, hp_process_t) processes;
    int used;            /* length of the list, without those that take long to go */
    uint32_t generation; /* of the code; processes of earlier ones serve only until their successors are ready */
    uint32_t proven;     /* the newest generation of which a process has been ready */
    int held;            /* the newest code does not start: earlier ones are as good as new until the next restart */
} hp_fleet_t;

/* 1 if the process serves only until a successor is ready. */
int hp_fleet_outdated(const hp_fleet_t *fleet, const hp_process_t *process);

/* Sets what the list can tell: ready, outdated, away, asking, starting, busy, used, held. */
void hp_fleet_count(const hp_fleet_t *fleet, hp_policy_counts_t *c);
/* 1 if any of them takes requests, now or when it has finished others. */
int hp_fleet_serves(const hp_fleet_t *fleet);
/* Requests in all of them. */
int hp_fleet_in_flight(const hp_fleet_t *fleet);

/* The process for a request whose cookie names `sticky` (0: none). NULL: none is free, or the named one is there and busy. */
hp_process_t *hp_fleet_choose(const hp_fleet_t *fleet, uint32_t sticky);

/* An outdated process to be ended: the one with the oldest code and the fewest requests; NULL: there is none. */
hp_process_t *hp_fleet_outworn(const hp_fleet_t *fleet);
/* A successor is ready: one outdated process is ended, and with it those of older code that nobody has needed since `restarted_at`, unless
 * they are among the least number that should be there. */
void hp_fleet_relieve(hp_fleet_t *fleet, int min, apr_time_t restarted_at);
/* Lets `visit` see every process, which may go meanwhile. */
void hp_fleet_each(const hp_fleet_t *fleet, void (*visit)(hp_process_t *process, void *baton), void *baton);

/* All of them are to end, or those that are starting. */
void hp_fleet_dismiss(hp_fleet_t *fleet, int only_starting);
/* A ready process without requests that was used last before `before`, the longest unused of them; NULL: there is none. */
hp_process_t *hp_fleet_idle(const hp_fleet_t *fleet, apr_time_t before);

#endif
