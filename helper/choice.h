/* How the core learns which interpreter a process runs: a line that the process writes before it becomes the interpreter. */
#ifndef HP_CHOICE_H
#define HP_CHOICE_H

#include "apr-glue/frame.h"
#include "helper/hints.h"

typedef struct {
    const char *path, *rule, *note; /* as in hp_hints_found_t; NULL: unknown */
} hp_choice_t;

typedef struct {
    const char *text; /* not NUL-terminated */
    apr_size_t len;
    pid_t pid;
    const char *app_root;
} hp_choice_line_t;

#define HP_CHOICE_WORD "interpreter: " /* begins the line, behind "!> " */

/* The line, without its end. */
const char *hp_choice_line(const hp_hints_found_t *found, apr_pool_t *p);

/* What stands behind the word, of process `pid` of an application, is kept and logged; a line that is no such line changes nothing. */
void hp_choice_take(hp_choice_t *choice, const hp_choice_line_t *line, apr_pool_t *p);

/* A process that was forked runs what its preloader runs. */
void hp_choice_copy(hp_choice_t *choice, const hp_choice_t *from, apr_pool_t *p);

/* The sentence about a start that failed, with the note if there is one, or the version that was asked for. */
const char *hp_choice_blame(const hp_choice_t *choice, const char *sentence, apr_pool_t *p);

/* For the note about a process; what an earlier version has left may lack it. */
void hp_choice_put(ag_frame_t *f, const hp_choice_t *choice);
void hp_choice_get(ag_frame_reader_t *in, hp_choice_t *choice);

#endif
