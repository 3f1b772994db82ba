/* The one clock for how long something takes: nobody can set it. */
#ifndef AG_CLOCK_H
#define AG_CLOCK_H

#include "apr-glue/base.h"

/* Microseconds of the monotonic clock: a point in time to compare with others, never a date. */
apr_time_t ag_clock_now(void);

#endif
