/* One entry of a log, and the lines that are made of it. */
#ifndef AG_RECORD_H
#define AG_RECORD_H

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

#define AG_RECORD_LINE (8192 + 256) /* bytes of a line, its newline included */

/* Whose output a line is. */
typedef struct {
    const char *app;    /* the application's name */
    long pid;           /* of the process that printed it */
    const char *stream; /* "stdout" or "stderr" */
    int bare;           /* as text it has nothing in front (PassengerDisableLogPrefix) */
} ag_record_origin_t;

/* A second of local time as it is written; start with all zero. */
typedef struct {
    apr_time_t second; /* + 1, so that 0 is none */
    char day[24], year[8], iso[24], zone[8];
} ag_record_date_t;

/* Makes it that of `when`; cheap if it is already, as for most lines of a busy log. */
void ag_record_date(ag_record_date_t *date, apr_time_t when);

typedef struct {
    apr_time_t time;
    const ag_record_date_t *date; /* of `time` */
    const char *role;                 /* of the process that writes it */
    long pid;                         /* its number */
    ag_log_level_t level;
    const char *tag;                  /* "PSG0101", or NULL */
    const char *request;              /* id of the one that it is about, or NULL */
    const ag_record_origin_t *output; /* NULL: it is a message of ours */
    const char *text;                 /* any bytes */
    apr_size_t len;
    int more; /* the line of output goes on in the next record */
} ag_record_t;

/* A line of text in Apache's error-log form, of `size` bytes (2048 at least) with newline and NUL at most; its length. What is no printable
 * character becomes \xNN. *ptaken is how much of the text is in it: all of it, unless that is too long. */
apr_size_t ag_record_text(char *out, apr_size_t size, const ag_record_t *record, apr_size_t *ptaken);

/* The same as an object of JSON (RFC 8259), UTF-8 whatever the text is: bytes that are none become \u00NN, with a backslash before them. */
apr_size_t ag_record_json(char *out, apr_size_t size, const ag_record_t *record, apr_size_t *ptaken);

#endif
