#include "helper/strays.h"
#include "apr-glue/log.h"
#include "apr-glue/procfile.h"
#include <apr_tables.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MARK     (UINT64_C(1) << 62) /* microseconds; the id is added */
#define LINE     "Max realtime timeout"
#define INTERVAL (apr_time_from_sec(1) / 4)
#define GRACE    apr_time_from_sec(2)  /* between TERM and KILL */
#define LONGEST  apr_time_from_sec(10) /* after an end, for those whose parents take that long to go */

typedef struct {
    pid_t pid;
    uint64_t id;
    apr_time_t told; /* when the first of them got SIGTERM */
} stray_t;

struct hp_strays_t {
    apr_pool_t *p, *seen_pool;
    ag_loop_timer_t *timer;
    hp_strays_lives_t lives;
    void *baton;
    struct rlimit usual;
    apr_array_header_t *seen; /* of stray_t; lives in seen_pool */
    apr_time_t until;         /* those who come later are none of the last process that ended */
};

/* CONFIG_PROC_CHILDREN is on in every distribution's kernel; without it the process groups have been ended all the same. */
static FILE *open_children(void)
{
    return fopen("/proc/thread-self/children", "re");
}

int hp_strays_kill_all(void)
{
    FILE *f = open_children();
    int count = 0;
    long pid;

    while (f && fscanf(f, "%ld", &pid) == 1) {
        kill((pid_t)pid, SIGKILL);
        count++;
    }
    if (f)
        fclose(f);
    return count;
}

uint64_t hp_strays_number(uint64_t id)
{
    return MARK + id;
}

void hp_strays_mark(const hp_strays_t *strays, uint64_t id)
{
    struct rlimit marked = {.rlim_cur = (rlim_t)hp_strays_number(id), .rlim_max = strays->usual.rlim_max};

    setrlimit(RLIMIT_RTTIME, id ? &marked : &strays->usual);
}

uint64_t hp_strays_id(pid_t pid)
{
    unsigned long long limit = 0;
    const char *line;
    char text[4096];

    (void)ag_procfile_of(text, sizeof text, pid, "limits");
    line = strstr(text, LINE);
    if (line)
        limit = strtoull(line + strlen(LINE), NULL, 10); /* "unlimited" is 0 */
    return limit > MARK ? limit - MARK : 0;
}

/* The stray itself, or else another of the same process, that was there at the last look. */
static const stray_t *seen_before(const hp_strays_t *strays, pid_t pid, uint64_t id)
{
    const stray_t *other = NULL;

    for (int i = 0; strays->seen && i < strays->seen->nelts; i++) {
        const stray_t *stray = &APR_ARRAY_IDX(strays->seen, i, stray_t);
        if (stray->id == id && stray->pid == pid)
            return stray;
        if (stray->id == id)
            other = stray;
    }
    return other;
}

static void tell(pid_t pid, int signum)
{
    if (kill(-pid, signum))
        kill(pid, signum);
}

/* The time runs for all of a process's strays together: a chain of deaf ones takes no longer than one. */
static stray_t end_stray(const hp_strays_t *strays, pid_t pid, uint64_t id, apr_time_t now)
{
    const stray_t *before = seen_before(strays, pid, id);
    stray_t stray = {.pid = pid, .id = id, .told = before ? before->told : now};

    if (now - stray.told >= GRACE) {
        tell(pid, SIGKILL);
    } else if (!before || before->pid != pid) {
        ag_log(AG_LOG_INFO, "PSG0032", "stray.ended: process %ld outlived the application's process that started it", (long)pid);
        tell(pid, SIGTERM);
    }
    return stray;
}

/* Nothing reaps between two callbacks, so the pids in the list are still those of our children. */
static void end_strays(void *baton)
{
    hp_strays_t *strays = baton;
    FILE *children = open_children();
    apr_time_t now = ag_loop_now();
    apr_array_header_t *seen;
    apr_pool_t *p;
    long pid;

    if (!children) {
        /* Too many open files, perhaps. */
        if (now < strays->until)
            ag_loop_timer_start(strays->timer, INTERVAL);
        return;
    }
    apr_pool_create(&p, strays->p);
    seen = apr_array_make(p, 4, sizeof(stray_t));
    while (fscanf(children, "%ld", &pid) == 1) {
        uint64_t id = hp_strays_id((pid_t)pid);
        if (id && !strays->lives(strays->baton, id, (pid_t)pid))
            APR_ARRAY_PUSH(seen, stray_t) = end_stray(strays, (pid_t)pid, id, now);
    }
    fclose(children);
    if (strays->seen_pool)
        apr_pool_destroy(strays->seen_pool);
    strays->seen_pool = p;
    strays->seen = seen;
    if (seen->nelts > 0) {
        strays->until = now + LONGEST;
        ag_loop_timer_start(strays->timer, INTERVAL);
    }
}

hp_strays_t *hp_strays_create(ag_loop_t *loop, hp_strays_lives_t lives, void *baton, apr_pool_t *p)
{
    hp_strays_t *strays = apr_pcalloc(p, sizeof *strays);

    strays->p = p;
    strays->lives = lives;
    strays->baton = baton;
    strays->timer = ag_loop_timer_create(loop, end_strays, strays);
    getrlimit(RLIMIT_RTTIME, &strays->usual);
    return strays;
}

void hp_strays_look(hp_strays_t *strays)
{
    strays->until = ag_loop_now() + LONGEST;
    if (!ag_loop_timer_active(strays->timer))
        ag_loop_timer_start(strays->timer, 0);
}

void hp_strays_reaped(hp_strays_t *strays)
{
    if (ag_loop_now() < strays->until && !ag_loop_timer_active(strays->timer))
        ag_loop_timer_start(strays->timer, INTERVAL / 8);
}
