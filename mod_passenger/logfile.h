/* PassengerLogFile: opened by Apache's parent, and again when the name stands for another file (logrotate). */
#ifndef MP_LOGFILE_H
#define MP_LOGFILE_H

#include "mod_passenger/mp.h"

/* The file, to be closed by the caller; -1: there is none, or it can't be opened (logged). */
int mp_logfile_open(void);

/* Another file if the name stands for one since the last call of these, made if there is none; -1: all is as it was. What is no file, but a pipe or a
 * terminal (/dev/stderr), is never left. */
int mp_logfile_follow(void);

#endif
