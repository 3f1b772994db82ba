/* One application process as the core sees it: its start, its output, how busy it is, its end. */
#ifndef HP_PROCESS_H
#define HP_PROCESS_H

#include "helper/choice.h"
#include "helper/context.h"
#include "helper/handshake.h"
#include "helper/msg.h"
#include "helper/page.h"
#include "helper/spec.h"
#include <sys/queue.h>

typedef struct hp_process_t hp_process_t;
struct hp_app_link_t;

/* One request, waiting or in a process, for whoever wants to see what is going on. */
typedef struct hp_process_work_t {
    TAILQ_ENTRY(hp_process_work_t) entry;
    const char *pairs; /* the application's: "name\0value\0...", as long as the request lives; NULL: forgotten */
    apr_size_t pairs_len;
    apr_time_t since; /* when it began to wait, or to be served */
    int tunnel, apart; /* it goes on in another protocol; and holds nothing that other requests need, so concurrency does not count it */
    void (*cut)(struct hp_process_work_t *work); /* ends that soon, not at once; NULL: a process that is to go waits for it */
} hp_process_work_t;

typedef enum {
    HP_PROCESS_STARTING, /* until its loader says Ready */
    HP_PROCESS_READY,    /* takes requests */
    HP_PROCESS_DRAINING, /* finishes those it has */
    HP_PROCESS_ENDING,   /* was told to end, or is being killed */
    HP_PROCESS_GONE      /* reaped; remains until its last connection is closed */
} hp_process_state_t;

/* Out-of-band work (oob.h): it has asked for it, and takes requests until others can; it finishes those it has, and gets no more; it works. */
typedef enum { HP_PROCESS_OOB_NONE, HP_PROCESS_OOB_WANTED, HP_PROCESS_OOB_CLEARING, HP_PROCESS_OOB_WORKING } hp_process_oob_t;

/* What its group is told. After `gone` the group must not use it any more. */
typedef struct {
    void (*ready)(hp_process_t *process);
    /* It will never be ready. `sentence` says why, `details` holds the application's words; `gone` follows, or has come. */
    void (*failed)(hp_process_t *process, const char *sentence, const char *details);
    void (*gone)(hp_process_t *process);
    void (*back)(hp_process_t *process); /* from out-of-band work: it takes requests again */
    /* The preloader did not fork it, for this reason, which lives as long as the process; it can be ordered again. */
    void (*unborn)(hp_process_t *process, const char *sentence);
} hp_process_events_t;

struct hp_process_t {
    TAILQ_ENTRY(hp_process_t) entry; /* the group's list */
    hp_context_t *ctx;
    apr_pool_t *p;
    void *group;
    const hp_process_events_t *events;
    const hp_output_log_t *log; /* NULL: the server's */
    uint64_t id; /* 0: it waits to be ordered */
    pid_t pid; /* 0 until it is known */
    uid_t uid; /* it runs as; (uid_t)-1 until it is known */
    uint32_t sticky_id; /* names it in visitors' cookies; never 0 */
    hp_process_state_t state;
    uint32_t generation;
    int concurrency; /* 0: no limit */
    int in_flight, cuttable, apart; /* requests, the length of `work`; those that have a `cut`; those that concurrency does not count */
    TAILQ_HEAD(, hp_process_work_t) work;
    unsigned long requests, noted; /* begun so far; when the watchdog was last told */
    apr_time_t started, last_used;
    apr_time_t leaving_since; /* 0: it is not */
    int failed, refused; /* the group has been told; the system had no process for it, which is nobody's fault */
    int answered, files_told; /* it has served a request; the log has said that its descriptors are used up */
    int ended, crashed; /* reaped, what it still says changes nothing; and nobody had asked it to end */
    int counted_starting, passed_over; /* the group counts it among those that start; it does not count it, since it takes long to go */
    int suspect; /* it took no connection: it has ended, or is ended soon */
    const char *cgroup; /* folder of its control group; NULL: none */
    const char *doom; /* why it was killed, for the requests that end with it; NULL: they know no more than that */
    int worn, stuck; /* to be replaced: it has served enough, or grown too large; a request in it will never be answered */
    hp_process_oob_t oob;
    apr_time_t oob_since; /* it is in that state */
    struct hp_oob_t *oob_work;
    apr_size_t stacks; /* where in its words the answer begins, of one that starts */
    int may_preload; /* its loader may say that it is a preloader (handshake.preloader) */
    uint64_t forked_by; /* the preloader that was last told to bring it; 0: it was started by itself */
    apr_time_t stack_at; /* when it was asked where it is */
    apr_uint64_t rss, vmsize, memory; /* bytes, when last measured: resident; all; resident with what it has started, if that is limited */
    unsigned cpu, load, tasks; /* percent of a processor; of the time, when its first thread ran or waited for one; 0: not counted */
    apr_interval_time_t cpu_time, wanted; /* in all, at measured_at */
    apr_time_t measured_at;       /* 0: never */
    uint64_t restart_stamp;       /* of restart.txt when it was started (watch.h) */
    hp_handshake_t handshake;
    hp_choice_t interpreter;
    const hp_spec_t *spec;
    int in, sock; /* its input until the handshake is over, its socket (O_PATH); -1: none */
    hp_output_t out, err; /* what it prints */
    ag_loop_timer_t *timer; /* of the start, later of the end */
    int blank;              /* an empty line came last, and is not dealt with yet */
    hp_output_text_t words, error, page; /* until it is ready: what it has printed, the loader's message, its page for visitors */
    apr_size_t logged;      /* bytes of output */
    LIST_HEAD(, hp_app_link_t) idle_links; /* app_link.h */
    void (*close_idle_links)(hp_process_t *process); /* NULL until there has been one */
    int nlinks, keeps; /* idle and used; it is PHP, which does not close what is kept, as other FastCGI programs may */
};

/* A new process, which counts from now on, and waits to be ordered. Takes over `p`, the pool that `spec` lives in. */
hp_process_t *hp_process_create(hp_context_t *ctx, apr_pool_t *p, const hp_spec_t *spec, void *group, const hp_process_events_t *events);
/* Orders it from the watchdog: forked by `preloader`, or started by itself if that is NULL. It must be starting, and waiting to be ordered. */
void hp_process_order(hp_process_t *process, const hp_process_t *preloader);
/* It fails without having been ordered, for this reason. */
void hp_process_fail(hp_process_t *process, const char *sentence, const char *details);

/* A process that an earlier core saw ready. */
typedef struct {
    uint64_t id;
    pid_t pid;
    const hp_spec_t *spec;
    ag_frame_reader_t note;
    const int *fds; /* HP_MSG_FDS: input, stdout, socket, stderr */
} hp_process_heritage_t;

/* Takes it over, with its pool, which holds the spec, and its descriptors; NULL if its note makes no sense. Who adopts sets group and events. */
hp_process_t *hp_process_adopt(hp_context_t *ctx, apr_pool_t *p, hp_process_heritage_t *found);
/* NULL: no such process, any more. */
hp_process_t *hp_process_find(hp_context_t *ctx, uint64_t id);
/* News from the watchdog. */
void hp_process_spawned(hp_process_t *process, pid_t pid, const int fds[HP_MSG_FDS]);
void hp_process_refused(hp_process_t *process, const char *sentence);
void hp_process_exited(hp_process_t *process, int status);
int hp_process_free(const hp_process_t *process); /* it can take one more request now */
/* Brackets one request. */
void hp_process_begin(hp_process_t *process, hp_process_work_t *work);
void hp_process_end(hp_process_t *process, hp_process_work_t *work);
/* It becomes a tunnel, to be `cut` (if not NULL) when a process that is to go has only such left. Others may be served inside, if it is `apart`. */
void hp_process_tunnel(hp_process_t *process, hp_process_work_t *work, void (*cut)(hp_process_work_t *work));
/* A line of the application's, as of hp_output_cb_t, that came another way than by `stream`. */
void hp_process_say(hp_process_t *process, const char *stream, const char *line, apr_size_t len, int more);
/* A CGI variable of a request; "" where it is absent. */
const char *hp_process_work_value(const hp_process_work_t *work, const char *name);

/* No more requests; ends after the last one. */
void hp_process_retire(hp_process_t *process);
/* It can't be connected to: no more requests; most likely news of its end is on the way, otherwise it is ended in a second. */
void hp_process_suspect(hp_process_t *process);
/* A request in it will never be answered: no more requests; the others may finish, for a minute; then its process group is killed. Where the
 * loader can, it is asked at once to write where it is to the log. */
void hp_process_stuck(hp_process_t *process);
/* Ends now. */
void hp_process_kill(hp_process_t *process);
/* Tells the watchdog what an heir of this core must know, if it changed. */
void hp_process_note(hp_process_t *process);
/* Frees it if it is gone and no connection to it is left. */
void hp_process_release(hp_process_t *process);

#endif
