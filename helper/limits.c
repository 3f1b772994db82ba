#include "helper/limits.h"
#include "helper/census.h"
#include "helper/cgroup.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void write_number(const char *path, int value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    dprintf(fd, "%d", value);
    close(fd);
}

void hp_limits_session(pid_t pid, int weight)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/autogroup", (long)pid);
    if (weight != 100)
        write_number(path, hp_budget_nice(weight));
}

/* The helper's own soft limit is raised; programs that use select(2) must not inherit that. */
static void limit_files(const hp_budget_t *budget)
{
    struct rlimit now, wish;

    if (getrlimit(RLIMIT_NOFILE, &now))
        return;
    wish = now;
    if (budget->files > 0) {
        wish.rlim_cur = (rlim_t)budget->files;
        if (wish.rlim_cur < now.rlim_max || budget->files_granted)
            wish.rlim_max = wish.rlim_cur;
        else
            wish.rlim_cur = now.rlim_max;
    } else if (now.rlim_cur > 1024) {
        wish.rlim_cur = 1024;
    }
    if (setrlimit(RLIMIT_NOFILE, &wish)) {
        wish.rlim_cur = wish.rlim_max = now.rlim_max;
        setrlimit(RLIMIT_NOFILE, &wish);
    }
}

static void limit_tasks(const hp_budget_t *budget, const hp_limits_who_t *who)
{
    int tasks = budget->tasks + (who->may_fork ? HP_LIMITS_PRELOADER : 0);
    struct rlimit wish;

    if (budget->tasks == 0 || (who->held & HP_CGROUP_PIDS))
        return;
    wish.rlim_cur = wish.rlim_max = hp_budget_nproc(hp_census_user(who->uid), 0, tasks);
    setrlimit(RLIMIT_NPROC, &wish);
}

void hp_limits_apply(const hp_budget_t *budget, const hp_limits_who_t *who)
{
    static const hp_budget_t usual = {.weight = 100};
    const hp_budget_t *b = who->servant ? &usual : budget;

    /* The watchdog is the last to be killed for memory, its applications are like any other process. */
    write_number("/proc/self/oom_score_adj", 0);
    limit_files(b);
    limit_tasks(b, who);
    if (who->held & HP_CGROUP_CPU)
        return;
    if (b->weight != 100)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + hp_budget_nice(b->weight)); /* whoever started Apache may have been nice */
    hp_limits_session(getpid(), b->weight);
}
