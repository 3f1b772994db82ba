#include "apr-glue/log.c"
#include "t/lib/tap.h"
#include <sys/mman.h>

static char last[16384];
static int file;

/* What has been written since it was asked for last, without what stands in front of each line. */
static const char *said(void)
{
    ssize_t n = pread(file, last, sizeof last - 1, 0);
    char *text;

    last[n > 0 ? n : 0] = '\0';
    (void)!ftruncate(file, 0);
    text = strstr(last, "] [pid ");
    text = text ? strstr(text + 1, "] ") : NULL;
    return text ? text + 2 : last;
}

static void lines(void)
{
    static char large[20000];

    ag_log_set_role("role");
    ag_log(AG_LOG_ERROR, "PSG0899", "%s has %d", "it", 3);
    is_str(said(), "PSG0899: it has 3\n", "tag and text");
    ok(last[0] == '[' && strstr(last, "] [role:error] [pid "), "... behind the date, role, level and process");
    ag_log(AG_LOG_INFO, "PSG0899", "quiet");
    is_str(said(), "", "what is below the level is dropped");
    ag_log_set_level(AG_LOG_TRACE);
    ag_log(AG_LOG_TRACE, NULL, "loud");
    is_str(said(), "loud\n", "a trace has no tag");
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", "a\nb\x1b[31m\x7f\tc\xc3\xa9");
    is_str(said(), "PSG0899: a\\x0ab\\x1b[31m\\x7f\tc\xc3\xa9\n", "no control character gets through");
    memset(large, 'x', sizeof large - 1);
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", large);
    is_int((long long)strlen(said()), 8191 + 10, "a long line is cut");
    memset(large, '\n', sizeof large - 1);
    ag_log(AG_LOG_ERROR, "PSG0899", "%s", large);
    said();
    ok(strlen(last) <= AG_RECORD_LINE && strchr(last, '\n') == last + strlen(last) - 1, "... one that must be escaped too, and it is one line");
}

static void rates(void)
{
    ag_log_rate_t rate = {0};
    apr_time_t now = apr_time_from_sec(1000);

    is_str(ag_log_due(&rate, now), "", "the first line is due");
    ok(!ag_log_due(&rate, now) && !ag_log_due(&rate, now + apr_time_from_sec(59)), "... others are not, for a minute");
    is_str(ag_log_due(&rate, now + apr_time_from_sec(60)), " (2 more since the last such line)", "... then it says how many");
    is_str(ag_log_due(&rate, now + apr_time_from_sec(120)), "", "... and begins to count anew");
}

int main(void)
{
    int kept = dup(2);

    file = memfd_create("log", MFD_CLOEXEC);
    (void)fcntl(file, F_SETFL, O_APPEND);
    dup2(file, 2);
    lines();
    dup2(kept, 2);
    close(kept);
    close(file);
    rates();
    return done_testing();
}
