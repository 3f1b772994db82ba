/* An application that speaks FastCGI on a socket that it inherits: made for it here, and watched until the application reads from it. */
#ifndef HP_FASTCGI_H
#define HP_FASTCGI_H

#include <apr_pools.h>

/* For a process that has become the application's user: makes the socket in `folder`, where nobody else gets but the core, as descriptor 3, and
 * leaves a process beside this one that does the loader's half of the handshake (loaders/PROTOCOL.md) to its end. *psocket is the socket's name,
 * in pool p. 0: *preason says why not. */
int hp_fastcgi_begin(const char *folder, int concurrency, const char **psocket, const char **preason, apr_pool_t *p);

/* The command, as a program and its arguments with NULL at the end, with that socket as its descriptor 0. In pool p. */
const char *const *hp_fastcgi_wrap(const char *const *command, apr_pool_t *p);

#endif
