/* The watchdog and the applications behind it: what the core orders happens some time after, or does not. */
#include "helper/msg.h"
#include "t/sim/sim.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct hp_chan_t {
    int none;
};

/* On its way in one direction; what was sent first arrives first. */
typedef struct message_t {
    TAILQ_ENTRY(message_t) entry;
    apr_time_t at;
    uint32_t type, value;
    sim_process_t *process;
    sim_group_t *group;
    uint64_t cookie;
} message_t;

typedef struct {
    TAILQ_HEAD(messages_t, message_t) messages;
    sim_event_t event;
} line_t;

static line_t to_core, to_watchdog;
static hp_chan_t watchdog_chan, looker_chan;

static void arrive_core(void *baton);
static void arrive_watchdog(void *baton);

static void post(line_t *line, const message_t *message, apr_interval_time_t delay)
{
    message_t *copy = malloc(sizeof *copy);
    const message_t *last;

    if (!copy)
        abort();
    if (!line->event.fire) {
        TAILQ_INIT(&line->messages);
        line->event.fire = line == &to_core ? arrive_core : arrive_watchdog;
    }
    *copy = *message;
    copy->at = sim.now + delay;
    last = TAILQ_LAST(&line->messages, messages_t);
    if (last && last->at > copy->at)
        copy->at = last->at;
    TAILQ_INSERT_TAIL(&line->messages, copy, entry);
    if (!last)
        sim_event_set(&line->event, copy->at);
}

/* The first message; the next is expected. */
static message_t *take(line_t *line)
{
    message_t *message = TAILQ_FIRST(&line->messages), *next = TAILQ_NEXT(message, entry);

    TAILQ_REMOVE(&line->messages, message, entry);
    if (next)
        sim_event_set(&line->event, next->at);
    return message;
}

static void forget(line_t *line)
{
    if (!line->event.fire)
        return;
    sim_event_clear(&line->event);
    while (!TAILQ_EMPTY(&line->messages))
        free(take(line));
    sim_event_clear(&line->event);
}

static apr_interval_time_t soon(void)
{
    return sim_percent(50) ? 0 : sim_percent(90) ? sim_time(0, 5 * MS) : sim_time(0, 200 * MS);
}

int sim_watchdog_talking(void)
{
    return to_core.event.fire && !TAILQ_EMPTY(&to_core.messages);
}

/* -- applications -- */

sim_process_t *sim_watchdog_find(uint64_t id)
{
    return id > 0 && id <= (uint64_t)sim.nprocesses ? sim.processes[id - 1] : NULL;
}

int sim_watchdog_silent(const sim_process_t *process)
{
    return process->life == SIM_DEAD || (process->life == SIM_UP && process->mute);
}

static void fire_output(void *baton)
{
    sim_process_t *process = baton;
    int fd = process->fds[1], at_end = process->pipe_len == 0 && sim_watchdog_silent(process);

    if (fd < 0 || !sim_files_is_open(fd))
        return;
    SAY("process %d has written %d bytes%s", (int)process->id, (int)process->pipe_len,
        process->life == SIM_DEAD ? ", then ended" : "");
    errno = EAGAIN; /* of some call before */
    sim_clock_readable(fd);
    if (!sim_files_is_open(fd) || !sim_clock_watched(fd))
        return;
    if (process->pipe_len > 0 || (sim_watchdog_silent(process) && !at_end))
        sim_event_set(&process->output_event, sim.now);
    else if (at_end)
        sim_violation("the output of process %d is at its end, and still watched: the loop would spin", (int)process->id);
}

void sim_watchdog_write(sim_process_t *process, const char *text)
{
    apr_size_t len = strlen(text);

    process->pipe = realloc(process->pipe, process->pipe_len + len);
    if (!process->pipe)
        abort();
    memcpy(process->pipe + process->pipe_len, text, len);
    process->pipe_len += len;
    if (process->output_event.pos == 0)
        sim_event_set(&process->output_event, sim.now + soon());
}

static void die(sim_process_t *process, int status)
{
    if (process->life == SIM_DEAD)
        return;
    SAY("process %d ends, status %d", (int)process->id, status);
    if (process->life != SIM_ORDERED && sim_percent(20))
        sim_watchdog_write(process, sim_percent(50) ? "last words" : "Traceback\nlast words\n");
    process->life = SIM_DEAD;
    sim_event_clear(&process->life_event);
    if (process->fds[1] >= 0)
        sim_event_set(&process->output_event, sim.now + soon());
    sim_visitors_process_ended(process);
    if (sim.pool)
        post(&to_core, &(message_t){.type = HP_MSG_EXITED, .process = process, .value = (uint32_t)status}, soon());
}

static void fire_end(void *baton)
{
    sim_process_t *process = baton;

    die(process, process->asked == HP_MSG_SIGNAL_KILL ? SIGKILL : sim_percent(50) ? 0 : SIGTERM);
}

void sim_watchdog_crash(sim_process_t *process)
{
    if (process->life != SIM_UP)
        return;
    sim_counts.crashed++;
    die(process, sim_percent(50) ? SIGSEGV : 1 << 8);
}

enum { GREET, SAY_READY, SAY_SOCKET, SERVE, FAIL };

/* One step of a start; the same callback serves the end of the process once it is up. */
static void fire_boot(void *baton)
{
    sim_process_t *process = baton;
    sim_group_t *group = &sim.groups[process->group];
    char line[100];

    switch (process->step++) {
    case GREET:
        if (sim_percent(10))
            sim_watchdog_write(process, "a line before the greeting\nand some more\n");
        sim_watchdog_write(process, "!> I have control 1.0\n");
        sim_event_set(&process->life_event, sim.now + sim_time(0, group->boot));
        if (sim_percent(group->bad))
            process->step = FAIL;
        return;
    case SAY_READY:
        sim_watchdog_write(process, sim_percent(50) ? "!> Ready\n" : "output while starting\n!> Ready\n");
        sim_event_set(&process->life_event, sim.now + (sim_percent(80) ? 0 : sim_time(0, SECOND)));
        return;
    case SAY_SOCKET:
        process->concurrency = sim_percent(60) ? 1 : sim_below(5);
        snprintf(line, sizeof line, "!> socket: main;fd:3;session;%d\n!> \n", process->concurrency);
        process->life = SIM_UP;
        process->life_event.fire = fire_end;
        sim_watchdog_write(process, line);
        return;
    default:
        break;
    }
    switch (sim_below(5)) {
    case 0:
        sim_watchdog_write(process, "!> Error\n!> \nno such module\nat line 1\n");
        die(process, 1 << 8);
        return;
    case 1:
        sim_watchdog_write(process, "!> Nonsense\n"); /* the core ends it */
        return;
    case 2:
        return; /* hangs */
    default:
        die(process, sim_percent(50) ? SIGABRT : 3 << 8);
    }
}

/* -- orders of the core -- */

static void spawn(sim_process_t *process)
{
    if (sim_percent(2) || (!sim.calm && sim_percent(2))) {
        process->life = SIM_DEAD;
        sim_counts.not_spawned++;
        if (sim.pool)
            post(&to_core, &(message_t){.type = HP_MSG_REFUSED, .process = process}, soon());
        return;
    }
    sim_counts.spawned++;
    process->life = SIM_BOOTING;
    process->life_event.fire = fire_boot;
    process->life_event.baton = process;
    sim_event_set(&process->life_event, sim.now + sim_time(0, 100 * MS));
    if (sim.pool)
        post(&to_core, &(message_t){.type = HP_MSG_SPAWNED, .process = process}, soon());
}

static void signal_process(sim_process_t *process, uint32_t what)
{
    if (process->life == SIM_DEAD || process->life == SIM_ORDERED || process->asked == HP_MSG_SIGNAL_KILL)
        return;
    if (what == HP_MSG_SIGNAL_STACK) {
        sim_watchdog_write(process, "Thread 1\n  in a loop\n");
        return;
    }
    process->asked = (int)what;
    if (what == HP_MSG_SIGNAL_KILL) {
        sim_counts.kill++;
    } else if (process->stubborn) {
        sim_counts.ignored++;
        return;
    } else {
        sim_counts.finish++;
    }
    process->life_event.fire = fire_end;
    sim_event_set(&process->life_event, sim.now + (what == HP_MSG_SIGNAL_KILL ? sim_time(0, 50 * MS)
                                                   : sim_percent(80)          ? sim_time(0, SECOND)
                                                                              : sim_time(0, 55 * SECOND)));
}

static void stat_files(const message_t *message)
{
    if (!sim.pool)
        return;
    if (!sim.ctx.looker || sim_rarely(200)) {
        sim_counts.unstated++;
        return;
    }
    sim_counts.stated++;
    post(&to_core, &(message_t){.type = HP_MSG_STATED, .group = message->group, .cookie = message->cookie},
         sim_percent(97) ? soon() : sim_time(0, SECOND));
}

static void arrive_watchdog(void *baton)
{
    message_t *message = take(&to_watchdog);

    (void)baton;
    if (message->type == HP_MSG_SPAWN)
        spawn(message->process);
    else if (message->type == HP_MSG_SIGNAL)
        signal_process(message->process, message->value);
    else
        stat_files(message);
    free(message);
}

/* -- news for the core -- */

static void put_fds(sim_process_t *process, int fds[HP_MSG_FDS])
{
    for (int i = 0; i < HP_MSG_FDS; i++)
        fds[i] = process->fds[i] = sim_files_open(process, i);
    if (process->pipe_len > 0 || sim_watchdog_silent(process))
        sim_event_set(&process->output_event, sim.now + soon());
}

static void count_in(sim_process_t *process)
{
    sim_group_t *group = &sim.groups[process->group];

    group->live++;
    TAILQ_INSERT_TAIL(&group->known, process, entry);
}

/* What the core will know once it has the news. */
static void account(const message_t *message)
{
    sim_process_t *process = message->process;
    sim_group_t *group = message->group;

    if (group && (group->told_restart != group->restart_stamp || group->told_startup != group->startup_stamp)) {
        group->told_restart = group->restart_stamp;
        group->told_startup = group->startup_stamp;
        group->told_at = sim.now;
    }
    if (group && (group->always || sim.now - group->told_at < 90 * SECOND))
        sim_checks_fresh(group); /* the core may not have believed the first answer, which was for an earlier question */
    if (message->type == HP_MSG_ADOPT) {
        sim_counts.adopted++;
        process->known = process->ready = 1;
        process->core = NULL;
        count_in(process);
    } else if (message->type == HP_MSG_EXITED || message->type == HP_MSG_REFUSED) {
        sim_counts.exited++;
        if (process->known) {
            sim_checks_gone(process, message->type == HP_MSG_REFUSED);
            process->known = 0;
            sim.ending = process;
            sim.groups[process->group].live--;
            TAILQ_REMOVE(&sim.groups[process->group].known, process, entry);
        }
    }
}

static void put(ag_frame_t *f, const message_t *message, int fds[HP_MSG_FDS], int *nfds)
{
    sim_process_t *process = message->process;

    ag_frame_put_u64(f, process ? process->id : message->cookie);
    if (message->type == HP_MSG_STATED) {
        ag_frame_put_u64(f, message->group->restart_stamp);
        ag_frame_put_u32(f, (uint32_t)message->group->always);
        ag_frame_put_u64(f, message->group->startup_stamp);
        ag_frame_put_u64(f, 0);
        ag_frame_put_u32(f, sim_percent(90) ? 1000 : UINT32_MAX);
    } else if (message->type == HP_MSG_REFUSED) {
        ag_frame_put_str(f, "nothing was started");
    } else if (message->type == HP_MSG_EXITED) {
        ag_frame_put_u32(f, message->value);
    } else {
        ag_frame_put_u32(f, (uint32_t)process->id + 100000);
        put_fds(process, fds);
        *nfds = HP_MSG_FDS;
    }
    if (message->type == HP_MSG_ADOPT) {
        ag_frame_put_bytes(f, process->spec, process->spec_len);
        ag_frame_put_bytes(f, process->note, process->note_len);
    }
}

static const char *name_of(uint32_t type)
{
    switch (type) {
#define MSG(name, carries)                                                                                                       \
    case HP_MSG_##name:                                                                                                          \
        return #name;
#include "helper/msg.def"
    default:
        return "?";
    }
}

static void arrive_core(void *baton)
{
    message_t *message = take(&to_core);
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    ag_frame_t *f;
    const char *data;
    apr_size_t len;
    int fds[HP_MSG_FDS], nfds = 0;

    (void)baton;
    SAY("the core hears: %s %d", name_of(message->type), message->process ? (int)message->process->id : 0);
    if (message->type == HP_MSG_LISTEN) {
        sim.listening = 1;
        free(message);
        return;
    }
    account(message);
    apr_pool_create(&ptemp, sim.ctx.p);
    f = ag_frame_create(ptemp, message->type);
    put(f, message, fds, &nfds);
    data = ag_frame_data(f, &len);
    MUST(hp_pool_news(sim.pool, ag_frame_open(&in, ptemp, data, len), &in, fds, nfds), "%s is no news to the pool",
         name_of(message->type));
    MUST(!in.bad, "%s does not hold what the core expects", name_of(message->type));
    apr_pool_destroy(ptemp);
    if (message->type == HP_MSG_EXITED || message->type == HP_MSG_REFUSED)
        message->process->gone = 1;
    sim.ending = NULL;
    free(message);
}

/* -- the channel as the core has it -- */

static sim_process_t *ordered(uint64_t id, ag_frame_reader_t *in)
{
    sim_process_t *process = calloc(1, sizeof *process);
    ag_frame_reader_t spec_in;
    const hp_spec_t *spec;
    const void *bytes = ag_frame_get_bytes(in, &process->spec_len);

    if (!process)
        abort();
    MUST(id == (uint64_t)sim.nprocesses + 1, "process %d is ordered after process %d", (int)id, sim.nprocesses);
    sim.processes = realloc(sim.processes, (size_t)id * sizeof *sim.processes);
    process->spec = malloc(process->spec_len);
    if (!sim.processes || !process->spec)
        abort();
    sim.processes[sim.nprocesses++] = process;
    memcpy(process->spec, bytes, process->spec_len);
    ag_frame_open(&spec_in, in->p, bytes, process->spec_len);
    spec = hp_spec_get(&spec_in);
    MUST(ag_frame_end(&spec_in) == APR_SUCCESS, "the spec of process %d is not understood", (int)id);
    process->id = id;
    process->generation = spec->generation;
    process->group = (int)(sim_watchdog_group(spec->app_root) - sim.groups);
    process->known = 1;
    process->stubborn = sim_percent(5);
    process->mute = sim_percent(3);
    process->ordered = sim.now;
    process->fds[0] = process->fds[1] = process->fds[2] = process->fds[3] = -1;
    process->output_event = (sim_event_t){.fire = fire_output, .baton = process};
    process->life_event.baton = process;
    TAILQ_INIT(&process->visitors);
    count_in(process);
    sim_checks_spawn(&sim.groups[process->group], process);
    return process;
}

static void noted(sim_process_t *process, ag_frame_reader_t *in)
{
    const void *note = ag_frame_get_bytes(in, &process->note_len);

    MUST(process, "a note about a process that never was");
    free(process->note);
    process->note = malloc(process->note_len);
    if (!process->note)
        abort();
    memcpy(process->note, note, process->note_len);
}

void hp_chan_send(hp_chan_t *chan, const ag_frame_t *frame, const int *fds, int nfds)
{
    message_t message = {0};
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    apr_size_t len;
    const char *data = ag_frame_data(frame, &len);
    uint64_t id;

    (void)fds;
    MUST(chan && nfds == 0, "an order without a channel, or with descriptors");
    apr_pool_create(&ptemp, NULL);
    message.type = ag_frame_open(&in, ptemp, data, len);
    id = ag_frame_get_u64(&in);
    message.process = sim_watchdog_find(id);
    SAY("the core says: %s %d", name_of(message.type), (int)id);
    if (message.type == HP_MSG_SPAWN) {
        MUST(ag_frame_get_u32(&in) == 0, "process %d would be a preloader", (int)id);
        message.process = ordered(id, &in);
    } else if (message.type == HP_MSG_SIGNAL) {
        message.value = ag_frame_get_u32(&in);
        MUST(message.process && !message.process->gone, "a signal for process %d, which has gone or never was", (int)id);
    } else if (message.type == HP_MSG_NOTE) {
        noted(message.process, &in);
    } else if (message.type == HP_MSG_STAT) {
        message.process = NULL;
        message.cookie = id;
        message.group = sim_watchdog_group(ag_frame_get_str(&in));
        ag_frame_get_str(&in);
        ag_frame_get_str(&in);
        ag_frame_get_str(&in);
    } else {
        sim_violation("the core says %x, which means nothing", (unsigned)message.type);
    }
    MUST(ag_frame_end(&in) == APR_SUCCESS, "%s is malformed", name_of(message.type));
    apr_pool_destroy(ptemp);
    MUST(chan == (message.type == HP_MSG_STAT ? &looker_chan : &watchdog_chan), "%s goes to the wrong one",
         name_of(message.type));
    if (message.type != HP_MSG_NOTE)
        post(&to_watchdog, &message, soon());
}

void hp_chan_tell(hp_chan_t *chan, uint32_t type)
{
    SAY("the core says: %s", name_of(type));
    MUST(chan == &watchdog_chan && type == HP_MSG_PRESTART, "%s goes to the wrong one", name_of(type));
    sim_counts.prestart++;
}

/* -- cores come and go -- */

void sim_watchdog_core_ended(void)
{
    forget(&to_core);
    while (to_watchdog.event.fire && !TAILQ_EMPTY(&to_watchdog.messages))
        arrive_watchdog(NULL);
    if (to_watchdog.event.fire)
        sim_event_clear(&to_watchdog.event);
    for (int i = 0; i < sim.nprocesses; i++) {
        sim_process_t *process = sim.processes[i];
        process->known = process->in_flight = process->idle_links = 0;
        process->fds[0] = process->fds[1] = process->fds[2] = process->fds[3] = -1;
        sim_event_clear(&process->output_event);
        if (process->life == SIM_DEAD)
            process->gone = 1;
    }
    for (int i = 0; i < sim.ngroups; i++) {
        sim.groups[i].live = 0;
        TAILQ_INIT(&sim.groups[i].known);
    }
}

void sim_watchdog_looker(int there)
{
    sim.ctx.looker = there ? &looker_chan : NULL;
    SAY("the looker %s", there ? "is there" : "has ended");
}

void sim_watchdog_core(void)
{
    sim.ctx.watchdog = &watchdog_chan;
    sim_watchdog_looker(sim_percent(90));
    for (int i = 0; i < sim.nprocesses; i++) {
        sim_process_t *process = sim.processes[i];
        if (process->life == SIM_DEAD)
            continue;
        if (process->note && !process->asked)
            post(&to_core, &(message_t){.type = HP_MSG_ADOPT, .process = process}, soon());
        else
            signal_process(process, HP_MSG_SIGNAL_KILL);
    }
    post(&to_core, &(message_t){.type = HP_MSG_LISTEN}, soon());
}

void sim_watchdog_forget(void)
{
    forget(&to_core);
    forget(&to_watchdog);
    for (int i = 0; i < sim.nprocesses; i++) {
        sim_process_t *process = sim.processes[i];
        sim_event_clear(&process->life_event);
        sim_event_clear(&process->output_event);
        free(process->spec);
        free(process->note);
        free(process->pipe);
        free(process);
    }
    free(sim.processes);
    sim.processes = NULL;
    sim.nprocesses = 0;
}
