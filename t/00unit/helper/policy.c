#include "helper/policy.c"
#include "t/lib/tap.h"

/* Every combination of small counts keeps the promises. */
static void promises(void)
{
    int bad = 0, tried = 0;

    for (int n = 0; n < 4 * 4 * 6 * 3 * 5 * 3 * 4; n++) {
        int k = n;
        hp_policy_counts_t c = {0};
        int spawns;

        c.ready = k % 4, k /= 4;
        c.starting = k % 4, k /= 4;
        c.queued = k % 6, k /= 6;
        c.min = k % 3, k /= 3;
        c.max = k % 5, k /= 5;
        c.used = c.ready + c.starting + k % 3, k /= 3;
        c.pool_used = c.used + k % 4;
        c.pool_max = 6;
        if (c.pool_used > c.pool_max)
            continue;
        tried++;
        spawns = hp_policy_spawns(&c);
        bad += spawns < 0;
        bad += c.pool_used + spawns > c.pool_max;
        bad += c.max > 0 && spawns > 0 && c.used + spawns > c.max;
        bad += spawns > 0 && c.queued == 0 && c.ready + c.starting + spawns > c.min;
        bad += spawns > 0 && c.queued > 0 && c.starting + spawns > c.queued && c.ready + c.starting + spawns > c.min;
        /* Somebody waits, nobody comes, there is room: one must be started. */
        bad += c.queued > 0 && c.ready + c.starting == 0 && c.pool_used < c.pool_max && (c.max == 0 || c.used < c.max) && spawns == 0;
        bad += hp_policy_starved(&c) && spawns > 0;
    }
    is_int(bad, 0, "limits hold in %d situations", tried);
}

static void times(void)
{
    apr_time_t second = apr_time_from_sec(1);

    is_int(hp_policy_backoff(0), 0, "no failure, no wait");
    is_int(hp_policy_backoff(1), second, "one failure: a second");
    is_int(hp_policy_backoff(4), 8 * second, "four: eight seconds");
    is_int(hp_policy_backoff(7), 60 * second, "many: a minute");
    is_int(hp_policy_backoff(1000000), 60 * second, "... for ever");
    is_int(hp_policy_idle_over(10 * second, 0, 10, 2, 1), 1, "idle for long enough");
    is_int(hp_policy_idle_over(10 * second - 1, 0, 10, 2, 1), 0, "not yet");
    is_int(hp_policy_idle_over(100 * second, 0, 10, 1, 1), 0, "the last ones stay");
    is_int(hp_policy_idle_over(100 * second, 0, 0, 5, 1), 0, "0 is never");
    ok(hp_policy_idle_look(0) > 0 && hp_policy_idle_look(UINT32_MAX) <= 5 * second, "looks come at all times");
    is_int(hp_policy_restart(0, 0, 0), 0, "no restart.txt");
    is_int(hp_policy_restart(0, 5, 0), 1, "it appeared");
    is_int(hp_policy_restart(5, 5, 0), 0, "it is as it was");
    is_int(hp_policy_restart(5, 4, 0), 1, "it became older");
    is_int(hp_policy_restart(5, 0, 0), 0, "it was removed");
    is_int(hp_policy_restart(5, 5, 1), 1, "always_restart.txt");
}

int main(void)
{
    promises();
    times();
    return done_testing();
}
