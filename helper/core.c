#include "helper/core.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include "apr-glue/rights.h"
#include "apr-glue/text.h"
#include "helper/admin.h"
#include "helper/gate.h"
#include "helper/msg.h"
#include "helper/report.h"
#include "helper/request.h"
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define WATCHDOG_FD     3
#define STOP_LOOK       (apr_time_from_sec(1) / 50)
#define ORPHANED_LIMIT  apr_time_from_sec(60) /* without a watchdog, for requests in flight */

typedef struct {
    hp_context_t ctx;
    hp_pool_t *pool;
    hp_conn_server_t server;
    hp_admin_t *admin;
    apr_pool_t *settings_pool;
    hp_gate_t *gate;
    ag_loop_timer_t *stop_timer;
    apr_time_t stop_by; /* 0: no limit of our own */
} hp_core_t;

/* -- the end -- */

static void on_stop_timer(void *baton)
{
    hp_core_t *core = baton;

    hp_conn_drain(&core->server);
    if (core->server.nconns == 0 || (core->stop_by && ag_loop_now() > core->stop_by))
        ag_loop_stop(core->ctx.loop);
    else
        ag_loop_timer_start(core->stop_timer, STOP_LOOK);
}

/* Requests in flight are finished; what has not begun waits in the socket's backlog for whoever comes next. */
static void stop(hp_core_t *core)
{
    core->ctx.stopping = 1;
    hp_gate_close(core->gate);
    hp_admin_stop(core->admin);
    hp_pool_stopping(core->pool);
    on_stop_timer(core);
}

/* -- the watchdog -- */

static void tell_log(hp_core_t *core)
{
    ag_frame_t *f = ag_frame_create(core->settings_pool, HP_MSG_LOG);

    ag_frame_put_u32(f, core->ctx.settings->log_facility);
    ag_frame_put_u32(f, core->ctx.settings->log_json & AG_SETTINGS_JSON_SERVER);
    if (core->ctx.looker)
        hp_chan_send(core->ctx.looker, f, (int[]){2}, 1);
}

static void take_settings(hp_core_t *core, ag_frame_reader_t *in, const int *fds, int nfds)
{
    uint64_t next_id = ag_frame_get_u64(in);
    apr_size_t len;
    const void *bytes = ag_frame_get_bytes(in, &len);
    ag_frame_reader_t settings_in;
    ag_settings_t *settings;
    apr_pool_t *p, *old = core->settings_pool;

    if (nfds > 0)
        ag_log_share(fds[0]);
    apr_pool_create(&p, core->ctx.p);
    ag_frame_open(&settings_in, p, bytes, len);
    settings = ag_settings_get(&settings_in);
    if (ag_frame_end(in) != APR_SUCCESS || ag_frame_end(&settings_in) != APR_SUCCESS) {
        ag_log(AG_LOG_ERROR, "PSG0162", "core.settings: the watchdog's settings are not understood");
        apr_pool_destroy(p);
        return;
    }
    if (core->ctx.next_id < next_id)
        core->ctx.next_id = next_id;
    core->ctx.settings = settings;
    core->ctx.store.dir = settings->data_dir;
    core->settings_pool = p;
    ag_log_set_level((ag_log_level_t)settings->log_level);
    ag_log_set_facility((int)settings->log_facility);
    ag_log_set_json(settings->log_json & AG_SETTINGS_JSON_SERVER);
    tell_log(core);
    if (old)
        apr_pool_destroy(old);
    hp_pool_settings_changed(core->pool);
}

static void on_looker(void *baton, const char *data, apr_size_t len, const int *fds, int nfds)
{
    hp_core_t *core = baton;
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    uint32_t type;

    while (nfds > 0)
        close(fds[--nfds]); /* it has none to give */
    if (!data) {
        hp_chan_destroy(&core->ctx.looker); /* another is on its way */
        return;
    }
    apr_pool_create(&ptemp, core->ctx.p);
    type = ag_frame_open(&in, ptemp, data, len);
    if (type == HP_MSG_STATED)
        hp_pool_news(core->pool, type, &in, NULL, 0);
    apr_pool_destroy(ptemp);
}

static void take_message(hp_core_t *core, const char *data, apr_size_t len, const int *fds, int nfds)
{
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    uint32_t type;

    apr_pool_create(&ptemp, core->ctx.p);
    type = ag_frame_open(&in, ptemp, data, len);
    if (type == HP_MSG_SETTINGS) {
        take_settings(core, &in, fds, nfds);
    } else if (type == HP_MSG_LISTEN && nfds == 1) {
        hp_gate_open(core->gate, fds[0]);
        hp_chan_tell(core->ctx.watchdog, HP_MSG_HELLO);
    } else if (type == HP_MSG_LOOKER && nfds == 1) {
        hp_chan_destroy(&core->ctx.looker);
        core->ctx.looker = hp_chan_create(core->ctx.loop, fds[0], NULL, on_looker, core);
    } else if (type == HP_MSG_ADMIN && nfds == 1) {
        hp_admin_listen(core->admin, fds[0]);
    } else if (type == HP_MSG_PING) {
        hp_chan_tell(core->ctx.watchdog, HP_MSG_PONG);
    } else if (type == HP_MSG_STOP) {
        stop(core);
    } else if (!hp_pool_news(core->pool, type, &in, fds, nfds)) {
        ag_log(AG_LOG_ERROR, "PSG0163", "core.protocol: message %x of the watchdog is not understood", (unsigned)type);
    }
    apr_pool_destroy(ptemp);
}

static void on_watchdog(void *baton, const char *data, apr_size_t len, const int *fds, int nfds)
{
    hp_core_t *core = baton;

    if (data) {
        take_message(core, data, len, fds, nfds);
        return;
    }
    if (core->ctx.stopping)
        return;
    ag_log(AG_LOG_ERROR, "PSG0164", "watchdog.died: requests in flight are finished, then this core ends");
    core->stop_by = ag_loop_now() + ORPHANED_LIMIT;
    stop(core);
}

/* -- birth -- */

static const char *own_folder(apr_pool_t *p)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return apr_pstrdup(p, path);
}

int hp_core_run(const char *uid, const char *gid)
{
    hp_core_t *core;
    apr_pool_t *p;

    ag_child_ignore_signals();
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is like a full disk */
    apr_pool_create(&p, NULL);
    core = apr_pcalloc(p, sizeof *core);
    core->ctx.p = p;
    core->ctx.data_dir = own_folder(p); /* while /proc/self is ours to read */
    if (!ag_rights_give_up((uid_t)strtoul(uid, NULL, 10), (gid_t)strtoul(gid, NULL, 10))) {
        ag_log(AG_LOG_ERROR, "PSG0165", "core.user: cannot become user %s, group %s", uid, gid);
        return 1;
    }
    hp_report_template(apr_pstrcat(p, core->ctx.data_dir, "/errors", NULL), p);
    core->ctx.loop = ag_loop_create(p);
    core->ctx.core_id = ag_text_random(p, 16);
    core->ctx.marks = apr_palloc(p, sizeof *core->ctx.marks);
    if (ag_marks_create(core->ctx.marks) != APR_SUCCESS)
        core->ctx.marks = NULL; /* what is in here when we die is not asked for again */
    core->ctx.next_id = 1;
    core->ctx.processes = apr_hash_make(p);
    hp_spool_store_init(&core->ctx.store, "/tmp"); /* until the settings are here, a moment from now */
    core->ctx.bulk = hp_bulk_create(p);
    core->ctx.scratch = apr_palloc(p, HP_CONTEXT_SCRATCH);
    core->ctx.head = apr_pcalloc(p, sizeof *core->ctx.head);
    if (!core->ctx.loop || getrandom(core->ctx.key, sizeof core->ctx.key, 0) != sizeof core->ctx.key)
        return 1;
    core->ctx.reserve = hp_reserve_create(p);
    core->ctx.watchdog = hp_chan_create(core->ctx.loop, WATCHDOG_FD, core->ctx.reserve, on_watchdog, core);
    core->pool = hp_pool_create(&core->ctx);
    core->server.ctx = &core->ctx;
    core->server.handler = &hp_request_handler;
    core->server.baton = core->pool;
    LIST_INIT(&core->server.conns);
    core->admin = hp_admin_create(&core->ctx, &(hp_endpoint_t){core->pool, &core->server, ag_loop_now()});
    core->gate = hp_gate_create(&core->server);
    core->stop_timer = ag_loop_timer_create(core->ctx.loop, on_stop_timer, core);
    ag_loop_run(core->ctx.loop);
    return 0;
}
