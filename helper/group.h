/* One application: its processes, the requests that wait for one, its code's generation, and how it fails. */
#ifndef HP_GROUP_H
#define HP_GROUP_H

#include "helper/config.h"
#include "helper/room.h"
#include "helper/spawner.h"
#include "helper/watch.h"

typedef struct hp_group_t hp_group_t;

/* Copies what it needs; takes part in the room until it is destroyed. `cookie` names the group in messages. */
hp_group_t *hp_group_create(hp_context_t *ctx, hp_room_t *room, uint64_t cookie, const hp_config_t *config);
/* 1 if nothing would be lost with the group: no process, no request, no user, no failure to be remembered, and unused for a while. */
int hp_group_forgettable(const hp_group_t *group, apr_time_t now);
/* Only one that is forgettable. */
void hp_group_destroy(hp_group_t *group);

/* Brackets the life of whoever keeps a pointer to the group. */
void hp_group_use(hp_group_t *group);
void hp_group_unuse(hp_group_t *group);

/* Adds a process that an earlier core had. */
void hp_group_adopt(hp_group_t *group, hp_process_t *process);

/* A request came with this configuration: if it is newer and different, processes are replaced. */
void hp_group_configure(hp_group_t *group, const hp_config_t *config);

/* Serves, queues or refuses the waiter; may call back at once. */
void hp_group_submit(hp_group_t *group, hp_queue_waiter_t *waiter);
/* The waiter has lost interest; it must be queued. */
void hp_group_cancel(hp_group_t *group, hp_queue_waiter_t *waiter);
/* A request is over. `broken`: 1, the process could not be reached or spoke nonsense at the connection level; -1, it was not tried. */
void hp_group_done(hp_process_t *process, hp_process_work_t *work, int broken);

/* News from the looker about restart.txt and the startup file. */
void hp_group_stated(hp_group_t *group, const hp_watch_answer_t *answer);

/* Now and then: ends what is idle or too large, notices restarts. */
void hp_group_look(hp_group_t *group, apr_time_t now);

/* Processes are started anew; rolling: 1, 0, or -1 for what is configured. `why` is for the log. */
void hp_group_restart(hp_group_t *group, int rolling, const char *why);
/* Ends one process after its requests; 0 if it takes none any more. */
int hp_group_detach(hp_process_t *process);

/* As users know it; groups of several users may have the same one. */
const char *hp_group_name(const hp_group_t *group);
/* Number for the looker's answers, at a place that lasts as long as the group. */
const uint64_t *hp_group_cookie(const hp_group_t *group);
/* Lets `visit` see every process. */
void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton);
/* The same for every request that waits. */
void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_queue_waiter_t *waiter, void *baton), void *baton);

/* What is to be said about a group; everything is the group's. */
typedef struct {
    const char *key, *name, *app_root, *app_env, *kind, *startup_file;
    uint32_t generation;
    int queued, starting, restarting;
    int held;                   /* the newest code does not start; what ran before goes on serving */
    hp_process_t *preloader;    /* or NULL */
    const hp_report_t *failure; /* of the last start, while there is no success; or NULL */
    uid_t owner;                /* of its folder; (uid_t)-1: not known */
    apr_time_t created;
    const ag_options_t *options;
    struct hp_courier_t *courier; /* of its files */
} hp_group_facts_t;
void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts);

#endif
