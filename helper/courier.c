#include "helper/courier.h"
#include "apr-glue/log.h"
#include "apr-glue/sock.h"
#include "helper/spec.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE  apr_time_from_sec(20) /* for an answer, a porter's start included; file systems of other machines may hang */
#define TRY_AGAIN apr_time_from_sec(1)  /* after a porter that did not start */

struct hp_courier_t {
    hp_context_t *ctx;
    const hp_config_t *config;
    hp_process_t *porter; /* starting, or ready */
    apr_uint64_t spawn_digest; /* of the configuration that it was started with */
    apr_time_t next_try;
    TAILQ_HEAD(, hp_courier_ask_t) asks;
};

static void on_ready(hp_process_t *porter);
static void on_failed(hp_process_t *porter, const char *sentence, const char *details);
static void on_gone(hp_process_t *porter);
static void nothing(hp_process_t *porter)
{
    (void)porter;
}
static void no_failure(hp_process_t *porter, const char *sentence, const char *details)
{
    (void)porter;
    (void)sentence;
    (void)details;
}

static void no_reason(hp_process_t *porter, const char *sentence)
{
    (void)porter;
    (void)sentence;
}

static const hp_process_events_t events = {on_ready, on_failed, on_gone, nothing, no_reason};
static const hp_process_events_t nobodys = {nothing, no_failure, nothing, nothing, no_reason};

static void let_go(hp_process_t *porter)
{
    porter->events = &nobodys;
    porter->group = NULL;
    hp_process_retire(porter);
}

static void part(hp_courier_t *courier)
{
    hp_process_t *porter = courier->porter;

    courier->porter = NULL;
    if (porter)
        let_go(porter);
}

/* -- answers -- */

void hp_courier_forget(hp_courier_ask_t *ask)
{
    if (!ask->courier)
        return;
    TAILQ_REMOVE(&ask->courier->asks, ask, entry);
    ask->courier = NULL;
    ag_loop_timer_destroy(&ask->timer);
    ag_loop_io_destroy(&ask->io);
    if (ask->fd >= 0)
        close(ask->fd);
    ask->fd = -1;
}

static void finish(hp_courier_ask_t *ask, char answer, int fd, const char *sentence)
{
    const char *group = ask->courier->config->name;

    if (answer != HP_PORTER_OPEN)
        ag_log(answer == HP_PORTER_FAILED ? AG_LOG_ERROR : AG_LOG_WARN, "PSG2200",
               "app.file: %s: the response names the file %s, which is not sent: %s", group, ask->name, sentence);
    hp_courier_forget(ask);
    ask->done(ask, answer, fd);
}

/* The other end runs as the application's user: it is believed nothing. What a descriptor is can be seen. */
static int is_sound(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY && !(flags & O_PATH) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void on_answer(void *baton, int events_seen)
{
    hp_courier_ask_t *ask = baton;
    char said[HP_PORTER_ANSWER_MAX + 1];
    int fds[AG_SOCK_MAX_FDS], nfds = 0;
    apr_size_t len = 0;
    apr_status_t rv = ag_sock_recv(ask->fd, said, sizeof said - 1, &len, fds, &nfds);

    (void)events_seen;
    if (APR_STATUS_IS_EAGAIN(rv) || rv == EINTR)
        return;
    said[len] = '\0';
    if (rv != APR_SUCCESS || len == 0)
        finish(ask, HP_PORTER_FAILED, -1, rv == EMFILE ? "the helper has no descriptor left" : "the process that opens files ended");
    else if (said[0] == HP_PORTER_MISSING || said[0] == HP_PORTER_REFUSED || said[0] == HP_PORTER_FAILED)
        finish(ask, said[0], -1, said + 1);
    else if (said[0] == HP_PORTER_OPEN && nfds == 1 && is_sound(fds[0]))
        finish(ask, HP_PORTER_OPEN, fds[0], "");
    else
        finish(ask, HP_PORTER_FAILED, -1, "the process that opens files answered nonsense");
    for (int i = 0; i < nfds; i++)
        close(fds[i]);
}

static void on_late(void *baton)
{
    finish(baton, HP_PORTER_FAILED, -1, "its file system did not answer in time, or the system has no room for another process");
}

/* -- questions -- */

static void ask_porter(hp_courier_ask_t *ask)
{
    hp_process_t *porter = ask->courier->porter;
    apr_status_t rv;

    rv = ag_sock_connect_fd(&ask->fd, porter->sock, 1);
    if (rv != APR_SUCCESS) {
        ask->fd = -1;
        if (rv == ECONNREFUSED)
            return; /* it is ending; its successor is asked */
        finish(ask, HP_PORTER_FAILED, -1, "the process that opens files cannot be reached");
        return;
    }
    (void)!send(ask->fd, &ask->kind, 1, MSG_NOSIGNAL | MSG_MORE);
    (void)!send(ask->fd, ask->name, strlen(ask->name), MSG_NOSIGNAL);
    shutdown(ask->fd, SHUT_WR);
    ask->io = ag_loop_io_create(ask->courier->ctx->loop, ask->fd, AG_LOOP_READ, on_answer, ask);
}

static void start_porter(hp_courier_t *courier)
{
    const hp_config_t *config = courier->config;
    hp_spec_t spec = {.group = config->name, .app_root = config->app_root, .kind = config->kind, .startup_file = config->startup_file,
                      .base_uri = config->base_uri, .author = config->author, .options = config->options, .errand = HP_SPEC_PORTER};
    apr_pool_t *p;

    courier->spawn_digest = config->spawn_digest;
    apr_pool_create(&p, courier->ctx->p);
    courier->porter = hp_process_create(courier->ctx, p, hp_spec_copy(&spec, p), courier, &events);
    hp_process_order(courier->porter, NULL);
}

void hp_courier_fetch(hp_courier_t *courier, hp_courier_ask_t *ask)
{
    ask->courier = courier;
    ask->fd = -1;
    ask->io = NULL;
    ask->timer = ag_loop_timer_create(courier->ctx->loop, on_late, ask);
    ag_loop_timer_start(ask->timer, PATIENCE);
    TAILQ_INSERT_TAIL(&courier->asks, ask, entry);
    if (courier->porter && courier->spawn_digest != courier->config->spawn_digest)
        part(courier);
    if (courier->porter && courier->porter->state == HP_PROCESS_READY)
        ask_porter(ask);
    else if (!courier->porter && (courier->ctx->stopping || ag_loop_now() < courier->next_try))
        finish(ask, HP_PORTER_FAILED, -1, "the process that opens files does not start");
    else if (!courier->porter)
        start_porter(courier);
}

/* -- the porter -- */

static void on_ready(hp_process_t *porter)
{
    hp_courier_t *courier = porter->group;
    hp_courier_ask_t *ask, *next;

    for (ask = TAILQ_FIRST(&courier->asks); ask; ask = next) {
        next = TAILQ_NEXT(ask, entry);
        if (ask->fd < 0)
            ask_porter(ask);
    }
}

static void on_failed(hp_process_t *porter, const char *sentence, const char *details)
{
    hp_courier_t *courier = porter->group;
    hp_courier_ask_t *ask;

    (void)details;
    porter->events = &nobodys;
    courier->porter = NULL;
    courier->next_try = ag_loop_now() + TRY_AGAIN;
    while ((ask = TAILQ_FIRST(&courier->asks)))
        finish(ask, HP_PORTER_FAILED, -1, sentence);
}

static void on_gone(hp_process_t *porter)
{
    hp_courier_t *courier = porter->group;

    courier->porter = NULL;
    if (!TAILQ_EMPTY(&courier->asks) && !courier->ctx->stopping)
        start_porter(courier);
}

/* -- life -- */

hp_courier_t *hp_courier_create(hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p)
{
    hp_courier_t *courier = apr_pcalloc(p, sizeof *courier);

    courier->ctx = ctx;
    courier->config = config;
    TAILQ_INIT(&courier->asks);
    return courier;
}

void hp_courier_adopt(hp_courier_t *courier, hp_process_t *porter)
{
    (void)courier;
    let_go(porter);
}

void hp_courier_rest(hp_courier_t *courier, int running)
{
    if (!running && TAILQ_EMPTY(&courier->asks))
        part(courier);
}

void hp_courier_destroy(hp_courier_t **pcourier)
{
    if (*pcourier)
        part(*pcourier);
    *pcourier = NULL;
}
