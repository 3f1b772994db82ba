#include "helper/flood.c"
#include "t/lib/tap.h"
#include <stdio.h>

static const ag_record_origin_t out = {"/srv/shop", 7, "stdout", 0}, err = {"/srv/shop", 8, "stderr", 0};
static unsigned long lost;
static int given;
static char first[LAST_LEN + 1], final[LAST_LEN + 1];
static long final_pid;
static char final_stream[8];

static void tell(void *baton, unsigned long n)
{
    (void)baton;
    ok(given == 0, "how many are lost is told before the last ones");
    lost += n;
}

static void give(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len)
{
    (void)baton;
    if (given++ == 0)
        snprintf(first, sizeof first, "%.*s", (int)len, line);
    snprintf(final, sizeof final, "%.*s", (int)len, line);
    final_pid = from->pid;
    snprintf(final_stream, sizeof final_stream, "%s", from->stream);
}

static void end(hp_flood_t *flood)
{
    lost = 0;
    given = 0;
    *first = *final = '\0';
    hp_flood_end(flood, &(hp_flood_end_t){tell, give, NULL});
}

/* How many of `n` lines of `len` bytes are taken. */
static int taken(hp_flood_t *flood, int n, apr_size_t len, apr_time_t now)
{
    static char line[8192];
    int all = 0;

    for (int i = 0; i < n; i++)
        all += hp_flood_takes(flood, &out, line, len, now);
    return all;
}

int main(void)
{
    static hp_flood_t flood, large;
    apr_time_t now = apr_time_from_sec(1000);
    char text[32];
    int all = 0;

    is_int(taken(&flood, LINES_MOST, 10, now), LINES_MOST, "a lot at once is taken");
    end(&flood);
    ok(lost == 0 && given == 0, "... and nothing is left out");
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "line %d", i);
        all += hp_flood_takes(&flood, i == 199 ? &err : &out, text, strlen(text), now);
    }
    is_int(all, 0, "more are not");
    is_int(taken(&flood, 1, 10, now + apr_time_from_sec(1) / 2), 0, "nor is anything behind them, before the end");
    end(&flood);
    is_int((int)lost, 200 - LAST, "they are lost");
    is_int(given, LAST + 1, "... but the last ones of each stream");
    is_str(first, "line 150", "... in their order");
    is_str(final, "line 199", "... to the end");
    ok(flood.streams[0] == NULL && flood.streams[1] == NULL, "... which are not kept any longer");
    hp_flood_takes(&flood, &err, "no room", 7, now + apr_time_from_sec(1) / 2);
    is_int((int)flood.left_out, 0, "there is room again");
    for (int i = 1; i <= 10; i++)
        all += taken(&flood, LINES_A_SECOND, 10, now + apr_time_from_sec(i + 1));
    is_int(all, 10 * LINES_A_SECOND, "what the limit allows goes on for ever");
    is_int(taken(&flood, 2, BYTES_MOST / 2 + 1, now + apr_time_from_sec(3600)), 1, "bytes count as well");
    end(&flood);
    ok(given == 1 && strlen(final) <= LAST_LEN, "... what is kept of a long line is its beginning");
    hp_flood_takes(&large, &out, "a", 1, now);
    large.lines = 0;
    hp_flood_takes(&large, &err, "Segmentation fault", 18, now);
    end(&large);
    is_str(final, "Segmentation fault", "last words");
    ok(final_pid == 8 && strcmp(final_stream, "stderr") == 0, "... of their process and stream");
    return done_testing();
}
