/* Faults that only the C library can show: preloaded into Apache and what it starts. Each is on while there is a file of its name in $FAULTS:
 *   clock   the wall clock is off by that many seconds
 *   fork    the helper's fork fails for want of processes
 *   passwd  looking a user up takes that many seconds
 *   splice  the helper's fails with that errno; 0: it is called, and the file grows by a byte
 *   initgroups, setresgid, setresuid, chdir  the helper's fail with that errno; 0: nothing is done, and success is told */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* 1 if the fault is on; *pvalue is the number in the file. */
static int on(const char *name, long *pvalue)
{
    const char *dir = getenv("FAULTS");
    char path[512], text[32] = "";
    int fd, saved = errno;

    snprintf(path, sizeof path, "%s/%s", dir ? dir : "", name);
    fd = dir ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)!read(fd, text, sizeof text - 1);
        close(fd);
        *pvalue = atol(text);
    }
    errno = saved;
    return fd >= 0;
}

static int helper(void)
{
    return strcmp(program_invocation_short_name, "passenger-helper") == 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    long seconds;
    int rc;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    rc = real(id, ts);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && on("clock", &seconds))
        ts->tv_sec += seconds;
    return rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec ts;

    (void)tz;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (t)
        *t = ts.tv_sec;
    return ts.tv_sec;
}

pid_t fork(void)
{
    static pid_t (*real)(void);
    long value;

    if (!real)
        real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    if (helper() && on("fork", &value)) {
        errno = EAGAIN;
        return -1;
    }
    return real();
}

struct passwd *getpwuid(uid_t uid)
{
    static struct passwd *(*real)(uid_t);
    long seconds;

    if (!real)
        real = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");
    if (helper() && on("passwd", &seconds))
        sleep((unsigned)seconds);
    return real(uid);
}

/* 1 if the call is not to be made; *prc is what it returns then. */
static int refused(const char *name, int *prc)
{
    long value;

    if (!helper() || !on(name, &value))
        return 0;
    *prc = value ? -1 : 0;
    if (value)
        errno = (int)value;
    return 1;
}

#define REFUSABLE(name, parameters, arguments)                              \
    int name parameters                                                     \
    {                                                                       \
        static int(*real) parameters;                                       \
        int rc;                                                             \
                                                                            \
        if (!real)                                                          \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);              \
        return refused(#name, &rc) ? rc : real arguments;                   \
    }

REFUSABLE(initgroups, (const char *user, gid_t group), (user, group))
REFUSABLE(setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))
REFUSABLE(setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))
REFUSABLE(chdir, (const char *path), (path))

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    static ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned);
    char path[512];
    int rc, fd;

    if (!real)
        real = (ssize_t(*)(int, off64_t *, int, off64_t *, size_t, unsigned))dlsym(RTLD_NEXT, "splice");
    snprintf(path, sizeof path, "%s/splice", getenv("FAULTS") ? getenv("FAULTS") : "");
    if (!refused("splice", &rc))
        return real(in, in_at, out, out_at, len, flags);
    if (rc < 0)
        return rc;
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    (void)!write(fd, "0", 1);
    close(fd);
    return real(in, in_at, out, out_at, len, flags);
}
