/* One way to say something to the administrator, whoever the process is. */
#ifndef AG_LOG_H
#define AG_LOG_H

#include "apr-glue/record.h"

/* Writes one line to descriptor 2. `tag` is a message number of ours ("PSG0101"), unique in the tree from debug upwards, or NULL for trace.
 * Control characters in the message are escaped, so that what an application or a client sent can't start a line of its own;
 * a line is cut at 8 KiB (the limit that Passenger's users know). Never fails; a pipe
 * that nobody empties is waited for once and a little, then its lines are lost and counted. */
void ag_log(ag_log_level_t level, const char *tag, const char *fmt, ...) AG_PRINTF(3, 4);

/* The same about one request: `request` is its id, whatever bytes a client may have chosen, or NULL if it has none. */
void ag_log_about(const char *request, ag_log_level_t level, const char *tag, const char *fmt, ...) AG_PRINTF(4, 5);

/* Makes `fd` the log: this process's descriptors 1 and 2. It is closed. Whoever shares the file goes on blocking on it; we do not (ag_log). */
void ag_log_take(int fd);
/* The same for one that another process of ours has taken so already. */
void ag_log_share(int fd);

/* Messages less severe than `level` are dropped. Default: AG_LOG_NOTICE. */
void ag_log_set_level(ag_log_level_t level);

/* Names the process in its lines, where Apache's have a module's name: "watchdog", "core", "prepare". The string must stay. */
void ag_log_set_role(const char *role);

/* Where descriptor 2 is a datagram socket, each line is a message of that facility to the system's log (/dev/log). */
void ag_log_set_facility(int facility);

/* Lines are objects of JSON (ag_record_json) instead of text. */
void ag_log_set_json(int json);

/* Writes output of an application, of any length and content; what is too long for a line becomes several. `more`: it goes on in the next call. */
void ag_log_output(const ag_record_origin_t *from, const char *text, apr_size_t len, int more);

/* Gives the lines of that, one after another, without writing them; `line` ends in a newline. */
typedef void (*ag_log_line_cb_t)(void *baton, const char *line, apr_size_t len);
typedef struct {
    const ag_record_origin_t *from;
    const char *text;
    apr_size_t len;
    int more, json;
} ag_log_output_t;
void ag_log_make_lines(const ag_log_output_t *output, ag_log_line_cb_t cb, void *baton);

/* Writes a line that was made before; it ends in a newline. */
void ag_log_write(const char *line, apr_size_t len);

/* For a line whose cause may come back thousands of times a second. Zeroed before its first use. */
typedef struct {
    apr_time_t next;
    unsigned long kept_back;
    char text[64];
} ag_log_rate_t;

/* Once a minute by the clock of `now`, the end for such a line: "" or " (17 more since the last such line)". NULL otherwise: it is counted. */
const char *ag_log_due(ag_log_rate_t *rate, apr_time_t now);

#endif
