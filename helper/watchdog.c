#include "helper/watchdog.h"
#include "apr-glue/build.h"
#include "apr-glue/log.h"
#include "apr-glue/parcel.h"
#include "apr-glue/settings.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/apps.h"
#include "helper/doors.h"
#include "helper/msg.h"
#include "helper/parent.h"
#include "helper/prestart.h"
#include "helper/pulse.h"
#include "helper/rights.h"
#include "helper/upgrade.h"
#include "helper/ward.h"
#include <apr_strings.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define RELOAD_LIMIT        apr_time_from_sec(60)
#define STOP_REQUESTS_LIMIT apr_time_from_sec(2) /* for requests in flight */
#define STOP_APPS_LIMIT     apr_time_from_sec(3) /* between TERM and KILL */
#define LEAVE_LIMIT         apr_time_from_sec(1) /* for what was killed to be gone */
#define LEAVE_LOOK          (apr_time_from_sec(1) / 100)
#define LOOK_INTERVAL       apr_time_from_sec(1) /* at the instance directory */
#define RELOAD_SETTLE       apr_time_from_sec(1) /* until Apache's children are those of the new configuration */

typedef enum { RUNNING, STOPPING_CORE, STOPPING_APPS, LEAVING } phase_t;

typedef struct {
    apr_pool_t *p;
    ag_loop_t *loop;
    ag_loop_io_t *ctl;
    hp_instance_t *instance;
    hp_apps_t *apps;
    hp_upgrade_file_t self;
    hp_prestart_t *prestart;
    int prestarted; /* since this program was started */
    phase_t phase;
    apr_time_t leave_by;
    hp_doors_t doors;
    int announced; /* the Apache parent knows that we are ready */

    ag_settings_t *settings; /* lives in settings_pool, as do the bytes */
    apr_pool_t *settings_pool;
    const char *settings_bytes;
    apr_size_t settings_len;

    uid_t core_uid;
    gid_t core_gid;
    hp_reserve_t *reserve;
    hp_ward_t *core_ward, *looker_ward;
    hp_chan_t *core;
    hp_pulse_t pulse; /* of the core */

    ag_loop_timer_t *look, *stop_timer, *reload_timer;
} hp_watchdog_t;

static int give_up(const char *sentence)
{
    ag_log(AG_LOG_ERROR, "PSG0010", "helper.failed: %s", sentence);
    hp_parent_tell(AG_CTL_FAILED, sentence, -1);
    return 1;
}

/* -- settings -- */

static apr_status_t take_settings(hp_watchdog_t *w, const char *data, apr_size_t len)
{
    apr_pool_t *p;
    ag_frame_reader_t in;
    ag_settings_t *settings;
    apr_status_t rv;

    apr_pool_create(&p, w->p);
    ag_frame_open(&in, p, data, len);
    settings = ag_settings_get(&in);
    rv = ag_frame_end(&in);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    if (w->settings_pool)
        apr_pool_destroy(w->settings_pool);
    w->settings_pool = p;
    w->settings = settings;
    w->settings_bytes = apr_pmemdup(p, data, len);
    w->settings_len = len;
    ag_log_set_level((ag_log_level_t)settings->log_level);
    ag_log_set_facility((int)settings->log_facility);
    ag_log_set_json(settings->log_json & AG_SETTINGS_JSON_SERVER);
    return APR_SUCCESS;
}

static void send_settings(hp_watchdog_t *w)
{
    apr_pool_t *ptemp;
    ag_frame_t *f;

    if (!w->core)
        return;
    apr_pool_create(&ptemp, w->p);
    f = ag_frame_create(ptemp, HP_MSG_SETTINGS);
    ag_frame_put_u64(f, hp_apps_next_id(w->apps));
    ag_frame_put_bytes(f, w->settings_bytes, w->settings_len);
    hp_chan_send(w->core, f, (int[]){2}, 1);
    apr_pool_destroy(ptemp);
}

static void send_fd(hp_watchdog_t *w, uint32_t type, int fd)
{
    apr_pool_t *ptemp;

    if (!w->core)
        return;
    apr_pool_create(&ptemp, w->p);
    hp_chan_send(w->core, ag_frame_create(ptemp, type), &fd, 1);
    apr_pool_destroy(ptemp);
}

/* -- ending -- */

/* Who is ended may have had children, which are ours then; so until there is nobody. */
static void leave(hp_watchdog_t *w)
{
    if (hp_apps_kill_all(w->apps) > 0 && ag_loop_now() < w->leave_by) {
        ag_loop_timer_start(w->stop_timer, LEAVE_LOOK);
        return;
    }
    hp_instance_remove(w->instance);
    ag_loop_stop(w->loop);
}

static void end_when_empty(void *baton)
{
    hp_watchdog_t *w = baton;

    if (w->phase != STOPPING_APPS || hp_apps_count(w->apps) > 0)
        return;
    w->phase = LEAVING;
    w->leave_by = ag_loop_now() + LEAVE_LIMIT;
    leave(w);
}

static void stop_apps(hp_watchdog_t *w)
{
    if (w->phase == STOPPING_APPS) {
        hp_apps_signal_all(w->apps, HP_MSG_SIGNAL_KILL);
        ag_loop_timer_start(w->stop_timer, STOP_APPS_LIMIT);
        return;
    }
    w->phase = STOPPING_APPS;
    hp_apps_signal_all(w->apps, HP_MSG_SIGNAL_TERM);
    ag_loop_timer_start(w->stop_timer, STOP_APPS_LIMIT);
    end_when_empty(w);
}

static void on_stop_timer(void *baton)
{
    hp_watchdog_t *w = baton;

    if (w->phase == LEAVING)
        leave(w);
    else
        stop_apps(w);
}

static void stop(hp_watchdog_t *w, const char *why)
{
    if (w->phase != RUNNING)
        return;
    ag_log(AG_LOG_INFO, "PSG0011", "helper.stopping: %s", why);
    w->phase = STOPPING_CORE;
    hp_prestart_stop(w->prestart);
    if (!w->core) {
        stop_apps(w);
        return;
    }
    hp_chan_tell(w->core, HP_MSG_STOP);
    ag_loop_timer_start(w->stop_timer, STOP_REQUESTS_LIMIT);
}

/* -- the core -- */

static void prestart(hp_watchdog_t *w, apr_interval_time_t after)
{
    if (w->phase == RUNNING)
        hp_prestart_run(w->prestart, after);
}

static void take_birth(hp_watchdog_t *w, uint32_t type, ag_frame_reader_t *in)
{
    uint64_t id = ag_frame_get_u64(in), by = type == HP_MSG_FORK ? ag_frame_get_u64(in) : ag_frame_get_u32(in);
    apr_size_t len;
    const void *spec = ag_frame_get_bytes(in, &len);

    if (ag_frame_end(in) != APR_SUCCESS || w->phase != RUNNING)
        return;
    if (type == HP_MSG_FORK)
        hp_apps_fork(w->apps, id, by, spec, len);
    else
        hp_apps_spawn(w->apps, id, by != 0, spec, len);
}

static void take_order(hp_watchdog_t *w, uint32_t type, ag_frame_reader_t *in)
{
    apr_size_t len;
    const void *bytes;
    uint64_t id;
    uint32_t what;

    switch ((hp_msg_t)type) {
    case HP_MSG_HELLO:
        if (!w->announced)
            hp_parent_tell(AG_CTL_READY, hp_instance_socket(w->instance), w->doors.requests);
        w->announced = 1;
        if (!w->prestarted)
            prestart(w, 0);
        w->prestarted = 1;
        break;
    case HP_MSG_PONG:
        hp_pulse_answer(&w->pulse);
        break;
    case HP_MSG_PRESTART:
        prestart(w, 0);
        break;
    case HP_MSG_SPAWN:
    case HP_MSG_FORK:
        take_birth(w, type, in);
        break;
    case HP_MSG_SIGNAL:
        id = ag_frame_get_u64(in);
        what = ag_frame_get_u32(in);
        if (ag_frame_end(in) == APR_SUCCESS)
            hp_apps_signal(w->apps, id, what);
        break;
    case HP_MSG_NOTE:
        id = ag_frame_get_u64(in);
        bytes = ag_frame_get_bytes(in, &len);
        if (ag_frame_end(in) == APR_SUCCESS)
            hp_apps_note(w->apps, id, bytes, len);
        break;
    default:
        /* The core is ours: a message that makes no sense means that it is no longer itself. */
        ag_log(AG_LOG_ERROR, "PSG0012", "core.protocol: message %x; the core is ended", (unsigned)type);
        hp_ward_kill(w->core_ward);
    }
}

static void on_core_message(void *baton, const char *data, apr_size_t len, const int *fds, int nfds)
{
    hp_watchdog_t *w = baton;
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    uint32_t type;

    while (nfds > 0)
        close(fds[--nfds]); /* it has none to give */
    if (!data)
        return; /* its exit is reported by the reaper */
    apr_pool_create(&ptemp, w->p);
    type = ag_frame_open(&in, ptemp, data, len);
    take_order(w, type, &in);
    apr_pool_destroy(ptemp);
}

/* What is there comes before what may ask for it: a core that already listens would start what it was about to be handed. */
static void core_up(void *baton, int fd)
{
    hp_watchdog_t *w = baton;
    apr_status_t rv;

    w->core = hp_chan_create(w->loop, fd, w->reserve, on_core_message, w);
    w->pulse = (hp_pulse_t){0};
    send_settings(w);
    hp_ward_start(w->looker_ward);
    hp_apps_core(w->apps, w->core);
    send_fd(w, HP_MSG_ADMIN, w->doors.admin);
    send_fd(w, HP_MSG_LISTEN, w->doors.requests);
    rv = hp_instance_describe(w->instance, w->settings, hp_ward_pid(w->core_ward));
    if (rv != APR_SUCCESS)
        ag_log(AG_LOG_WARN, "PSG0031", "instance.properties: %s: %s", hp_instance_path(w->instance), ag_text_error(w->settings_pool, rv));
}

static int core_down(void *baton)
{
    hp_watchdog_t *w = baton;

    hp_apps_core(w->apps, NULL);
    hp_chan_destroy(&w->core);
    if (w->phase == STOPPING_CORE)
        stop_apps(w);
    return w->phase == RUNNING;
}

/* -- the looker -- */

static void looker_up(void *baton, int fd)
{
    send_fd(baton, HP_MSG_LOOKER, fd);
    close(fd);
}

static int looker_down(void *baton)
{
    const hp_watchdog_t *w = baton;

    return w->phase == RUNNING;
}

static void make_wards(hp_watchdog_t *w)
{
    const char *uid = apr_psprintf(w->p, "%ld", (long)w->core_uid), *gid = apr_psprintf(w->p, "%ld", (long)w->core_gid);
    const char *core[] = {w->self.path, "core", uid, gid, NULL}, *looker[] = {w->self.path, "looker", NULL};
    hp_ward_role_t core_role = {
        .name = "core", .argv = apr_pmemdup(w->p, core, sizeof core), .reserve = w->reserve, .up = core_up, .down = core_down, .baton = w};
    hp_ward_role_t looker_role = {.name = "looker",
                                  .argv = apr_pmemdup(w->p, looker, sizeof looker),
                                  .follows = 1,
                                  .reserve = w->reserve,
                                  .up = looker_up,
                                  .down = looker_down,
                                  .baton = w};

    w->core_ward = hp_ward_create(w->loop, &core_role, w->p);
    w->looker_ward = hp_ward_create(w->loop, &looker_role, w->p);
}

/* -- from the Apache parent -- */

static void on_reload_timer(void *baton)
{
    stop(baton, "Apache's configuration no longer loads the module");
}

/* Another version was installed, and Apache has loaded its half of it: the other half takes over where we stand. Requests in flight are the old
 * core's; it ends after the last. */
static void upgrade(hp_watchdog_t *w, const char *settings, apr_size_t len)
{
    ag_frame_t *state = ag_frame_create(w->settings_pool, AG_CTL_SETTINGS);
    apr_status_t rv;

    ag_log(AG_LOG_NOTICE, "PSG0022", "helper.upgrade: %s has changed; %d application processes are kept", w->self.path,
           hp_apps_count(w->apps));
    hp_prestart_stop(w->prestart); /* the heir does it again */
    ag_frame_put_bytes(state, settings, len);
    ag_frame_put_str(state, hp_instance_path(w->instance));
    hp_upgrade_put_fd(state, w->doors.requests);
    hp_upgrade_put_fd(state, w->doors.admin);
    hp_apps_save(w->apps, state);
    if (w->core)
        hp_chan_tell(w->core, HP_MSG_STOP);
    rv = hp_upgrade_exec(w->self.path, state);
    ag_log(AG_LOG_ERROR, "PSG0023", "helper.upgrade: %s cannot be run: %s; restart Apache", w->self.path, ag_text_error(w->settings_pool, rv));
    hp_upgrade_note(&w->self, w->self.path);
    hp_ward_kill(w->core_ward); /* it was told to end; another takes its place */
}

static void change_log(hp_watchdog_t *w, int fd)
{
    ag_log_take(fd);
    send_settings(w); /* with the log */
}

static void on_settings(hp_watchdog_t *w, const char *data, apr_size_t len, const int *fds, int nfds)
{
    ag_loop_timer_stop(w->reload_timer);
    if (nfds > 0)
        ag_log_take(fds[0]);
    if (nfds > 1)
        close(fds[1]); /* ours already */
    if (take_settings(w, data, len) != APR_SUCCESS) {
        if (hp_upgrade_due(&w->self))
            upgrade(w, data, len); /* who wrote them has been installed in our place, and understands them */
        ag_log(AG_LOG_ERROR, "PSG0017", "helper.settings: Apache sent settings that this helper does not understand; restart Apache");
        return;
    }
    hp_apps_settings(w->apps, w->settings_bytes, w->settings_len);
    hp_prestart_settings(w->prestart, w->settings);
    if (strcmp(w->settings->build_id, ag_build_id()) != 0 && hp_upgrade_due(&w->self))
        upgrade(w, w->settings_bytes, w->settings_len);
    send_settings(w);
    prestart(w, RELOAD_SETTLE);
}

static void on_ctl(void *baton, int events)
{
    hp_watchdog_t *w = baton;
    char buf[AG_PARCEL_DATAGRAM];
    ag_parcel_t parcel;
    ag_frame_reader_t in;
    apr_status_t rv = hp_parent_receive(w->reserve, buf, &parcel);
    uint32_t type;

    (void)events;
    if (APR_STATUS_IS_EAGAIN(rv))
        return;
    if (rv != APR_SUCCESS) {
        ag_loop_io_destroy(&w->ctl);
        stop(w, "parent.gone: Apache's parent process has ended");
        return;
    }
    type = ag_frame_open(&in, w->p, parcel.data, parcel.len);
    if (type == AG_CTL_SETTINGS)
        on_settings(w, parcel.data, parcel.len, parcel.fds, parcel.nfds);
    else if (type == AG_CTL_LOG && parcel.nfds == 1)
        change_log(w, parcel.fds[0]);
    else
        hp_parent_refuse(&parcel);
    ag_parcel_done(&parcel);
    if (type == AG_CTL_RELOADING)
        ag_loop_timer_start(w->reload_timer, RELOAD_LIMIT);
    else if (type == AG_CTL_STOP)
        stop(w, "Apache stops");
}

/* -- the instance directory -- */

/* A core that hangs holds everybody's requests; one that is killed is replaced at once, and applications do not notice. */
static void feel_pulse(hp_watchdog_t *w)
{
    switch (hp_pulse_look(&w->pulse, ag_loop_now())) {
    case HP_PULSE_ASK:
        hp_chan_tell(w->core, HP_MSG_PING);
        break;
    case HP_PULSE_TELL:
        ag_log(AG_LOG_ERROR, "PSG0050", "helper.unresponsive: the core has not answered for 5 seconds; after 30 it is killed");
        break;
    case HP_PULSE_KILL:
        hp_ward_kill(w->core_ward);
        break;
    case HP_PULSE_WAIT:
        break;
    }
}

static void on_look(void *baton)
{
    hp_watchdog_t *w = baton;
    apr_status_t rv;
    int made;

    ag_loop_timer_start(w->look, LOOK_INTERVAL);
    if (w->phase != RUNNING)
        return;
    if (w->core)
        feel_pulse(w);
    rv = hp_doors_look(&w->doors, w->settings, &made);
    if (rv == EMFILE) {
        hp_reserve_give(w->reserve);
        rv = hp_doors_look(&w->doors, w->settings, &made);
        hp_reserve_take(w->reserve);
    }
    if (rv != APR_SUCCESS)
        ag_log(AG_LOG_ERROR, "PSG0018", "instance.lost: %s is gone, or was changed, and cannot be made again: %s", hp_instance_path(w->instance),
               ag_text_error(w->settings_pool, rv));
    if (made)
        ag_log(AG_LOG_WARN, "PSG0019", "instance.recreated: somebody removed %s, or changed its owner or mode; it is as it was, nothing was lost",
               hp_instance_path(w->instance));
    if (made & HP_DOORS_ADMIN)
        send_fd(w, HP_MSG_ADMIN, w->doors.admin);
    if (made & HP_DOORS_REQUESTS) {
        send_fd(w, HP_MSG_LISTEN, w->doors.requests);
        hp_parent_tell(AG_CTL_READY, hp_instance_socket(w->instance), w->doors.requests);
    }
}

/* -- birth -- */

static void on_signal(void *baton, int signum)
{
    stop(baton, signum == SIGINT ? "SIGINT" : "SIGTERM");
}

static void on_orphan(void *baton, pid_t pid, int status)
{
    const hp_watchdog_t *w = baton;

    hp_apps_reaped(w->apps);
    ag_log(AG_LOG_DEBUG, "PSG0020", "orphan %ld reaped, status %d", (long)pid, status);
}

/* The first message, for which nothing else can be done before: settings, the log, and the socket of a dead predecessor. */
static apr_status_t first_settings(hp_watchdog_t *w)
{
    char buf[AG_PARCEL_DATAGRAM];
    ag_parcel_t parcel;
    ag_frame_reader_t in;
    apr_status_t rv;

    w->doors.requests = w->doors.admin = -1;
    if (APR_SUCCESS != (rv = ag_sock_wait(HP_PARENT_FD, 10000)) || APR_SUCCESS != (rv = hp_parent_receive(w->reserve, buf, &parcel)))
        return rv;
    if (parcel.nfds > 0)
        ag_log_take(parcel.fds[0]);
    if (parcel.nfds > 1)
        w->doors.requests = parcel.fds[1];
    rv = ag_frame_open(&in, w->p, parcel.data, parcel.len) == AG_CTL_SETTINGS ? take_settings(w, parcel.data, parcel.len) : APR_EGENERAL;
    ag_parcel_done(&parcel);
    return rv;
}

static const char *own_path(apr_pool_t *p)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    return n > 0 ? apr_pstrmemdup(p, path, (apr_size_t)n) : "";
}

static void on_inherited_timer(void *baton)
{
    hp_watchdog_t *w = baton;

    hp_instance_end_inherited(w->instance);
}

static void watch(hp_watchdog_t *w, int fresh)
{
    w->stop_timer = ag_loop_timer_create(w->loop, on_stop_timer, w);
    w->reload_timer = ag_loop_timer_create(w->loop, on_reload_timer, w);
    if (fresh && hp_instance_inherit(w->instance) > 0)
        ag_loop_timer_start(ag_loop_timer_create(w->loop, on_inherited_timer, w), STOP_APPS_LIMIT);
    w->look = ag_loop_timer_create(w->loop, on_look, w);
    ag_loop_timer_start(w->look, LOOK_INTERVAL);
    ag_loop_signal(w->loop, SIGTERM, on_signal, w);
    ag_loop_signal(w->loop, SIGINT, on_signal, w);
    ag_loop_orphans(w->loop, on_orphan, w);
    ag_sock_nonblock(HP_PARENT_FD, 1);
    w->ctl = ag_loop_io_create(w->loop, HP_PARENT_FD, AG_LOOP_READ, on_ctl, w);
}

/* What the first message brings, from the version before this one. */
static apr_status_t inherited_settings(hp_watchdog_t *w, const char *state, ag_frame_reader_t *in)
{
    apr_status_t rv = hp_upgrade_open(in, state, w->p);
    const void *bytes;
    apr_size_t len;

    if (rv != APR_SUCCESS)
        return rv;
    bytes = ag_frame_get_bytes(in, &len);
    rv = bytes ? take_settings(w, bytes, len) : APR_EGENERAL;
    if (rv != APR_SUCCESS)
        return rv;
    w->settings->instance_dir = ag_frame_get_str(in);
    w->doors.requests = hp_upgrade_get_fd(in);
    w->doors.admin = hp_upgrade_get_fd(in);
    w->announced = 1;
    return APR_SUCCESS;
}

int hp_watchdog_run(const char *state)
{
    hp_watchdog_t *w;
    apr_pool_t *p;
    ag_frame_reader_t in;
    const char *reason = NULL;
    apr_status_t rv;

    hp_rights_harden(HP_PARENT_FD + 1, !state);
    apr_pool_create(&p, NULL);
    w = apr_pcalloc(p, sizeof *w);
    w->p = p;
    rv = state ? inherited_settings(w, state, &in) : first_settings(w);
    if (rv != APR_SUCCESS)
        return give_up("the settings from Apache could not be read; module and helper are of different versions");
    hp_rights_files(w->settings->core_files);
    w->reserve = hp_reserve_create(p);
    hp_upgrade_note(&w->self, own_path(p));
    w->loop = ag_loop_create(p);
    if (!*w->self.path || !w->loop)
        return give_up("the kernel offers no event mechanism, or /proc is not mounted");
    hp_rights_check_files(w->self.path, p);
    hp_rights_core_user(w->settings->web_user, &w->core_uid, &w->core_gid);
    rv = hp_instance_create(&w->instance, w->settings->registry_dir, w->settings->instance_dir, p, &reason);
    if (rv != APR_SUCCESS)
        return give_up(reason);
    w->doors.instance = w->instance;
    if (APR_SUCCESS != hp_doors_open(&w->doors, w->settings, p, &reason))
        return give_up(reason);
    w->apps = hp_apps_create(w->loop, w->instance, w->self.path, geteuid() == 0 ? w->core_uid : (uid_t)-1, w->core_gid, p);
    hp_apps_settings(w->apps, w->settings_bytes, w->settings_len);
    w->prestart = hp_prestart_create(w->loop, w->self.path, w->core_uid, w->core_gid, p);
    hp_prestart_settings(w->prestart, w->settings);
    hp_apps_on_exit(w->apps, end_when_empty, w);
    make_wards(w);
    watch(w, !state);
    if (state)
        hp_apps_restore(w->apps, &in);
    hp_ward_start(w->core_ward);
    raise(SIGCHLD); /* children that ended between two programs have sent theirs already */
    ag_loop_run(w->loop);
    return 0;
}
