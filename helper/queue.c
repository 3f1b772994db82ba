#include "helper/queue.h"

static apr_time_t deadline(const hp_queue_waiter_t *waiter)
{
    return waiter->work.since + apr_time_from_sec(waiter->max_wait);
}

static void watch_deadline(hp_queue_t *queue, apr_time_t due)
{
    if (queue->due && queue->due <= due)
        return;
    queue->due = due;
    ag_loop_timer_start(queue->timer, due - ag_loop_now());
}

/* Limits differ between locations, so the first to come need not be the first to go. */
static void on_timer(void *baton)
{
    hp_queue_t *queue = baton;
    hp_queue_waiter_t *waiter, *next;
    apr_time_t now = ag_loop_now();
    TAILQ_HEAD(, hp_queue_waiter_t) late = TAILQ_HEAD_INITIALIZER(late);

    queue->due = 0;
    for (waiter = TAILQ_FIRST(&queue->waiters); waiter; waiter = next) {
        next = TAILQ_NEXT(waiter, entry);
        if (waiter->max_wait <= 0)
            continue;
        if (deadline(waiter) > now) {
            watch_deadline(queue, deadline(waiter));
            continue;
        }
        hp_queue_remove(queue, waiter);
        TAILQ_INSERT_TAIL(&late, waiter, entry);
    }
    while ((waiter = TAILQ_FIRST(&late))) {
        TAILQ_REMOVE(&late, waiter, entry);
        queue->expired(queue->baton, waiter);
    }
}

void hp_queue_init(hp_queue_t *queue, ag_loop_t *loop, apr_pool_t *p, void (*expired)(void *baton, hp_queue_waiter_t *waiter), void *baton)
{
    TAILQ_INIT(&queue->waiters);
    queue->len = 0;
    queue->due = 0;
    queue->expired = expired;
    queue->baton = baton;
    queue->timer = ag_loop_timer_pooled(loop, p, on_timer, queue);
}

void hp_queue_put(hp_queue_t *queue, hp_queue_waiter_t *waiter)
{
    assert(!waiter->queued);
    TAILQ_INSERT_TAIL(&queue->waiters, waiter, entry);
    waiter->queued = 1;
    queue->len++;
    waiter->work.since = ag_loop_now();
    if (waiter->max_wait > 0)
        watch_deadline(queue, deadline(waiter));
}

void hp_queue_remove(hp_queue_t *queue, hp_queue_waiter_t *waiter)
{
    assert(waiter->queued && queue->len > 0);
    TAILQ_REMOVE(&queue->waiters, waiter, entry);
    waiter->queued = 0;
    queue->len--;
}

void hp_queue_refuse(hp_queue_t *queue, const hp_report_t *report, int friendly)
{
    hp_queue_waiter_t *waiter;

    while ((waiter = TAILQ_FIRST(&queue->waiters))) {
        hp_queue_remove(queue, waiter);
        waiter->refuse(waiter, report, friendly);
    }
}
