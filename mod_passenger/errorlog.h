/* Apache's error log, as the helper can write to it. */
#ifndef MP_ERRORLOG_H
#define MP_ERRORLOG_H

#include "mod_passenger/mp.h"

/* 1 if the messages of `s` go to the system's log (ErrorLog syslog:FACILITY:TAG): then descriptor 2 leads nowhere. *pfacility is that of
 * syslog(3). */
int mp_errorlog_syslog(const server_rec *s, int *pfacility);

/* A socket for messages to the system's log, whoever listens there at the time (ag_log_set_facility), or -1. */
int mp_errorlog_open(void);

#endif
