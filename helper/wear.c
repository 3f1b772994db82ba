#include "helper/wear.h"
#include "apr-glue/log.h"
#include "helper/budget.h"
#include "helper/cgroup.h"
#include "helper/meter.h"
#include <apr_strings.h>

static int larger(const hp_process_t *process, int megabytes)
{
    return megabytes > 0 && process->memory > (apr_uint64_t)megabytes << 20;
}

void hp_wear_judge(hp_process_t *process, const hp_process_work_t *work, const ag_options_t *options, const char *group)
{
    if (process->worn)
        return;
    if (options->max_requests > 0 && process->requests >= (unsigned long)options->max_requests) {
        process->worn = 1;
        return;
    }
    if (options->memory_limit <= 0)
        return;
    hp_meter_read(process, 1);
    if (!larger(process, options->memory_limit))
        return;
    process->worn = 1;
    ag_log(AG_LOG_NOTICE, "PSG0118", "app.memory: process %ld of %s uses %lu MB after %s %s, more than PassengerMemoryLimit %d; it is replaced",
           (long)process->pid, group, (unsigned long)(process->memory >> 20), hp_process_work_value(work, "REQUEST_METHOD"),
           hp_process_work_value(work, "REQUEST_URI"), options->memory_limit);
}

void hp_wear_look(hp_process_t *process, const ag_options_t *options, const char *group, apr_time_t now)
{
    const hp_process_work_t *work = TAILQ_FIRST(&process->work);
    const hp_spec_t asked = {.app_root = process->spec->app_root, .options = options};
    hp_budget_t budget;

    hp_budget_make(&budget, &asked, process->ctx->settings);
    if (hp_meter_due(process, now))
        hp_meter_read(process, budget.memory > 0 || options->memory_limit > 0);
    if (!larger(process, budget.memory) || process->state == HP_PROCESS_ENDING || process->state == HP_PROCESS_GONE)
        return;
    ag_log(AG_LOG_ERROR, "PSG0119",
           "app.memory_hard: process %ld of %s uses %lu MB, more than PassengerHardMemoryLimit %d; it is killed in %s %s, inflight=%d",
           (long)process->pid, group, (unsigned long)(process->memory >> 20), budget.memory,
           work ? hp_process_work_value(work, "REQUEST_METHOD") : "no", work ? hp_process_work_value(work, "REQUEST_URI") : "request",
           process->in_flight);
    process->doom = apr_psprintf(process->p, "app.memory_hard: it used %lu MB, more than PassengerHardMemoryLimit %d",
                                 (unsigned long)(process->memory >> 20), budget.memory);
    hp_process_kill(process);
}

void hp_wear_killed(hp_process_t *process)
{
    const hp_process_work_t *work = TAILQ_FIRST(&process->work);
    hp_cgroup_death_t death = process->cgroup && !process->doom ? hp_cgroup_death(process->cgroup) : HP_CGROUP_ALIVE;
    unsigned long used;
    hp_budget_t budget;

    if (death == HP_CGROUP_ALIVE)
        return;
    used = (unsigned long)(hp_cgroup_number(process->cgroup, "memory.peak", NULL) >> 20); /* Linux 5.19 */
    hp_budget_make(&budget, process->spec, process->ctx->settings);
    if (death == HP_CGROUP_OWN_LIMIT)
        process->doom = apr_psprintf(process->p, "app.memory_hard: it used %lu MB and needed more, which PassengerHardMemoryLimit %d forbids",
                                     used ? used : (unsigned long)budget.memory, budget.memory);
    else
        process->doom = apr_psprintf(process->p, "app.memory_short: the memory of the machine, or of Apache's control group, ran out while it used "
                                     "%lu MB", used);
    ag_log(AG_LOG_ERROR, "PSG2603", "%s; the kernel killed process %ld of %s in %s %s, inflight=%d", process->doom, (long)process->pid,
           process->spec->group, work ? hp_process_work_value(work, "REQUEST_METHOD") : "no",
           work ? hp_process_work_value(work, "REQUEST_URI") : "request", process->in_flight);
}

void hp_wear_tasks(const hp_process_t *process)
{
    const hp_process_work_t *work = TAILQ_FIRST(&process->work);
    hp_budget_t budget;

    hp_budget_make(&budget, process->spec, process->ctx->settings);
    ag_log(AG_LOG_ERROR, "PSG2300",
           "app.tasks_limit: process %ld of %s has %u processes and threads, its limit is PassengerTaskLimit %d; it can start no more, in %s %s, "
           "inflight=%d",
           (long)process->pid, process->spec->group, process->tasks, budget.tasks, work ? hp_process_work_value(work, "REQUEST_METHOD") : "no",
           work ? hp_process_work_value(work, "REQUEST_URI") : "request", process->in_flight);
}
