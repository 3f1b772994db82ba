#include "helper/ward.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLAP_WINDOW apr_time_from_sec(10)
#define FLAP_LIMIT  5
#define PAUSE       apr_time_from_sec(1)

struct hp_ward_t {
    hp_ward_role_t role;
    ag_loop_t *loop;
    ag_loop_timer_t *timer;
    pid_t pid;                     /* 0: none */
    apr_time_t deaths[FLAP_LIMIT]; /* a ring of the latest */
    int ndeaths;
};

static void on_timer(void *baton)
{
    hp_ward_start(baton);
}

hp_ward_t *hp_ward_create(ag_loop_t *loop, const hp_ward_role_t *role, apr_pool_t *p)
{
    hp_ward_t *ward = apr_pcalloc(p, sizeof *ward);

    ward->role = *role;
    ward->loop = loop;
    ward->timer = ag_loop_timer_create(loop, on_timer, ward);
    return ward;
}

/* How long to wait before the next one: not at all, unless it died too often lately. */
static apr_interval_time_t pause_now(hp_ward_t *ward)
{
    apr_time_t now = ag_loop_now(), oldest = ward->deaths[ward->ndeaths % FLAP_LIMIT];

    ward->deaths[ward->ndeaths++ % FLAP_LIMIT] = now;
    return oldest && now - oldest < FLAP_WINDOW ? PAUSE : 0;
}

static void on_end(void *baton, pid_t pid, int status)
{
    hp_ward_t *ward = baton;
    const char *name = ward->role.name;
    apr_interval_time_t wait;

    if (pid != ward->pid)
        return;
    ward->pid = 0;
    if (!ward->role.down(ward->role.baton))
        return;
    if (ward->role.follows && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        ag_loop_timer_start(ward->timer, PAUSE);
        return;
    }
    wait = pause_now(ward);
    if (WIFSIGNALED(status))
        ag_log(AG_LOG_ERROR, "PSG0013", "helper.died: %s %ld signal=%d; another is started, application processes are kept", name, (long)pid,
               WTERMSIG(status));
    else
        ag_log(AG_LOG_ERROR, "PSG0014", "helper.died: %s %ld code=%d; another is started, application processes are kept", name, (long)pid,
               WEXITSTATUS(status));
    if (wait > 0) {
        ag_log(AG_LOG_ERROR, "PSG0015", "helper.flapping: the %s died %d times within 10 seconds", name, FLAP_LIMIT);
        ag_loop_timer_start(ward->timer, wait);
    } else {
        hp_ward_start(ward);
    }
}

void hp_ward_start(hp_ward_t *ward)
{
    ag_child_t child = {.argv = ward->role.argv, .fds = {-1, 2, 2, -1}, .nfds = 4};
    char why[120];
    int fds[2];
    apr_status_t rv;

    hp_ward_kill(ward);
    ward->pid = 0;
    ag_loop_timer_stop(ward->timer);
    hp_reserve_give(ward->role.reserve);
    rv = ag_sock_pair(fds);
    if (rv == APR_SUCCESS) {
        child.fds[3] = fds[1];
        rv = ag_child_start(&child, &ward->pid);
        close(fds[1]);
        if (rv != APR_SUCCESS)
            close(fds[0]);
    }
    hp_reserve_take(ward->role.reserve);
    if (rv != APR_SUCCESS) {
        ag_log(AG_LOG_ERROR, "PSG0016", "helper.no_%s: %s; tried again in a second", ward->role.name, apr_strerror(rv, why, sizeof why));
        ag_loop_timer_start(ward->timer, PAUSE);
        return;
    }
    ag_loop_child(ward->loop, ward->pid, on_end, ward);
    ward->role.up(ward->role.baton, fds[0]);
}

pid_t hp_ward_pid(const hp_ward_t *ward)
{
    return ward->pid;
}

void hp_ward_kill(hp_ward_t *ward)
{
    if (ward->pid)
        kill(ward->pid, SIGKILL);
}
