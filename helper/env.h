/* The environment of an application process, built from nothing. */
#ifndef HP_ENV_H
#define HP_ENV_H

#include "helper/spec.h"

typedef struct {
    const char *name, *home, *shell; /* of the user database; NULL: the user is not in it */
} hp_env_user_t;

#define HP_ENV_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* An array for execve(2): what every application gets, then the administrators' variables that may pass. Names of those that may not are
 * put into *prefused (const char *). */
const char *const *hp_env_make(const hp_spec_t *spec, const ag_options_t *options, const hp_env_user_t *user, apr_array_header_t **prefused,
                               apr_pool_t *p);

/* A copy of `env` in which the pairs of `more` ("NAME=value") stand instead of others of the same names. */
const char *const *hp_env_with(const char *const *env, const apr_array_header_t *more, apr_pool_t *p);

/* 0 if a variable of this name, set by whoever reaches the core's socket, could make a program of the user's run other code than its own, or
 * is one that the helper sets itself, or is no name at all. */
int hp_env_may_pass(const char *name, apr_size_t len);

#endif
