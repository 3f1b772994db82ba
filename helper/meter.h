/* What processes use, measured now and then, and kept in their records. */
#ifndef HP_METER_H
#define HP_METER_H

#include "helper/process.h"

/* Brings rss, vmsize, cpu and load up to date, by six system calls. `limited`: memory too, from its control group, or by three more for each thread,
 * ten for each descendant. */
void hp_meter_read(hp_process_t *process, int limited);
/* 1 if it has worked since it was last measured, or that is long ago. */
int hp_meter_due(const hp_process_t *process, apr_time_t now);

#endif
