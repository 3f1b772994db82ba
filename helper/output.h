/* What a process prints, cut into lines; and the lines that are kept to be shown. */
#ifndef HP_OUTPUT_H
#define HP_OUTPUT_H

#include "apr-glue/loop.h"
#include "apr-glue/record.h"

#define HP_OUTPUT_LINE 8192        /* bytes of a line; a longer one is cut into several */
#define HP_OUTPUT_KEEP (64 * 1024) /* bytes of a text that is kept */

/* One line without its newline; valid during the call. `more`: it was too long, and goes on in the next. */
typedef void (*hp_output_cb_t)(void *baton, const char *line, apr_size_t len, int more);

typedef struct {
    int fd; /* -1: none */
    ag_loop_io_t *io;
    char *line; /* the beginning of one, HP_OUTPUT_LINE bytes of `p`; NULL until a line came in parts */
    apr_size_t line_len;
    hp_output_cb_t take;
    void *baton;
    apr_pool_t *p;
} hp_output_t;

/* Takes over `fd` and watches it; the end of the output is no end of the process. */
void hp_output_open(hp_output_t *output, ag_loop_t *loop, int fd, hp_output_cb_t take, void *baton, apr_pool_t *p);
/* Takes what is there now, and the beginning of a line as one: of a process that has ended nothing more will come. */
void hp_output_drain(hp_output_t *output);
/* Allowed for one that was never opened. */
void hp_output_close(hp_output_t *output);

/* Lines that are kept; start with all zero. */
typedef struct {
    char *bytes; /* NUL-terminated; NULL: none */
    apr_size_t len;
} hp_output_text_t;

/* Adds a line, if it does not make the text too long. */
void hp_output_keep(hp_output_text_t *text, const char *line, apr_size_t len);
void hp_output_forget(hp_output_text_t *text);

/* Where lines go, for those who have a place of their own; parameters as of ag_log_output. */
typedef struct {
    void (*line)(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len, int more);
    void *baton;
} hp_output_log_t;

#endif
