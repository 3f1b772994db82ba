/* The process that writes one application's log file (PassengerAppLogFile), as the application's user and nobody else: what the file system does
 * to it, it does to nobody else, and what it may not write, nobody writes for it. */
#ifndef HP_SCRIBE_H
#define HP_SCRIBE_H

#include "apr-glue/base.h"

/* 1 if a file of this name is a log for everybody to see: it ends in ".log", or lies in a folder "log" or "logs". Only such a one is written
 * where the server's configuration does not name it, so that whoever can name one cannot have lines put into a profile or a program. */
int hp_scribe_plausible(const char *path);

/* Speaks the handshake of a loader on descriptors 0 and 1, then appends to `path`, which is absolute, what comes on connections to descriptor 3,
 * until the end of descriptor 0 or SIGTERM; then what has come by then. A file that was renamed or removed is made anew within a second. The file
 * must be a regular one; a symbolic link in its place is not followed. */
void hp_scribe_run(const char *path) __attribute__((noreturn));

#endif
