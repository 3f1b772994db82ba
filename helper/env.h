/* The environment of an application process, built from nothing. */
#ifndef HP_ENV_H
#define HP_ENV_H

#include "apr-glue/settings.h"
#include "helper/spec.h"

typedef struct {
    const char *name, *home, *shell; /* of the user database; NULL: the user is not in it */
} hp_env_user_t;

#define HP_ENV_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What an environment is made of. */
typedef struct {
    const hp_spec_t *spec;
    const hp_env_user_t *user;
    const ag_settings_t *settings; /* whose grants let variables pass that would else be kept back */
    const apr_array_header_t *file; /* of const char *: "NAME=value" from a file that is the application's user's; NULL: none */
    const apr_array_header_t *interpreter; /* the same of its interpreter's own; NULL: none */
    const char *bin;                       /* the folder of that, which goes before all others in PATH; NULL: none */
} hp_env_source_t;

/* What is made of it. */
typedef struct {
    apr_array_header_t *all;     /* of const char *: "NAME=value", for execve(2), with a NULL at its end */
    apr_array_header_t *told;    /* of const char *: those of them that what a login shell sets must not replace */
    const char *bin;             /* the source's */
    apr_array_header_t *refused; /* of const char *: names of variables that may not pass */
} hp_env_t;

/* What every application gets, the file's variables, those of the configuration, those of the interpreter; a later one replaces an earlier one. */
void hp_env_make(hp_env_t *env, const hp_env_source_t *source, apr_pool_t *p);

/* A program for sh(1) that runs its arguments when the shell's start-up files are done, with all that was told as it was told; *penv gets the
 * environment that it needs for that. Values are not among the arguments, which everybody can read. */
const char *hp_env_through_shell(const hp_env_t *env, const char *const **penv, apr_pool_t *p);

/* Reads lines NAME=value: blanks around them, lines that begin with "#", "export" in front and quotes around the value are dropped; within
 * double quotes \n, \", \\ and \$ mean what they mean in a shell. NULL with *pproblem, a sentence without its end, if a line is something else. */
apr_array_header_t *hp_env_parse(const char *text, const char **pproblem, apr_pool_t *p);

#endif
