/* What requests are told that get no process because others have them all. */
#ifndef HP_REFUSAL_H
#define HP_REFUSAL_H

#include "helper/config.h"
#include "helper/queue.h"

/* Refuse the waiter, who is in no queue, with a line in the log; `p` is used for a moment. PassengerMaxRequestQueueSize: `queued` wait already. */
void hp_refusal_full(const hp_config_t *config, hp_queue_waiter_t *waiter, int queued, apr_pool_t *p);
/* PassengerMaxRequestQueueTime: it has waited for too long. */
void hp_refusal_late(const hp_config_t *config, hp_queue_waiter_t *waiter, apr_pool_t *p);

#endif
