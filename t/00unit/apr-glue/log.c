#include "apr-glue/log.c"
#include "t/lib/tap.h"
#include <stdlib.h>

static char last[16384];
static int count;

static void keep(void *baton, ag_log_level_t level, const char *line)
{
    (void)level;
    ok(baton == last, "the sink gets its baton");
    snprintf(last, sizeof last, "%s", line);
    count++;
}

int main(void)
{
    char *large = calloc(1, 20000);

    memset(large, 'x', 19999);
    ag_log_set_sink(keep, last);
    ag_log(AG_LOG_ERROR, "PSG0899", "%s has %d", "it", 3);
    is_str(last, "PSG0899: it has 3", "tag and text");
    ag_log(AG_LOG_INFO, "PSG0899", "quiet");
    is_int(count, 1, "what is below the level is dropped");
    ag_log_set_level(AG_LOG_TRACE);
    ag_log(AG_LOG_TRACE, NULL, "loud");
    is_str(last, "loud", "a trace has no tag");
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", "a\nb\x1b[31m\x7f\tc\xc3\xa9");
    is_str(last, "PSG0899: a\\x0ab\\x1b[31m\\x7f\tc\xc3\xa9", "no control character gets through");
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", large);
    ok(strlen(last) <= 8192 + 9, "a long line is cut");
    memset(large, '\n', 19999);
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", large);
    ok(strlen(last) <= 8192 + 256 && !strchr(last, '\n'), "... one that must be escaped too");
    free(large);
    {
        ag_log_rate_t rate = {0};
        apr_time_t now = apr_time_from_sec(1000);
        is_str(ag_log_due(&rate, now), "", "the first line is due");
        ok(!ag_log_due(&rate, now) && !ag_log_due(&rate, now + apr_time_from_sec(59)), "... others are not, for a minute");
        is_str(ag_log_due(&rate, now + apr_time_from_sec(60)), " (2 more since the last such line)", "... then it says how many");
        is_str(ag_log_due(&rate, now + apr_time_from_sec(120)), "", "... and begins to count anew");
    }
    return done_testing();
}
