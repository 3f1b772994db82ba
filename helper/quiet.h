/* A short wait for new code, while old code could serve. */
#ifndef HP_QUIET_H
#define HP_QUIET_H

#include "apr-glue/loop.h"
#include "helper/fleet.h"

typedef struct {
    apr_time_t until; /* requests wait for a successor until then; 0: they do not */
    ag_loop_timer_t *timer;
} hp_quiet_t;

/* Where nobody is but one visitor, most likely whoever deployed just now, new code and kept limits are worth a short wait; where a crowd is,
 * or a start takes long (`boot`, the last one), nothing is worth one. */
void hp_quiet_begin(hp_quiet_t *quiet, const hp_fleet_t *fleet, int queued, apr_interval_time_t boot);
/* 1 as long as it lasts; a crowd ends it. */
int hp_quiet_lasts(hp_quiet_t *quiet, const hp_fleet_t *fleet, int queued);

#endif
