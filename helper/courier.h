/* An application's files on their way to the module: questions to the process that opens them (porter.h), which is started with the first. */
#ifndef HP_COURIER_H
#define HP_COURIER_H

#include "helper/config.h"
#include "helper/porter.h"
#include "helper/process.h"

typedef struct hp_courier_t hp_courier_t;

/* One file that is wanted. The caller sets the first three; the name must last as long as the question. */
typedef struct hp_courier_ask_t {
    char kind; /* HP_PORTER_PATH or HP_PORTER_URI */
    const char *name;
    /* The answer, once: HP_PORTER_OPEN with a regular file's descriptor, which is closed afterwards; or -1 and why, which is logged already. */
    void (*done)(struct hp_courier_ask_t *ask, char answer, int fd);
    hp_courier_t *courier; /* NULL: it is over */
    TAILQ_ENTRY(hp_courier_ask_t) entry;
    int fd; /* to the porter; -1: there is none yet */
    ag_loop_io_t *io;
    ag_loop_timer_t *timer;
} hp_courier_ask_t;

/* `config` is read whenever something is to be decided; it must stay where it is. Lives in `p`. */
hp_courier_t *hp_courier_create(hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p);

/* `done` may be called at once. */
void hp_courier_fetch(hp_courier_t *courier, hp_courier_ask_t *ask);
/* Nobody wants the file any more; harmless when the answer was given. */
void hp_courier_forget(hp_courier_ask_t *ask);

/* A porter that an earlier core had: it ends, and another is started when there is need. */
void hp_courier_adopt(hp_courier_t *courier, hp_process_t *porter);
/* Nobody of the application runs any more: a porter that has nothing to do ends. */
void hp_courier_rest(hp_courier_t *courier, int running);
/* There must be no questions. */
void hp_courier_destroy(hp_courier_t **pcourier);

#endif
