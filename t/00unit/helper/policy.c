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
        c.outdated = n % 7 > 4 ? n % 7 - 4 : 0;
        c.slots = 8 - c.starting;
        c.queued = k % 6, k /= 6;
        c.min = k % 3, k /= 3;
        c.max = k % 5, k /= 5;
        c.used = c.ready + c.outdated + c.starting + k % 3, k /= 3;
        c.pool_used = c.used + k % 4;
        c.pool_max = 6;
        if (c.pool_used > c.pool_max)
            continue;
        tried++;
        spawns = hp_policy_spawns(&c);
        bad += spawns < 0;
        bad += c.pool_used + spawns > c.pool_max;
        bad += c.max > 0 && spawns > 0 && c.used + spawns > c.max;
        /* Beyond the minimum and the queue only one successor. */
        bad += spawns > 1 && c.starting + spawns > c.queued && c.ready + c.outdated + c.starting + spawns > c.min;
        bad += spawns == 1 && c.starting >= c.queued && c.ready + c.outdated + c.starting >= c.min && (c.outdated == 0 || c.starting > 0);
        /* Somebody waits, nobody comes, there is room: one must be started. */
        bad += c.queued > 0 && c.ready + c.outdated + c.starting == 0 && c.pool_used < c.pool_max && (c.max == 0 || c.used < c.max) && spawns == 0;
        bad += hp_policy_want(&c) != HP_POLICY_STAY && spawns > 0;
        /* Whoever goes to make room is followed by somebody. */
        bad += hp_policy_want(&c) == HP_POLICY_REPLACE && c.outdated == 0;
        c.held = 1;
        bad += c.ready + c.outdated > 0 && (hp_policy_spawns(&c) > 0 || hp_policy_want(&c) != HP_POLICY_STAY);
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
    is_int(hp_policy_look(0, 1), 0, "a look at every request");
    is_int(hp_policy_look(10, 1), 10 * second, "... or for each ten seconds of them");
    ok(hp_policy_look(10, 0) < 2 * second && hp_policy_look(0, 0) < 2 * second, "... and without requests within two");
    is_int(hp_policy_look(60, 0), 60 * second, "... unless looks are dear");
    is_int(hp_policy_share(10, 1), 10, "all of it for one");
    is_int(hp_policy_share(10, 3), 3, "a third for each of three");
    is_int(hp_policy_share(2, 5), 1, "never less than one");
    is_int(hp_policy_restart(0, 0, 0), 0, "no restart.txt");
    is_int(hp_policy_restart(0, 5, 0), 1, "it appeared");
    is_int(hp_policy_restart(5, 5, 0), 0, "it is as it was");
    is_int(hp_policy_restart(5, 4, 0), 1, "it became older");
    is_int(hp_policy_restart(5, 0, 0), 0, "it was removed");
    is_int(hp_policy_restart(5, 5, 1), 1, "always_restart.txt");
}

/* Whoever works out of band takes nothing away from visitors. */
static void works(void)
{
    hp_policy_counts_t c = {.ready = 2, .asking = 1, .used = 2, .pool_used = 2, .pool_max = 6, .slots = 4, .min = 1};
    int bad = 0;

    is_int(hp_policy_works(&c), 1, "one of two may work");
    is_int(hp_policy_spawns(&c), 0, "... and needs no help");
    c.away = 1;
    is_int(hp_policy_works(&c), 0, "... but not both");
    c.away = c.asking = 0;
    is_int(hp_policy_works(&c), 0, "nobody asks");
    c = (hp_policy_counts_t){.ready = 1, .asking = 1, .used = 1, .pool_used = 1, .pool_max = 6, .slots = 4, .min = 1};
    is_int(hp_policy_works(&c), 0, "the only one stays");
    is_int(hp_policy_spawns(&c), 1, "... until there is another");
    c.starting = 1, c.used = c.pool_used = 2;
    is_int(hp_policy_spawns(&c), 0, "... one");
    c.starting = 0, c.used = 1, c.pool_used = c.pool_max;
    is_int(hp_policy_spawns(&c), 0, "... for which there must be room");
    is_int(hp_policy_want(&c), HP_POLICY_STAY, "... that nobody is sent away for");
    c.pool_used = 1, c.max = 1;
    is_int(hp_policy_spawns(&c), 0, "... within the application's own limit");
    c = (hp_policy_counts_t){.ready = 1, .outdated = 1, .asking = 1, .used = 2, .pool_used = 2, .pool_max = 6, .slots = 4, .min = 1};
    is_int(hp_policy_works(&c), 1, "one of older code serves as well");
    for (int n = 0; n < 4 * 3 * 4 * 4; n++) {
        c = (hp_policy_counts_t){.ready = n % 4, .outdated = n / 4 % 3, .asking = n / 12 % 4, .away = n / 48, .pool_max = 9};
        bad += hp_policy_works(&c) && (c.away > 0 || c.ready + c.outdated < 2);
    }
    is_int(bad, 0, "never two, never the last");
}

int main(void)
{
    promises();
    works();
    times();
    return done_testing();
}
