#include "apr-glue/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 8192
#define ROOM_WAIT    20000 /* microseconds */

static ag_log_level_t max_level = AG_LOG_NOTICE;
static ag_log_sink_t sink;
static void *sink_baton;
static const char *role = "passenger";
static unsigned long lost; /* lines since the last one that was written */

void ag_log_take(int fd)
{
    char path[32];
    int own;

    /* Opened anew, a pipe can be written without blocking and without changing that for Apache, which has it too. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    dup2(own >= 0 ? own : fd, 1);
    dup2(own >= 0 ? own : fd, 2);
    if (own >= 0)
        close(own);
    close(fd);
}

void ag_log_set_level(ag_log_level_t level)
{
    max_level = level;
}

void ag_log_set_sink(ag_log_sink_t to, void *baton)
{
    sink = to;
    sink_baton = baton;
}

void ag_log_set_role(const char *name)
{
    role = name;
}

/* Copies what is printable or above ASCII; everything else becomes \xNN, so one message stays one line. */
static apr_size_t escape(char *out, apr_size_t size, const char *in, apr_size_t len)
{
    static const char hex[] = "0123456789abcdef";
    apr_size_t n = 0;

    for (apr_size_t i = 0; i < len && n + 4 < size; i++) {
        unsigned char c = (unsigned char)in[i];
        if ((c >= 0x20 && c != 0x7f) || c == '\t') {
            out[n++] = (char)c;
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    out[n] = '\0';
    return n;
}

/* Apache's own form of the line, so that tools that read error logs read ours. */
static apr_size_t line_head(char *out, apr_size_t size, ag_log_level_t level)
{
    static const char *const names[] = {[AG_LOG_CRIT] = "crit", [AG_LOG_ERROR] = "error", [AG_LOG_WARN] = "warn",
                                        [AG_LOG_NOTICE] = "notice", [AG_LOG_INFO] = "info", [AG_LOG_DEBUG] = "debug",
                                        [AG_LOG_TRACE] = "trace1"};
    struct timeval now;
    struct tm tm;
    char date[32], year[8];

    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof date, "%a %b %d %H:%M:%S", &tm);
    strftime(year, sizeof year, "%Y", &tm);
    return (apr_size_t)snprintf(out, size, "[%s.%06ld %s] [%s:%s] [pid %ld] ", date, (long)now.tv_usec, year, role, names[level],
                                (long)getpid());
}

/* Waits for a reader who is only slow. */
static int wait_for_room(void)
{
    struct timeval limit = {.tv_usec = ROOM_WAIT};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(2, &set);
    return select(3, NULL, &set, NULL, &limit) > 0;
}

static void write_line(char *line, apr_size_t len)
{
    unsigned long missing = lost;

    line[len++] = '\n';
    for (apr_size_t done = 0; done < len;) {
        ssize_t n = write(2, line + done, len - done);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && lost == 0 && wait_for_room())))
            continue;
        if (n <= 0) {
            lost++;
            return; /* a log that can't be written must not stop requests */
        }
        done += (apr_size_t)n;
    }
    lost = 0;
    if (missing > 0)
        ag_log(AG_LOG_WARN, "PSG0800", "log.lost: %lu lines before this one could not be written", missing);
}

void ag_log(ag_log_level_t level, const char *tag, const char *fmt, ...)
{
    char text[LINE_MAX_LEN], line[LINE_MAX_LEN + 256];
    apr_size_t n = 0;
    va_list args;
    int len;

    if (level > max_level)
        return;
    va_start(args, fmt);
    len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if (!sink)
        n = line_head(line, sizeof line, level);
    if (tag)
        n += (apr_size_t)snprintf(line + n, sizeof line - n, "%s: ", tag);
    n += escape(line + n, sizeof line - 1 - n, text, (apr_size_t)len < sizeof text ? (apr_size_t)len : sizeof text - 1);
    if (sink)
        sink(sink_baton, level, line);
    else
        write_line(line, n);
}

apr_size_t ag_log_format_output(char out[AG_LOG_OUTPUT_MAX], const char *prefix, const char *text, apr_size_t len)
{
    apr_size_t n = 0;

    if (*prefix) {
        n = line_head(out, AG_LOG_OUTPUT_MAX, AG_LOG_NOTICE);
        n += (apr_size_t)snprintf(out + n, AG_LOG_OUTPUT_MAX - n, "%s", prefix);
    }
    return n + escape(out + n, AG_LOG_OUTPUT_MAX - 1 - n, text, len);
}

void ag_log_output(const char *prefix, const char *text, apr_size_t len)
{
    char line[AG_LOG_OUTPUT_MAX];

    write_line(line, ag_log_format_output(line, prefix, text, len));
}

const char *ag_log_due(ag_log_rate_t *rate, apr_time_t now)
{
    rate->text[0] = '\0';
    if (rate->next > now) {
        rate->kept_back++;
        return NULL;
    }
    if (rate->kept_back > 0)
        snprintf(rate->text, sizeof rate->text, " (%lu more since the last such line)", rate->kept_back);
    rate->kept_back = 0;
    rate->next = now + apr_time_from_sec(60);
    return rate->text;
}
