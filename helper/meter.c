#include "helper/meter.h"
#include "helper/cgroup.h"
#include "helper/usage.h"

#define LEAST  (apr_time_from_sec(1) / 2) /* processor time is counted in ticks of 10 ms */
#define ANYHOW apr_time_from_sec(30)

void hp_meter_read(hp_process_t *process, int limited)
{
    apr_time_t now = ag_loop_now(), since = now - process->measured_at;
    hp_usage_t usage;

    if (hp_usage_read(&usage, process->pid) != APR_SUCCESS)
        return;
    process->rss = usage.rss;
    process->vmsize = usage.vmsize;
    process->memory = !limited ? usage.rss : process->cgroup ? hp_cgroup_memory(process->cgroup) : usage.rss + hp_usage_below(process->pid);
    if (process->measured_at && since < LEAST)
        return;
    process->cpu = process->measured_at ? (unsigned)((usage.cpu - process->cpu_time) * 100 / since) : 0;
    process->load = process->measured_at ? (unsigned)((usage.wanted - process->wanted) * 100 / since) : 0;
    process->cpu_time = usage.cpu;
    process->wanted = usage.wanted;
    process->measured_at = now;
}

int hp_meter_due(const hp_process_t *process, apr_time_t now)
{
    return process->state != HP_PROCESS_STARTING &&
           now - process->measured_at >= apr_time_from_sec(process->ctx->settings->analytics_collection_rate) &&
           (process->in_flight > 0 || process->last_used > process->measured_at || now - process->measured_at > ANYHOW);
}
