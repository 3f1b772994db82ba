#include "helper/meter.c"
#include "t/lib/tap.h"
#include <string.h>

apr_time_t ag_loop_now(void)
{
    return 0;
}

apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid)
{
    *usage = (hp_usage_t){.rss = 7};
    return pid ? APR_SUCCESS : APR_EGENERAL;
}

apr_uint64_t hp_usage_below(pid_t pid)
{
    return (apr_uint64_t)pid * 1000;
}

apr_uint64_t hp_cgroup_memory(const char *group)
{
    return (apr_uint64_t)strlen(group);
}

int main(void)
{
    static const struct {
        const char *what;
        hp_process_state_t state;
        int in_flight;
        long rate, last_used, measured, now; /* seconds */
        int due;
    } cases[] = {
        {"one that works", HP_PROCESS_READY, 1, 0, 10, 10, 11, 1},
        {"one that has worked", HP_PROCESS_READY, 0, 0, 12, 11, 12, 1},
        {"one that has not", HP_PROCESS_READY, 0, 0, 10, 11, 12, 0},
        {"... for long", HP_PROCESS_READY, 0, 0, 10, 11, 42, 1},
        {"one that starts", HP_PROCESS_STARTING, 1, 0, 10, 0, 100, 0},
        {"one that works, but not so often", HP_PROCESS_READY, 1, 5, 10, 10, 14, 0},
        {"... but now", HP_PROCESS_READY, 1, 5, 10, 10, 15, 1},
        {"one that has not, and rarely anyhow", HP_PROCESS_READY, 0, 60, 10, 11, 42, 0},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_settings_t settings = {.analytics_collection_rate = (uint32_t)cases[i].rate};
        hp_context_t ctx = {.settings = &settings};
        hp_process_t process = {.ctx = &ctx, .state = cases[i].state, .in_flight = cases[i].in_flight,
                                .last_used = apr_time_from_sec(cases[i].last_used), .measured_at = apr_time_from_sec(cases[i].measured)};
        is_int(hp_meter_due(&process, apr_time_from_sec(cases[i].now)), cases[i].due, "%s", cases[i].what);
    }
    hp_process_t process = {.pid = 3};
    hp_meter_read(&process, 1);
    is_int((long)process.memory, 7 + 3000, "what it has started counts");
    hp_meter_read(&process, 0);
    is_int((long)process.memory, 7, "... if there is a limit");
    process.cgroup = "/four";
    hp_meter_read(&process, 1);
    is_int((long)process.memory, 5, "... as its control group says, where it has one");
    return done_testing();
}
