#include "helper/watch.h"
#include "apr-glue/log.h"
#include "helper/msg.h"
#include "helper/policy.h"

#define PATIENCE (apr_time_from_sec(1) / 5) /* a file system that does not answer must not hold requests up */
#define SLOW     apr_time_from_sec(2)       /* a busy machine answers later than that, but not this late */
#define LOST     apr_time_from_sec(10)      /* an answer that has not come by then went with the looker */

struct hp_watch_t {
    hp_context_t *ctx;
    apr_pool_t *p;
    uint64_t cookie;
    hp_watch_cb_t cb;
    void *baton;
    const hp_config_t *config; /* of the last look */
    apr_time_t asked_at;       /* 0: no answer is on its way */
    const hp_chan_t *asked;    /* whom; a looker that is gone will not answer */
    apr_time_t looked_at;      /* when the last look began; 0: never */
    int pending;               /* requests wait for the answer */
    int again;                 /* the answer on its way was asked for before the request came that now waits */
    int by_request;            /* that the answer on its way is for */
    int known;                 /* what follows comes from an answer, or from an earlier core */
    apr_uint64_t asked_spawn;  /* spawn digest of the configuration that was asked about last */
    apr_uint64_t env_of;       /* the same of the environment file whose stamp `found` has; 0: no answer has said yet */
    hp_watch_answer_t found;
    ag_loop_timer_t *timer;
};

static void on_timer(void *baton)
{
    hp_watch_t *watch = baton;
    static const hp_watch_news_t nothing;

    if (!watch->pending) {
        ag_log(AG_LOG_WARN, "PSG0116", "stat.slow: %s: the file system of %s does not answer; restart.txt is not looked at", watch->config->name,
               watch->config->app_root);
        return;
    }
    watch->pending = watch->again = 0;
    ag_loop_timer_start(watch->timer, SLOW);
    watch->cb(watch->baton, &nothing);
}

hp_watch_t *hp_watch_create(hp_context_t *ctx, apr_pool_t *p, uint64_t cookie, hp_watch_cb_t cb, void *baton)
{
    hp_watch_t *watch = apr_pcalloc(p, sizeof *watch);

    watch->ctx = ctx;
    watch->p = p;
    watch->cookie = cookie;
    watch->cb = cb;
    watch->baton = baton;
    watch->found.owner = (uid_t)-1;
    watch->timer = ag_loop_timer_pooled(ctx->loop, p, on_timer, watch);
    return watch;
}

static void ask(hp_watch_t *watch, int request)
{
    const hp_config_t *config = watch->config;
    apr_pool_t *ptemp;
    ag_frame_t *f;

    watch->asked_at = watch->looked_at = ag_loop_now();
    watch->asked = watch->ctx->looker;
    watch->asked_spawn = config->spawn_digest;
    watch->by_request = request;
    watch->again = 0;
    apr_pool_create(&ptemp, watch->p);
    f = ag_frame_create(ptemp, HP_MSG_STAT);
    ag_frame_put_u64(f, watch->cookie);
    ag_frame_put_str(f, config->app_root);
    ag_frame_put_str(f, config->options->restart_dir);
    ag_frame_put_str(f, config->startup_file);
    ag_frame_put_str(f, config->options->env_file ? config->options->env_file : "");
    hp_chan_send(watch->ctx->looker, f, NULL, 0);
    apr_pool_destroy(ptemp);
}

void hp_watch_look(hp_watch_t *watch, const hp_config_t *config, unsigned rate, int request)
{
    apr_interval_time_t waited;
    apr_time_t now;
    int asked;

    if (watch->pending || !watch->ctx->looker || watch->ctx->stopping)
        return;
    now = ag_loop_now();
    if (watch->known && now - watch->looked_at < hp_policy_look(rate, request))
        return;
    waited = now - watch->asked_at;
    asked = watch->asked_at && waited < LOST && watch->asked == watch->ctx->looker;
    if (asked && (!request || waited > PATIENCE))
        return; /* nobody waits for the same slow answer again */
    watch->config = config;
    watch->pending = request;
    watch->again = asked;
    if (!asked)
        ask(watch, request);
    if (request)
        ag_loop_timer_start(watch->timer, PATIENCE);
}

int hp_watch_pending(const hp_watch_t *watch)
{
    return watch->pending;
}

void hp_watch_answer(hp_watch_t *watch, const hp_watch_answer_t *answer)
{
    int always = answer->always && watch->by_request;
    hp_watch_news_t news = {0};

    if (!watch->asked_at)
        return;
    watch->asked_at = 0;
    if (watch->again && watch->ctx->looker) {
        ask(watch, 1);
        return;
    }
    ag_loop_timer_stop(watch->timer);
    if (watch->known && hp_policy_restart(watch->found.restart, answer->restart, always))
        news.restart = always ? 2 : 1;
    news.mended = watch->known && answer->startup != watch->found.startup;
    news.env = watch->env_of == watch->asked_spawn && answer->env != watch->found.env;
    watch->env_of = watch->asked_spawn;
    watch->found = *answer;
    watch->known = 1;
    watch->pending = 0;
    watch->cb(watch->baton, &news);
}

uint64_t hp_watch_stamp(const hp_watch_t *watch)
{
    return watch->found.restart;
}

void hp_watch_inherit(hp_watch_t *watch, uint64_t stamp)
{
    if (watch->known && stamp <= watch->found.restart)
        return;
    watch->found.restart = stamp;
    watch->known = 1;
    watch->looked_at = 0;
}

uid_t hp_watch_owner(const hp_watch_t *watch)
{
    return watch->found.owner;
}

const uint64_t *hp_watch_cookie(const hp_watch_t *watch)
{
    return &watch->cookie;
}
