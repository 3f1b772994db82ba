/* Starts the program that requests the URLs of PassengerPreStart: one at a time, as the core's user. */
#ifndef HP_PRESTART_H
#define HP_PRESTART_H

#include "apr-glue/loop.h"
#include "apr-glue/settings.h"

typedef struct hp_prestart_t hp_prestart_t;

/* `self` is the helper's own program, beside which passenger-prestart lies. */
hp_prestart_t *hp_prestart_create(ag_loop_t *loop, const char *self, uid_t uid, gid_t gid, apr_pool_t *p);

/* What is requested from now on; copied. */
void hp_prestart_settings(hp_prestart_t *prestart, const ag_settings_t *settings);

/* Requests all URLs `after` from now, but not within five seconds of the last time; when that is still going on, once more after
 * it. Whatever is due already is not done twice. */
void hp_prestart_run(hp_prestart_t *prestart, apr_interval_time_t after);

/* Ends what is going on and forgets what is due. */
void hp_prestart_stop(hp_prestart_t *prestart);

#endif
