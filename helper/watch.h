/* The files by which people restart an application, as the looker reports them. */
#ifndef HP_WATCH_H
#define HP_WATCH_H

#include "helper/config.h"
#include "helper/context.h"

typedef struct hp_watch_t hp_watch_t;

/* What was found. Stamps are equal as long as the file is the same. */
typedef struct {
    uint64_t restart; /* stamp of restart.txt; 0: there is none */
    int always;       /* always_restart.txt is there */
    uint64_t startup; /* stamp of the startup file */
    uint64_t env;     /* of the environment file; 0: there is none */
    uid_t owner;      /* of the application's folder; (uid_t)-1: not known */
} hp_watch_answer_t;

/* What follows. All are 0 when no answer came in time. */
typedef struct {
    int restart; /* 0, or why: 1 restart.txt was touched, 2 always_restart.txt is there */
    int mended;  /* the startup file is another one than before */
    int env;     /* the environment file is */
} hp_watch_news_t;

/* Every look ends with a call of `cb`, which may look again. */
typedef void (*hp_watch_cb_t)(void *baton, const hp_watch_news_t *news);

/* `cookie` names the watch in messages; lives in `p`. */
hp_watch_t *hp_watch_create(hp_context_t *ctx, apr_pool_t *p, uint64_t cookie, hp_watch_cb_t cb, void *baton);

/* Asks, if a look is due. `request`: somebody waits for the answer; until it is there, or was not there in time, hp_watch_pending is 1.
 * `rate`: seconds between looks. */
void hp_watch_look(hp_watch_t *watch, const hp_config_t *config, unsigned rate, int request);
int hp_watch_pending(const hp_watch_t *watch);

/* The looker's answer. */
void hp_watch_answer(hp_watch_t *watch, const hp_watch_answer_t *answer);

/* The stamp of restart.txt that was seen last, for processes that are started now; and what an earlier core gave to a process that lives: if
 * the file has changed since, that is told at the next look. */
uint64_t hp_watch_stamp(const hp_watch_t *watch);
void hp_watch_inherit(hp_watch_t *watch, uint64_t stamp);
/* Who owns the application's folder; (uid_t)-1: not known. */
uid_t hp_watch_owner(const hp_watch_t *watch);
const uint64_t *hp_watch_cookie(const hp_watch_t *watch);

#endif
