/* Root's half of application processes: it starts, signals and reaps them and holds their descriptors. It knows nothing of requests. */
#ifndef HP_APPS_H
#define HP_APPS_H

#include "helper/chan.h"
#include "helper/instance.h"

typedef struct hp_apps_t hp_apps_t;

/* `self` is the helper's own program; applications' sockets are given to `core_uid` to connect to, unless that is -1, and
 * folders of those that make their own to `core_gid`. */
hp_apps_t *hp_apps_create(ag_loop_t *loop, hp_instance_t *instance, const char *self, uid_t core_uid, gid_t core_gid, apr_pool_t *p);

/* The settings that later spawns are judged by, as they travel; copied. */
void hp_apps_settings(hp_apps_t *apps, const void *settings, apr_size_t len);

/* A core to talk to, or NULL. The new one is told of every process whose start the old one saw succeed; the others are ended. */
void hp_apps_core(hp_apps_t *apps, hp_chan_t *core);

/* Orders of the core. Ids that are not known are ignored: the process is gone. `preload`: it may become a preloader; `by`: the one that forks. */
void hp_apps_spawn(hp_apps_t *apps, uint64_t id, int preload, const void *spec, apr_size_t len);
void hp_apps_fork(hp_apps_t *apps, uint64_t id, uint64_t by, const void *spec, apr_size_t len);
void hp_apps_signal(hp_apps_t *apps, uint64_t id, uint32_t what);
void hp_apps_note(hp_apps_t *apps, uint64_t id, const void *note, apr_size_t len);

/* The first id that no process has had. */
uint64_t hp_apps_next_id(const hp_apps_t *apps);

/* Writes all there is to know about the processes for an heir in this very process (upgrade.h), and reads it back. */
void hp_apps_save(const hp_apps_t *apps, ag_frame_t *state);
void hp_apps_restore(hp_apps_t *apps, ag_frame_reader_t *in);

/* How many have not been reaped. */
int hp_apps_count(const hp_apps_t *apps);
/* As hp_apps_signal, for all. */
void hp_apps_signal_all(hp_apps_t *apps, uint32_t what);
/* Calls back whenever a process has ended. */
void hp_apps_on_exit(hp_apps_t *apps, ag_loop_cb_t cb, void *baton);
/* A descendant of theirs that came to us has ended. */
void hp_apps_reaped(hp_apps_t *apps);
/* At the end: kills all that they and we have left behind; how many children of ours that is. 0: nobody is there any more. */
int hp_apps_kill_all(hp_apps_t *apps);

#endif
