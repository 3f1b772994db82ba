/* Requests of one application that wait for a process: first come, first served, but for those that wait for one certain process. */
#ifndef HP_QUEUE_H
#define HP_QUEUE_H

#include "helper/process.h"
#include "helper/report.h"

typedef struct hp_queue_waiter_t hp_queue_waiter_t;

/* A request that wants a process; part of the request. Exactly one of the calls comes, unless it is cancelled. */
struct hp_queue_waiter_t {
    hp_process_work_t work; /* its pairs are set by whoever submits */
    TAILQ_ENTRY(hp_queue_waiter_t) entry;
    uint32_t sticky;     /* the sticky_id that the client's cookie names; 0: none */
    int max_wait;        /* seconds; 0: as long as it takes */
    int queued;
    int asks; /* it wants no process yet, only to know that it would get one sooner or later: one serves, and the queue has room */
    /* The process is the waiter's until hp_group_done; NULL for one that asks. */
    void (*serve)(hp_queue_waiter_t *waiter, hp_process_t *process);
    void (*refuse)(hp_queue_waiter_t *waiter, const hp_report_t *report, int friendly);
};

typedef struct {
    TAILQ_HEAD(, hp_queue_waiter_t) waiters;
    int len;
    ag_loop_timer_t *timer;
    apr_time_t due; /* when the timer fires; 0: it is at rest */
    void (*expired)(void *baton, hp_queue_waiter_t *waiter);
    void *baton;
} hp_queue_t;

/* `expired` hears of each waiter that has waited for its max_wait; it is not in the queue any more. */
void hp_queue_init(hp_queue_t *queue, ag_loop_t *loop, apr_pool_t *p, void (*expired)(void *baton, hp_queue_waiter_t *waiter), void *baton);
void hp_queue_put(hp_queue_t *queue, hp_queue_waiter_t *waiter);
/* It must be in the queue. */
void hp_queue_remove(hp_queue_t *queue, hp_queue_waiter_t *waiter);
/* Refuses all that wait. */
void hp_queue_refuse(hp_queue_t *queue, const hp_report_t *report, int friendly);

#endif
