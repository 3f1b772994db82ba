/* An application that is started by a command of its own: it is told a port and a path, and is ready when it listens at one of them. */
#ifndef HP_GENERIC_H
#define HP_GENERIC_H

#include <apr_pools.h>

/* For a process that has become the application's user: does the loader's half of the handshake (loaders/PROTOCOL.md), the last words of which
 * come from a process that is left beside this one until there is somebody to connect to. `command`: a program and its arguments, NULL at the
 * end. `folder`: where the application's socket may be made; NULL: nowhere. Returns what to run, all in pool p; NULL: *preason says why not. */
const char *const *hp_generic_begin(const char *const *command, const char *folder, const char **preason, apr_pool_t *p);

/* The loader's first words, and what the helper answers, read to its end, so that no program finds it in its input. 0: the helper is gone. */
int hp_generic_greet(void);

#endif
