#include "helper/quiet.h"

#define WAIT  apr_time_from_sec(1)
#define CROWD 2 /* more than that are one */

void hp_quiet_begin(hp_quiet_t *quiet, const hp_fleet_t *fleet, int queued, apr_interval_time_t boot)
{
    if (ag_loop_now() < quiet->until)
        return; /* restarts that follow each other must not make it longer */
    if (hp_fleet_in_flight(fleet) > 0 || fleet->used == 0 || queued > CROWD || boot > WAIT)
        return;
    quiet->until = ag_loop_now() + WAIT;
    ag_loop_timer_start(quiet->timer, WAIT);
}

int hp_quiet_lasts(hp_quiet_t *quiet, const hp_fleet_t *fleet, int queued)
{
    if (!quiet->until)
        return 0;
    if (ag_loop_now() >= quiet->until || queued > CROWD || fleet->held)
        quiet->until = 0;
    return quiet->until != 0;
}
