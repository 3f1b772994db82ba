/* An application's own log file (PassengerAppLogFile): lines on their way to the process that writes it (scribe.h). */
#ifndef HP_APPLOG_H
#define HP_APPLOG_H

#include "helper/config.h"
#include "helper/process.h"

typedef struct hp_applog_t hp_applog_t;

/* `config` is read whenever something is to be decided; it must stay where it is. Lives in `p`. */
hp_applog_t *hp_applog_create(hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p);

/* For processes of the application. A line goes to the server's log where the application has no file of its own, or that cannot be written; else to
 * the file, as soon as it is open, with the same in front. Four megabytes wait for a slow file; more is lost, and the server's log says
 * so. Lives as long as the other. */
const hp_output_log_t *hp_applog_for(const hp_applog_t *log);

/* A scribe that an earlier core had. */
void hp_applog_adopt(hp_applog_t *log, hp_process_t *scribe);

/* Nobody of the application runs any more, or its configuration may have changed: a scribe that has nothing to do, or writes another file, ends. */
void hp_applog_rest(hp_applog_t *log, int running);

/* Lets go of the scribe; what has not been taken goes to the server's log. */
void hp_applog_destroy(hp_applog_t **plog);

#endif
