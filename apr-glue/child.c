#include "apr-glue/child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void ag_child_reset_signals(void)
{
    sigset_t none;

    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void ag_child_ignore_signals(void)
{
    static const int ignored[] = {SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM};

    for (apr_size_t i = 0; i < AG_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

void ag_child_close_from(int from)
{
    long max;

    /* close_range is Linux 5.9's; before it, one by one. */
    if (syscall(SYS_close_range, (unsigned)from, ~0U, 0U) == 0)
        return;
    max = sysconf(_SC_OPEN_MAX);
    for (int fd = from; fd < (int)max; fd++)
        close(fd);
}

apr_status_t ag_child_exec(const char *path, const char *const *argv, const char *const *env)
{
    /* execve(2) takes pointers to non-const strings for history's sake and does not write to them. */
    execve(path, (char *const *)(uintptr_t)argv, env ? (char *const *)(uintptr_t)env : environ);
    return errno;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes what the child does not get: a parent that has no descriptor left can still have children. Without close_range, arrange does it. */
static void make_room(const ag_child_t *child)
{
    int sorted[AG_CHILD_MAX_FDS];
    unsigned next = 0;

    memcpy(sorted, child->fds, (apr_size_t)child->nfds * sizeof *sorted);
    qsort(sorted, (size_t)child->nfds, sizeof *sorted, by_number);
    for (int i = 0; i < child->nfds; i++) {
        if (sorted[i] < 0)
            continue;
        if ((unsigned)sorted[i] > next)
            syscall(SYS_close_range, next, (unsigned)sorted[i] - 1, 0U);
        next = (unsigned)sorted[i] + 1;
    }
    syscall(SYS_close_range, next, ~0U, 0U);
}

/* Puts each descriptor at its number; first away from the low numbers, so that none is overwritten before it is used. */
static int arrange(const ag_child_t *child)
{
    int high[AG_CHILD_MAX_FDS];

    make_room(child);
    for (int i = 0; i < child->nfds; i++) {
        int fd = child->fds[i] >= 0 ? child->fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        high[i] = fcntl(fd, F_DUPFD_CLOEXEC, 2 * AG_CHILD_MAX_FDS);
        if (high[i] < 0)
            return -1;
    }
    for (int i = 0; i < child->nfds; i++) {
        if (dup2(high[i], i) < 0)
            return -1;
    }
    ag_child_close_from(child->nfds);
    return 0;
}

static void run_child(const ag_child_t *child)
{
    apr_status_t rv = APR_SUCCESS;

    setsid();
    ag_child_reset_signals();
    if (child->group > 0 && write(child->group, "0", 1) != 1)
        rv = errno;
    if (arrange(child))
        rv = errno;
    if (rv == APR_SUCCESS)
        rv = ag_child_exec(child->argv[0], child->argv, child->env);
    dprintf(2, "%s: %s\n", child->argv[0], strerror(rv));
    _exit(127);
}

apr_status_t ag_child_start(const ag_child_t *child, pid_t *ppid)
{
    sigset_t all, before;
    pid_t pid;
    apr_status_t rv = APR_SUCCESS;

    assert(child->nfds >= 3 && child->nfds <= AG_CHILD_MAX_FDS);
    /* No handler of ours may run in the child before the defaults are back. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid < 0)
        rv = errno;
    else if (pid == 0)
        run_child(child);
    else
        *ppid = pid;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rv;
}

int ag_child_aside(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        pid = fork();
        if (pid == 0)
            return 1;
        _exit(pid > 0 ? 0 : errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
    return errno ? -1 : 0;
}
