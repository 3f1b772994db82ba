/* How the processes of one application come to be: each loads the code itself, or a preloader, which has loaded it once, forks them
 * (PassengerSpawnMethod). The preloader is no process of the pool: it serves nothing and takes no room. */
#ifndef HP_SPAWNER_H
#define HP_SPAWNER_H

#include "helper/config.h"
#include "helper/fleet.h"

typedef struct hp_spawner_t hp_spawner_t;

/* Processes get `group` and `events`, except for `unborn`, which is the spawner's. `fleet` is where they are counted. */
hp_spawner_t *hp_spawner_create(hp_context_t *ctx, hp_fleet_t *fleet, void *group, const hp_process_events_t *events, apr_pool_t *p);

/* A process of the fleet's generation, not ordered yet. */
hp_process_t *hp_spawner_make(hp_spawner_t *spawner, const hp_config_kept_t *kept);
/* Orders it, now or as soon as the preloader is ready. It must be in the fleet: if no preloader can be had, another may take its place there. */
void hp_spawner_start(hp_spawner_t *spawner, hp_process_t *process);
/* A preloader did not bring the process: it is ordered again, from another preloader, or to load the code itself. */
void hp_spawner_unborn(hp_spawner_t *spawner, hp_process_t *process, const char *sentence);
/* A process is ready. */
void hp_spawner_proven(hp_spawner_t *spawner, const hp_process_t *process);

/* Code or configuration have changed: what is loaded is of no use any more. */
void hp_spawner_renew(hp_spawner_t *spawner);
/* A preloader that an earlier core had. */
void hp_spawner_adopt(hp_spawner_t *spawner, hp_process_t *preloader);
/* Now and then: a preloader that nobody has needed for `idle` seconds (0: any time) ends. */
void hp_spawner_look(hp_spawner_t *spawner, apr_time_t now, int idle);

/* The preloader, which may still be starting, or NULL. */
hp_process_t *hp_spawner_preloader(const hp_spawner_t *spawner);
/* What its start took; 0 without one. */
apr_interval_time_t hp_spawner_load_time(const hp_spawner_t *spawner);

#endif
