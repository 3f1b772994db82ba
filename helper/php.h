/* PHP: which file a request may name to be run, which program runs it, and how that is started. */
#ifndef HP_PHP_H
#define HP_PHP_H

#include "helper/spec.h"

#define HP_PHP_KIND "php"

/* 1 if the application is PHP's. Pure, as the next two. */
int hp_php_is(const hp_spec_t *spec);

/* The folder that scripts are in: that of the startup file, which is absolute. In pool p; NULL without one. */
const char *hp_php_folder(const hp_spec_t *spec, apr_pool_t *p);

/* 1 if each SCRIPT_FILENAME in the pairs, which hp_head_parse has approved, is the name of a PHP file below the folder of the startup file, and there
 * is one: a request may come from anybody who runs as Apache's user. */
int hp_php_may_run(const hp_spec_t *spec, const char *pairs, apr_size_t len);

/* A program of PHP's in the folders of `path` ("a:b"): php-cgi, else php-fpm, else the newest of those that have a version in their name. NULL:
 * none. In pool p. */
const char *hp_php_find(const char *path, apr_pool_t *p);

/* What runs PHP: the command, in pool p, for a process that has its listening socket, whose name is `socket`, as descriptor 3. A file is written to
 * `folder` if it needs one. NULL: *preason says why not. */
const char *const *hp_php_command(const char *program, const char *folder, const char *socket, const char **preason, apr_pool_t *p);

#endif
