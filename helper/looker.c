#include "helper/looker.h"
#include "apr-glue/frame.h"
#include "apr-glue/log.h"
#include "apr-glue/parcel.h"
#include "helper/msg.h"
#include "helper/statfile.h"
#include <apr_strings.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CORE_FD      3
#define THREADS_MAX  64 /* folders on file systems that hang keep one each */
#define THREADS_IDLE 2
#define STACK        (256 * 1024)

typedef struct look_t {
    TAILQ_ENTRY(look_t) entry;
    apr_pool_t *p;
    uint64_t cookie;
    hp_statfile_names_t names;
} look_t;

typedef TAILQ_HEAD(looks_t, look_t) looks_t;

typedef struct {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t more;
    looks_t waiting, begun;
    int nwaiting, nthreads, nidle; /* nidle: threads that wait for `more` */
} looker_t;

static ag_frame_t *look_at(const look_t *look)
{
    hp_statfile_t found;
    ag_frame_t *f;

    hp_statfile_look(&found, &look->names, look->p);
    f = ag_frame_create(look->p, HP_MSG_STATED);
    ag_frame_put_u64(f, look->cookie);
    ag_frame_put_u64(f, found.restart);
    ag_frame_put_u32(f, (uint32_t)found.always);
    ag_frame_put_u64(f, found.startup);
    ag_frame_put_u64(f, found.env);
    ag_frame_put_u32(f, found.owner);
    return f;
}

static void answer(const ag_frame_t *f)
{
    apr_size_t len;
    const char *data = ag_frame_data(f, &len);

    /* A core that has gone needs no answer; the reader ends the process. */
    (void)!ag_parcel_send(CORE_FD, data, len, NULL, 0);
}

static void *run_thread(void *baton)
{
    looker_t *looker = baton;
    ag_frame_t *f;
    look_t *look;

    pthread_mutex_lock(&looker->lock);
    while ((look = TAILQ_FIRST(&looker->waiting)) || looker->nidle < THREADS_IDLE) {
        if (!look) {
            looker->nidle++;
            pthread_cond_wait(&looker->more, &looker->lock);
            looker->nidle--;
            continue;
        }
        TAILQ_REMOVE(&looker->waiting, look, entry);
        looker->nwaiting--;
        TAILQ_INSERT_TAIL(&looker->begun, look, entry);
        pthread_mutex_unlock(&looker->lock);
        f = look_at(look);
        pthread_mutex_lock(&looker->lock);
        TAILQ_REMOVE(&looker->begun, look, entry);
        pthread_mutex_unlock(&looker->lock);
        answer(f); /* which may bring the next look at the same folder at once */
        apr_pool_destroy(look->p);
        pthread_mutex_lock(&looker->lock);
    }
    looker->nthreads--;
    pthread_mutex_unlock(&looker->lock);
    return NULL;
}

static int known(const looks_t *looks, uint64_t cookie)
{
    const look_t *look;

    TAILQ_FOREACH(look, looks, entry) {
        if (look->cookie == cookie)
            return 1;
    }
    return 0;
}

/* Every look that waits has an idle thread that will take it, or gets a new one: it never waits behind one that hangs. */
static void add_thread(looker_t *looker)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run_thread, looker) == 0)
        looker->nthreads++;
    pthread_attr_destroy(&attr);
}

/* Takes over the look. A folder that is being looked at is not looked at twice. */
static void add(looker_t *looker, look_t *look)
{
    pthread_mutex_lock(&looker->lock);
    if (known(&looker->waiting, look->cookie) || known(&looker->begun, look->cookie)) {
        apr_pool_destroy(look->p);
    } else {
        TAILQ_INSERT_TAIL(&looker->waiting, look, entry);
        looker->nwaiting++;
        if (looker->nwaiting > looker->nidle && looker->nthreads < THREADS_MAX)
            add_thread(looker);
        pthread_cond_signal(&looker->more);
    }
    pthread_mutex_unlock(&looker->lock);
}

static void take_stat(looker_t *looker, const ag_parcel_t *parcel)
{
    ag_frame_reader_t in;
    apr_pool_t *p;
    look_t *look;

    apr_pool_create(&p, NULL);
    look = apr_pcalloc(p, sizeof *look);
    look->p = p;
    if (ag_frame_open(&in, p, apr_pmemdup(p, parcel->data, parcel->len), parcel->len) == HP_MSG_STAT) {
        look->cookie = ag_frame_get_u64(&in);
        look->names.app_root = ag_frame_get_str(&in);
        look->names.restart_dir = ag_frame_get_str(&in);
        look->names.startup_file = ag_frame_get_str(&in);
        look->names.env_file = ag_frame_get_str(&in);
        if (ag_frame_end(&in) == APR_SUCCESS && look->names.app_root && look->names.restart_dir && look->names.startup_file && look->names.env_file) {
            add(looker, look);
            return;
        }
    }
    apr_pool_destroy(p);
}

/* What is left of root: to go wherever an application's folder may be, and to be its owner there. */
static apr_status_t give_up_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct kept[2] = {{0}};

    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L))
        return errno;
    if (geteuid() != 0)
        return APR_SUCCESS;
    kept[0].permitted = 1u << CAP_DAC_READ_SEARCH | 1u << CAP_SETUID | 1u << CAP_SETGID;
    kept[0].effective = kept[0].permitted;
    return setgroups(0, NULL) || syscall(SYS_capset, &header, kept) ? errno : APR_SUCCESS;
}

static void take_log(const ag_parcel_t *parcel)
{
    ag_frame_reader_t in;
    apr_pool_t *ptemp;
    uint32_t facility, json;

    for (int i = 0; i < parcel->nfds; i++)
        ag_log_take(parcel->fds[i]);
    if (parcel->nfds == 0)
        return;
    apr_pool_create(&ptemp, NULL);
    ag_frame_open(&in, ptemp, parcel->data, parcel->len);
    facility = ag_frame_get_u32(&in);
    json = ag_frame_get_u32(&in);
    if (ag_frame_end(&in) == APR_SUCCESS) {
        ag_log_set_facility((int)facility);
        ag_log_set_json((int)json);
    }
    apr_pool_destroy(ptemp);
}

int hp_looker_run(void)
{
    looker_t looker = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};
    char buf[AG_PARCEL_DATAGRAM];
    ag_parcel_t parcel;
    apr_status_t rv = give_up_rights();

    if (rv != APR_SUCCESS) {
        char why[120];
        ag_log(AG_LOG_ERROR, "PSG0030", "looker.rights: %s", apr_strerror(rv, why, sizeof why));
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    TAILQ_INIT(&looker.waiting);
    TAILQ_INIT(&looker.begun);
    while (APR_SUCCESS == (rv = ag_parcel_recv(CORE_FD, buf, &parcel))) {
        take_log(&parcel);
        take_stat(&looker, &parcel);
        ag_parcel_done(&parcel);
    }
    /* Threads may hang in a file system, and want nothing any more. A core that was killed leaves a reset behind what it had not read. */
    _exit(APR_STATUS_IS_EOF(rv) || APR_STATUS_IS_ECONNRESET(rv) ? 0 : 1);
}
