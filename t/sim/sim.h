/* The pool in a world of its own: no kernel, no clock, no processes; everything that happens comes from one seed.
 *
 * The pool's sources are the real ones. What they reach the world through is replaced here: the loop and its clock (clock.c), memory pools
 * (memory.c), descriptors and random bytes (files.c), the channel to the watchdog and the applications behind it (watchdog.c), requests
 * (visitors.c). checks.c knows what must hold; run.c decides what happens next. */
#ifndef SIM_H
#define SIM_H

#include "helper/pool.h"
#include <stdlib.h>

#define SIM_GROUPS 8
#define SECOND     APR_USEC_PER_SEC
#define MS         1000

/* -- chance: the same for the same seed -- */
uint64_t sim_random(void);
/* 0 to n - 1. */
int sim_below(int n);
/* 1 in `percent` of 100 cases, or of 10000. */
int sim_percent(int percent);
int sim_rarely(int of_10000);
/* From `least` to `most`; often round, so that things happen in the same instant. */
apr_interval_time_t sim_time(apr_interval_time_t least, apr_interval_time_t most);

/* -- what happens when -- */
typedef struct sim_event_t {
    apr_time_t at;
    uint64_t order; /* among those of one instant */
    int pos;        /* in the heap, from 1; 0: not expected */
    void (*fire)(void *baton);
    void *baton;
} sim_event_t;

/* Fires once at `at`, whatever was set before. */
void sim_event_set(sim_event_t *event, apr_time_t at);
void sim_event_clear(sim_event_t *event);
/* The next one happens; 0 when nothing is expected. */
int sim_clock_step(void);
/* Forgets all timers and watchers of a loop: its process has ended. Its descriptors count as closed. */
void sim_clock_drop(void);
/* Timers that exist. */
int sim_clock_timers(void);
/* Tells who watches `fd` that it is readable. */
void sim_clock_readable(int fd);
int sim_clock_watched(int fd);
/* The time without that in which the machine stood still, for what must happen soon. */
apr_time_t sim_clock_pace(void);

/* -- memory: bytes and pools that exist -- */
long sim_memory_pools(void);
long sim_memory_bytes(void);

/* -- the world -- */
struct sim_visitor_t;
TAILQ_HEAD(sim_visitors_t, sim_visitor_t);

typedef enum { SIM_ORDERED, SIM_BOOTING, SIM_UP, SIM_DEAD } sim_life_t;

/* One process as the watchdog has it. */
typedef struct sim_process_t {
    uint64_t id;
    TAILQ_ENTRY(sim_process_t) entry; /* in its group's `known` */
    hp_process_t *core;               /* the core's record while it is known; NULL: look it up */
    int group;
    uint32_t generation;
    sim_life_t life;
    int known;   /* the core counts it: ordered, and its end has not been told */
    int gone;    /* its end has been told */
    int failed;  /* its start has */
    int stubborn; /* does not end when asked to */
    int mute;     /* closes its output once it is ready */
    int asked;   /* to end */
    int concurrency;
    int in_flight, idle_links; /* by our account */
    int ready;   /* was seen ready */
    uint32_t sticky;
    apr_time_t ordered, worked; /* out of band, the last time */
    void *spec, *note;
    apr_size_t spec_len, note_len;
    char *pipe; /* what it wrote and nobody has read */
    apr_size_t pipe_len;
    int fds[HP_MSG_FDS]; /* the core's */
    int step;
    sim_event_t life_event, output_event;
    struct sim_visitors_t visitors;
} sim_process_t;

typedef struct {
    char name[16], root[32];
    hp_config_t *config, *former; /* as requests say it now, and said it before the last change */
    hp_group_t *core;             /* NULL: there is none */
    uint64_t cookie;              /* the core's number for it */
    int live;           /* processes by the core's account: from the order to the news of the end */
    int bad;            /* percent of starts that fail */
    apr_time_t boot;    /* longest start */
    apr_time_t service; /* longest request, usually */
    uint64_t restart_stamp, startup_stamp, told_restart, told_startup; /* of the files; and as the core knows them */
    apr_time_t told_at; /* when it was first told of the latest */
    int always;
    TAILQ_HEAD(, sim_process_t) known; /* as long as `live` */
    struct sim_visitors_t queue;       /* those that wait, by our account */
    int queued;
    const hp_config_t *taken; /* the one that the core goes by; NULL: not known */
    apr_time_t taken_since;
    apr_time_t free_since;    /* a request waits although a process could take it; 0: not so */
    apr_time_t crowd_since;   /* the same, and there are more of them than may be asked to be patient */
    int failures;             /* starts that failed in a row, at least */
    uint32_t proven;          /* the newest generation of which a process was ready */
    uint32_t held;            /* a generation of which none may be ordered while older ones serve; 0: none */
    uint32_t generation;      /* when looked last */
    apr_time_t few_since;     /* when last it had no process to spare */
    apr_time_t old_since;     /* when last it was not the case that older ones serve although new ones could */
    uint32_t least;           /* generation; older ones must not serve: the restart was not a rolling one */
    apr_time_t not_before;    /* no start; 0: at any time */
} sim_group_t;

typedef struct {
    uint64_t seed, events, trace; /* events: in this episode; trace: from which on they are told */
    int tracing, telling;
    apr_time_t now;
    apr_time_t stalled;    /* how much of it the machine stood still */
    apr_time_t stalled_at; /* `now` when it last went on */
    hp_context_t ctx;
    ag_settings_t *settings;
    apr_pool_t *root, *settings_pool;
    hp_pool_t *pool; /* NULL while there is no core */
    int listening;   /* the core takes requests */
    int closing;     /* visitors come no more */
    const sim_process_t *ending; /* the core is just hearing of its end, and may still count it */
    int ngroups, nvisitors;
    sim_group_t groups[SIM_GROUPS];
    sim_process_t **processes; /* by id - first_id */
    int nprocesses;
    uint64_t cores;
    apr_interval_time_t think; /* visitors' between requests */
    int calm; /* the machine does not stall, applications do not crash */
    apr_time_t limit_changed;
} sim_world_t;

extern sim_world_t sim;

/* How often what happened, over all episodes. */
#define SIM_COUNTS(X) \
    X(served) X(refused) X(cancelled) X(broken) X(retried) X(admitted) X(disconnected) X(lost) X(spawned) X(not_spawned) X(ready) X(failed) \
    X(exited) X(crashed) X(finish) X(kill) X(ignored) X(cores) X(adopted) X(touched) X(configured) X(resized) X(stalled) X(stated) X(unstated) \
    X(detached) X(restarted) X(queued) X(drained) X(stopped) X(sticky) X(stuck) X(evicted) X(busy) X(overdue) X(prestart) X(oob) X(lingered) X(checks)
typedef struct {
#define X(name) long name;
    SIM_COUNTS(X)
#undef X
} sim_counts_t;
extern sim_counts_t sim_counts;

/* A property does not hold: tells which seed shows it, and ends the program. */
void sim_violation(const char *fmt, ...) AG_PRINTF(1, 2) __attribute__((noreturn));
void sim_tell(const char *fmt, ...) AG_PRINTF(1, 2);
#define SAY(...) \
    do { \
        if (sim.tracing) \
            sim_tell(__VA_ARGS__); \
    } while (0)
#define MUST(what, ...) \
    do { \
        if (!(what)) \
            sim_violation(__VA_ARGS__); \
    } while (0)

/* Things of the looker and of the kernel that fail for a while. */
void sim_watchdog_looker(int there);
/* -- files.c -- */
/* A descriptor of process `owner`: 0 its input, 1 its output, 2 its socket, 3 its errors, which are silent until its end. */
int sim_files_open(sim_process_t *owner, int which);
int sim_files_is_open(int fd);
/* The core that had them has ended. */
void sim_files_drop(void);
int sim_files_count(void);

/* -- watchdog.c -- */
/* NULL: never heard of. */
sim_process_t *sim_watchdog_find(uint64_t id);
/* A process does what nobody asked for. */
void sim_watchdog_crash(sim_process_t *process);
/* Nothing more comes from its output. */
int sim_watchdog_silent(const sim_process_t *process);
/* The application that writes to its output. */
void sim_watchdog_write(sim_process_t *process, const char *text);
/* The core is no more; whatever it ordered has been ordered. */
void sim_watchdog_core_ended(void);
/* A new one is there: tells it all. */
void sim_watchdog_core(void);
/* 1 if messages to the core are under way. */
int sim_watchdog_talking(void);
void sim_watchdog_forget(void);
sim_group_t *sim_watchdog_group(const char *root);

/* -- oob.c -- */
/* The core that ordered the work has ended. */
void sim_oob_core_ended(void);
/* Whatever works in the process ends with it. */
void sim_oob_process_ended(const sim_process_t *process);
/* 1 if anybody works. */
int sim_oob_works(void);

/* -- visitors.c -- */
void sim_visitors_create(int n);
/* Nobody is served or waits any more: the core has ended. */
void sim_visitors_core_ended(void);
/* The process has ended: those in it notice. */
void sim_visitors_process_ended(sim_process_t *process);
/* Visitors with a request. */
int sim_visitors_busy(void);
void sim_visitors_destroy(void);
/* Oldest request in the group's queue; 0: none. */
apr_time_t sim_visitors_oldest(const sim_group_t *group);

/* The core's group, as a request finds it. */
hp_group_t *sim_visitors_group(sim_group_t *group);
/* Those in the queue who could be served by what is free. */
int sim_visitors_servable(const sim_group_t *group);
/* 1 if the waiter is the n-th in the group's queue. */
int sim_visitors_is(const hp_queue_waiter_t *waiter, const sim_group_t *group, int n);

/* -- checks.c -- */
/* The core orders a process. */
void sim_checks_spawn(sim_group_t *group, const sim_process_t *process);
/* The core is about to hear that the process has ended. */
void sim_checks_gone(const sim_process_t *process, int refused);
/* A process of the group has finished a request, so it works. */
void sim_checks_works(sim_group_t *group);
/* The group begins anew: nothing that was learnt about failures counts. */
void sim_checks_fresh(sim_group_t *group);
/* After each event; after some, and at the end. */
/* The process is chosen for a visitor with this cookie. */
void sim_checks_choice(const sim_group_t *group, const hp_process_t *chosen, uint32_t sticky);
/* A process of the named group is told to go so that its successor can come. */
void sim_checks_replaced(const char *group);
/* The core restarts the named group. */
void sim_checks_restarted(const char *group);
void sim_checks_fast(void);
void sim_checks_full(void);
/* Nothing is left of processes and requests. */
void sim_checks_drained(void);

#endif
