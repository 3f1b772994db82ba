#include "helper/applog.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "apr-glue/sock.h"
#include "helper/flood.h"
#include "helper/spec.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAITING_MAX (4 * 1024 * 1024)
#define WAITING_KEEP (64 * 1024) /* that is not given back when nothing waits */
#define TRY_AGAIN   apr_time_from_sec(10) /* after a file that could not be written */

struct hp_applog_t {
    hp_output_log_t log;
    hp_context_t *ctx;
    apr_pool_t *p;
    const hp_config_t *config;
    hp_process_t *scribe; /* starting, or ready */
    int fd;               /* to it; -1: none */
    ag_loop_io_t *io;
    char *waiting; /* from `at` to `len`: whole lines, but for what the scribe has taken of the first */
    apr_size_t at, len, size;
    unsigned long lost;
    ag_log_rate_t lost_rate;
    apr_time_t next_try; /* until then lines go to the server's log; 0: they do not */
    hp_flood_t flood;
    ag_loop_timer_t *flood_timer; /* NULL until needed */
    char *failed_path;   /* what could not be written then; malloc'ed, or NULL */
};

static void on_ready(hp_process_t *scribe);
static void on_failed(hp_process_t *scribe, const char *sentence, const char *details);
static void on_gone(hp_process_t *scribe);
static void nothing(hp_process_t *scribe)
{
    (void)scribe;
}
static void no_failure(hp_process_t *scribe, const char *sentence, const char *details)
{
    (void)scribe;
    (void)sentence;
    (void)details;
}

static void no_reason(hp_process_t *scribe, const char *sentence)
{
    (void)scribe;
    (void)sentence;
}

static const hp_process_events_t events = {on_ready, on_failed, on_gone, nothing, no_reason};
static const hp_process_events_t nobodys = {nothing, no_failure, nothing, nothing, no_reason};

/* NULL: the server's log. In a container, whose streams that is, it goes by their names, which lead to nothing for an application's user. */
static const char *wanted(const hp_applog_t *log)
{
    static const char *const streams[] = {"", "/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1", "/proc/self/fd/2"};
    const char *path = log->config->options->app_log_file;

    for (apr_size_t i = 0; path && i < AG_LEN(streams); i++) {
        if (strcmp(path, streams[i]) == 0)
            return NULL;
    }
    return path;
}

static void disconnect(hp_applog_t *log)
{
    ag_loop_io_destroy(&log->io);
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

static void forget(hp_applog_t *log)
{
    log->at = log->len = 0;
    if (log->size <= WAITING_KEEP)
        return;
    free(log->waiting);
    log->waiting = NULL;
    log->size = 0;
}

/* What no file takes is not lost. */
static void give_up(hp_applog_t *log)
{
    for (char *at = log->waiting + log->at, *end; at < log->waiting + log->len; at = end + 1) {
        end = memchr(at, '\n', (apr_size_t)(log->waiting + log->len - at));
        ag_log_write(at, (apr_size_t)(end - at) + 1);
    }
    forget(log);
}

static void part(hp_applog_t *log)
{
    hp_process_t *scribe = log->scribe;

    disconnect(log);
    log->scribe = NULL;
    if (!scribe)
        return;
    scribe->events = &nobodys;
    scribe->group = NULL;
    hp_process_retire(scribe);
}

/* -- writing -- */

static void flush(hp_applog_t *log)
{
    ssize_t n = 0;

    while (log->at < log->len && (n = send(log->fd, log->waiting + log->at, log->len - log->at, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        log->at += (apr_size_t)n;
    if (log->at == log->len)
        forget(log);
    if (log->len > 0 && n < 0 && errno != EAGAIN && errno != EINTR)
        disconnect(log); /* it is dying; its successor gets the rest */
    else
        ag_loop_io_set(log->io, log->len > 0 ? AG_LOOP_WRITE : 0);
}

static void on_writable(void *baton, int events_seen)
{
    (void)events_seen;
    flush(baton);
}

static void connect_scribe(hp_applog_t *log)
{
    if (log->fd >= 0 || !log->scribe || log->scribe->state != HP_PROCESS_READY)
        return;
    if (ag_sock_connect_fd(&log->fd, log->scribe->sock, 1) != APR_SUCCESS) {
        log->fd = -1;
        return;
    }
    log->io = ag_loop_io_create(log->ctx->loop, log->fd, 0, on_writable, log);
    flush(log);
}

static void start_scribe(hp_applog_t *log)
{
    const hp_config_t *config = log->config;
    hp_spec_t spec = {.group = config->name, .app_root = config->app_root, .kind = config->kind, .startup_file = config->startup_file,
                      .base_uri = config->base_uri, .author = config->author, .options = config->options, .errand = HP_SPEC_SCRIBE};
    apr_pool_t *p;

    apr_pool_create(&p, log->ctx->p);
    log->scribe = hp_process_create(log->ctx, p, hp_spec_copy(&spec, p), log, &events);
    hp_process_order(log->scribe, NULL);
}

static void on_ready(hp_process_t *scribe)
{
    connect_scribe(scribe->group);
}

static void on_failed(hp_process_t *scribe, const char *sentence, const char *details)
{
    hp_applog_t *log = scribe->group;

    (void)details;
    ag_log(AG_LOG_ERROR, "PSG1900", "app.log: %s: %s The application's output goes to the server's log meanwhile", log->config->name, sentence);
    free(log->failed_path);
    log->failed_path = strdup(scribe->spec->options->app_log_file);
    log->next_try = ag_loop_now() + TRY_AGAIN;
    scribe->events = &nobodys;
    log->scribe = NULL;
    give_up(log);
}

static void on_gone(hp_process_t *scribe)
{
    hp_applog_t *log = scribe->group;

    disconnect(log);
    log->scribe = NULL;
    if (log->len > 0 && !log->ctx->stopping)
        start_scribe(log);
    else if (log->ctx->stopping)
        give_up(log);
}

static void keep(void *baton, const char *text, apr_size_t len)
{
    hp_applog_t *log = baton;

    if (log->at > 0 && log->len + len > log->size) {
        log->len -= log->at;
        memmove(log->waiting, log->waiting + log->at, log->len);
        log->at = 0;
    }
    if (log->len + len > WAITING_MAX) {
        const char *more = ag_log_due(&log->lost_rate, ag_loop_now());
        log->lost++;
        if (more)
            ag_log(AG_LOG_WARN, "PSG1901", "app.log_lost: %s: lines of output are lost, because %s is written too slowly%s", log->config->name,
                   wanted(log), more);
        return;
    }
    if (log->len + len > log->size) {
        log->size = (log->len + len) * 2;
        log->waiting = realloc(log->waiting, log->size);
        if (!log->waiting)
            ag_memory_out();
    }
    memcpy(log->waiting + log->len, text, len);
    log->len += len;
}

static void log_line(hp_applog_t *log, const ag_record_origin_t *from, const char *line, apr_size_t len, int more)
{
    const char *path = wanted(log);

    if (path && log->failed_path && (ag_loop_now() >= log->next_try || strcmp(path, log->failed_path) != 0)) {
        free(log->failed_path);
        log->failed_path = NULL;
    }
    if (!path || log->failed_path) {
        ag_log_output(from, line, len, more);
        return;
    }
    ag_log_make_lines(&(ag_log_output_t){from, line, len, more, log->ctx->settings->log_json & AG_SETTINGS_JSON_APPS}, keep, log);
    if (!log->scribe)
        start_scribe(log);
    else if (log->fd < 0)
        connect_scribe(log);
    else if (log->len > 0)
        flush(log);
}

/* -- more than is logged -- */

static void tell_flood(void *baton, unsigned long lost)
{
    const hp_applog_t *log = baton;

    ag_log(AG_LOG_WARN, "PSG2820", "app.flood: %s: %lu lines of output were left out: it prints more than a log can take (20,000 lines or 8 MiB a "
           "second, for long)", log->config->name, lost);
}

static ag_record_origin_t origin(const hp_applog_t *log, const ag_record_origin_t *from)
{
    return (ag_record_origin_t){log->config->name, from->pid, from->stream, log->ctx->settings->disable_log_prefix != 0};
}

static void give_flood(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len)
{
    ag_record_origin_t whole = origin(baton, from);

    log_line(baton, &whole, line, len, 0);
}

/* Who goes starts no scribe. */
static void give_flood_to_server(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len)
{
    ag_record_origin_t whole = origin(baton, from);

    ag_log_output(&whole, line, len, 0);
}

static void on_flood_over(void *baton)
{
    hp_applog_t *log = baton;

    hp_flood_end(&log->flood, &(hp_flood_end_t){tell_flood, give_flood, log});
}

static void take_line(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len, int more)
{
    hp_applog_t *log = baton;

    if (hp_flood_takes(&log->flood, from, line, len, ag_loop_now())) {
        log_line(log, from, line, len, more);
    } else if (log->flood.left_out == 1) {
        if (!log->flood_timer)
            log->flood_timer = ag_loop_timer_create(log->ctx->loop, on_flood_over, log);
        ag_loop_timer_start(log->flood_timer, apr_time_from_sec(1));
    }
}

/* -- life -- */

hp_applog_t *hp_applog_create(hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p)
{
    hp_applog_t *log = apr_pcalloc(p, sizeof *log);

    log->log = (hp_output_log_t){take_line, log};
    log->ctx = ctx;
    log->p = p;
    log->config = config;
    log->fd = -1;
    return log;
}

const hp_output_log_t *hp_applog_for(const hp_applog_t *log)
{
    return &log->log;
}

void hp_applog_adopt(hp_applog_t *log, hp_process_t *scribe)
{
    part(log);
    log->scribe = scribe;
    scribe->group = log;
    scribe->events = &events;
}

void hp_applog_rest(hp_applog_t *log, int running)
{
    const char *path = wanted(log);
    int other;

    if (!log->scribe || log->len > 0)
        return;
    other = !path || strcmp(path, log->scribe->spec->options->app_log_file) != 0;
    if (other || !running)
        part(log);
}

void hp_applog_destroy(hp_applog_t **plog)
{
    hp_applog_t *log = *plog;

    if (!log)
        return;
    *plog = NULL;
    ag_loop_timer_destroy(&log->flood_timer);
    hp_flood_end(&log->flood, &(hp_flood_end_t){tell_flood, give_flood_to_server, log});
    part(log);
    give_up(log);
    free(log->waiting);
    free(log->failed_path);
}
