#include "helper/usage.c"
#include "t/lib/tap.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static char *volatile kept;

/* A child with `mb` megabytes more than this process; `program`: it becomes another one first. 0 once it has them. */
static pid_t start(int mb, int program)
{
    char word = 0, text[80];
    int ends[2];
    pid_t pid;

    if (pipe(ends))
        return -1;
    pid = fork();
    if (pid == 0) {
        snprintf(text, sizeof text, "my $x = 'x' x (%d << 20); print 'x'; $| = 1; sleep 60", mb);
        dup2(ends[1], 1);
        if (program)
            execlp("perl", "perl", "-e", text, (char *)NULL);
        kept = malloc((size_t)mb << 20);
        memset(kept, 1, (size_t)mb << 20);
        (void)!write(1, "x", 1);
        for (;;)
            pause();
    }
    close(ends[1]);
    ok(read(ends[0], &word, 1) == 1, "a child has %d MB", mb);
    close(ends[0]);
    return pid;
}

static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void family(void)
{
    static char own[40 << 20];
    apr_uint64_t most = 8 << 20; /* of what else a program has */
    pid_t forked, other;

    memset(own, 1, sizeof own);
    forked = start(0, 0);
    ok(hp_usage_below(getpid()) < most, "what a child shares is not counted");
    other = start(30, 0);
    ok(hp_usage_below(getpid()) >= 29 << 20, "... beyond that it is");
    ok(hp_usage_below(getpid()) < (30 << 20) + most, "... and no more");
    stop(other);
    other = start(30, 1);
    ok(hp_usage_below(getpid()) >= 30 << 20, "another program shares nothing");
    stop(other);
    stop(forked);
    is_int((long)hp_usage_below(getpid()), 0, "no children, no memory");
}

int main(void)
{
    hp_usage_t before, after;
    double begin = now();
    volatile unsigned n = 0;

    is_int(hp_usage_read(&before, getpid()), APR_SUCCESS, "this process can be read");
    ok(before.rss > 1 << 18, "it has memory");
    while (now() - begin < 0.3)
        n++;
    is_int(hp_usage_read(&after, getpid()), APR_SUCCESS, "... again");
    ok(after.cpu >= before.cpu, "it has used its processor");
    /* However much others have of it: whoever does not wait for anything else wants it all the time. */
    ok(after.wanted == 0 || after.wanted - before.wanted > 200000, "... or waited for it: %ld", (long)(after.wanted - before.wanted));
    ok(hp_usage_read(&after, -1) != APR_SUCCESS, "there is no such process");
    family();
    return done_testing();
}
