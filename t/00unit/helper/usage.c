#include "helper/usage.c"
#include "t/lib/tap.h"
#include <sys/wait.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
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
    return done_testing();
}
