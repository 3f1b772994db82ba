/* What tells which interpreter an application wants: environments that lie in its folder or its user's, and files that ask for a version.
 *
 * To be called as the application's user: what is looked at is whatever tenants have put there, and it may hang. */
#ifndef HP_HINTS_H
#define HP_HINTS_H

#include "apr-glue/base.h"
#include <apr_tables.h>

typedef struct {
    const char *kind;    /* row of apr-glue/kind.def */
    const char *app_root;
    const char *home;    /* of the user; NULL: none */
    uint32_t uid, owner; /* the user's, and the startup file's, whose code is run anyway: what others had a hand in is not used */
} hp_hints_ask_t;

typedef struct {
    const char *path; /* of the program; NULL: none was found */
    const char *rule; /* why this one: "found: venv/bin/python" */
    const char *note; /* what was asked for and is not used, a sentence without its full stop; "": nothing */
    const char *minor; /* "3.11", if that was asked for and no version manager has it; otherwise NULL */
    const char *bin;  /* folder that belongs in front of PATH, or NULL */
    apr_array_header_t *env; /* of const char *, "NAME=value": what its activate script would set */
} hp_hints_found_t;

/* Begins the rule when a file asks for another version than there is. */
#define HP_HINTS_INSTEAD "the system's; "

/* NULL, or a sentence that says what is wrong with what was found. */
const char *hp_hints_find(hp_hints_found_t *found, const hp_hints_ask_t *ask, apr_pool_t *p);

/* Sets bin and env for the path, if that lies in a virtual environment. */
void hp_hints_activate(hp_hints_found_t *found, const hp_hints_ask_t *ask, apr_pool_t *p);

#endif
