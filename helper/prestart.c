#include "helper/prestart.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM  "passenger-prestart"
#define INTERVAL apr_time_from_sec(5)
#define SETTLE   apr_time_from_sec(1) /* for what happened meanwhile */

struct hp_prestart_t {
    ag_loop_t *loop;
    const char *path, *uid, *gid;
    ag_loop_timer_t *timer;
    apr_pool_t *p, *urls_pool;
    const char *urls; /* a line each, in urls_pool; they may hold passwords, so nobody sees them on a command line */
    ag_log_level_t level;
    pid_t pid;          /* 0: none is running */
    int again;          /* once more when it has ended */
    apr_time_t started; /* the last one; 0: never */
};

/* A file without a name that holds the URLs, at its beginning; -1 if the kernel gives none. */
static int write_urls(const hp_prestart_t *prestart)
{
    apr_size_t len = strlen(prestart->urls), done = 0;
    int fd = memfd_create("urls", MFD_CLOEXEC);

    while (fd >= 0 && done < len) {
        ssize_t n = write(fd, prestart->urls + done, len - done);
        if (n <= 0) {
            close(fd);
            return -1;
        }
        done += (apr_size_t)n;
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static void on_exit_of_child(void *baton, pid_t pid, int status)
{
    hp_prestart_t *prestart = baton;

    if (pid != prestart->pid)
        return; /* it was stopped */
    prestart->pid = 0;
    if (status)
        ag_log(AG_LOG_WARN, "PSG0060", "prestart.failed: %s ended with %s %d", prestart->path,
               WIFSIGNALED(status) ? "signal" : "code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (prestart->again)
        hp_prestart_run(prestart, SETTLE);
}

static void on_timer(void *baton)
{
    hp_prestart_t *prestart = baton;
    char level[16];
    const char *argv[] = {prestart->path, prestart->uid, prestart->gid, level, NULL};
    ag_child_t child = {.argv = argv, .fds = {-1, 2, 2}, .nfds = 3};
    apr_status_t rv;

    if (!*prestart->urls)
        return; /* they went while this was due */
    prestart->again = 0;
    prestart->started = ag_loop_now();
    apr_snprintf(level, sizeof level, "%d", (int)prestart->level);
    child.fds[0] = write_urls(prestart);
    rv = child.fds[0] < 0 ? errno : ag_child_start(&child, &prestart->pid);
    if (child.fds[0] >= 0)
        close(child.fds[0]);
    if (rv == APR_SUCCESS)
        ag_loop_child(prestart->loop, prestart->pid, on_exit_of_child, prestart);
    else
        ag_log(AG_LOG_WARN, "PSG0061", "prestart.failed: %s cannot be started: %s", prestart->path,
               ag_text_error(prestart->urls_pool, rv));
}

hp_prestart_t *hp_prestart_create(ag_loop_t *loop, const char *self, uid_t uid, gid_t gid, apr_pool_t *p)
{
    hp_prestart_t *prestart = apr_pcalloc(p, sizeof *prestart);
    const char *slash = strrchr(self, '/');

    prestart->loop = loop;
    prestart->p = p;
    prestart->path = apr_psprintf(p, "%.*s/" PROGRAM, slash ? (int)(slash - self) : 0, self);
    prestart->uid = apr_psprintf(p, "%lu", (unsigned long)uid);
    prestart->gid = apr_psprintf(p, "%lu", (unsigned long)gid);
    prestart->timer = ag_loop_timer_create(loop, on_timer, prestart);
    prestart->urls = "";
    return prestart;
}

void hp_prestart_settings(hp_prestart_t *prestart, const ag_settings_t *settings)
{
    apr_array_header_t *lines;
    apr_pool_t *p;

    if (prestart->urls_pool)
        apr_pool_destroy(prestart->urls_pool);
    apr_pool_create(&p, prestart->p);
    lines = apr_array_make(p, settings->pre_start->nelts, sizeof(const char *));
    for (int i = 0; i < settings->pre_start->nelts; i++)
        APR_ARRAY_PUSH(lines, const char *) = apr_pstrcat(p, APR_ARRAY_IDX(settings->pre_start, i, const char *), "\n", NULL);
    prestart->urls = apr_array_pstrcat(p, lines, 0);
    prestart->urls_pool = p;
    prestart->level = (ag_log_level_t)settings->log_level;
}

void hp_prestart_run(hp_prestart_t *prestart, apr_interval_time_t after)
{
    apr_interval_time_t pause = prestart->started ? prestart->started + INTERVAL - ag_loop_now() : 0;

    if (!*prestart->urls)
        return;
    if (prestart->pid)
        prestart->again = 1;
    else if (!ag_loop_timer_active(prestart->timer))
        ag_loop_timer_start(prestart->timer, after > pause ? after : pause);
}

void hp_prestart_stop(hp_prestart_t *prestart)
{
    ag_loop_timer_stop(prestart->timer);
    prestart->again = 0;
    if (prestart->pid)
        kill(prestart->pid, SIGKILL);
    prestart->pid = 0;
}
