/* One way to say something to the administrator, whoever the process is. */
#ifndef AG_LOG_H
#define AG_LOG_H

#include "apr-glue/base.h"

/* In syslog's order, which is Apache's too: smaller is more severe. */
typedef enum {
    AG_LOG_CRIT = 2,
    AG_LOG_ERROR = 3,
    AG_LOG_WARN = 4,
    AG_LOG_NOTICE = 5,
    AG_LOG_INFO = 6,
    AG_LOG_DEBUG = 7,
    AG_LOG_TRACE = 8
} ag_log_level_t;

typedef void (*ag_log_sink_t)(void *baton, ag_log_level_t level, const char *line);

/* Writes one line. `tag` is a message number of ours ("PSG0101"), unique in the tree from debug upwards, or NULL for trace.
 * Control characters in the message are escaped, so that what an application or a client sent can't start a line of its own;
 * a line is cut at 8 KiB (the limit that Passenger's users know). Never fails; a pipe
 * that nobody empties is waited for once and a little, then its lines are lost and counted. */
void ag_log(ag_log_level_t level, const char *tag, const char *fmt, ...) AG_PRINTF(3, 4);

/* Makes `fd` the log: this process's descriptors 1 and 2. It is closed. Whoever shares the file goes on blocking on it; we do not (ag_log). */
void ag_log_take(int fd);

/* Messages less severe than `level` are dropped. Default: AG_LOG_NOTICE. */
void ag_log_set_level(ag_log_level_t level);

/* Where lines go: `sink(baton, ...)`, or, with sink NULL (the default), descriptor 2 in Apache's error-log form with `role` as module name. */
void ag_log_set_sink(ag_log_sink_t sink, void *baton);

/* Names the process in lines written to descriptor 2: "watchdog", "core", "prepare". The string must stay. */
void ag_log_set_role(const char *role);

#define AG_LOG_OUTPUT_MAX (8192 + 256)
/* Makes one line of bytes of an application's output, as they are but for control characters, in `out`: the time and `prefix` ("App 123 output: ")
 * before them, or nothing if that is "". The length; no newline, a NUL. */
apr_size_t ag_log_format_output(char out[AG_LOG_OUTPUT_MAX], const char *prefix, const char *line, apr_size_t len);

/* Writes such a line. */
void ag_log_output(const char *prefix, const char *line, apr_size_t len);

/* For a line whose cause may come back thousands of times a second. Zeroed before its first use. */
typedef struct {
    apr_time_t next;
    unsigned long kept_back;
    char text[64];
} ag_log_rate_t;

/* Once a minute by the clock of `now`, the end for such a line: "" or " (17 more since the last such line)". NULL otherwise: it is counted. */
const char *ag_log_due(ag_log_rate_t *rate, apr_time_t now);

#endif
