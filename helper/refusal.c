#include "helper/refusal.h"
#include "apr-glue/log.h"

static void refuse(const hp_config_t *config, hp_queue_waiter_t *waiter, int status, const char *sentence, apr_pool_t *p)
{
    hp_report_t *report = hp_report_create(p, status, "This website is under heavy load", sentence, "");

    report->retry_after = 5;
    waiter->refuse(waiter, report, hp_config_friendly(config));
    hp_report_destroy(&report);
}

void hp_refusal_full(const hp_config_t *config, hp_queue_waiter_t *waiter, int queued, apr_pool_t *p)
{
    ag_log(AG_LOG_WARN, "PSG0111", "queue.full: %s: %d wait already (PassengerMaxRequestQueueSize)", config->name, queued);
    refuse(config, waiter, 503, "As many requests as PassengerMaxRequestQueueSize allows are waiting already.", p);
}

void hp_refusal_late(const hp_config_t *config, hp_queue_waiter_t *waiter, apr_pool_t *p)
{
    ag_log(AG_LOG_WARN, "PSG0110", "queue.timeout: %s: a request waited for %d s (PassengerMaxRequestQueueTime)", config->name, waiter->max_wait);
    refuse(config, waiter, 504, "The request waited longer than PassengerMaxRequestQueueTime for a process.", p);
}
