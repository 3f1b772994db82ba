#include "helper/process.h"
#include "apr-glue/log.h"
#include "helper/cause.h"
#include "helper/exhausted.h"
#include "helper/greeting.h"
#include "helper/head.h"
#include "helper/kind.h"
#include "helper/listens.h"
#include "helper/orders.h"
#include "helper/own_socket.h"
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_NEWS_LIMIT apr_time_from_sec(1) /* for the news that an unreachable process has simply ended */
#define FORK_LIMIT apr_time_from_sec(5) /* for a preloader to fork: 1 GiB takes 20 ms */
#define STACK_TIME   (apr_time_from_sec(1) / 5) /* for a process that hangs to write where it is */
#define STUCK_LIMIT  apr_time_from_sec(60) /* for the other requests in it */
#define FINISH_LIMIT apr_time_from_sec(60) /* for the application to end by itself, as Passenger's users know it */

static void transit(hp_process_t *process, hp_process_state_t to, const char *why)
{
    static const char *const names[] = {[HP_PROCESS_STARTING] = "starting", [HP_PROCESS_READY] = "ready", [HP_PROCESS_DRAINING] = "draining",
                                        [HP_PROCESS_ENDING] = "ending", [HP_PROCESS_GONE] = "gone"};

    assert(process->state < to || process->state == HP_PROCESS_STARTING);
    ag_log(AG_LOG_DEBUG, "PSG0100", "process %ld (%s): %s - %s -> %s", (long)process->pid, process->spec->app_root, names[process->state], why,
           names[to]);
    process->state = to;
    if (to >= HP_PROCESS_DRAINING && !process->leaving_since)
        process->leaving_since = ag_loop_now();
}

static void close_idle(hp_process_t *process)
{
    if (process->close_idle_links)
        process->close_idle_links(process);
}

void hp_process_fail(hp_process_t *process, const char *sentence, const char *details)
{
    apr_size_t len = strlen(sentence);

    if (process->failed)
        return;
    process->failed = 1;
    sentence = hp_choice_blame(&process->interpreter, sentence, process->p);
    /* A loader's message begins with the sentence, which need not be said twice. */
    if (details && strncmp(details, sentence, len) == 0 && details[len] == '\n')
        details += len + strspn(details + len, "\n");
    process->events->failed(process, sentence, details);
}

static void fail(hp_process_t *process, const char *sentence)
{
    hp_process_fail(process, sentence, hp_cause_details(process->error.bytes, process->words.bytes, process->p));
}

/* -- the start -- */

static void send_parameters(hp_process_t *process)
{
    apr_pool_t *ptemp;
    const char *all;

    apr_pool_create(&ptemp, process->p);
    all = hp_greeting_make(process->ctx, process->spec, process->id, process->may_preload, ptemp);
    /* A pipe takes 64 KiB without waiting, far more than this; a loader that is gone shows by its exit. */
    (void)!write(process->in, all, strlen(all));
    apr_pool_destroy(ptemp);
}

/* Whom the process belongs to is a question for the system, not for the process. */
static void look_up_user(hp_process_t *process)
{
    char path[32];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%ld", (long)process->pid);
    process->uid = stat(path, &st) == 0 ? st.st_uid : (uid_t)-1;
}

/* Of a start that failed; `pstatus` NULL: for want of time. */
static const char *why(const hp_process_t *process, const int *pstatus)
{
    hp_cause_facts_t facts = {.kind = process->spec->kind, .app_root = process->spec->app_root, .interpreter = process->interpreter.path,
                              .greeted = process->handshake.state > 0 || process->forked_by, .elsewhere = HP_LISTENS_ELSEWHERE,
                              .error = process->error.bytes, .words = process->words.bytes,
                              .words_cut = process->words.len + HP_OUTPUT_LINE > HP_OUTPUT_KEEP, .asked = process->stack_at != 0,
                              .stacks = process->stacks};

    if (process->doom)
        return process->doom;
    /* Who dies of the question where it is has had its time. */
    return pstatus && !process->stack_at ? hp_cause_of_end(&facts, *pstatus, process->p)
                                         : hp_cause_of_timeout(&facts, process->spec->options->start_timeout, process->p);
}

/* 1 if the time is over, and it will soon have said why. */
static int ask_where(hp_process_t *process)
{
    const hp_kind_t *kind = hp_kind_find(process->spec->kind);

    if (!kind || !kind->stacks || process->handshake.state == 0 || process->stack_at)
        return 0;
    process->stack_at = ag_loop_now();
    process->stacks = process->words.len;
    hp_orders_signal(process->ctx, process->id, HP_MSG_SIGNAL_STACK);
    ag_loop_timer_start(process->timer, STACK_TIME);
    return 1;
}

/* Takes the place of the socket that loaders are given, which such an application does not know. */
static void hold_socket(hp_process_t *process)
{
    const char *address = process->handshake.address;
    int fd = strncmp(address, "unix:", 5) == 0 ? hp_own_socket_open(address + 5, process->ctx->settings, process->id, process->uid) : -1;

    if (fd >= 0) {
        close(process->sock);
        process->sock = fd;
    }
}

static void on_ready(hp_process_t *process)
{
    ag_loop_timer_stop(process->timer);
    /* The watchdog holds the other copy, and closes it to end the process. */
    close(process->in);
    process->in = -1;
    hp_output_forget(&process->words);
    hp_output_forget(&process->page);
    process->concurrency = process->handshake.concurrency;
    if (process->spec->options->force_max_concurrent_requests_per_process >= 0)
        process->concurrency = process->spec->options->force_max_concurrent_requests_per_process;
    if (process->state != HP_PROCESS_STARTING || process->ended)
        return; /* it is being ended already, or these were its last words */
    transit(process, HP_PROCESS_READY, "handshake");
    process->last_used = ag_loop_now();
    process->noted = ~0UL;
    look_up_user(process);
    hold_socket(process);
    while (process->sticky_id == 0 && getrandom(&process->sticky_id, sizeof process->sticky_id, 0) > 0)
        process->sticky_id &= INT32_MAX;
    hp_process_note(process);
    process->events->ready(process);
}

/* One that does not start says why in the first lines; starts that fail again and again must not fill the disk. */
void hp_process_say(hp_process_t *process, const char *stream, const char *line, apr_size_t len, int more)
{
    ag_record_origin_t from = {process->spec->group, (long)process->pid, stream, process->ctx->settings->disable_log_prefix};

    if (process->state == HP_PROCESS_STARTING && process->logged > HP_OUTPUT_KEEP)
        return;
    process->logged += len + 1;
    if (process->state == HP_PROCESS_STARTING && process->logged > HP_OUTPUT_KEEP)
        ag_log(AG_LOG_WARN, "PSG0105", "app.output: process %ld of %s writes more than %d KiB while it starts; the rest of that is not logged",
               (long)process->pid, process->spec->app_root, HP_OUTPUT_KEEP / 1024);
    else if (process->log)
        process->log->line(process->log->baton, &from, line, len, more);
    else
        ag_log_output(&from, line, len, more);
}

static void keep_line(hp_process_t *process, const char *stream, const char *line, apr_size_t len, int more)
{
    if (process->state == HP_PROCESS_STARTING)
        hp_output_keep(&process->words, line, len);
    hp_process_say(process, stream, line, len, more);
    process->files_told = process->files_told || hp_exhausted_tell(process->spec, process->pid, line, len);
}

static void break_off(hp_process_t *process, const char *reason)
{
    process->handshake.reason = reason;
    fail(process, apr_psprintf(process->p, "spawn.protocol: %s", reason));
    hp_process_kill(process);
}

/* Of standard output, where the loader speaks too. */
static void on_stdout(void *baton, const char *line, apr_size_t len, int more)
{
    hp_process_t *process = baton;
    hp_handshake_event_t event = process->handshake.reason ? HP_HANDSHAKE_OUTPUT : hp_handshake_line(&process->handshake, line, len);
    int blank = process->blank;

    process->blank = 0;
    switch (event) {
    case HP_HANDSHAKE_NOTHING:
        return;
    case HP_HANDSHAKE_INTERPRETER:
        hp_choice_take(&process->interpreter, &(hp_choice_line_t){process->handshake.text, process->handshake.text_len, process->pid,
                                                                  process->spec->app_root}, process->p);
        return;
    case HP_HANDSHAKE_PAGE:
    case HP_HANDSHAKE_PAGE_CONTINUED:
        hp_page_take(&process->page, process->handshake.text, process->handshake.text_len, event == HP_HANDSHAKE_PAGE_CONTINUED);
        return;
    case HP_HANDSHAKE_GREETED:
        send_parameters(process);
        return;
    case HP_HANDSHAKE_READY:
        if (process->handshake.preloader && !process->may_preload)
            break_off(process, "the loader became a preloader, which it was not asked to");
        else
            on_ready(process);
        return;
    case HP_HANDSHAKE_BAD:
        break_off(process, process->handshake.reason);
        return;
    case HP_HANDSHAKE_ERROR_TEXT:
        hp_output_keep(&process->error, line, len);
        hp_process_say(process, "stdout", line, len, more);
        return;
    case HP_HANDSHAKE_OUTPUT:
        break;
    }
    if (blank)
        keep_line(process, "stdout", "", 0, 0);
    /* Before a loader's line an empty one only ends what the application has printed of a line. */
    process->blank = len == 0 && event == HP_HANDSHAKE_OUTPUT && process->state == HP_PROCESS_STARTING;
    if (!process->blank)
        keep_line(process, "stdout", line, len, more);
}

static void on_stderr(void *baton, const char *line, apr_size_t len, int more)
{
    keep_line(baton, "stderr", line, len, more);
}

/* It can be ordered again; whatever comes of the order that was given concerns nobody any more. */
static void be_unborn(hp_process_t *process, const char *sentence)
{
    ag_loop_timer_stop(process->timer);
    apr_hash_set(process->ctx->processes, &process->id, sizeof process->id, NULL);
    process->id = 0;
    process->events->unborn(process, sentence);
}

static void vanish(hp_process_t *process, const char *why)
{
    transit(process, HP_PROCESS_GONE, why);
    process->events->gone(process);
    hp_process_release(process);
}

static void on_timer(void *baton)
{
    hp_process_t *process = baton;

    if (process->id == 0) {
        vanish(process, "never ordered");
        return;
    }
    if (process->state == HP_PROCESS_STARTING && process->forked_by && process->pid == 0) {
        hp_orders_signal(process->ctx, process->id, HP_MSG_SIGNAL_KILL);
        be_unborn(process, "preloader.unresponsive: the preloader has not forked a process in time");
        return;
    }
    if (process->state == HP_PROCESS_STARTING && ask_where(process))
        return;
    if (process->state == HP_PROCESS_STARTING)
        fail(process, why(process, NULL));
    else if (process->suspect && process->state == HP_PROCESS_DRAINING && !process->answered)
        fail(process, "app.unreachable: the application said that it is ready, but takes no connections");
    else if (process->suspect && process->state == HP_PROCESS_DRAINING)
        ag_log(AG_LOG_ERROR, "PSG0104", "app.unreachable: process %ld of %s takes no connections; it is replaced", (long)process->pid,
               process->spec->app_root);
    else if (process->stuck && process->state == HP_PROCESS_DRAINING)
        ag_log(process->in_flight > 0 ? AG_LOG_ERROR : AG_LOG_INFO, "PSG0157", "app.stuck: process %ld of %s is killed, inflight=%d",
               (long)process->pid, process->spec->app_root, process->in_flight);
    else
        ag_log(AG_LOG_WARN, "PSG0101", "app.kill_forced: process %ld of %s did not end by itself", (long)process->pid, process->spec->app_root);
    hp_process_kill(process);
}

static void take_id(hp_process_t *process, uint64_t id)
{
    process->id = id;
    apr_hash_set(process->ctx->processes, &process->id, sizeof process->id, process);
}

static hp_process_t *make(hp_context_t *ctx, apr_pool_t *p, const hp_spec_t *spec)
{
    hp_process_t *process = apr_pcalloc(p, sizeof *process);

    process->p = p;
    process->ctx = ctx;
    process->spec = spec;
    process->generation = spec->generation;
    process->uid = (uid_t)-1;
    TAILQ_INIT(&process->work);
    process->in = process->sock = process->out.fd = process->err.fd = -1;
    process->started = process->last_used = ag_loop_now();
    process->timer = ag_loop_timer_create(ctx->loop, on_timer, process);
    LIST_INIT(&process->idle_links);
    return process;
}

hp_process_t *hp_process_find(hp_context_t *ctx, uint64_t id)
{
    return apr_hash_get(ctx->processes, &id, sizeof id);
}

hp_process_t *hp_process_create(hp_context_t *ctx, apr_pool_t *p, const hp_spec_t *spec, void *group, const hp_process_events_t *events)
{
    hp_process_t *process = make(ctx, p, spec);

    process->group = group;
    process->events = events;
    return process;
}

void hp_process_order(hp_process_t *process, const hp_process_t *preloader)
{
    assert(process->state == HP_PROCESS_STARTING && process->id == 0);
    take_id(process, process->ctx->next_id++);
    process->forked_by = preloader ? preloader->id : 0;
    if (preloader) {
        hp_choice_copy(&process->interpreter, &preloader->interpreter, process->p);
        hp_orders_fork(process->ctx, process->id, preloader->id, process->spec);
    } else {
        hp_orders_spawn(process->ctx, process->id, process->may_preload, process->spec);
    }
    ag_loop_timer_start(process->timer, preloader ? FORK_LIMIT : apr_time_from_sec(process->spec->options->start_timeout));
}

static void take_fds(hp_process_t *process, const int fds[HP_MSG_FDS])
{
    process->in = fds[0];
    process->sock = fds[2];
    hp_output_open(&process->out, process->ctx->loop, fds[1], on_stdout, process, process->p);
    hp_output_open(&process->err, process->ctx->loop, fds[3], on_stderr, process, process->p);
}

hp_process_t *hp_process_adopt(hp_context_t *ctx, apr_pool_t *p, hp_process_heritage_t *found)
{
    hp_process_t *process = make(ctx, p, found->spec);
    ag_frame_reader_t *note = &found->note;
    const char *address = ag_frame_get_str(note);

    take_id(process, found->id);
    process->pid = found->pid;
    process->handshake.protocol = (hp_handshake_protocol_t)ag_frame_get_u32(note);
    process->concurrency = (int)ag_frame_get_u32(note);
    process->requests = (unsigned long)ag_frame_get_u64(note);
    process->sticky_id = ag_frame_get_u32(note);
    process->restart_stamp = ag_frame_get_u64(note);
    process->handshake.preloader = (int)ag_frame_get_u32(note);
    process->forked_by = ag_frame_get_u64(note);
    hp_choice_get(note, &process->interpreter);
    look_up_user(process);
    take_fds(process, found->fds);
    close(process->in);
    process->in = -1;
    if (ag_frame_end(note) != APR_SUCCESS || !address || strlen(address) >= sizeof process->handshake.address) {
        process->state = HP_PROCESS_GONE;
        hp_process_release(process);
        return NULL;
    }
    /* From here on it is as if we had seen its handshake. */
    apr_cpystrn(process->handshake.address, address, sizeof process->handshake.address);
    hold_socket(process);
    process->handshake.reason = "over";
    process->state = HP_PROCESS_READY;
    return process;
}

void hp_process_spawned(hp_process_t *process, pid_t pid, const int fds[HP_MSG_FDS])
{
    process->pid = pid;
    take_fds(process, fds);
    if (process->forked_by) /* that went quickly; the rest may take as long as any start */
        ag_loop_timer_start(process->timer, apr_time_from_sec(process->spec->options->start_timeout));
    if (process->state == HP_PROCESS_ENDING)
        hp_orders_signal(process->ctx, process->id, HP_MSG_SIGNAL_KILL);
}

void hp_process_refused(hp_process_t *process, const char *sentence)
{
    sentence = apr_pstrdup(process->p, sentence);
    if (process->forked_by && process->state == HP_PROCESS_STARTING) {
        be_unborn(process, sentence);
        return;
    }
    if (process->state == HP_PROCESS_STARTING)
        process->refused = 1, fail(process, sentence);
    vanish(process, "refused");
}

/* -- the end -- */

static void log_end(const hp_process_t *process, int status)
{
    const char *root = process->spec->app_root;

    if (WIFSIGNALED(status))
        ag_log(AG_LOG_ERROR, "PSG0102", "app.exited: process %ld of %s ended by signal=%d (%s), inflight=%d", (long)process->pid, root,
               WTERMSIG(status), strsignal(WTERMSIG(status)), process->in_flight);
    else
        ag_log(AG_LOG_ERROR, "PSG0103", "app.exited: process %ld of %s ended by itself, code=%d, inflight=%d", (long)process->pid, root,
               WEXITSTATUS(status), process->in_flight);
}

void hp_process_exited(hp_process_t *process, int status)
{
    process->ended = 1;
    /* Its last words may still be in the pipe: the message about its end came another way (the two have no order). */
    hp_output_drain(&process->err);
    hp_output_drain(&process->out);
    if (process->state == HP_PROCESS_STARTING)
        fail(process, why(process, &status));
    process->crashed = process->state != HP_PROCESS_ENDING;
    if (process->crashed && !process->failed && !process->ctx->stopping) /* else everybody is told to end */
        log_end(process, status);
    vanish(process, "exited");
}

static void finish(hp_process_t *process)
{
    const hp_kind_t *kind = hp_kind_find(process->spec->kind);

    close_idle(process);
    transit(process, HP_PROCESS_ENDING, "finished");
    hp_orders_signal(process->ctx, process->id, kind && kind->leave ? kind->leave : HP_MSG_SIGNAL_FINISH);
    ag_loop_timer_start(process->timer, FINISH_LIMIT);
}

int hp_process_free(const hp_process_t *process)
{
    return process->state == HP_PROCESS_READY && process->oob < HP_PROCESS_OOB_CLEARING &&
           (process->concurrency == 0 || process->in_flight - process->apart < process->concurrency);
}

void hp_process_begin(hp_process_t *process, hp_process_work_t *work)
{
    assert(hp_process_free(process));
    TAILQ_INSERT_TAIL(&process->work, work, entry);
    work->since = ag_loop_now();
    process->in_flight++;
    process->requests++;
}

/* Tunnels may last for ever. */
static void cut_tunnels(const hp_process_t *process)
{
    hp_process_work_t *work;

    if (process->state != HP_PROCESS_DRAINING || process->in_flight > process->cuttable)
        return;
    TAILQ_FOREACH (work, &process->work, entry)
        work->cut(work);
}

void hp_process_tunnel(hp_process_t *process, hp_process_work_t *work, void (*cut)(hp_process_work_t *work))
{
    work->tunnel = 1;
    work->cut = cut;
    process->cuttable += cut != NULL;
    process->apart += work->apart;
    cut_tunnels(process);
    if (work->apart && process->state == HP_PROCESS_READY)
        process->events->back(process);
}

static void end_stuck(hp_process_t *process)
{
    ag_loop_timer_start(process->timer, process->stack_at ? process->stack_at + STACK_TIME - ag_loop_now() : 0);
}

void hp_process_end(hp_process_t *process, hp_process_work_t *work)
{
    assert(process->in_flight > 0);
    TAILQ_REMOVE(&process->work, work, entry);
    process->in_flight--;
    process->cuttable -= work->cut != NULL;
    process->apart -= work->apart;
    process->last_used = ag_loop_now();
    cut_tunnels(process);
    if (process->state == HP_PROCESS_DRAINING && process->in_flight == 0 && process->stuck)
        end_stuck(process);
    else if (process->state == HP_PROCESS_DRAINING && process->in_flight == 0 && !process->suspect)
        finish(process);
    hp_process_release(process);
}

const char *hp_process_work_value(const hp_process_work_t *work, const char *name)
{
    const char *value = work->pairs ? hp_head_pair(work->pairs, work->pairs_len, name) : NULL;

    return value ? value : "";
}

void hp_process_retire(hp_process_t *process)
{
    if (process->state == HP_PROCESS_STARTING) {
        hp_process_kill(process);
        return;
    }
    if (process->state != HP_PROCESS_READY)
        return;
    transit(process, HP_PROCESS_DRAINING, "retired");
    cut_tunnels(process);
    if (process->in_flight == 0)
        finish(process);
}

void hp_process_suspect(hp_process_t *process)
{
    if (process->state != HP_PROCESS_READY)
        return;
    process->suspect = 1;
    transit(process, HP_PROCESS_DRAINING, "unreachable");
    ag_loop_timer_start(process->timer, EXIT_NEWS_LIMIT);
}

void hp_process_stuck(hp_process_t *process)
{
    const hp_kind_t *kind = hp_kind_find(process->spec->kind);

    if (process->stuck || (process->state != HP_PROCESS_READY && process->state != HP_PROCESS_DRAINING))
        return;
    process->stuck = 1;
    if (process->state == HP_PROCESS_READY)
        transit(process, HP_PROCESS_DRAINING, "stuck");
    cut_tunnels(process);
    close_idle(process);
    if (kind && kind->stacks) {
        hp_orders_signal(process->ctx, process->id, HP_MSG_SIGNAL_STACK);
        process->stack_at = ag_loop_now();
    }
    if (process->in_flight > 0)
        ag_loop_timer_start(process->timer, STUCK_LIMIT);
    else
        end_stuck(process);
}

void hp_process_kill(hp_process_t *process)
{
    if (process->state == HP_PROCESS_GONE)
        return;
    if (process->state != HP_PROCESS_ENDING)
        transit(process, HP_PROCESS_ENDING, "killed");
    close_idle(process);
    ag_loop_timer_stop(process->timer);
    if (process->id == 0)
        ag_loop_timer_start(process->timer, 0); /* as with all others, the news of its end comes later */
    else
        hp_orders_signal(process->ctx, process->id, HP_MSG_SIGNAL_KILL);
}

void hp_process_note(hp_process_t *process)
{
    apr_pool_t *ptemp;
    ag_frame_t *note;

    if (process->state != HP_PROCESS_READY || process->noted == process->requests)
        return;
    process->noted = process->requests;
    apr_pool_create(&ptemp, process->p);
    note = ag_frame_create(ptemp, HP_MSG_NOTE);
    ag_frame_put_str(note, process->handshake.address);
    ag_frame_put_u32(note, (uint32_t)process->handshake.protocol);
    ag_frame_put_u32(note, (uint32_t)process->concurrency);
    ag_frame_put_u64(note, process->requests);
    ag_frame_put_u32(note, process->sticky_id);
    ag_frame_put_u64(note, process->restart_stamp);
    ag_frame_put_u32(note, (uint32_t)process->handshake.preloader);
    ag_frame_put_u64(note, process->forked_by);
    hp_choice_put(note, &process->interpreter);
    hp_orders_note(process->ctx, process->id, note);
    apr_pool_destroy(ptemp);
}

void hp_process_release(hp_process_t *process)
{
    if (process->state != HP_PROCESS_GONE || process->in_flight > 0)
        return;
    close_idle(process);
    if (process->nlinks > 0)
        return;
    ag_loop_timer_destroy(&process->timer);
    if (process->in >= 0)
        close(process->in);
    if (process->sock >= 0)
        close(process->sock);
    hp_output_close(&process->out);
    hp_output_close(&process->err);
    hp_output_forget(&process->words);
    hp_output_forget(&process->error);
    hp_output_forget(&process->page);
    apr_hash_set(process->ctx->processes, &process->id, sizeof process->id, NULL);
    apr_pool_destroy(process->p);
}
