/* What the watchdog makes of itself before it does anything, and who its core will be. */
#ifndef HP_RIGHTS_H
#define HP_RIGHTS_H

#include "apr-glue/base.h"

/* A session, signals, limits and a place among the killed of its own; of the descriptors, those from `first` on are closed when `fresh`: after an
 * upgrade they are an inheritance. */
void hp_rights_harden(int first, int fresh);

/* How many descriptors the core will have, which inherits it; 0: as many as there are. */
void hp_rights_files(uint32_t files);

/* A warning for each of this program, its loaders and their folders that others than root can change, if we are root: they decide what root and every
 * application's user runs. */
void hp_rights_check_files(const char *program, apr_pool_t *ptemp);

/* The core's user: one of its own, "passenger", where the administrator made it, else Apache's; our own where nothing can be switched. Never root
 * if we are. */
void hp_rights_core_user(const char *web_user, uid_t *puid, gid_t *pgid);

#endif
