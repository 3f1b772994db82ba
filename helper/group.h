/* One application: its processes, the requests that wait for one, its code's generation, and how it fails. */
#ifndef HP_GROUP_H
#define HP_GROUP_H

#include "helper/config.h"
#include "helper/process.h"
#include "helper/report.h"

typedef struct hp_group_t hp_group_t;
typedef struct hp_group_waiter_t hp_group_waiter_t;
TAILQ_HEAD(hp_group_list_t, hp_group_t);

/* The pool as its groups see it. */
typedef struct {
    hp_context_t *ctx;
    struct hp_group_list_t groups;
    int used;    /* processes of all groups, from the order to the reaping; never above settings->max_pool_size when one is ordered */
    uint64_t cookies; /* given out so far */
    int starved; /* groups without any process that wait for room, when last looked */
} hp_group_pool_t;

/* A request that wants a process; part of the request. Exactly one of the calls comes, unless it is cancelled. */
struct hp_group_waiter_t {
    hp_process_work_t work; /* its pairs are set by whoever submits */
    TAILQ_ENTRY(hp_group_waiter_t) entry;
    uint32_t sticky; /* the sticky_id that the client's cookie names; 0: none */
    int queued;
    apr_time_t deadline; /* 0: none */
    /* The process is the waiter's until hp_group_done. */
    void (*serve)(hp_group_waiter_t *waiter, hp_process_t *process);
    void (*refuse)(hp_group_waiter_t *waiter, const hp_report_t *report, int friendly);
};

/* Copies what it needs. */
hp_group_t *hp_group_create(hp_group_pool_t *pool, const hp_config_t *config);

/* Adds a process that an earlier core had. */
void hp_group_adopt(hp_group_t *group, hp_process_t *process);

/* A request came with this configuration: if it is newer and different, processes are replaced. */
void hp_group_configure(hp_group_t *group, const hp_config_t *config);

/* Variables that administrators set, for processes that are started from now on: "name\0value\0..." */
void hp_group_environment(hp_group_t *group, const char *pairs, apr_size_t len);

/* Serves, queues or refuses the waiter; may call back at once. */
void hp_group_submit(hp_group_t *group, hp_group_waiter_t *waiter);
/* The waiter has lost interest; it must be queued. */
void hp_group_cancel(hp_group_t *group, hp_group_waiter_t *waiter);
/* A request is over. `broken`: the process could not be reached or spoke nonsense at the connection level. */
void hp_group_done(hp_process_t *process, hp_process_work_t *work, int broken);

/* News from the watchdog about restart.txt and the startup file. */
void hp_group_stated(hp_group_t *group, uint64_t restart, int always, uint64_t startup);

/* Ends processes that have been idle too long; called now and then. */
void hp_group_reap_idle(hp_group_t *group, apr_time_t now);

/* Everything that depends on room in the pool is tried again: called when a process has gone. */
void hp_group_retry(hp_group_pool_t *pool);

/* The key in the pool. */
const char *hp_group_name(const hp_group_t *group);
/* Number for the watchdog's answers. */
uint64_t hp_group_cookie(const hp_group_t *group);
/* Lets `visit` see every process. */
void hp_group_each(hp_group_t *group, void (*visit)(hp_process_t *process, void *baton), void *baton);
/* The same for every request that waits. */
void hp_group_each_waiting(hp_group_t *group, void (*visit)(const hp_group_waiter_t *waiter, void *baton), void *baton);

/* What is to be said about a group; everything is the group's. */
typedef struct {
    const char *name, *app_root, *app_env, *kind, *startup_file;
    uint32_t generation;
    int queued, starting, restarting;
    int held;                   /* the newest code does not start; what ran before goes on serving */
    const hp_report_t *failure; /* of the last start, while there is no success; or NULL */
    uid_t owner;                /* of its folder; (uid_t)-1: not known */
    apr_time_t created;
    const ag_options_t *options;
} hp_group_facts_t;
void hp_group_facts(const hp_group_t *group, hp_group_facts_t *facts);

/* Processes are started anew; rolling: 1, 0, or -1 for what is configured. `why` is for the log. */
void hp_group_restart(hp_group_t *group, int rolling, const char *why);
/* Ends one process after its requests; 0 if it takes none any more. */
int hp_group_detach(hp_process_t *process);

#endif
