/* What the kernel tells in small files (proc(5), cgroups(7)): each read makes them anew, so one read gets all of it. */
#ifndef AG_PROCFILE_H
#define AG_PROCFILE_H

#include "apr-glue/base.h"

/* `text` gets `size` - 1 bytes at most and a NUL behind them; their number, or -1 with errno, and "" in `text`. */
ssize_t ag_procfile_read(char *text, apr_size_t size, const char *path);
/* The same for a file of a process's, /proc/<pid>/<name>. */
ssize_t ag_procfile_of(char *text, apr_size_t size, pid_t pid, const char *name);

#endif
